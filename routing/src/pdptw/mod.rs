//! Pickup and delivery with time windows, all known beforehand: the fewest vehicles first, then the shortest way.
//!
//! It is the static twin of courier dispatch: the same annealer ([`crate::anneal`]), judged on the instances of Li and Lim
//! (2001, "A metaheuristic for the pickup and delivery problem with time windows"), whose best solutions are published. The
//! method is SISR (Christiaens and Vanden Berghe 2020, "Slack induction by string removals for vehicle routing problems"):
//! strings of neighbouring stops are taken out of a few routes, and their requests are put back greedily, with blinks.

mod absences;
mod check;
mod draft;
mod insertion;
mod known;
mod parse;
mod problem;
mod recreate;
mod route;
mod ruin;
mod shorten;
mod solve;

#[cfg(test)]
mod tests;

pub use check::{Verdict, Violation, check};
pub use problem::{Fault, PdptwError, Problem, Role, Task};
pub use solve::{Effort, Plan, Solution, solve};
