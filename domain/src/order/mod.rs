//! An order: what was asked for, how far it is, and the ledger of everything its saga asked of others.

mod details;
mod event;
mod public;
mod status;

pub use details::{DeliveryLocation, Details, Draft, DraftItem, Item, limits};
pub use event::{CourierStage, Ending, Event, KitchenStage};
pub use public::{PublicEvent, public_events};
pub use status::{FailureCode, OrderStatus};

use crate::ids::{CourierId, OrderId};
use crate::saga::{Candidate, Infeasible, Record, Step};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// When an order reached each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestones {
    /// Confirmed, the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// Cooking began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparing_at: Option<Timestamp>,
    /// Ready for pick-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// A courier was assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Timestamp>,
    /// Picked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked_up_at: Option<Timestamp>,
    /// Delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Delivered, cancelled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

/// The saga has turned back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwinding {
    /// How it will end.
    pub ending: Ending,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Everything known of one order. Folded from its events alone. What never changes is shared: a copy costs little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// What was ordered.
    pub details: Arc<Details>,
    /// The version of the saga's definition it follows to its end.
    pub saga_version: u16,
    /// How far it is.
    pub status: OrderStatus,
    /// When it was accepted.
    pub placed_at: Timestamp,
    /// The channels that can make it, best first, as routing found them.
    pub candidates: Arc<[Candidate]>,
    /// The channels that cannot, and why.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub infeasible: Arc<[Infeasible]>,
    /// Which candidate makes it, or is being asked.
    pub round: u32,
    /// Every effect ever begun, in the order in which they began.
    pub ledger: Vec<Record>,
    /// Whether, why and how it is being undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwinding: Option<Unwinding>,
    /// How often a kitchen dropped it.
    pub reroutes: u8,
    /// When the food is expected to be ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Who carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<CourierId>,
    /// When the courier is expected at the kitchen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup_at: Option<Timestamp>,
    /// When the authorization lapses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized_until: Option<Timestamp>,
    /// How far the kitchen says it is.
    pub kitchen: KitchenStage,
    /// How far the courier says it is.
    pub carriage: CourierStage,
    /// When it reached which state.
    pub milestones: Milestones,
}

impl Order {
    /// The candidate that makes it, or is being asked.
    pub fn candidate(&self) -> Option<&Candidate> {
        self.candidates.get(usize::try_from(self.round).unwrap_or(usize::MAX))
    }

    /// The candidate of a round.
    pub fn candidate_of(&self, round: u32) -> Option<&Candidate> {
        self.candidates.get(usize::try_from(round).unwrap_or(usize::MAX))
    }

    /// When it was to be delivered as it was first quoted, whoever made it in the end.
    pub fn promised_at(&self) -> Option<Timestamp> {
        self.candidates.first().map(|candidate| candidate.delivered_at)
    }

    /// The ledger's record of a step's round.
    pub fn record(&self, step: Step, round: u32) -> Option<&Record> {
        self.ledger
            .iter()
            .find(|record| record.step == step && record.round == round)
    }

    /// The step's last record that is neither undone nor to be undone.
    pub fn in_force(&self, step: Step) -> Option<&Record> {
        self.ledger
            .iter()
            .rev()
            .find(|record| record.step == step && record.is_in_force())
    }

    /// The number the step's next round has.
    pub fn next_round(&self, step: Step) -> u32 {
        let last = self
            .ledger
            .iter()
            .filter(|record| record.step == step)
            .map(|record| record.round)
            .max();
        last.map_or(0, |round| round + 1)
    }

    /// Whether it is confirmed or over: what whoever placed it waits for.
    pub fn has_outcome(&self) -> bool {
        self.status != OrderStatus::Pending
    }

    /// Whether something of it needs an operator.
    pub fn is_stuck(&self) -> bool {
        self.ledger.iter().any(Record::is_stuck)
    }

    /// Whether nothing more is to happen: the state is terminal and no effect is pending.
    pub fn is_settled(&self) -> bool {
        self.status.is_terminal() && !self.ledger.iter().any(Record::is_open)
    }
}

#[cfg(test)]
mod tests;
