//! UOOP, the unified order orchestration platform: the composition root, the HTTP interface, the command line, the
//! participants, the sandbox and the replay of real days.

pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod data_dir;
pub mod demo;
pub mod http;
pub mod participants;
pub mod replay;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod world;
