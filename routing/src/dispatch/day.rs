//! A day of orders, restaurants and couriers: what the Meal Delivery Routing Problem calls an instance.

use super::problem::{CourierKey, Order, OrderKey, Place, RestaurantKey, Rules, Seconds};

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
    /// An order as it is known once it is ready.
    pub(super) fn order(&self, key: OrderKey) -> Order {
        let order = &self.orders[key.0 as usize];
        Order {
            key,
            restaurant: order.restaurant,
            pickup: self.restaurants[order.restaurant.0 as usize],
            dropoff: order.dropoff,
            placed_at: order.placed_minute * 60,
            ready_at: order.ready_minute * 60,
        }
    }

    /// How long an order may take from the click to the door, in seconds: the limit, unless its kitchen alone takes too long
    /// for that. The order is one of the day's.
    pub fn limit_of_s(&self, order: OrderKey) -> Option<Seconds> {
        self.rules.limit_of_s(&self.order(order), self.metres_per_min)
    }

    /// Where a spot is; absent when the day has no such spot.
    pub fn place(&self, spot: Spot) -> Option<Place> {
        match spot {
            Spot::Start(CourierKey(at)) => self.couriers.get(at as usize).map(|courier| courier.start),
            Spot::Restaurant(RestaurantKey(at)) => self.restaurants.get(at as usize).copied(),
            Spot::Dropoff(OrderKey(at)) => self.orders.get(at as usize).map(|order| order.dropoff),
        }
    }
}
