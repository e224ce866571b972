//! Courier dispatch: which courier carries which orders, in which bundles, and when it leaves for them.
//!
//! The problem is the Meal Delivery Routing Problem (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018). Everything is
//! in whole metres and seconds; a way takes whole minutes, rounded up, as it does there.

mod problem;

pub use problem::{Commitment, Courier, CourierKey, Order, OrderKey, Place, Promise, RestaurantKey, Rules, Seconds};
