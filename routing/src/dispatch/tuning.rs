//! How a dispatcher is set.

use super::objective::{COST_PER_S, Objective};
use super::problem::Seconds;
use super::ruin::Ruin;
use crate::anneal::Cooling;
use serde::{Deserialize, Serialize};

/// What is done about ready times that are only estimates. An order that is not known to be ready is one whose ready time is
/// yet to come: past its estimate, the caller gives a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doubt {
    /// How long before its food is thought to be ready a courier is at the restaurant: it may be ready sooner.
    pub head_start_s: Seconds,
    /// How long a courier waits for the rest of its bundle when some of it is ready; absent when it waits for all.
    pub patience_s: Option<Seconds>,
    /// How much later than thought food may well be ready: a shift should not end within that time.
    pub slip_s: Seconds,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            head_start_s: 600,
            patience_s: Some(60),
            slip_s: 0,
        }
    }
}

impl Doubt {
    /// Ready times are known.
    pub const NONE: Self = Self {
        head_start_s: 0,
        patience_s: None,
        slip_s: 0,
    };
}

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
    /// What is done about ready times that are only estimates.
    pub doubt: Doubt,
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
            warm_s: 60.0,
            cold_s: 1.5,
            moves_per_order: 40,
            doubt: Doubt::default(),
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
