//! A fulfilment channel: a kitchen or a partner, with its capacity ledger.

mod command;
mod config;
mod demand;
mod hours;
mod learned;
mod ledger;
mod outline;
mod weights;

pub use command::{Command, Event};
pub use config::{Availability, ChannelConfig, ChannelKind, MenuItem};
pub use demand::{DAYS_MAX as DEMAND_DAYS_MAX, Demand, QUARTER, QUARTERS_A_DAY, place_of};
pub use hours::{OpeningHours, Weekday, is_open, weekday_of};
pub use learned::{Cooked, Learned, OBSERVATIONS_MIN, Outcome};
pub use ledger::{Claim, ClaimState, Ledger};
pub use outline::Outline;
pub use weights::ChoiceWeights;

use crate::ids::ChannelId;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many slots after the wanted one are looked at for capacity.
pub const SLOTS_AHEAD_MAX: u32 = 8;

/// Everything known of one channel. Folded from its events alone. What seldom changes is shared: a copy costs little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// What its operator set.
    pub config: Arc<ChannelConfig>,
    /// Whether it takes orders.
    pub availability: Availability,
    /// Its articles and prices; empty: nothing is checked against it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub menu: Arc<[MenuItem]>,
    /// What it has run out of.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub sold_out: Arc<BTreeSet<String>>,
    /// Who holds how much of its capacity.
    pub ledger: Ledger,
    /// What it has shown of itself.
    #[serde(default, skip_serializing_if = "is_new")]
    pub learned: Arc<Learned>,
    /// What was asked of it.
    #[serde(default, skip_serializing_if = "is_unasked")]
    pub demand: Arc<Demand>,
}

fn is_empty(skus: &Arc<BTreeSet<String>>) -> bool {
    skus.is_empty()
}

fn is_new(learned: &Arc<Learned>) -> bool {
    learned.is_empty()
}

fn is_unasked(demand: &Arc<Demand>) -> bool {
    demand.is_empty()
}

impl Channel {
    /// The article of the menu, if there is a menu and it is on it.
    pub fn article(&self, sku: &str) -> Option<&MenuItem> {
        self.menu.iter().find(|item| item.sku == sku)
    }

    /// Units still free in the slot that starts at `slot`.
    pub fn free_units(&self, slot: Timestamp) -> u32 {
        self.config.capacity_per_slot.saturating_sub(self.ledger.used(slot))
    }

    /// Whether so many units taken leave less than so many of a hundred units of a slot.
    pub fn leaves_little(&self, taken: u64, scarce_pct: u8) -> bool {
        let capacity = u64::from(self.config.capacity_per_slot);
        capacity.saturating_sub(taken) * 100 < capacity * u64::from(scarce_pct)
    }
}

/// The start of the slot of length `slot_ms` that `at` lies in.
pub fn slot_of(at: Timestamp, slot_ms: Millis) -> Timestamp {
    let length = i64::try_from(slot_ms.0.max(1)).unwrap_or(i64::MAX);
    Timestamp(at.0.div_euclid(length) * length)
}

#[cfg(test)]
mod tests;
