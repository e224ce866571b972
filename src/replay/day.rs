//! A day in the terms of the HTTP interface: pure.
//!
//! Each restaurant becomes a kitchen with that name that serves it alone. An article of its menu stands for a preparation
//! time, so that an order cooks as long as it really did. Names carry the run's, so that several replays against one
//! server do not mix.

use super::time_line::TimeLine;
use crate::api::{ChannelBody, CourierBody, DeliveryPlace, ItemBody, MenuBody, OrderBody, Place};
use domain::channel::MenuItem;
use domain::geo::{Location, Projection};
use domain::time::Millis;
use routing::mdrp::{Courier, Instance, Order, Restaurant};
use std::collections::{BTreeMap, BTreeSet};

/// Orders a kitchen takes in a slot: more than any real day brings, since the data knows no limit.
const CAPACITY_PER_SLOT: u32 = 200;
/// How far kitchens deliver: across any city.
const RADIUS_M: u32 = 200_000;
const PRICE_MINOR: i64 = 1_000;
const CURRENCY: &str = "USD";
/// How long a kitchen cooks that no order goes to.
const PREP_MINUTES_UNKNOWN: u32 = 10;

/// A day of a run.
#[derive(Clone, Debug)]
pub struct Day {
    run: String,
    projection: Projection,
    /// The preparation times each restaurant needs, in minutes, one an order.
    prep_minutes: BTreeMap<String, Vec<u32>>,
    metres_per_min: u32,
}

impl Day {
    /// A day on the map around `origin`, in a run of this name.
    pub fn new(instance: &Instance, run: String, origin: Location) -> Self {
        let mut prep_minutes: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for order in &instance.orders {
            prep_minutes
                .entry(order.restaurant.clone())
                .or_default()
                .push(order.prep_minutes());
        }
        Self {
            run,
            projection: Projection { origin },
            prep_minutes,
            metres_per_min: instance.parameters.metres_per_min,
        }
    }

    /// The run's name: also that of its zone.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The platform's name of a thing of the instance: of a restaurant and its channel, a courier, or an order's key.
    pub fn name(&self, id: &str) -> String {
        format!("{}-{id}", self.run)
    }

    /// The kitchen of a restaurant.
    pub fn channel(&self, restaurant: &Restaurant) -> ChannelBody {
        let minutes = self.prep_minutes.get(&restaurant.id).map_or(&[][..], Vec::as_slice);
        ChannelBody {
            name: format!("Restaurant {}", restaurant.id),
            kind: "kitchen".to_owned(),
            serves: vec![self.name(&restaurant.id)],
            location: self.place(restaurant.x, restaurant.y).into(),
            zone: self.run.clone(),
            currency: CURRENCY.to_owned(),
            hours: Vec::new(),
            utc_offset_min: 0,
            prep_ms: mean_ms(minutes),
            capacity_per_slot: CAPACITY_PER_SLOT,
            cost_minor: 0,
            radius_m: RADIUS_M,
        }
    }

    /// The menu of a restaurant: an article for each preparation time its orders have; none when it has no orders.
    pub fn menu(&self, restaurant: &Restaurant) -> Option<MenuBody> {
        let minutes: BTreeSet<u32> = self.prep_minutes.get(&restaurant.id)?.iter().copied().collect();
        let article = |minutes: u32| MenuItem {
            sku: sku(minutes),
            name: meal(minutes),
            price_minor: PRICE_MINOR,
            prep_ms: Some(Millis::from_mins(minutes.into())),
        };
        Some(MenuBody {
            items: minutes.into_iter().map(article).collect(),
        })
    }

    /// A courier with its shift.
    pub fn courier(&self, courier: &Courier, line: &TimeLine) -> CourierBody {
        CourierBody {
            zone: self.run.clone(),
            location: Place::from(self.place(courier.x, courier.y)),
            on_at: Some(line.at(courier.on_minute).as_ms()),
            off_at: Some(line.at(courier.off_minute).as_ms()),
            metres_per_min: self.metres_per_min,
        }
    }

    /// An order: one article, the one that cooks as long as the order did.
    pub fn order(&self, order: &Order) -> OrderBody {
        let place = self.place(order.x, order.y);
        let minutes = order.prep_minutes();
        OrderBody {
            customer_id: self.name(&order.id),
            restaurant_id: self.name(&order.restaurant),
            items: vec![ItemBody {
                sku: sku(minutes),
                name: meal(minutes),
                quantity: 1,
                unit_price_minor: PRICE_MINOR,
            }],
            currency: CURRENCY.to_owned(),
            delivery_location: DeliveryPlace {
                lat: place.lat,
                lng: place.lng,
                address: String::new(),
            },
            requested_for: None,
            payment_token: "tok_replay".to_owned(),
            notes: None,
        }
    }

    fn place(&self, x: i32, y: i32) -> Location {
        self.projection.place(x.into(), y.into())
    }
}

fn sku(prep_minutes: u32) -> String {
    format!("meal-{prep_minutes}m")
}

fn meal(prep_minutes: u32) -> String {
    format!("Meal of {prep_minutes} minutes")
}

/// The mean in milliseconds, rounded down.
fn mean_ms(minutes: &[u32]) -> u64 {
    let sum: u64 = minutes.iter().copied().map(u64::from).sum();
    (sum * 60_000)
        .checked_div(minutes.len() as u64)
        .unwrap_or(u64::from(PREP_MINUTES_UNKNOWN) * 60_000)
}
