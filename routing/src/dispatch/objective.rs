//! What a good plan is.

use serde::{Deserialize, Serialize};

/// Units of cost in a second of click-to-door: whole numbers, so that a cost that is undone is undone exactly.
pub(super) const COST_PER_S: i64 = 100;

/// What a plan that breaks a rule costs beyond anything else. Only a promise can be broken, by the facts.
pub(super) const BROKEN: i64 = 1 << 40;

/// What a good plan is. A cost is a length of time that is worth as much to the customer: the unit is a hundredth of a
/// second of click-to-door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Objective {
    /// For each second beyond the target, besides the second itself.
    pub per_overdue_s: i64,
    /// For each second of driving and service.
    pub per_work_s: i64,
    /// For each second between where a courier ends and where orders are usually fetched, and off for each between where it
    /// begins and there: who stands far off is sent first, as long as it costs no meal more, and who stands near is kept.
    pub per_remote_s: i64,
    /// Off for each order that fills a courier up to what it earns anyway.
    pub off_per_guaranteed_order: i64,
    /// For each order that nobody carries.
    pub per_unassigned_order: i64,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            per_overdue_s: 10,
            per_work_s: 2,
            per_remote_s: 5,
            off_per_guaranteed_order: 60 * COST_PER_S,
            per_unassigned_order: 300 * 60 * COST_PER_S,
        }
    }
}
