//! The way back: compensations, one at a time, in the reverse order of their steps (SG-5).
//!
//! A compensation that is stuck is passed over, so that an unreachable kitchen does not keep the customer's money; the
//! order stays stuck until an operator settles it.

use super::ledger::Backward;
use super::turn::Turn;
use super::{Answer, Attempt, Direction, Record, Step, StepDefinition};
use crate::order::{Ending, Event};
use crate::policy::CallPolicy;
use crate::rejection::Rejection;
use crate::time::Timestamp;

impl Turn<'_> {
    /// Begins the next compensation, if one is wanted and none is under way.
    pub(super) fn start_undo(&mut self) -> Result<(), Rejection> {
        if self
            .order
            .ledger
            .iter()
            .any(|record| matches!(record.backward, Backward::Acting(_)))
        {
            return Ok(());
        }
        let next = self
            .order
            .ledger
            .iter()
            .rev()
            .find(|record| record.backward == Backward::Wanted);
        match next.map(|record| (record.step, record.round)) {
            Some((step, round)) => self.start_undo_of(step, round, 1, self.context.now),
            None => Ok(()),
        }
    }

    pub(super) fn start_undo_of(
        &mut self,
        step: Step,
        round: u32,
        attempt: u32,
        start_at: Timestamp,
    ) -> Result<(), Rejection> {
        let Attempt {
            number,
            start_at,
            deadline,
        } = self.attempt(step, attempt, start_at);
        self.emit(Event::UndoStarted {
            step,
            round,
            attempt: number,
            start_at,
            deadline,
        })
    }

    /// A participant answered a compensation.
    pub(super) fn undo_answered(&mut self, step: Step, round: u32, answer: Answer) -> Result<(), Rejection> {
        match answer {
            Answer::Done(_) => self.emit(Event::UndoDone { step, round }),
            Answer::Refused(refused) => {
                let detail = format!("{}: {}", refused.code, refused.detail);
                self.emit(Event::UndoStuck { step, round, detail })
            }
            Answer::Pending => self.undo_failed(step, round, "the participant put the compensation off".into()),
            Answer::Failed(detail) => self.undo_failed(step, round, detail),
            Answer::Unsent(_) => self.undo_postponed(step, round),
        }
    }

    /// An attempt of a compensation brought no answer: the next one, until an operator must look.
    pub(super) fn undo_failed(&mut self, step: Step, round: u32, detail: String) -> Result<(), Rejection> {
        let Some((attempt, call)) = self.undoing(step, round) else {
            return Ok(());
        };
        if attempt.number < call.persistent_attempts_max {
            let start_at = call.retry_at(self.context.now, attempt.number);
            return self.start_undo_of(step, round, attempt.number + 1, start_at);
        }
        self.emit(Event::UndoStuck { step, round, detail })
    }

    /// An attempt of a compensation never left: it is made later, as the same attempt. However long a circuit is open, it
    /// costs a compensation none of its attempts.
    fn undo_postponed(&mut self, step: Step, round: u32) -> Result<(), Rejection> {
        let Some((attempt, call)) = self.undoing(step, round) else {
            return Ok(());
        };
        let start_at = self.context.now + call.backoff_ms_max;
        self.start_undo_of(step, round, attempt.number, start_at)
    }

    /// The attempt of a compensation that is under way, and how its participant is called.
    fn undoing(&self, step: Step, round: u32) -> Option<(Attempt, CallPolicy)> {
        let attempt = self.order.record(step, round)?.attempt(Direction::Backward)?;
        let row = StepDefinition::of(&self.order, step)?;
        Some((attempt, *self.context.policy.call(row.participant)))
    }

    /// Once everything is undone, the order is what it was turned back for.
    pub(super) fn end_unwinding(&mut self) -> Result<(), Rejection> {
        let Some(unwinding) = &self.order.unwinding else {
            return Ok(());
        };
        if self.order.status.is_terminal() || self.order.ledger.iter().any(Record::is_open) {
            return Ok(());
        }
        match unwinding.ending {
            Ending::Cancelled => self.emit(Event::OrderCancelled),
            Ending::Failed(code) => self.emit(Event::OrderFailed { code }),
        }
    }
}
