//! The capacity ledger: who holds how much of which slot. Reserved capacity never exceeds the limit (CP-1).

use crate::saga::EffectKey;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a claim on capacity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// A hold: it lapses by itself.
    Held {
        /// When.
        until: Timestamp,
    },
    /// A reservation.
    Reserved,
    /// A hold that lapsed; it takes nothing, and can still be confirmed while there is room.
    Lapsed {
        /// When it is forgotten.
        until: Timestamp,
    },
    /// Given back, perhaps before it was ever asked for; remembered so that a late hold is refused.
    Released {
        /// When it is forgotten.
        until: Timestamp,
    },
    /// It has served its purpose; remembered so that repetitions are recognised.
    Closed {
        /// When it is forgotten.
        until: Timestamp,
    },
}

impl ClaimState {
    /// Whether the claim takes capacity.
    pub const fn takes(self) -> bool {
        matches!(self, Self::Held { .. } | Self::Reserved)
    }

    /// When the claim changes by itself.
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Held { until } | Self::Lapsed { until } | Self::Released { until } | Self::Closed { until } => {
                Some(until)
            }
            Self::Reserved => None,
        }
    }
}

/// A claim on capacity, past or present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The slot, by its start.
    pub slot: Timestamp,
    /// How many units.
    pub units: u32,
    /// What it is.
    pub state: ClaimState,
}

/// All claims of a channel, by the key of their hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    claims: BTreeMap<EffectKey, Claim>,
    used: BTreeMap<Timestamp, u32>,
}

impl Ledger {
    /// Units taken of the slot that starts at `slot`.
    pub fn used(&self, slot: Timestamp) -> u32 {
        self.used.get(&slot).copied().unwrap_or(0)
    }

    /// Units taken, by slot; slots that nobody uses are left out.
    pub fn slots(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        self.used.iter().map(|(&slot, &units)| (slot, units))
    }

    /// The claim of a key.
    pub fn claim(&self, key: &EffectKey) -> Option<&Claim> {
        self.claims.get(key)
    }

    /// All claims.
    pub fn claims(&self) -> impl Iterator<Item = (&EffectKey, &Claim)> {
        self.claims.iter()
    }

    /// The claims that change by themselves at or before `now`.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = (&EffectKey, &Claim)> {
        self.claims
            .iter()
            .filter(move |(_, claim)| claim.state.until().is_some_and(|until| until <= now))
    }

    /// When the first claim changes by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.claims.values().filter_map(|claim| claim.state.until()).min()
    }

    /// Makes a key's claim this one.
    pub fn put(&mut self, key: EffectKey, claim: Claim) {
        self.take_back(&key);
        if claim.state.takes() {
            *self.used.entry(claim.slot).or_default() += claim.units;
        }
        self.claims.insert(key, claim);
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &EffectKey) {
        self.take_back(key);
        self.claims.remove(key);
    }

    fn take_back(&mut self, key: &EffectKey) {
        if let Some(before) = self.claims.get(key)
            && before.state.takes()
            && let Some(used) = self.used.get_mut(&before.slot)
        {
            *used = used.saturating_sub(before.units);
            if *used == 0 {
                self.used.remove(&before.slot);
            }
        }
    }
}
