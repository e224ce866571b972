//! Couriers.

use super::Place;
use domain::zone::Courier;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A courier's settings. Times are milliseconds since the Unix epoch, in business time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CourierBody {
    /// The zone it works in.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Where it starts.
    pub location: Place,
    /// When its shift begins; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_at: Option<i64>,
    /// When its shift ends; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_at: Option<i64>,
    /// How fast it is, in metres a minute.
    #[serde(default = "default_speed")]
    pub metres_per_min: u32,
}

fn default_zone() -> String {
    "default".to_owned()
}

const fn default_speed() -> u32 {
    320
}

/// A courier as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CourierView {
    /// Its id.
    pub id: String,
    /// The zone it works in.
    pub zone: String,
    /// Where it was last.
    pub location: Place,
    /// When its shift begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_at: Option<i64>,
    /// When its shift ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_at: Option<i64>,
    /// How fast it is, in metres a minute.
    pub metres_per_min: u32,
    /// Whether it takes jobs, by its own word.
    pub online: bool,
    /// The orders it fetches or carries, in the sequence in which it drops them off. All come from one place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<String>,
}

impl From<&Courier> for CourierView {
    fn from(courier: &Courier) -> Self {
        Self {
            id: courier.id.to_string(),
            zone: courier.config.zone.to_string(),
            location: courier.location.into(),
            on_at: courier.config.on_at.map(|at| at.0),
            off_at: courier.config.off_at.map(|at| at.0),
            metres_per_min: courier.config.metres_per_min,
            online: courier.online,
            orders: courier.trip.iter().map(|key| key.order.to_string()).collect(),
        }
    }
}

/// A page of the couriers, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CourierList {
    /// The couriers.
    pub couriers: Vec<CourierView>,
    /// What to ask for with `cursor=` for the next page, if there is one; the same stands in `Link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
