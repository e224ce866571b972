//! A day of orders, restaurants and couriers: what the Meal Delivery Routing Problem calls an instance.

use super::problem::{CourierKey, OrderKey, Place, RestaurantKey, Rules};

/// A day. An order's, a restaurant's and a courier's key is its index here; times are whole minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The rules that all couriers follow, in seconds.
    pub rules: Rules,
    /// Metres a courier covers in a minute.
    pub metres_per_min: u32,
    /// Its orders, as [`OrderKey`] numbers them.
    pub orders: Vec<PlacedOrder>,
    /// Where its restaurants are, as [`RestaurantKey`] numbers them.
    pub restaurants: Vec<Place>,
    /// Its couriers, as [`CourierKey`] numbers them.
    pub couriers: Vec<Shift>,
}

/// An order of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedOrder {
    /// Where its food is made.
    pub restaurant: RestaurantKey,
    /// Where to.
    pub dropoff: Place,
    /// When it is placed.
    pub placed_minute: i32,
    /// When its food is ready.
    pub ready_minute: i32,
}

/// A courier of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Where it begins.
    pub start: Place,
    /// When it begins.
    pub on_minute: i32,
    /// When it ends: the latest minute at which the courier picks anything up.
    pub off_minute: i32,
}

/// A place of a day that a courier leaves from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// Where this courier's shift begins.
    Start(CourierKey),
    /// A restaurant.
    Restaurant(RestaurantKey),
    /// Where this order is dropped off.
    Dropoff(OrderKey),
}

impl Day {
    /// Where a spot is; absent when the day has no such spot.
    pub fn place(&self, spot: Spot) -> Option<Place> {
        match spot {
            Spot::Start(CourierKey(at)) => self.couriers.get(at as usize).map(|courier| courier.start),
            Spot::Restaurant(RestaurantKey(at)) => self.restaurants.get(at as usize).copied(),
            Spot::Dropoff(OrderKey(at)) => self.orders.get(at as usize).map(|order| order.dropoff),
        }
    }
}
