//! A zone: its couriers and the jobs they carry out. A job waits until there is a free courier for it.

mod assignment;
mod command;
mod courier;

pub use command::{Command, Effect, Event};
pub use courier::{Courier, CourierConfig, travel_ms};

use crate::ids::{CourierId, ZoneId};
use crate::saga::{EffectKey, Job};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for a free courier.
    Queued,
    /// A courier carries it out.
    Assigned {
        /// Who.
        courier: CourierId,
        /// When it is expected at the kitchen.
        pickup_at: Timestamp,
    },
    /// Its courier dropped out, and the order has not taken that in yet.
    Lost {
        /// Who.
        courier: CourierId,
    },
}

/// A job and since when it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEntry {
    /// What to carry.
    pub job: Job,
    /// Since when it is there.
    pub since: Timestamp,
    /// What it is.
    pub state: JobState,
}

/// Everything known of one zone. Folded from its events alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// Its couriers.
    pub couriers: BTreeMap<CourierId, Courier>,
    /// Its open jobs, by the key of their dispatch.
    pub jobs: BTreeMap<EffectKey, JobEntry>,
    /// Jobs that are over, and until when they are remembered, so that a late request for them is refused.
    pub over: BTreeMap<EffectKey, Timestamp>,
}

#[cfg(test)]
mod tests;
