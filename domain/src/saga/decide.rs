//! Deciding: the command, the state and the time in; events and effects out.

use super::ledger::{Backward, Forward};
use super::report::Report;
use super::turn::Turn;
use super::{Answer, Direction, Record, Step};
use crate::entity::{Context, Decision};
use crate::ids::OrderId;
use crate::order::{Details, Ending, Event, Order, OrderStatus};
use crate::rejection::Rejection;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an order can be told. The names are part of what nodes say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// It is accepted. Idempotent: said again with the same id and details, it changes nothing.
    Place {
        /// Under which id.
        id: OrderId,
        /// What was ordered.
        details: Arc<Details>,
    },
    /// A participant answered an attempt.
    Answer {
        /// Of which step.
        step: Step,
        /// Of which round.
        round: u32,
        /// The action or its compensation.
        direction: Direction,
        /// To which attempt.
        attempt: u32,
        /// What it said.
        answer: Answer,
    },
    /// A kitchen, courier or dispatcher reports.
    Report(Report),
    /// Somebody wants it cancelled. Idempotent; allowed until pick-up.
    Cancel {
        /// Why.
        reason: String,
    },
    /// A deadline may have passed.
    Wake,
    /// An operator wants everything stuck tried again.
    Retry,
    /// An operator declares a stuck step or compensation settled.
    Resolve {
        /// Which step.
        step: Step,
        /// Which round of it.
        round: u32,
        /// How it was settled.
        note: String,
    },
}

/// Decides on a command. Pure.
///
/// # Errors
/// The command is rejected and nothing is to be written.
pub fn decide(state: Option<&Order>, command: Command, context: &Context<'_>) -> Result<Decision<Order>, Rejection> {
    let turn = match (state, command) {
        (None, Command::Place { id, details }) => place(id, details, context)?,
        // Said again by whoever did not hear the answer: ids are minted once.
        (Some(order), Command::Place { id, details }) if order.id == id && order.details == details => {
            Turn::on(order, context)
        }
        (Some(_), Command::Place { .. }) => return Err(Rejection::Exists("order")),
        (None, _) => return Err(Rejection::NotFound("order")),
        (Some(order), command) => {
            let mut turn = Turn::on(order, context);
            match command {
                Command::Answer {
                    step,
                    round,
                    direction,
                    attempt,
                    answer,
                } => {
                    turn.answered(step, round, direction, attempt, answer)?;
                }
                Command::Report(report) => turn.reported(report)?,
                Command::Cancel { reason } => turn.cancel(reason)?,
                Command::Retry => turn.retry()?,
                Command::Resolve { step, round, note } => turn.resolve(step, round, note)?,
                Command::Wake | Command::Place { .. } => turn.woken()?,
            }
            turn
        }
    };
    turn.finish()
}

fn place<'a>(id: OrderId, details: Arc<Details>, context: &'a Context<'a>) -> Result<Turn<'a>, Rejection> {
    Turn::beginning(
        Event::OrderPlaced {
            details,
            saga_version: context.policy.saga_version,
            id,
        },
        context,
    )
}

impl Turn<'_> {
    fn answered(
        &mut self,
        step: Step,
        round: u32,
        direction: Direction,
        attempt: u32,
        answer: Answer,
    ) -> Result<(), Rejection> {
        let under_way = self
            .order
            .record(step, round)
            .and_then(|record| record.attempt(direction));
        if under_way.is_none_or(|under_way| under_way.number != attempt) {
            return Err(Rejection::Stale);
        }
        match direction {
            Direction::Forward => self.step_answered(step, round, answer),
            Direction::Backward => self.undo_answered(step, round, answer),
        }
    }

    fn cancel(&mut self, reason: String) -> Result<(), Rejection> {
        let order = &self.order;
        let cancelling = order
            .unwinding
            .as_ref()
            .is_some_and(|unwinding| unwinding.ending == Ending::Cancelled);
        if cancelling {
            return Ok(());
        }
        if order.unwinding.is_some() || order.status.is_terminal() {
            return Err(Rejection::NotAllowed(format!(
                "the order is {} and cannot be cancelled",
                self.ended()
            )));
        }
        if order.status.is_picked_up() {
            let text = format!(
                "the order is {}: it can be cancelled until the courier has picked it up",
                order.status
            );
            return Err(Rejection::NotAllowed(text));
        }
        self.unwind(Ending::Cancelled, reason)
    }

    fn ended(&self) -> &'static str {
        match &self.order.unwinding {
            Some(_) if self.order.status != OrderStatus::Cancelled => OrderStatus::Failed.as_str(),
            _ => self.order.status.as_str(),
        }
    }

    fn woken(&mut self) -> Result<(), Rejection> {
        let due: Vec<Record> = self
            .order
            .ledger
            .iter()
            .filter(|r| self.is_due(r.deadline()))
            .cloned()
            .collect();
        for Record { step, round, .. } in due {
            // What came before in this loop may have changed the record.
            let Some(record) = self.order.record(step, round).cloned() else {
                continue;
            };
            match record.forward {
                Forward::Acting(attempt) if self.is_due(Some(attempt.deadline)) => {
                    self.step_failed(step, round, "no answer in time".into())?;
                }
                Forward::Pending { deadline } if self.is_due(Some(deadline)) => {
                    self.step_failed(step, round, "not decided in time".into())?;
                }
                _ => {}
            }
            if let Backward::Acting(attempt) = record.backward
                && self.is_due(Some(attempt.deadline))
            {
                self.undo_failed(step, round, "no answer in time".into())?;
            }
        }
        self.renew_authorization()
    }

    fn is_due(&self, deadline: Option<Timestamp>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.context.now)
    }

    /// An authorization about to lapse is let go; the table then asks for another.
    fn renew_authorization(&mut self) -> Result<(), Rejection> {
        let Some(at) = super::resume::renewal_at(&self.order, self.context.policy) else {
            return Ok(());
        };
        let round = self.order.in_force(Step::Authorize).map(|record| record.round);
        match round {
            Some(round) if at <= self.context.now => self.emit(Event::UndoWanted {
                step: Step::Authorize,
                round,
            }),
            _ => Ok(()),
        }
    }

    fn retry(&mut self) -> Result<(), Rejection> {
        let stuck: Vec<Record> = self
            .order
            .ledger
            .iter()
            .filter(|record| record.is_stuck())
            .cloned()
            .collect();
        if stuck.is_empty() {
            return Err(Rejection::NotAllowed(
                "nothing of the order is stuck: there is nothing to retry".into(),
            ));
        }
        for record in stuck.into_iter().rev() {
            if record.forward == Forward::Stuck {
                self.restart_step(record.step, record.round)?;
            }
            if record.backward == Backward::Stuck {
                self.start_undo_of(record.step, record.round, 1, self.context.now)?;
            }
        }
        Ok(())
    }

    fn resolve(&mut self, step: Step, round: u32, note: String) -> Result<(), Rejection> {
        if self.order.record(step, round).is_some_and(Record::is_stuck) {
            return self.emit(Event::Resolved { step, round, note });
        }
        let stuck: Vec<String> = self
            .order
            .ledger
            .iter()
            .filter(|record| record.is_stuck())
            .map(name)
            .collect();
        let text = match stuck.as_slice() {
            [] => format!(
                "{} {round} is not stuck, and nothing else of the order is",
                step.as_str()
            ),
            stuck => format!(
                "{} {round} is not stuck; stuck are: {}",
                step.as_str(),
                stuck.join(", ")
            ),
        };
        Err(Rejection::NotAllowed(text))
    }
}

fn name(record: &Record) -> String {
    format!("{} {}", record.step.as_str(), record.round)
}
