//! Tests of a channel: what it can be told, and its ledger under random use.

mod ledger;
mod settings;
