//! Courier dispatch: which courier carries which orders, in which bundles, and when it leaves for them.
//!
//! The problem is the Meal Delivery Routing Problem (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018). Everything is
//! in whole metres and seconds; a way takes whole minutes, rounded up, as it does there.

mod day;
mod describe;
mod feasibility;
mod metrics;
mod play;
mod policy;
mod problem;
mod solution;

pub use day::{Day, PlacedOrder, Shift, Spot};
pub use describe::Description;
pub use feasibility::{Violation, violations};
pub use metrics::Metrics;
pub use play::{Knowledge, Played, Settings, play};
pub use policy::Policy;
pub use problem::{Commitment, Courier, CourierKey, Order, OrderKey, Place, Promise, RestaurantKey, Rules, Seconds};
pub use solution::{Carried, Move, Solution};
