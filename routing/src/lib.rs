//! Channel choice: pure, within the budget it is given, and explaining itself.
//!
//! *Architecture invariant*: like `domain`, this crate does no I/O and reads no clock.

mod choice;
mod menu;

#[cfg(test)]
mod tests;

pub use choice::{Choice, choose};
pub use menu::check_menu;
