//! The pure core of UOOP: orders and their sagas, channels and their capacity, zones and their couriers, shards,
//! invariants, and the ports through which the outside world is reached.
//!
//! *Architecture invariant*: nothing here does I/O. There is no runtime, no database, no clock and no randomness; time
//! and ids enter as data. A decision is a function of its arguments, so every one of them can be replayed.

pub mod attempts;
pub mod channel;
pub mod circuit;
pub mod cluster;
pub mod entity;
pub mod geo;
pub mod ids;
pub mod invariants;
pub mod lines;
pub mod money;
pub mod order;
pub mod pace;
pub mod policy;
pub mod ports;
pub mod rejection;
pub mod saga;
pub mod shard;
pub mod time;
pub mod zone;

#[cfg(test)]
mod fixtures;
