//! Numbers as reports have them.

use std::time::Duration;

/// Exact up to 2^53, beyond any count here.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

/// To two places.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// To two places; `None` when it is no number, as after a division by nothing.
pub(super) fn known(value: f64) -> Option<f64> {
    value.is_finite().then(|| rounded(value))
}

/// To three places; `None` when it is no number.
pub(super) fn thousandths(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 1_000.0).round() / 1_000.0)
}

/// Whole microseconds.
pub(super) fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

/// A number of things that are held in memory.
pub(super) fn float_of(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}
