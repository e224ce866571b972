//! UOOP, the unified order orchestration platform: the composition root, the HTTP interface, the command line, the
//! participants, the sandbox and the replay of real days.

pub mod api;
pub mod participants;
pub mod sandbox;
