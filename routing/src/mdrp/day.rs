//! An instance as the dispatcher sees it: names become places in lists.

use super::instance::{Instance, Order, Parameters};
use crate::dispatch::{Day, Place, PlacedOrder, RestaurantKey, Rules, Shift};
use std::collections::HashMap;

const SECONDS_PER_MIN: u32 = 60;

impl From<&Instance> for Day {
    /// The same day; an order's, a restaurant's and a courier's key is its place in the instance.
    fn from(instance: &Instance) -> Self {
        let keys: HashMap<&str, RestaurantKey> = (0..)
            .zip(&instance.restaurants)
            .map(|(key, restaurant)| (restaurant.id.as_str(), RestaurantKey(key)))
            .collect();
        let place = |x, y| Place { x, y };
        let couriers = instance.couriers.iter().map(|courier| Shift {
            start: place(courier.x, courier.y),
            on_minute: signed(courier.on_minute),
            off_minute: signed(courier.off_minute),
        });
        let restaurants = instance.restaurants.iter();
        Self {
            rules: rules(&instance.parameters),
            metres_per_min: instance.parameters.metres_per_min,
            orders: instance.orders.iter().map(|order| placed(order, &keys)).collect(),
            restaurants: restaurants
                .map(|restaurant| place(restaurant.x, restaurant.y))
                .collect(),
            couriers: couriers.collect(),
        }
    }
}

fn placed(order: &Order, keys: &HashMap<&str, RestaurantKey>) -> PlacedOrder {
    PlacedOrder {
        // An instance names no restaurant that it does not have.
        restaurant: keys[order.restaurant.as_str()],
        dropoff: Place { x: order.x, y: order.y },
        placed_minute: signed(order.placed_minute),
        ready_minute: signed(order.ready_minute),
    }
}

fn rules(parameters: &Parameters) -> Rules {
    let seconds = |minutes: u32| signed(minutes * SECONDS_PER_MIN);
    Rules {
        pickup_service_s: seconds(parameters.pickup_service_min),
        dropoff_service_s: seconds(parameters.dropoff_service_min),
        target_s: seconds(parameters.click_to_door_target_min),
        limit_s: seconds(parameters.click_to_door_limit_min),
        pay_per_order_minor: parameters.pay_per_order_minor.into(),
        pay_per_hour_minor: parameters.pay_per_hour_minor.into(),
    }
}

/// Minutes and seconds of an instance stay below a week.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
