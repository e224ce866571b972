//! What became of a day: which courier carried what, and when.

use super::day::Spot;
use super::problem::{CourierKey, OrderKey};

/// What became of a day. Orders that nobody carried were not delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    /// The bundles, in the sequence of their pick-ups; those of one courier are in the sequence of its day.
    pub carried: Vec<Carried>,
    /// The ways, in the sequence of their departures per courier. A courier that is at a place already makes no move.
    pub moves: Vec<Move>,
}

/// A bundle that was picked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// By whom.
    pub courier: CourierKey,
    /// When the courier was told to go and fetch it, with at least one of its orders.
    pub told_minute: i32,
    /// When the last of its orders was given to the courier: not before any of them was placed.
    pub assigned_minute: i32,
    /// When it was picked up.
    pub pickup_minute: i32,
    /// Its orders in the sequence of their drop-offs, each with the minute of its drop-off.
    pub orders: Vec<(OrderKey, i32)>,
}

/// A way of a courier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whose.
    pub courier: CourierKey,
    /// When it leaves.
    pub depart_minute: i32,
    /// Where from.
    pub from: Spot,
    /// Where to.
    pub to: Spot,
}
