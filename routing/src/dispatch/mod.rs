//! Courier dispatch: which courier carries which orders, in which bundles, and when it leaves for them.
//!
//! The problem is the Meal Delivery Routing Problem (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018). Everything is
//! in whole metres and seconds; a way takes whole minutes, rounded up, as it does there.

mod day;
mod demand;
mod describe;
mod dispatcher;
mod metrics;
mod nearest;
mod objective;
mod outline;
mod plan;
mod play;
mod policy;
mod problem;
mod route;
mod ruin;
mod situation;
mod solution;
mod split;
mod travel;
mod tuning;
mod verify;

#[cfg(test)]
mod tests;

pub use day::{Day, PlacedOrder, Shift, Spot};
pub use describe::Description;
pub use dispatcher::Dispatcher;
pub use metrics::Metrics;
pub use objective::Objective;
pub use outline::{Alternate, Explanation, Outline, Outlined, OutlinedBundle};
pub use play::{Knowledge, Played, Settings, play};
pub use policy::Policy;
pub use problem::{Commitment, Courier, CourierKey, Order, OrderKey, Place, Promise, RestaurantKey, Rules, Seconds};
pub use ruin::Ruin;
pub use solution::{Carried, Move, Solution};
pub use split::{Part, split};
pub use travel::travel_s;
pub use tuning::{Doubt, Tuning};
pub use verify::{Violation, verify};
