//! Shards: fixed ranges of hash slots, the unit of ownership.

use crate::ids::{Epoch, HashSlot, Position, SLOTS, StreamId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A shard's number, below the store's shard count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How slots map onto shards. Fixed in the store when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMap {
    shards: u16,
}

/// Why a shard count cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} shards: the count must be a power of two from 1 to {SLOTS}")]
pub struct InvalidShardCount(pub u16);

impl ShardMap {
    /// Of a new store that several nodes may share: enough for dozens of them to have about alike.
    pub const SHARED: Self = Self { shards: 256 };
    /// Of a new store of one server: each more is another place in the indexes that every commit touches.
    pub const EMBEDDED: Self = Self { shards: 4 };

    /// A map of so many shards.
    ///
    /// # Errors
    /// The count is not a power of two from 1 to [`SLOTS`].
    pub fn new(shards: u16) -> Result<Self, InvalidShardCount> {
        if shards.is_power_of_two() && shards <= SLOTS {
            Ok(Self { shards })
        } else {
            Err(InvalidShardCount(shards))
        }
    }

    /// How many shards there are.
    pub const fn len(self) -> u16 {
        self.shards
    }

    /// Never: there is at least one shard.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The shard of a slot: contiguous ranges of equal length.
    pub const fn shard_of_slot(self, slot: HashSlot) -> ShardId {
        ShardId(slot.get() / (SLOTS / self.shards))
    }

    /// The shard of a stream.
    pub fn shard_of(self, stream: StreamId) -> ShardId {
        self.shard_of_slot(stream.slot())
    }

    /// The slot for what nothing binds to one: the wanted slot if its shard is at hand, else any one of those shards that are,
    /// each as likely as the other; if none is, the wanted one all the same. `random`: uniform bits, for the draw.
    pub fn slot_at_hand(self, wanted: HashSlot, random: u64, is_at_hand: impl Fn(ShardId) -> bool) -> HashSlot {
        if is_at_hand(self.shard_of_slot(wanted)) {
            return wanted;
        }
        let at_hand = || self.all().filter(|shard| is_at_hand(*shard));
        let (count, each) = (at_hand().count() as u64, u64::from(SLOTS / self.shards));
        let nth = random.checked_rem(count).and_then(|nth| usize::try_from(nth).ok());
        // One that has come to hand, or gone, in between does not matter.
        nth.and_then(|nth| at_hand().nth(nth)).map_or(wanted, |shard| {
            HashSlot::from_hash(u64::from(shard.0) * each + random / count % each)
        })
    }

    /// All shards, in order.
    pub fn all(self) -> impl Iterator<Item = ShardId> {
        (0..self.shards).map(ShardId)
    }
}

/// A shard this node owns: what it needs to write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedShard {
    /// Which shard.
    pub shard: ShardId,
    /// The fencing token of this ownership.
    pub epoch: Epoch,
    /// The highest position committed on the shard's line (0: none).
    pub position: Position,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_shard_and_every_shard_its_share() {
        for count in [1_u16, 2, 256, 4_096] {
            let map = ShardMap::new(count).expect("a power of two");
            let mut slots = vec![0_u16; usize::from(count)];
            for n in 0_u32..200_000 {
                let shard = map.shard_of_slot(HashSlot::of(&[&n.to_be_bytes()]));
                slots[usize::from(shard.0)] += u16::from(slots[usize::from(shard.0)] < u16::MAX);
            }
            assert!(slots.iter().all(|&n| n > 0), "{count} shards: one got nothing");
        }
    }

    #[test]
    fn what_is_bound_nowhere_goes_to_a_shard_at_hand_each_as_likely() {
        let map = ShardMap::new(256).expect("a power of two");
        let slot = |n: u64| HashSlot::of(&[&n.to_be_bytes()]);
        let mine = |shard: ShardId| shard.0 % 3 == 1;
        let mut met = std::collections::BTreeMap::<u16, u32>::new();
        for n in 0..85_000 {
            let (wanted, random) = (slot(n), n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let drawn = map.slot_at_hand(wanted, random, mine);
            assert!(mine(map.shard_of_slot(drawn)));
            if mine(map.shard_of_slot(wanted)) {
                assert_eq!(drawn, wanted);
            }
            assert_eq!(map.slot_at_hand(wanted, random, |_| false), wanted, "none is");
            *met.entry(map.shard_of_slot(drawn).0).or_default() += 1;
        }
        assert_eq!(met.len(), 85);
        assert!(met.values().all(|count| (800..1_200).contains(count)), "{met:?}");
    }

    #[test]
    fn other_counts_are_refused() {
        for count in [0, 3, 100, 8_192] {
            assert_eq!(ShardMap::new(count), Err(InvalidShardCount(count)));
        }
    }
}
