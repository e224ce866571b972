//! What kitchens, partners and couriers report.

use super::Place;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a kitchen or partner reports about an order. Unknown fields are ignored: partners add them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KitchenEvent {
    /// The reporter's own id of the event; repetitions are recognised by what they say, whatever their id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The order.
    pub order_id: String,
    /// What.
    #[serde(rename = "type")]
    pub kind: KitchenEventKind,
    /// Why, for `rejected` and `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the food is expected to be ready, for `accepted`; milliseconds since the Unix epoch, in business time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<i64>,
}

/// What a kitchen or partner can report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KitchenEventKind {
    /// It takes the ticket, or estimates anew.
    Accepted,
    /// It does not take the ticket.
    Rejected,
    /// It cooks.
    Preparing,
    /// The food is ready.
    Ready,
    /// The courier took it.
    PickedUp,
    /// It drops the ticket that it had accepted.
    Cancelled,
    /// Anything else: noted, and of no consequence.
    #[serde(untagged)]
    Other(String),
}

/// What a courier reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CourierEvent {
    /// The reporter's own id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The order, for what concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// What.
    #[serde(rename = "type")]
    pub kind: CourierEventKind,
    /// Where, for `position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Place>,
    /// Why, for `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a courier can report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CourierEventKind {
    /// It takes jobs.
    Online,
    /// It drops out.
    Offline,
    /// It is there.
    Position,
    /// It has the food.
    PickedUp,
    /// It is on the way to the customer.
    InTransit,
    /// The customer has it.
    Delivered,
    /// It cannot deliver.
    Failed,
    /// Anything else: noted, and of no consequence.
    #[serde(untagged)]
    Other(String),
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// `applied`, `duplicate` (it said nothing new) or `ignored` (of a kind this platform does not know).
    pub result: String,
    /// The order's status now, if the report concerned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}
