//! The capacity ledger: who holds how much of which slot. Reserved capacity never exceeds the limit (CP-1).

use crate::saga::EffectKey;
use crate::time::Timestamp;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

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

/// All claims of a channel, by the key of their hold. A copy shares what it has in common with the original, so that the
/// channel's state can be taken, changed and thrown away at the cost of the change, however many claims there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Ledger {
    claims: RedBlackTreeMapSync<EffectKey, Claim>,
    used: RedBlackTreeMapSync<Timestamp, u32>,
    /// The claims that change by themselves, by when.
    due: RedBlackTreeSetSync<(Timestamp, EffectKey)>,
    is_outline: bool,
}

/// A ledger as it is stored: the rest follows from the claims.
#[derive(Serialize, Deserialize)]
struct Kept {
    claims: RedBlackTreeMapSync<EffectKey, Claim>,
}

impl From<Ledger> for Kept {
    fn from(ledger: Ledger) -> Self {
        Self { claims: ledger.claims }
    }
}

impl From<Kept> for Ledger {
    fn from(kept: Kept) -> Self {
        let mut ledger = Self::default();
        for (key, claim) in &kept.claims {
            ledger.put(*key, *claim);
        }
        ledger
    }
}

impl Ledger {
    /// The ledger of a channel of which is known how much is taken, but not by whom.
    pub fn outline(used: impl IntoIterator<Item = (Timestamp, u32)>) -> Self {
        Self {
            used: used.into_iter().collect(),
            is_outline: true,
            ..Self::default()
        }
    }

    /// Whether it is known how much is taken, but not by whom.
    pub const fn is_outline(&self) -> bool {
        self.is_outline
    }

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

    /// How many claims there are.
    pub fn len(&self) -> usize {
        self.claims.size()
    }

    /// Whether there is no claim.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// The claims that change by themselves at or before `now`.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = (&EffectKey, &Claim)> {
        let due = self.due.iter().take_while(move |(until, _)| *until <= now);
        due.filter_map(|(_, key)| Some((key, self.claims.get(key)?)))
    }

    /// When the first claim changes by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Makes a key's claim this one.
    pub fn put(&mut self, key: EffectKey, claim: Claim) {
        self.take_back(&key);
        if claim.state.takes() {
            self.used.insert_mut(claim.slot, self.used(claim.slot) + claim.units);
        }
        if let Some(until) = claim.state.until() {
            self.due.insert_mut((until, key));
        }
        self.claims.insert_mut(key, claim);
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &EffectKey) {
        self.take_back(key);
        self.claims.remove_mut(key);
    }

    fn take_back(&mut self, key: &EffectKey) {
        let Some(before) = self.claims.get(key).copied() else {
            return;
        };
        if let Some(until) = before.state.until() {
            self.due.remove_mut(&(until, *key));
        }
        if before.state.takes() {
            match self.used(before.slot).saturating_sub(before.units) {
                0 => {
                    self.used.remove_mut(&before.slot);
                }
                left => self.used.insert_mut(before.slot, left),
            }
        }
    }
}
