//! What became of zombies.

use super::faults::{Fault, Struck};
use super::timeline::millis;
use serde::Serialize;
use std::fmt;

/// A node that stood still past its lease, between the hand-over of a batch to its writer and the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zombie {
    /// Which.
    pub node: String,
    /// How many shards it owned.
    pub shards: usize,
    /// How long it stood still.
    pub stood_ms: u64,
    /// After how long all of its shards were alive elsewhere.
    pub moved_ms: Option<u64>,
    /// Rows that it sent once it went on, and that the store refused.
    pub fenced_rows: u64,
    /// Shards that it found lost.
    pub lost_shards: u64,
}

impl fmt::Display for Zombie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shards,
            stood_ms,
            fenced_rows,
            lost_shards,
            ..
        } = self;
        write!(f, "{stood_ms} ms, {fenced_rows}, {lost_shards} of {shards}")
    }
}

impl Zombie {
    /// Those among the faults.
    pub(super) fn all(struck: &[Struck]) -> Vec<Self> {
        let struck = struck.iter().filter(|struck| struck.fault == Fault::Zombie);
        let zombie = |struck: &Struck| Self {
            node: struck.whom.clone(),
            shards: struck.shards.len(),
            stood_ms: struck.stood.map_or(0, millis),
            moved_ms: struck.moved.map(millis),
            fenced_rows: struck.fenced_by_store,
            lost_shards: struck.lost,
        };
        struck.map(zombie).collect()
    }
}
