//! Tests of the saga: its transitions as scripts, one generic test over the step table, and random worlds.

mod checks;
mod endings;
mod faults;
mod happy;
mod outcome;
mod participants;
mod properties;
mod reports;
mod script;
mod steps;
mod together;
mod version_1;
mod world;
