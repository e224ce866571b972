//! UOOP, the unified order orchestration platform: the composition root, the HTTP interface, the command line, the
//! participants, the sandbox, the replay of real days and the measuring of load.

pub mod api;
pub mod bench;
#[cfg(test)]
mod channel_fixture;
pub mod cli;
pub mod client;
pub mod clock;
pub mod data_dir;
#[cfg(test)]
#[path = "../tests/load_faults/database.rs"]
mod database;
pub mod demo;
pub mod dispatch;
pub mod failpoints;
pub mod http;
mod inbound;
pub mod mdrp;
pub mod participants;
pub mod plan;
mod projection;
pub mod replay;
#[cfg(test)]
#[path = "../tests/support/replay_day.rs"]
mod replay_day;
mod reports;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod status;
pub mod utilisation;
pub mod webhooks;
pub mod world;
