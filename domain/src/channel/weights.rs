//! What counts when a channel is chosen.

use serde::{Deserialize, Serialize};

/// What each thing that speaks against a channel is worth, in minor units of the order's currency, so that one sum decides
/// and explains itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceWeights {
    /// What a minute of the customer's waiting is worth.
    pub wait_minor_per_min: u32,
    /// What the last unit of a slot is worth to those who come later. A unit costs this times the third power of how full
    /// the slot is with it: little as long as there is much, all of it at the end.
    pub load_minor: u32,
    /// What a ticket that is refused or dropped costs.
    pub lost_minor: u32,
    /// What food costs that is ready more than five minutes late.
    pub late_minor: u32,
    /// How many of a hundred tickets are to be ready within the time quoted, from what was learned of the channel.
    pub prep_quantile_pct: u8,
    /// Orders that find less than this share of a slot free, in percent, are assigned together with those that come at the
    /// same time; 0: each is assigned by itself.
    pub scarce_pct: u8,
}

impl Default for ChoiceWeights {
    fn default() -> Self {
        Self {
            wait_minor_per_min: 30,
            load_minor: 200,
            lost_minor: 500,
            late_minor: 200,
            prep_quantile_pct: 60,
            scarce_pct: 25,
        }
    }
}
