//! Evolving: what each event makes of the state. Everything that cannot follow is a typed error (SG-4).

use super::definition::{StepDefinition, definition};
use super::ledger::{Attempt, Backward, Forward, Record};
use super::{Receipt, Step};
use crate::entity::IllegalEvent;
use crate::order::{CourierStage, Ending, Event, KitchenStage, Milestones, Order, OrderStatus, Unwinding};
use crate::time::Timestamp;
use std::sync::Arc;

type Result<T> = std::result::Result<T, String>;

/// The state after an event that happened at `at`. Pure.
///
/// # Errors
/// The event cannot follow this state.
pub fn evolve(state: Option<Order>, event: &Event, at: Timestamp) -> std::result::Result<Order, IllegalEvent> {
    let illegal = |why: String| illegal(event, why);
    match (state, event) {
        (
            None,
            Event::OrderPlaced {
                id,
                details,
                saga_version,
            },
        ) => {
            if definition(*saga_version).is_none() {
                return Err(illegal(format!(
                    "saga version {saga_version} is unknown to this program"
                )));
            }
            Ok(Order {
                id: *id,
                details: Arc::clone(details),
                saga_version: *saga_version,
                status: OrderStatus::Pending,
                placed_at: at,
                candidates: Arc::default(),
                infeasible: Arc::default(),
                round: 0,
                ledger: Vec::new(),
                unwinding: None,
                reroutes: 0,
                ready_at: None,
                courier: None,
                pickup_at: None,
                authorized_until: None,
                kitchen: KitchenStage::default(),
                carriage: CourierStage::default(),
                milestones: Milestones::default(),
            })
        }
        (None, _) => Err(illegal("the order is not placed yet".into())),
        (Some(mut order), event) => {
            evolve_in_place(&mut order, event, at)?;
            Ok(order)
        }
    }
}

/// [`evolve`] without a copy; after an error the order is half changed and of no use.
pub(super) fn evolve_in_place(
    order: &mut Order,
    event: &Event,
    at: Timestamp,
) -> std::result::Result<(), IllegalEvent> {
    // A delivered order may look settled for a moment, until its last steps begin.
    let last_step = order.status == OrderStatus::Delivered && matches!(event, Event::StepStarted { .. });
    if order.is_settled() && !last_step {
        return Err(illegal(event, format!("the order is {} and settled", order.status)));
    }
    apply(order, event, at).map_err(|why| illegal(event, why))
}

fn illegal(event: &Event, why: String) -> IllegalEvent {
    IllegalEvent {
        event: event.name().to_owned(),
        why,
    }
}

fn apply(order: &mut Order, event: &Event, at: Timestamp) -> Result<()> {
    match event {
        Event::OrderPlaced { .. } => Err("the order is placed already".into()),
        Event::StepStarted { .. }
        | Event::StepPending { .. }
        | Event::StepDone { .. }
        | Event::StepRefused { .. }
        | Event::StepUnknown { .. }
        | Event::StepStuck { .. } => apply_step(order, event, at),
        Event::UndoWanted { .. } | Event::UndoStarted { .. } | Event::UndoDone { .. } | Event::UndoStuck { .. } => {
            apply_undo(order, event)
        }
        Event::Resolved { step, round, .. } => resolved(record_mut(order, *step, *round)?),
        Event::TicketDropped { round, .. } => {
            let record = record_mut(order, Step::PlaceTicket, *round)?;
            if !record.is_done() {
                return Err("the ticket is not with the kitchen".into());
            }
            record.backward = Backward::Done;
            order.reroutes = order.reroutes.saturating_add(1);
            Ok(())
        }
        Event::OrderRerouted { round, .. } => rerouted(order, *round),
        Event::CourierLost { round, .. } => {
            want_undone(order, Step::Dispatch, *round)?;
            (order.courier, order.pickup_at) = (None, None);
            Ok(())
        }
        Event::KitchenReported { stage } => {
            order.kitchen = *stage;
            if *stage == KitchenStage::Ready {
                order.ready_at = Some(order.ready_at.map_or(at, |estimate| estimate.min(at)));
            }
            Ok(())
        }
        Event::ReadyEstimated { ready_at } => {
            order.ready_at = Some(*ready_at);
            Ok(())
        }
        Event::CourierReported { stage } => {
            order.carriage = *stage;
            Ok(())
        }
        Event::UnwindingStarted { ending, reason } => unwind(order, ending, reason, at),
        Event::OrderConfirmed { .. } => become_(order, OrderStatus::Confirmed, at),
        Event::OrderPreparing => become_(order, OrderStatus::Preparing, at),
        Event::OrderReady => become_(order, OrderStatus::ReadyForPickup, at),
        Event::OrderPickedUp => become_(order, OrderStatus::PickedUp, at),
        Event::OrderInTransit => become_(order, OrderStatus::InTransit, at),
        Event::OrderDelivered => become_(order, OrderStatus::Delivered, at),
        Event::OrderCancelled => become_(order, OrderStatus::Cancelled, at),
        Event::OrderFailed { .. } => become_(order, OrderStatus::Failed, at),
    }
}

fn apply_step(order: &mut Order, event: &Event, at: Timestamp) -> Result<()> {
    match event {
        Event::StepStarted {
            step,
            round,
            attempt,
            start_at,
            deadline,
        } => {
            let attempt = Attempt {
                number: *attempt,
                start_at: *start_at,
                deadline: *deadline,
            };
            step_started(order, *step, *round, attempt)
        }
        Event::StepPending { step, round, deadline } => {
            waiting(order, *step, *round)?.forward = Forward::Pending { deadline: *deadline };
            Ok(())
        }
        Event::StepDone { step, round, receipt } => {
            waiting(order, *step, *round)?.forward = Forward::Done;
            received(order, receipt, at);
            Ok(())
        }
        Event::StepRefused { step, round, .. } => {
            waiting(order, *step, *round)?.forward = Forward::Refused;
            Ok(())
        }
        Event::StepUnknown { step, round, .. } => {
            let wanted = backward_if_compensated(order, *step);
            let record = record_mut(order, *step, *round)?;
            if !matches!(
                record.forward,
                Forward::Acting(_) | Forward::Pending { .. } | Forward::Stuck
            ) {
                return Err(format!("{} {round} does not wait for an answer", step.as_str()));
            }
            record.forward = Forward::Unknown;
            record.backward = wanted;
            Ok(())
        }
        Event::StepStuck { step, round, .. } => {
            waiting(order, *step, *round)?.forward = Forward::Stuck;
            Ok(())
        }
        other => Err(format!("{} is no event of a step", other.name())),
    }
}

fn record_mut(order: &mut Order, step: Step, round: u32) -> Result<&mut Record> {
    let found = order
        .ledger
        .iter_mut()
        .find(|record| record.step == step && record.round == round);
    found.ok_or_else(|| format!("{} {round} never began", step.as_str()))
}

/// The record of a step that waits for an answer.
fn waiting(order: &mut Order, step: Step, round: u32) -> Result<&mut Record> {
    let record = record_mut(order, step, round)?;
    match record.forward {
        Forward::Acting(_) | Forward::Pending { .. } => Ok(record),
        _ => Err(format!("{} {round} does not wait for an answer", step.as_str())),
    }
}

fn step_started(order: &mut Order, step: Step, round: u32, attempt: Attempt) -> Result<()> {
    let forward = Forward::Acting(attempt);
    if let Ok(record) = record_mut(order, step, round) {
        let expected = match record.forward {
            Forward::Acting(before) => before.number + 1,
            Forward::Stuck => 1,
            _ => return Err(format!("{} {round} is over", step.as_str())),
        };
        if attempt.number != expected {
            return Err(format!(
                "attempt {} of {} follows {}",
                attempt.number,
                step.as_str(),
                expected - 1
            ));
        }
        record.forward = forward;
        return Ok(());
    }
    if attempt.number != 1 || round != order.next_round(step) && !is_candidate_round(step) {
        return Err(format!(
            "{} {round} begins with attempt {}",
            step.as_str(),
            attempt.number
        ));
    }
    order.ledger.push(Record {
        step,
        round,
        candidate: order.round,
        forward,
        backward: Backward::Idle,
    });
    Ok(())
}

/// Steps whose round is the candidate's, or the dispatch's, rather than a count of their own.
const fn is_candidate_round(step: Step) -> bool {
    matches!(
        step,
        Step::HoldCapacity | Step::PlaceTicket | Step::ConfirmCapacity | Step::CloseCapacity | Step::CompleteDelivery
    )
}

fn received(order: &mut Order, receipt: &Receipt, at: Timestamp) {
    match receipt {
        Receipt::Empty => {}
        Receipt::Routed { candidates, infeasible } => {
            order.ready_at = candidates.first().map(|candidate| candidate.ready_at);
            order.candidates.clone_from(candidates);
            order.infeasible.clone_from(infeasible);
        }
        Receipt::Held { slot } => order.ready_at = order.ready_at.max(Some(*slot)),
        Receipt::Authorized { until } => order.authorized_until = *until,
        Receipt::Accepted { ready_at } => order.ready_at = ready_at.or(order.ready_at),
        Receipt::Assigned { courier, pickup_at } => {
            order.courier = Some(courier.clone());
            order.pickup_at = Some(*pickup_at);
            order.milestones.assigned_at = Some(at);
        }
    }
}

fn backward_if_compensated(order: &Order, step: Step) -> Backward {
    match StepDefinition::of(order, step).and_then(|row| row.compensation) {
        Some(_) => Backward::Wanted,
        None => Backward::Idle,
    }
}

fn want_undone(order: &mut Order, step: Step, round: u32) -> Result<()> {
    let wanted = backward_if_compensated(order, step);
    let record = record_mut(order, step, round)?;
    if record.backward != Backward::Idle || wanted == Backward::Idle {
        return Err(format!("{} {round} is not to be undone", step.as_str()));
    }
    if !matches!(record.forward, Forward::Done | Forward::Resolved) {
        record.forward = Forward::Unknown;
    }
    record.backward = wanted;
    Ok(())
}

fn apply_undo(order: &mut Order, event: &Event) -> Result<()> {
    match event {
        Event::UndoWanted { step, round } => {
            want_undone(order, *step, *round)?;
            match step {
                Step::Authorize => order.authorized_until = None,
                Step::Dispatch => (order.courier, order.pickup_at) = (None, None),
                _ => {}
            }
            Ok(())
        }
        Event::UndoStarted {
            step,
            round,
            attempt,
            start_at,
            deadline,
        } => {
            let record = record_mut(order, *step, *round)?;
            let (before, follows) = match record.backward {
                Backward::Wanted | Backward::Stuck => (0, *attempt == 1),
                // The same number again: that attempt never left.
                Backward::Acting(Attempt { number, .. }) => (number, [number, number + 1].contains(attempt)),
                _ => return Err(format!("the compensation of {} {round} is not wanted", step.as_str())),
            };
            if !follows {
                return Err(format!("attempt {attempt} follows {before}"));
            }
            record.backward = Backward::Acting(Attempt {
                number: *attempt,
                start_at: *start_at,
                deadline: *deadline,
            });
            Ok(())
        }
        Event::UndoDone { step, round } => {
            undoing(order, *step, *round)?.backward = Backward::Done;
            Ok(())
        }
        Event::UndoStuck { step, round, .. } => {
            undoing(order, *step, *round)?.backward = Backward::Stuck;
            Ok(())
        }
        other => Err(format!("{} is no event of a compensation", other.name())),
    }
}

fn undoing(order: &mut Order, step: Step, round: u32) -> Result<&mut Record> {
    let record = record_mut(order, step, round)?;
    match record.backward {
        Backward::Acting(_) => Ok(record),
        _ => Err(format!("no compensation of {} {round} is under way", step.as_str())),
    }
}

fn resolved(record: &mut Record) -> Result<()> {
    if !record.is_stuck() {
        return Err("nothing is stuck".into());
    }
    if record.forward == Forward::Stuck {
        record.forward = Forward::Resolved;
    }
    if record.backward == Backward::Stuck {
        record.backward = Backward::Resolved;
    }
    Ok(())
}

fn rerouted(order: &mut Order, round: u32) -> Result<()> {
    let Some(candidate) = order.candidate_of(round) else {
        return Err(format!("there is no candidate {round}"));
    };
    if round != order.round + 1 {
        return Err(format!("candidate {round} does not follow {}", order.round));
    }
    order.ready_at = Some(candidate.ready_at);
    order.round = round;
    order.kitchen = KitchenStage::Waiting;
    if matches!(order.status, OrderStatus::Preparing | OrderStatus::ReadyForPickup) {
        order.status = OrderStatus::Confirmed;
    }
    Ok(())
}

/// Everything begun is to be undone, whether it is known to have happened or not; but what the customer, or the dustbin,
/// has of the food is not: from pick-up on the ticket stays; so does what was closed, and an authorization whose money was taken.
fn unwind(order: &mut Order, ending: &Ending, reason: &str, at: Timestamp) -> Result<()> {
    if order.unwinding.is_some() || order.status.is_terminal() {
        return Err("the order has ended, or is being undone, already".into());
    }
    let closed = |step| {
        order
            .ledger
            .iter()
            .any(|record| record.step == step && record.forward == Forward::Done)
    };
    let kept: Vec<Step> = [
        (Step::PlaceTicket, order.status.is_picked_up()),
        (Step::HoldCapacity, closed(Step::CloseCapacity)),
        (Step::Authorize, closed(Step::Capture)),
        (Step::Dispatch, closed(Step::CompleteDelivery)),
    ]
    .into_iter()
    .filter_map(|(step, kept)| kept.then_some(step))
    .collect();
    let steps: Vec<(Step, Backward)> = Step::ALL
        .map(|step| (step, backward_if_compensated(order, step)))
        .to_vec();
    for record in &mut order.ledger {
        let happened = matches!(record.forward, Forward::Done | Forward::Resolved);
        if !happened && record.forward != Forward::Refused {
            record.forward = Forward::Unknown;
        }
        let wanted = steps
            .iter()
            .any(|(step, wanted)| *step == record.step && *wanted == Backward::Wanted);
        let keep = happened && kept.contains(&record.step);
        if wanted && !keep && record.forward != Forward::Refused && record.backward == Backward::Idle {
            record.backward = Backward::Wanted;
        }
    }
    order.unwinding = Some(Unwinding {
        ending: ending.clone(),
        reason: reason.to_owned(),
        since: at,
    });
    Ok(())
}

fn become_(order: &mut Order, next: OrderStatus, at: Timestamp) -> Result<()> {
    if !order.status.may_become(next) {
        return Err(format!("{next} does not follow {}", order.status));
    }
    order.status = next;
    let times = &mut order.milestones;
    match next {
        OrderStatus::Pending | OrderStatus::InTransit => {}
        OrderStatus::Confirmed => times.confirmed_at = times.confirmed_at.or(Some(at)),
        OrderStatus::Preparing => times.preparing_at = Some(at),
        OrderStatus::ReadyForPickup => times.ready_at = Some(at),
        OrderStatus::PickedUp => times.picked_up_at = Some(at),
        OrderStatus::Delivered => {
            times.delivered_at = Some(at);
            times.closed_at = Some(at);
        }
        OrderStatus::Cancelled | OrderStatus::Failed => times.closed_at = Some(at),
    }
    Ok(())
}
