//! The participants outside the platform: the payment provider, and the kitchens and partners that cook.
//!
//! Two implementations of each port: [`simulated`] (in this process) and [`http`] (JSON over HTTP, signed, with
//! idempotency keys; `uoop sandbox` is a counterpart). Either is wrapped in a [`guard`]: a concurrency limit and a circuit
//! breaker for each participant. What an honest participant remembers, so that each effect happens once, is in [`books`].

pub mod ask;
pub mod books;
pub mod breaker;
pub mod draw;
pub mod guard;
pub mod http;
pub mod signature;
pub mod simulated;
pub mod wall;
pub mod wire;
