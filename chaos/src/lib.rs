//! Runs UOOP under faults and checks that it kept its promises.
//!
//! [`run()`] plays a day of orders against a real server and a sandbox full of faults, kills the server meanwhile and
//! gathers the [`Evidence`]: what the server says of its orders, what the participants' own ledger says, and what the
//! channels hold. [`checker`] compares them, by the invariants of `domain` and by nothing else: it shares no code with
//! the server beside that crate.

pub mod checker;
pub mod day;
pub mod evidence;
pub mod faults;
pub mod run;
pub mod simulator;

pub use checker::{Verdict, check};
pub use evidence::Evidence;
pub use run::{ClusterOptions, ClusterReport, Options, RunError, RunReport, run, run_cluster};
