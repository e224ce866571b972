//! Lists of orders.

use persistence::projection::OrderSummary;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of orders, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderList {
    /// The orders.
    pub orders: Vec<OrderSummaryView>,
    /// What to ask for with `cursor=` for the next page, if there is one; the same stands in `Link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The list shows everything that was committed before this moment, and may show more. Absent while it is being
    /// filled, after a rebuild for instance: then orders may be missing; and in a cluster, where each node knows this of
    /// its own orders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<i64>,
}

/// An order in a list, as it was when the list saw it last; `GET /v1/orders/{id}` tells all, and what is so now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderSummaryView {
    /// Its id.
    pub id: String,
    /// Its status.
    #[schema(example = "CONFIRMED")]
    pub status: String,
    /// Who ordered.
    pub customer_id: String,
    /// From which restaurant.
    pub restaurant_id: String,
    /// The channel that makes it, once one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total_minor: i64,
    /// When it was accepted.
    pub placed_at: i64,
    /// When something shown here changed last.
    pub updated_at: i64,
    /// Whether something of it waits for an operator; `GET /v1/orders/{id}` says what.
    #[serde(default)]
    pub stuck: bool,
}

impl From<&OrderSummary> for OrderSummaryView {
    fn from(order: &OrderSummary) -> Self {
        Self {
            id: order.order.to_string(),
            status: order.status.to_string(),
            customer_id: order.customer.to_string(),
            restaurant_id: order.restaurant.to_string(),
            channel_id: order.channel.as_ref().map(ToString::to_string),
            currency: order.total.currency.to_string(),
            total_minor: order.total.minor,
            placed_at: order.placed_at.0,
            updated_at: order.updated_at.0,
            stuck: order.stuck,
        }
    }
}
