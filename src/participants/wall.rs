//! Wall time, for signatures and ledgers of the world outside. Business time is [`domain::ports::Clock`]'s.

use std::sync::Arc;

/// Wall time in milliseconds since the Unix epoch, as a function, so that tests own it.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
pub fn system() -> WallClock {
    Arc::new(system_ms)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a signature's timestamp is about the machine's clock, not about business time; this is the one place"
)]
fn system_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
