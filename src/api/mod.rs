//! The JSON of the HTTP interface: what goes in and what comes out. Server, client and tests use the same types; the
//! stored form of things is another matter and lives in `domain`.

mod channel;
mod courier;
mod order;
mod report;
mod search;
mod webhook;

pub use channel::{
    AvailabilityBody, CapacityView, ChannelBody, ChannelList, ChannelView, ExpectedView, ForecastView, HourView,
    LearnedView, MenuBody, SlotView, SoldOutBody, UtilisationView,
};
pub use courier::{CourierBody, CourierList, CourierView};
pub use order::{
    CancelBody, DeliveryPlace, EventView, EventsView, ItemBody, OrderBody, OrderView, QuoteView, ResolveBody,
    StatusView, StepView,
};
pub use report::{CourierEvent, CourierEventKind, KitchenEvent, KitchenEventKind, Receipt};
pub use search::{OrderList, OrderSummaryView};
pub use webhook::{DeadLetterList, DeadLetterView, WebhookBody, WebhookList, WebhookView};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A place on the map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lng: f64,
}

impl From<domain::geo::Location> for Place {
    fn from(at: domain::geo::Location) -> Self {
        Self {
            lat: at.lat,
            lng: at.lng,
        }
    }
}

impl From<Place> for domain::geo::Location {
    fn from(at: Place) -> Self {
        Self {
            lat: at.lat,
            lng: at.lng,
        }
    }
}

/// The platform's time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockView {
    /// The present moment, in milliseconds since the Unix epoch, in business time.
    pub now: i64,
    /// How fast business time runs, as a multiple of wall time.
    pub time_scale: u64,
}
