//! What is taken of each channel's slots: by its ledger, by what was promised meanwhile, and by this very decision.

use domain::channel::Channel;
use domain::ids::ChannelId;
use domain::time::Timestamp;
use std::cell::OnceCell;
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

    fn slots(&self, channel: &ChannelId) -> impl Iterator<Item = (Timestamp, u32)> {
        let slots = self.0.get(channel).into_iter().flatten();
        slots.map(|(slot, units)| (*slot, *units))
    }
}

/// Units that are taken, by slot, in the sequence of the slots.
type Taken = Vec<(Timestamp, u32)>;

/// What is taken, as a decision goes on.
pub(super) struct Usage<'a> {
    promised: &'a Promised,
    /// By channel's number, as far as it was asked for; nothing is kept for a decision that gives nothing away.
    taken: Vec<OnceCell<Taken>>,
}

impl<'a> Usage<'a> {
    /// For a decision that gives nothing away.
    pub(super) const fn new(promised: &'a Promised) -> Self {
        Self {
            promised,
            taken: Vec::new(),
        }
    }

    /// For one that gives away what so many channels have.
    pub(super) fn of_many(promised: &'a Promised, channels: usize) -> Self {
        Self {
            promised,
            taken: vec![OnceCell::new(); channels],
        }
    }

    /// Units taken of a slot of the channel with number `n`.
    pub(super) fn used(&self, n: usize, channel: &Channel, slot: Timestamp) -> u32 {
        let Some(taken) = self.taken.get(n) else {
            return channel.ledger.used(slot) + self.promised.units(&channel.id, slot);
        };
        let taken = taken.get_or_init(|| self.so_far(channel));
        let at = taken.partition_point(|(other, _)| *other < slot);
        taken
            .get(at)
            .filter(|(other, _)| *other == slot)
            .map_or(0, |(_, units)| *units)
    }

    /// What the ledger and the promises say.
    fn so_far(&self, channel: &Channel) -> Taken {
        let mut taken: Taken = channel.ledger.slots().collect();
        for (slot, units) in self.promised.slots(&channel.id) {
            add(&mut taken, slot, i64::from(units));
        }
        taken
    }

    /// Gives units away.
    pub(super) fn take(&mut self, n: usize, channel: &Channel, slot: Timestamp, units: u32) {
        self.change(n, channel, slot, i64::from(units));
    }

    /// Takes units back.
    pub(super) fn give_back(&mut self, n: usize, channel: &Channel, slot: Timestamp, units: u32) {
        self.change(n, channel, slot, -i64::from(units));
    }

    fn change(&mut self, n: usize, channel: &Channel, slot: Timestamp, units: i64) {
        self.used(n, channel, slot);
        if let Some(taken) = self.taken.get_mut(n).and_then(OnceCell::get_mut) {
            add(taken, slot, units);
        }
    }
}

fn add(taken: &mut Taken, slot: Timestamp, units: i64) {
    let at = taken.partition_point(|(other, _)| *other < slot);
    if taken.get(at).is_none_or(|(other, _)| *other != slot) {
        taken.insert(at, (slot, 0));
    }
    taken[at].1 = u32::try_from(i64::from(taken[at].1) + units).unwrap_or(0);
}
