//! Wall time, for signatures and ledgers of the world outside. Business time is [`domain::ports::Clock`]'s.

use std::sync::Arc;

/// Wall time in milliseconds since the Unix epoch, as a function, so that tests own it.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
pub fn system() -> WallClock {
    skewed(0)
}

/// The machine's clock as a machine has it whose clock is so many milliseconds ahead.
pub fn skewed(ahead_ms: i64) -> WallClock {
    Arc::new(move || system_ms().saturating_add(ahead_ms))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is read at this one place; everything else is handed one"
)]
fn system_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
