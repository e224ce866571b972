//! The place where it all happens: four kitchens, each restaurant served by three of them, one zone, three couriers.

use super::kinds::Command;
use domain::channel::{self, ChannelConfig, ChannelKind};
use domain::entity::Context;
use domain::geo::Location;
use domain::ids::{ChannelId, CourierId, StreamId, ZoneId};
use domain::money::Money;
use domain::order::{DeliveryLocation, Details, Item, Order};
use domain::saga::{Answer, Candidate, Drawbacks, Receipt};
use domain::time::{Millis, Timestamp};
use domain::zone::{self, CourierConfig};
use std::str::FromStr;
use std::sync::Arc;

/// When virtual time begins.
pub(super) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
/// What an order costs.
pub(super) const TOTAL_MINOR: i64 = 2_500;
pub(super) const KITCHENS: usize = 4;
pub(super) const COURIERS: usize = 3;
const ALTERNATES: usize = 3;
const PREP: Millis = Millis::from_mins(5);
const KITCHEN_PLACE: Location = Location { lat: 41.0, lng: -87.0 };

fn name<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the simulator's names are valid")
}

pub(super) fn channel_id(kitchen: usize) -> ChannelId {
    name(&format!("kitchen-{kitchen}"))
}

pub(super) fn zone_id() -> ZoneId {
    name("centre")
}

pub(super) fn courier_id(courier: usize) -> CourierId {
    name(&format!("courier-{courier}"))
}

/// What an order asks for.
pub(super) fn details(number: usize, restaurant: usize) -> Arc<Details> {
    Arc::new(Details {
        customer_id: name(&format!("customer-{number}")),
        restaurant_id: name(&format!("restaurant-{restaurant}")),
        items: vec![Item {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 5,
            unit_price_minor: TOTAL_MINOR / 5,
        }],
        total: Money {
            minor: TOTAL_MINOR,
            currency: name("USD"),
        },
        delivery_location: DeliveryLocation {
            lat: 41.02,
            lng: -87.0,
            address: String::new(),
        },
        requested_for: None,
        payment_token: "token".into(),
        notes: None,
    })
}

/// The router: it asks nobody.
pub(super) fn route(order: &Order, context: &Context<'_>) -> Answer {
    let restaurant: usize = order
        .details
        .restaurant_id
        .as_str()
        .strip_prefix("restaurant-")
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let ready_at = context.now + PREP;
    let candidates: Vec<Candidate> = (0..ALTERNATES)
        .map(|n| Candidate {
            channel: channel_id((restaurant + n) % KITCHENS),
            zone: zone_id(),
            pickup: KITCHEN_PLACE,
            slot: channel::slot_of(context.now, context.policy.slot_ms),
            units: 1,
            prep_ms: PREP,
            ready_at,
            delivered_at: ready_at + Millis::from_mins(20),
            cost_minor: 100,
            menu_prep_ms: None,
            drawbacks: Drawbacks::default(),
        })
        .collect();
    Answer::Done(Receipt::Routed {
        candidates: candidates.into(),
        infeasible: Arc::new([]),
    })
}

/// What is told before the first order comes.
pub(super) fn opening(capacity_per_slot: u32) -> Vec<(StreamId, Command)> {
    let kitchens = (0..KITCHENS).map(|kitchen| {
        let id = channel_id(kitchen);
        let config = Box::new(ChannelConfig {
            name: "Kitchen".into(),
            kind: ChannelKind::Kitchen,
            serves: vec![name("restaurant-0")],
            location: KITCHEN_PLACE,
            zone: zone_id(),
            currency: name("USD"),
            hours: Vec::new(),
            utc_offset_min: 0,
            prep_ms: PREP,
            capacity_per_slot,
            cost_minor: 0,
            radius_m: 20_000,
        });
        let stream = id.stream();
        (stream, Command::Channel(channel::Command::Configure { id, config }))
    });
    let couriers = (0..COURIERS).map(|courier| {
        let command = zone::Command::PutCourier {
            zone: zone_id(),
            id: courier_id(courier),
            config: Box::new(CourierConfig {
                zone: zone_id(),
                location: KITCHEN_PLACE,
                on_at: None,
                off_at: None,
                metres_per_min: 320,
            }),
        };
        (zone_id().stream(), Command::Zone(command))
    });
    kitchens.chain(couriers).collect()
}
