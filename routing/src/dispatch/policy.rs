//! How couriers are dispatched.

use serde::{Deserialize, Serialize};

/// How couriers are dispatched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// First come, first served: each order at once to the nearest free courier, one at a time. The baseline.
    Nearest,
    /// All open orders are planned anew each time, by cheapest insertion, in bundles; assignments are made late.
    Rolling,
    /// A plan that lives on: cheapest insertion of what is new, then ruin-and-recreate under annealing.
    #[default]
    Anneal,
}
