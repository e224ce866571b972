//! Identifiers. An id that names a stream carries the hash slot it lives in, so it can be routed without a look-up.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;
use uuid::Uuid;

/// Number of hash slots: the 12 bits an id has for them. Permanent; shards are ranges of slots.
pub const SLOTS: u16 = 4_096;

/// The permanent 12-bit hash slot an id carries. Slots map onto shards (see [`crate::shard`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashSlot(u16);

impl HashSlot {
    /// The slot of some bytes: SipHash-2-4 (Aumasson and Bernstein 2012) under a fixed key, reduced to 12 bits.
    ///
    /// The key is part of the storage format: changing it would have the key of a retry looked for in another shard.
    pub fn of(bytes: &[&[u8]]) -> Self {
        Self::from_hash(hash(bytes))
    }

    pub(crate) fn from_hash(hash: u64) -> Self {
        Self(u16::try_from(hash & u64::from(SLOTS - 1)).unwrap_or(0))
    }

    /// The slot as a number below [`SLOTS`].
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// SipHash-2-4 over length-prefixed parts, so that `["ab","c"]` and `["a","bc"]` differ.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0x756f_6f70_2d73_6c6f, 0x742d_6b65_7900_0001);
    for part in parts {
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

/// The id of a journalled stream (one order, one channel or one zone): a UUID of version 8 whose bits are
/// 48 of milliseconds, 12 of hash slot and 62 of randomness (or, for named streams, of a hash of the name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub Uuid);

impl StreamId {
    fn compose(millis: u64, slot: HashSlot, low: u64) -> Self {
        let bytes = (u128::from(millis & 0xffff_ffff_ffff) << 80)
            | (u128::from(slot.get()) << 64)
            | u128::from(low & 0x3fff_ffff_ffff_ffff);
        Self(Uuid::new_v8(bytes.to_be_bytes()))
    }

    /// The stream of a named thing (`kind` keeps a channel and a zone of one name apart). Deterministic.
    fn named(kind: &str, name: &str) -> Self {
        let low = hash(&[b"stream", kind.as_bytes(), name.as_bytes()]);
        Self::compose(0, HashSlot::of(&[kind.as_bytes(), name.as_bytes()]), low)
    }

    /// The hash slot in the id's bits.
    pub fn slot(self) -> HashSlot {
        let high = u64::try_from(self.0.as_u128() >> 64).unwrap_or(0);
        HashSlot(u16::try_from(high & u64::from(SLOTS - 1)).unwrap_or(0))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An order's id. Sorts by the time the order was placed and says in which slot it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub StreamId);

impl OrderId {
    /// A new id from its parts: when, where, and 62 random bits (the two highest of `random` are dropped).
    pub fn mint(at: Timestamp, slot: HashSlot, random: u64) -> Self {
        Self(StreamId::compose(u64::try_from(at.as_ms()).unwrap_or(0), slot, random))
    }

    /// The journalled stream of this order.
    pub const fn stream(self) -> StreamId {
        self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidId {
    /// Which id was expected, such as `order id`.
    pub what: &'static str,
    /// What is wrong with the text and what would be right.
    pub problem: String,
}

impl FromStr for OrderId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let problem = |problem: String| InvalidId {
            what: "order id",
            problem,
        };
        let uuid = Uuid::parse_str(text)
            .map_err(|_| problem(format!("'{}' is not a UUID", text.chars().take(64).collect::<String>())))?;
        if uuid.get_version_num() == 8 {
            Ok(Self(StreamId(uuid)))
        } else {
            Err(problem(format!(
                "{uuid} is not one of ours: they are UUIDs of version 8"
            )))
        }
    }
}

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidId> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(fine) {
        return Err(InvalidId {
            what,
            problem: format!("must be 1 to {NAME_BYTES_MAX} characters of a-z, A-Z, 0-9, '-', '_', '.' and ':'"),
        });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check_name($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A fulfilment channel: a kitchen or a partner.
    ChannelId,
    "channel id"
);
name!(
    /// A restaurant: what customers order from. One or more channels serve it.
    RestaurantId,
    "restaurant id"
);
name!(
    /// A customer.
    CustomerId,
    "customer id"
);
name!(
    /// A courier.
    CourierId,
    "courier id"
);
name!(
    /// A zone: the area one dispatcher looks after.
    ZoneId,
    "zone id"
);

impl ChannelId {
    /// The journalled stream of this channel.
    pub fn stream(&self) -> StreamId {
        StreamId::named("channel", &self.0)
    }
}

impl ZoneId {
    /// The journalled stream of this zone.
    pub fn stream(&self) -> StreamId {
        StreamId::named("zone", &self.0)
    }
}

/// A stream's version: how many rows it has. The first row makes it 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The version that one more row makes.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token of a shard's ownership. Only grows (LS-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A row's place on its shard's position line: contiguous, from 1. The rows in this order are the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_carries_its_time_and_slot() {
        let slot = HashSlot::of(&[b"default", b"key-1"]);
        let early = OrderId::mint(Timestamp(1_000), slot, u64::MAX);
        let late = OrderId::mint(Timestamp(1_001), slot, 0);
        assert!(early < late, "ids sort by time");
        assert_eq!(early.stream().slot(), slot);
        assert_eq!(early.to_string().parse::<OrderId>(), Ok(early));
        assert_eq!(early.0.0.get_version_num(), 8);
    }

    #[test]
    fn foreign_and_malformed_ids_say_what_is_wrong() {
        let v4 = "6f2d3b5e-8a3c-4f57-9d5e-0a4b8f5b7c11"
            .parse::<OrderId>()
            .expect_err("version 4");
        assert!(v4.to_string().contains("version 8"), "{v4}");
        let garbage = "nope".parse::<OrderId>().expect_err("garbage");
        assert!(garbage.to_string().contains("not a UUID"), "{garbage}");
        assert!("".parse::<ChannelId>().is_err());
        assert!("has space".parse::<ChannelId>().is_err());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(ZoneId("x".into()).stream(), ChannelId("x".into()).stream());
    }
}
