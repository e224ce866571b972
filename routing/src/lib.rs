//! Channel choice and courier dispatch: pure decisions, within the budget they are given, that explain themselves.
//!
//! *Architecture invariant*: like `domain`, this crate does no I/O and reads no clock.

mod anneal;
mod choice;
pub mod dispatch;
pub mod forecast;
pub mod mdrp;
mod menu;
pub mod pdptw;

#[cfg(test)]
mod tests;

pub use anneal::{Annealed, Budget, Cooling, Landscape, anneal};
pub use choice::{BATCH_MAX, Choice, Promised, batch_len, choose, choose_batch};
pub use menu::check_menu;
