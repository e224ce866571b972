//! A zone: its couriers and the jobs they carry out. A job waits until there is a courier for it; jobs from one place may
//! be carried together.
//!
//! Who carries what is decided by a planner outside (see [`Command::Dispatch`]), or, when the policy says so, at once and
//! greedily by the zone itself.

mod assignment;
mod command;
mod courier;
mod evolve;
mod trip;

pub use command::{Command, Effect, Event, Trip};
pub use courier::{Courier, CourierConfig, Said, travel_ms, way_ms};

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
    /// How far its food is.
    #[serde(default)]
    pub progress: Progress,
}

/// How far an order's food is, as its order knows. What gets lost on the way costs a worse plan, nothing else: the next
/// word, or the end of the job, sets it right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it is thought to be ready, if that is not what it was when the job came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Whether it is ready.
    #[serde(default)]
    pub is_ready: bool,
    /// When the courier left with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
}

impl JobEntry {
    /// When the food is thought to be ready.
    pub fn ready_at(&self) -> Timestamp {
        self.progress.ready_at.unwrap_or(self.job.ready_at)
    }
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
