//! Capacity ahead of time: from days that are over, the demand of one to come, what kitchens should be able to make in each
//! slot of it, and which shifts of couriers carry it at least cost.
//!
//! Of the day to come only its restaurants are known, never its orders. Each step can be judged by itself: [`judge()`] holds
//! the forecast of a day that is over against what happened, and the shifts can be dispatched.

mod couriers;
mod demand;
mod dispersion;
mod judge;
mod labour;
mod outlook;
mod past;
mod shifts;
#[cfg(test)]
mod tests;

pub use couriers::place_couriers;
pub use demand::{Bandwidths, Forecast, forecast};
pub use dispersion::{Counts, deviance};
pub use judge::{Judged, Score, judge};
pub use labour::{Labour, Staffing};
pub use outlook::{Expected, HISTORY_DAYS_MIN, Outlook, outlook};
pub use past::{PastDay, SLOT_MIN, distinct};
pub use shifts::{ShiftLengths, Span, cover};

/// Why nothing is planned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ForecastError {
    /// There is no day to learn from.
    #[error(
        "there is no other day to learn from: at least two different days are needed, or one beside the day to plan"
    )]
    NoHistory,
    /// The days to learn from have no orders, or nobody delivered one.
    #[error("the days to learn from have no delivered order")]
    NoOrders,
    /// No shift has such a length.
    #[error(
        "shifts of {min_slots} to {max_slots} slots: the shortest must be at least one slot, and at most the longest"
    )]
    Lengths {
        /// The shortest.
        min_slots: usize,
        /// The longest.
        max_slots: usize,
    },
    /// A setting is out of its range.
    #[error("{what} is {value}: it must be {allowed}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The solver of the covering gave no answer, or a wrong one.
    #[error("the shifts could not be chosen: {0}")]
    Solver(String),
}
