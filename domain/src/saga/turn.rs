//! A turn of the saga: events are emitted onto a working copy, so every later thought sees what was just decided.

use super::definition::{Exhausted, StepDefinition, definition, is_secured};
use super::evolve::{evolve, evolve_in_place};
use super::ledger::{Attempt, Forward};
use super::resume::effect;
use super::{Answer, Direction, Effect, Record, Step};
use crate::entity::{Context, Decision, IllegalEvent};
use crate::order::{CourierStage, Ending, Event, FailureCode, KitchenStage, Order, OrderStatus};
use crate::rejection::Rejection;
use crate::time::{Millis, Timestamp};

/// How much longer than its participant's time-out the saga itself waits for an answer, as a factor: the time-out
/// answers first, and the deadline is for answers that got lost.
const DEADLINE_FACTOR: u64 = 2;

pub(super) struct Turn<'a> {
    pub(super) order: Order,
    pub(super) context: &'a Context<'a>,
    events: Vec<Event>,
}

impl<'a> Turn<'a> {
    pub(super) fn on(order: &Order, context: &'a Context<'a>) -> Self {
        Self {
            order: order.clone(),
            context,
            events: Vec::new(),
        }
    }

    pub(super) fn beginning(event: Event, context: &'a Context<'a>) -> Result<Self, Rejection> {
        let order = evolve(None, &event, context.now).map_err(|e| bug(&e))?;
        Ok(Self {
            order,
            context,
            events: vec![event],
        })
    }

    /// Records that something happened.
    pub(super) fn emit(&mut self, event: Event) -> Result<(), Rejection> {
        evolve_in_place(&mut self.order, &event, self.context.now).map_err(|e| bug(&e))?;
        self.events.push(event);
        Ok(())
    }

    /// Begins everything whose time has come, and ends the turn.
    pub(super) fn finish(mut self) -> Result<Decision<Order>, Rejection> {
        self.advance()?;
        let effects = self.events.iter().filter_map(|event| self.begun_by(event)).collect();
        Ok(Decision {
            events: self.events,
            effects,
            reply: (),
        })
    }

    fn begun_by(&self, event: &Event) -> Option<Effect> {
        let (step, round, number, direction) = match *event {
            Event::StepStarted {
                step, round, attempt, ..
            } => (step, round, attempt, Direction::Forward),
            Event::UndoStarted {
                step, round, attempt, ..
            } => (step, round, attempt, Direction::Backward),
            _ => return None,
        };
        let record = self.order.record(step, round)?;
        let attempt = record.attempt(direction).filter(|attempt| attempt.number == number)?;
        effect(&self.order, record, direction, attempt, self.context.policy)
    }

    fn advance(&mut self) -> Result<(), Rejection> {
        self.start_undo()?;
        if self.order.unwinding.is_some() {
            return self.end_unwinding();
        }
        self.follow_reports()?;
        while let Some((step, round)) = self.next_step() {
            self.start_step(step, round, 1, self.context.now)?;
        }
        Ok(())
    }

    fn next_step(&self) -> Option<(Step, u32)> {
        let table = definition(self.order.saga_version)?;
        table
            .iter()
            .find_map(|row| (row.ready)(&self.order, self.context).map(|round| (row.step, round)))
    }

    /// The states that follow from the ledger and from what kitchen and courier reported, one by one, whatever was left
    /// out.
    fn follow_reports(&mut self) -> Result<(), Rejection> {
        loop {
            let event = match self.order.status {
                OrderStatus::Pending if is_secured(&self.order) => Event::OrderConfirmed {
                    channel: self.order.candidate().map(|candidate| candidate.channel.clone()),
                    ready_at: self.order.ready_at,
                },
                OrderStatus::Confirmed if self.order.kitchen >= KitchenStage::Preparing => Event::OrderPreparing,
                OrderStatus::Preparing if self.order.kitchen >= KitchenStage::Ready => Event::OrderReady,
                OrderStatus::ReadyForPickup if self.order.carriage >= CourierStage::PickedUp => Event::OrderPickedUp,
                OrderStatus::PickedUp if self.order.carriage >= CourierStage::InTransit => Event::OrderInTransit,
                OrderStatus::InTransit if self.order.carriage >= CourierStage::Delivered => Event::OrderDelivered,
                _ => return Ok(()),
            };
            self.emit(event)?;
        }
    }

    pub(super) fn attempt(&self, step: Step, number: u32, start_at: Timestamp) -> Attempt {
        let timeout = StepDefinition::of(&self.order, step)
            .map_or(Millis(0), |row| self.context.policy.call(row.participant).timeout_ms);
        Attempt {
            number,
            start_at,
            deadline: start_at + timeout.times(DEADLINE_FACTOR),
        }
    }

    fn start_step(&mut self, step: Step, round: u32, attempt: u32, start_at: Timestamp) -> Result<(), Rejection> {
        let Attempt {
            number,
            start_at,
            deadline,
        } = self.attempt(step, attempt, start_at);
        self.emit(Event::StepStarted {
            step,
            round,
            attempt: number,
            start_at,
            deadline,
        })
    }

    /// Begins a stuck step anew.
    pub(super) fn restart_step(&mut self, step: Step, round: u32) -> Result<(), Rejection> {
        self.start_step(step, round, 1, self.context.now)
    }

    /// A participant answered a step.
    pub(super) fn step_answered(&mut self, step: Step, round: u32, answer: Answer) -> Result<(), Rejection> {
        match answer {
            Answer::Done(receipt) => {
                if receipt.fits(step) {
                    self.emit(Event::StepDone { step, round, receipt })
                } else {
                    self.step_failed(
                        step,
                        round,
                        "the participant's answer does not say what the step needs".into(),
                    )
                }
            }
            Answer::Pending => self.step_pending(step, round),
            Answer::Refused(refused) => self.step_refused(step, round, refused),
            Answer::Failed(detail) | Answer::Unsent(detail) => self.step_failed(step, round, detail),
        }
    }

    fn step_pending(&mut self, step: Step, round: u32) -> Result<(), Rejection> {
        let policy = self.context.policy;
        let deadline = match step {
            Step::PlaceTicket => self.context.now + policy.ticket_acceptance_ms,
            Step::Dispatch => {
                self.order.ready_at.unwrap_or(self.context.now).max(self.context.now) + policy.no_courier_limit_ms
            }
            _ => {
                return self.step_failed(
                    step,
                    round,
                    "the participant put off a step that it must decide at once".into(),
                );
            }
        };
        self.emit(Event::StepPending { step, round, deadline })
    }

    fn step_refused(&mut self, step: Step, round: u32, refused: super::Refused) -> Result<(), Rejection> {
        let reason = format!("{}: {}", refused.code, refused.detail);
        let past_pick_up = self.order.status.is_picked_up();
        if matches!(step, Step::Capture | Step::CloseCapacity | Step::CompleteDelivery) || past_pick_up {
            return self.emit(Event::StepStuck {
                step,
                round,
                detail: reason,
            });
        }
        self.emit(Event::StepRefused { step, round, refused })?;
        self.after_failure(step, round, reason, FailureCode::PaymentDeclined)
    }

    /// An attempt brought no answer: the next one, or the end of it.
    pub(super) fn step_failed(&mut self, step: Step, round: u32, detail: String) -> Result<(), Rejection> {
        let attempts = match self.order.record(step, round).map(|record| record.forward) {
            Some(Forward::Acting(attempt)) => attempt.number,
            _ => u32::MAX,
        };
        let Some(row) = StepDefinition::of(&self.order, step) else {
            return Ok(());
        };
        let call = self.context.policy.call(row.participant);
        let most = if row.persistent {
            call.persistent_attempts_max
        } else {
            call.attempts_max
        };
        if attempts < most {
            return self.start_step(step, round, attempts + 1, call.retry_at(self.context.now, attempts));
        }
        if row.exhausted == Exhausted::Stuck || self.order.status.is_picked_up() {
            return self.emit(Event::StepStuck { step, round, detail });
        }
        self.emit(Event::StepUnknown {
            step,
            round,
            detail: detail.clone(),
        })?;
        self.after_failure(step, round, detail, FailureCode::PaymentUnavailable)
    }

    /// A step did not, or perhaps did not, happen: the next alternate, or the way back.
    fn after_failure(&mut self, step: Step, round: u32, reason: String, payment: FailureCode) -> Result<(), Rejection> {
        match step {
            Step::HoldCapacity | Step::PlaceTicket | Step::ConfirmCapacity => {
                let dropped = self.order.reroutes > 0;
                let code = if dropped {
                    FailureCode::KitchenCancelled
                } else {
                    FailureCode::NoAvailableChannel
                };
                self.next_candidate(round, code, reason)
            }
            Step::Authorize | Step::Capture => self.unwind(Ending::Failed(payment), reason),
            Step::Dispatch => self.unwind(Ending::Failed(FailureCode::NoCourier), reason),
            Step::Route | Step::CloseCapacity | Step::CompleteDelivery => {
                self.unwind(Ending::Failed(FailureCode::NoAvailableChannel), reason)
            }
        }
    }

    /// Gives up a candidate, undoing what was begun with it, and goes to the next one, if there is one.
    pub(super) fn next_candidate(&mut self, round: u32, code: FailureCode, reason: String) -> Result<(), Rejection> {
        let Some(next) = self.order.candidate_of(round + 1) else {
            return self.unwind(Ending::Failed(code), reason);
        };
        let channel = Some(next.channel.clone());
        for step in [Step::PlaceTicket, Step::HoldCapacity] {
            if self.order.record(step, round).is_some_and(Record::is_in_force) {
                self.emit(Event::UndoWanted { step, round })?;
            }
        }
        // Releasing the hold settles what becomes of its confirmation, whose answer nobody waits for any more.
        if self
            .order
            .record(Step::ConfirmCapacity, round)
            .is_some_and(Record::is_open)
        {
            let step = Step::ConfirmCapacity;
            self.emit(Event::StepUnknown {
                step,
                round,
                detail: reason,
            })?;
        }
        if let Some(dispatch) = self.order.in_force(Step::Dispatch).map(|record| record.round) {
            self.emit(Event::UndoWanted {
                step: Step::Dispatch,
                round: dispatch,
            })?;
        }
        self.emit(Event::OrderRerouted {
            round: round + 1,
            channel,
        })
    }

    /// Turns back.
    pub(super) fn unwind(&mut self, ending: Ending, reason: String) -> Result<(), Rejection> {
        self.emit(Event::UnwindingStarted { ending, reason })
    }
}

/// A decision that its own `evolve` refuses is a defect of this program, not of the request.
fn bug(illegal: &IllegalEvent) -> Rejection {
    Rejection::NotAllowed(format!("internal contradiction: {illegal}"))
}
