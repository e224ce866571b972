//! Tests of a channel: what it can be told, and its ledger under random use.

mod demand;
mod learned;
mod ledger;
mod outline;
mod settings;
