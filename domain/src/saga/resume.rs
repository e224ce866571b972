//! Resuming: what is pending, from state alone; and when the order wants to be woken.

use super::Step;
use super::definition::{definition, is_secured};
use super::effect::{
    Action, CapacityRequest, Direction, Effect, EffectKey, Job, JobRequest, PaymentAction, PaymentRequest, Ticket,
    TicketAction, TicketRequest,
};
use super::ledger::{Attempt, Record};
use super::outcome;
use crate::channel::SLOTS_AHEAD_MAX;
use crate::order::{CourierStage, KitchenStage, Order};
use crate::policy::Policy;
use crate::time::{Millis, Timestamp};

/// Most authorizations an order asks for before it lets the last one lapse.
const AUTHORIZATIONS_MAX: u32 = 10;

/// Every effect that is under way, as it was first asked for: the same keys, the same attempts. Pure.
pub fn resume(order: &Order, policy: &Policy) -> Vec<Effect> {
    let directions = [Direction::Forward, Direction::Backward];
    let under_way = order.ledger.iter().flat_map(|record| {
        directions
            .into_iter()
            .filter_map(move |direction| Some((record, direction, record.attempt(direction)?)))
    });
    under_way
        .filter_map(|(record, direction, attempt)| effect(order, record, direction, attempt, policy))
        .collect()
}

/// When the order wants to be woken: the first deadline, the moment to ask for a courier, or to renew an authorization.
pub fn wake_at(order: &Order, policy: &Policy) -> Option<Timestamp> {
    let deadlines = order.ledger.iter().filter_map(Record::deadline);
    deadlines
        .chain(dispatch_at(order, policy))
        .chain(renewal_at(order, policy))
        .min()
}

fn dispatch_at(order: &Order, policy: &Policy) -> Option<Timestamp> {
    let wanted = is_secured(order)
        && order.unwinding.is_none()
        && order.carriage == CourierStage::Waiting
        && order.in_force(Step::Dispatch).is_none();
    if wanted {
        order.ready_at.map(|ready_at| ready_at - policy.dispatch_lead_ms)
    } else {
        None
    }
}

/// When the authorization in force is to be renewed, if the money is not taken before.
pub(super) fn renewal_at(order: &Order, policy: &Policy) -> Option<Timestamp> {
    let record = order
        .in_force(Step::Authorize)
        .filter(|record| record.is_done() && record.round < AUTHORIZATIONS_MAX)?;
    let wanted = order.unwinding.is_none()
        && !order.status.is_terminal()
        && order.in_force(Step::Capture).is_none()
        && order.next_round(Step::Authorize) == record.round + 1;
    if wanted {
        order
            .authorized_until
            .map(|until| until - policy.authorization_margin_ms)
    } else {
        None
    }
}

/// The effect of an attempt: everything about it follows from the order.
pub(super) fn effect(
    order: &Order,
    record: &Record,
    direction: Direction,
    attempt: Attempt,
    policy: &Policy,
) -> Option<Effect> {
    let row = definition(order.saga_version)?
        .iter()
        .find(|row| row.step == record.step)?;
    let key = EffectKey {
        order: order.id,
        step: record.step,
        round: record.round,
        direction,
    };
    let action = match direction {
        Direction::Forward => forward(order, record, key, attempt, policy)?,
        Direction::Backward => backward(order, record, key)?,
    };
    let timeout_ms = policy.call(row.participant).timeout_ms;
    Some(Effect {
        key,
        attempt: attempt.number,
        start_at: attempt.start_at,
        timeout_ms,
        action,
    })
}

const fn key_of(key: EffectKey, step: Step, round: u32) -> EffectKey {
    EffectKey {
        order: key.order,
        step,
        round,
        direction: Direction::Forward,
    }
}

fn forward(order: &Order, record: &Record, key: EffectKey, attempt: Attempt, policy: &Policy) -> Option<Action> {
    let candidate = order.candidate_of(record.candidate);
    let hold = key_of(key, Step::HoldCapacity, key.round);
    Some(match key.step {
        Step::Route => Action::Route,
        Step::HoldCapacity => {
            let candidate = candidate?;
            let expires_at = attempt.start_at + policy.hold_ttl_ms;
            // An alternate in time is better than the same channel later; the last one may be later.
            let last = order.candidate_of(record.candidate + 1).is_none();
            let request = CapacityRequest::Hold {
                key,
                slot: candidate.slot,
                slots_ahead_max: if last { SLOTS_AHEAD_MAX } else { 0 },
                units: candidate.units,
                expires_at,
                asked_before: false,
            };
            Action::Capacity(candidate.channel.clone(), request)
        }
        Step::ConfirmCapacity => Action::Capacity(candidate?.channel.clone(), CapacityRequest::Confirm { key: hold }),
        Step::CloseCapacity => {
            let cooked = outcome::cooked(order);
            Action::Capacity(candidate?.channel.clone(), CapacityRequest::Close { key: hold, cooked })
        }
        Step::Authorize => Action::Payment(payment(order, key, PaymentAction::Authorize, None)),
        Step::Capture => {
            let authorization = order.in_force(Step::Authorize)?;
            let of = key_of(key, Step::Authorize, authorization.round);
            Action::Payment(payment(order, key, PaymentAction::Capture, Some(of)))
        }
        Step::PlaceTicket => Action::Ticket(TicketRequest {
            key,
            of: None,
            order: order.id,
            channel: candidate?.channel.clone(),
            action: TicketAction::Place,
            ticket: Some(ticket(
                order,
                candidate?.prep_ms,
                order.ready_at.unwrap_or(candidate?.ready_at),
            )),
        }),
        Step::Dispatch => {
            let candidate = candidate?;
            let job = Job {
                pickup: candidate.pickup,
                dropoff: order.details.delivery_location.place(),
                ready_at: order.ready_at.unwrap_or(candidate.ready_at),
                placed_at: Some(order.placed_at),
                is_ready: order.kitchen >= KitchenStage::Ready,
            };
            Action::Job(
                candidate.zone.clone(),
                JobRequest::Assign {
                    key,
                    job: Box::new(job),
                },
            )
        }
        Step::CompleteDelivery => {
            let key = key_of(key, Step::Dispatch, key.round);
            Action::Job(candidate?.zone.clone(), JobRequest::Complete { key })
        }
    })
}

fn backward(order: &Order, record: &Record, key: EffectKey) -> Option<Action> {
    let candidate = order.candidate_of(record.candidate);
    Some(match key.step {
        Step::HoldCapacity => {
            let (key, lost) = (key.action(), outcome::is_lost(order, key.round));
            Action::Capacity(candidate?.channel.clone(), CapacityRequest::Release { key, lost })
        }
        Step::Authorize => Action::Payment(payment(order, key, PaymentAction::Void, Some(key.action()))),
        Step::Capture => Action::Payment(payment(order, key, PaymentAction::Refund, Some(key.action()))),
        Step::PlaceTicket => Action::Ticket(TicketRequest {
            key,
            of: Some(key.action()),
            order: order.id,
            channel: candidate?.channel.clone(),
            action: TicketAction::Cancel,
            ticket: None,
        }),
        Step::Dispatch => Action::Job(candidate?.zone.clone(), JobRequest::Unassign { key: key.action() }),
        Step::Route | Step::ConfirmCapacity | Step::CloseCapacity | Step::CompleteDelivery => return None,
    })
}

fn payment(order: &Order, key: EffectKey, action: PaymentAction, of: Option<EffectKey>) -> PaymentRequest {
    let payment_token = (action == PaymentAction::Authorize).then(|| order.details.payment_token.clone());
    PaymentRequest {
        key,
        of,
        order: order.id,
        action,
        amount: order.details.total,
        payment_token,
    }
}

fn ticket(order: &Order, prep_ms: Millis, ready_at: Timestamp) -> Ticket {
    Ticket {
        items: order.details.items.clone(),
        notes: order.details.notes.clone(),
        prep_ms,
        ready_at,
    }
}
