//! `[dispatch]`: how couriers get their orders.

use super::sections::millis;
use actors::DispatchOptions;
use domain::policy::Assigning;
use domain::time::Millis;
use routing::dispatch::{Policy, Rules, Seconds};
use serde::Deserialize;
use std::time::Duration;

/// `[dispatch]`: how couriers get their orders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchSettings {
    /// By which policy.
    pub policy: DispatchPolicy,
    /// How long before food is thought to be ready its courier is at the restaurant.
    #[serde(rename = "head_start_ms")]
    pub head_start: Millis,
    /// Most moves of one plan.
    pub moves_max: u64,
    /// How long one plan may take, in wall time.
    #[serde(rename = "budget_ms", deserialize_with = "millis")]
    pub budget: Duration,
    /// The longest time between two plans of a zone.
    #[serde(rename = "every_ms")]
    pub every: Millis,
    /// The pause between two plans of a zone, in wall time.
    #[serde(rename = "pause_ms", deserialize_with = "millis")]
    pub pause: Duration,
    /// Plans that are worked out at a time.
    pub threads: usize,
    /// How long picking up takes.
    pub pickup_service_ms: Millis,
    /// How long dropping off takes.
    pub dropoff_service_ms: Millis,
    /// How long an order should take from the click to the door.
    pub target_ms: Millis,
    /// What a courier earns with an order.
    pub pay_per_order_minor: i64,
    /// What a courier earns in an hour at least.
    pub pay_per_hour_minor: i64,
}

/// How couriers get their orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DispatchPolicy {
    /// The zone gives a free courier whatever is nearest, at once, without a plan.
    Greedy,
    /// See [`Policy::Nearest`].
    Nearest,
    /// See [`Policy::Rolling`].
    Rolling,
    /// See [`Policy::Anneal`].
    Anneal,
}

/// Longest time from the click to the door that plans reckon with: an order is delivered however late it is.
const LIMIT_S: Seconds = 24 * 3_600;

impl DispatchPolicy {
    /// Who assigns.
    pub const fn assigning(self) -> Assigning {
        match self {
            Self::Greedy => Assigning::AtOnce,
            Self::Nearest | Self::Rolling | Self::Anneal => Assigning::Planned,
        }
    }

    const fn planned(self) -> Option<Policy> {
        match self {
            Self::Greedy => None,
            Self::Nearest => Some(Policy::Nearest),
            Self::Rolling => Some(Policy::Rolling),
            Self::Anneal => Some(Policy::Anneal),
        }
    }
}

impl DispatchSettings {
    /// How long a courier takes to leave a customer: half of what dropping off takes is over when the food is handed over.
    pub const fn dropoff_leave_ms(&self) -> Millis {
        Millis(self.dropoff_service_ms.0 / 2)
    }

    /// The same as the actors take it.
    pub fn options(&self) -> DispatchOptions {
        let seconds = |length: Millis| Seconds::try_from(length.0 / 1_000).unwrap_or(LIMIT_S);
        DispatchOptions {
            policy: self.policy.planned(),
            rules: Rules {
                pickup_service_s: seconds(self.pickup_service_ms),
                dropoff_service_s: seconds(self.dropoff_service_ms),
                target_s: seconds(self.target_ms),
                limit_s: LIMIT_S,
                pay_per_order_minor: self.pay_per_order_minor,
                pay_per_hour_minor: self.pay_per_hour_minor,
            },
            head_start: self.head_start,
            moves_max: self.moves_max,
            budget: self.budget,
            every: self.every,
            pause: self.pause,
            threads: self.threads,
        }
    }
}
