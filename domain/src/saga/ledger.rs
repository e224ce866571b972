//! The saga's ledger: one record for each round of each step that ever began.

use super::{Direction, Step};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An attempt under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The how manieth, from 1.
    pub number: u32,
    /// Not before this (backoff).
    pub start_at: Timestamp,
    /// When it counts as failed.
    pub deadline: Timestamp,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// An attempt is under way.
    Acting(Attempt),
    /// The participant took it and decides until then.
    Pending {
        /// Until when.
        deadline: Timestamp,
    },
    /// Done.
    Done,
    /// Refused: it did not happen.
    Refused,
    /// Given up: it may or may not have happened.
    Unknown,
    /// Cannot be carried out; an operator must look.
    Stuck,
    /// An operator declared it settled.
    Resolved,
}

/// How far a step's compensation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backward {
    /// Not wanted.
    #[default]
    Idle,
    /// Wanted, not begun.
    Wanted,
    /// An attempt is under way.
    Acting(Attempt),
    /// Undone.
    Done,
    /// Cannot be carried out; an operator must look.
    Stuck,
    /// An operator declared it settled.
    Resolved,
}

/// One round of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which step.
    pub step: Step,
    /// Which round: the step happens again legitimately with the next alternate, courier or authorization.
    pub round: u32,
    /// Which candidate the order was with when the round began.
    pub candidate: u32,
    /// How far it is.
    pub forward: Forward,
    /// How far its compensation is.
    #[serde(default, skip_serializing_if = "is_idle")]
    pub backward: Backward,
}

fn is_idle(backward: &Backward) -> bool {
    *backward == Backward::Idle
}

impl Record {
    /// Whether the step counts: begun or done, and not to be undone.
    pub fn is_in_force(&self) -> bool {
        self.backward == Backward::Idle && !matches!(self.forward, Forward::Refused | Forward::Unknown)
    }

    /// Whether it is done and not to be undone.
    pub fn is_done(&self) -> bool {
        self.backward == Backward::Idle && matches!(self.forward, Forward::Done | Forward::Resolved)
    }

    /// Whether a step or compensation of it is still to come to an end.
    pub fn is_open(&self) -> bool {
        matches!(
            self.forward,
            Forward::Acting(_) | Forward::Pending { .. } | Forward::Stuck
        ) || matches!(self.backward, Backward::Wanted | Backward::Acting(_) | Backward::Stuck)
    }

    /// Whether it needs an operator.
    pub fn is_stuck(&self) -> bool {
        self.forward == Forward::Stuck || self.backward == Backward::Stuck
    }

    /// The attempt under way in a direction.
    pub fn attempt(&self, direction: Direction) -> Option<Attempt> {
        match (direction, self.forward, self.backward) {
            (Direction::Forward, Forward::Acting(attempt), _) | (Direction::Backward, _, Backward::Acting(attempt)) => {
                Some(attempt)
            }
            _ => None,
        }
    }

    /// When it next wants attention, if it waits for something.
    pub fn deadline(&self) -> Option<Timestamp> {
        let forward = match self.forward {
            Forward::Acting(attempt) => Some(attempt.deadline),
            Forward::Pending { deadline } => Some(deadline),
            _ => None,
        };
        let backward = self.attempt(Direction::Backward).map(|attempt| attempt.deadline);
        forward.into_iter().chain(backward).min()
    }
}
