//! What routing found: the channels that can make an order, each with its quote, and those that cannot.

use crate::geo::Location;
use crate::ids::{ChannelId, ZoneId};
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// A channel that can make the order, with its quote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which channel.
    pub channel: ChannelId,
    /// The zone whose couriers carry it.
    pub zone: ZoneId,
    /// Where it is picked up.
    pub pickup: Location,
    /// The capacity slot it takes.
    pub slot: Timestamp,
    /// How many units of it.
    pub units: u32,
    /// How long cooking takes.
    pub prep_ms: Millis,
    /// When the food is ready.
    pub ready_at: Timestamp,
    /// When the customer has it: the promise.
    pub delivered_at: Timestamp,
    /// What it costs us, in minor units.
    pub cost_minor: i64,
    /// How long cooking takes by menu and settings, where what was learned of the channel says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub menu_prep_ms: Option<Millis>,
    /// What else speaks against it.
    #[serde(default, skip_serializing_if = "Drawbacks::is_none")]
    pub drawbacks: Drawbacks,
}

impl Candidate {
    /// What speaks against it in all, in minor units: what it costs us, and its drawbacks. The least wins.
    pub const fn total_minor(&self) -> i64 {
        self.cost_minor.saturating_add(self.drawbacks.total_minor())
    }
}

/// What speaks against a channel beside its price, each in minor units of the order's currency, so that they can be added
/// up: see [`crate::channel::ChoiceWeights`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawbacks {
    /// The customer's waiting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_minor: i64,
    /// The capacity it takes from others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub load_minor: i64,
    /// What its unreliability costs on average.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub risk_minor: i64,
}

// The signature is the one that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(minor: &i64) -> bool {
    *minor == 0
}

impl Drawbacks {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// All of them.
    pub const fn total_minor(&self) -> i64 {
        self.wait_minor
            .saturating_add(self.load_minor)
            .saturating_add(self.risk_minor)
    }
}

/// A channel that cannot make the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infeasible {
    /// Which channel.
    pub channel: ChannelId,
    /// Why not.
    pub why: String,
}
