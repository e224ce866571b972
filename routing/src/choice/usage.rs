//! What is taken of each channel's slots: by its ledger, by what was promised meanwhile, and by this very decision.

use domain::channel::Channel;
use domain::ids::ChannelId;
use domain::time::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Units that were promised to orders and are in no ledger yet, by channel and start of the slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promised(HashMap<ChannelId, BTreeMap<Timestamp, u32>>);

impl Promised {
    /// Adds units of a slot.
    pub fn add(&mut self, channel: &ChannelId, slot: Timestamp, units: u32) {
        let slots = self.0.entry(channel.clone()).or_default();
        *slots.entry(slot).or_default() += units;
    }

    /// Units of a slot.
    pub fn units(&self, channel: &ChannelId, slot: Timestamp) -> u32 {
        if self.0.is_empty() {
            return 0;
        }
        let slots = self.0.get(channel);
        slots.and_then(|slots| slots.get(&slot)).copied().unwrap_or(0)
    }
}

/// What is taken, as a decision goes on.
pub(super) struct Usage<'a> {
    promised: &'a Promised,
    /// By the channel's place among all and the slot.
    assigned: BTreeMap<(usize, Timestamp), u32>,
}

impl<'a> Usage<'a> {
    pub(super) const fn new(promised: &'a Promised) -> Self {
        Self {
            promised,
            assigned: BTreeMap::new(),
        }
    }

    /// Units taken of a slot of the channel with number `n`.
    pub(super) fn used(&self, n: usize, channel: &Channel, slot: Timestamp) -> u32 {
        let assigned = self.assigned.get(&(n, slot)).copied().unwrap_or(0);
        channel.ledger.used(slot) + self.promised.units(&channel.id, slot) + assigned
    }

    pub(super) fn take(&mut self, n: usize, slot: Timestamp, units: u32) {
        *self.assigned.entry((n, slot)).or_default() += units;
    }

    pub(super) fn give_back(&mut self, n: usize, slot: Timestamp, units: u32) {
        if let Some(assigned) = self.assigned.get_mut(&(n, slot)) {
            *assigned = assigned.saturating_sub(units);
        }
    }
}
