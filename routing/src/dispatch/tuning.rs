//! How a dispatcher is set.

use super::objective::{COST_PER_S, Objective};
use super::problem::Seconds;
use super::ruin::Ruin;
use crate::anneal::Cooling;
use serde::{Deserialize, Serialize};

/// How a dispatcher is set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// What a good plan is.
    pub objective: Objective,
    /// How much of a plan a move ruins.
    pub ruin: Ruin,
    /// The first temperature of a search, in seconds of click-to-door.
    pub warm_s: f64,
    /// The last temperature, in seconds of click-to-door.
    pub cold_s: f64,
    /// Most moves of a search for each order that may move: few orders are soon in their best places.
    pub moves_per_order: u64,
    /// Most orders that are planned as one problem; more are split by place.
    pub part_orders_max: usize,
    /// How long before it is due a decision is committed: as long as the caller takes until it decides again.
    pub commit_ahead_s: Seconds,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            ruin: Ruin::default(),
            warm_s: 120.0,
            cold_s: 3.0,
            moves_per_order: 20,
            part_orders_max: 400,
            commit_ahead_s: 0,
        }
    }
}

impl Tuning {
    pub(super) fn cooling(&self) -> Cooling {
        #[expect(clippy::cast_precision_loss, reason = "a small constant")]
        let unit = COST_PER_S as f64;
        Cooling {
            first: self.warm_s * unit,
            last: self.cold_s * unit,
        }
    }
}
