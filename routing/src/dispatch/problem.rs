//! What is known when couriers are dispatched, and what can be decided.

use super::travel::travel_s;
use serde::{Deserialize, Serialize};

/// A moment, in seconds since a beginning that the caller chose, or a length of time.
pub type Seconds = i32;

/// Metres east and north of an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Metres east.
    pub x: i32,
    /// Metres north.
    pub y: i32,
}

/// An order's name; the caller knows what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey(pub u32);

/// A courier's name; the caller knows what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CourierKey(pub u32);

/// A restaurant's name: a bundle comes from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RestaurantKey(pub u32);

/// The rules that all couriers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How long picking up takes: half of it before the food is in the bag, half after.
    pub pickup_service_s: Seconds,
    /// How long dropping off takes: half of it before the food is handed over, half after.
    pub dropoff_service_s: Seconds,
    /// How long an order should take from the click to the door.
    pub target_s: Seconds,
    /// How long it may take at most; beyond, it is not delivered at all. An order whose kitchen alone takes too long for
    /// that is delivered all the same.
    pub limit_s: Seconds,
    /// What a courier earns with an order, in minor units.
    pub pay_per_order_minor: i64,
    /// What a courier earns in an hour of its shift at least, in minor units.
    pub pay_per_hour_minor: i64,
}

impl Rules {
    /// How long an order takes from the click to the door if a courier stands ready for it.
    pub fn ideal_s(&self, order: &Order, metres_per_min: u32) -> Seconds {
        let way_s = travel_s(order.pickup, order.dropoff, f64::from(metres_per_min.max(1)));
        let ready_s = order.ready_at - order.placed_at;
        ready_s + self.pickup_service_s / 2 + way_s + self.dropoff_service_s / 2
    }

    /// How long an order may take at most: the limit, if a courier that stands ready can keep it.
    pub fn limit_of_s(&self, order: &Order, metres_per_min: u32) -> Option<Seconds> {
        (self.ideal_s(order, metres_per_min) <= self.limit_s).then_some(self.limit_s)
    }
}

/// An order that nobody has picked up yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub key: OrderKey,
    /// Where its food is made.
    pub restaurant: RestaurantKey,
    /// Where that is.
    pub pickup: Place,
    /// Where to.
    pub dropoff: Place,
    /// When it was placed.
    pub placed_at: Seconds,
    /// When its food is, or is thought to be, ready. What is not ready yet has a time to come here, however often its
    /// estimate has passed.
    pub ready_at: Seconds,
}

/// A bundle that a courier was told to fetch and has not picked up yet. The courier keeps it; until the pick-up, orders
/// may be added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The orders, in the sequence of their drop-offs. Each is among the orders that are decided on.
    pub orders: Vec<OrderKey>,
    /// When the courier reaches the restaurant, when it is on its way there already.
    pub arrives_at: Option<Seconds>,
}

/// A courier on its shift, or whose shift is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Courier {
    /// Which.
    pub key: CourierKey,
    /// Metres it covers in a minute.
    pub metres_per_min: u32,
    /// When its shift begins.
    pub on_at: Seconds,
    /// When its shift ends: the latest moment at which it picks anything up.
    pub off_at: Seconds,
    /// Where it is from `free_at` on.
    pub place: Place,
    /// When it has finished what it carries; not before its shift begins, and possibly past.
    pub free_at: Seconds,
    /// Orders it has delivered or carries.
    pub orders_taken: u32,
    /// What it was told to do next.
    pub promise: Option<Promise>,
}

/// A decision: a courier is told to fetch a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Which courier. It has no other promise, or this one replaces it: with more orders, or without those that are not
    /// ready when it has waited long enough, and that are nobody's then.
    pub courier: CourierKey,
    /// The bundle, in the sequence of its drop-offs: at least one order, all of one restaurant.
    pub orders: Vec<OrderKey>,
    /// When it is to leave for the restaurant, the present included.
    pub departs_at: Seconds,
    /// When it is thought to have the food.
    pub pickup_at: Seconds,
}
