//! Whether it is worth a writer's while to wait for more: a commit costs the database some tenths of a millisecond whatever
//! is in it, as much as thirty rows do.

use std::time::Duration;
use tokio::time::Instant;

/// How long a writer waits for more, if it does.
pub(super) const LINGER: Duration = Duration::from_millis(2);
/// A batch of so many rows need not grow.
const ROWS_ENOUGH: usize = 32;
/// How many more rows must be about to come: fewer are not worth the wait of those that are there.
const ROWS_EXPECTED_MIN: f64 = 2.0;
/// Over how long the pace is taken.
const MEMORY: Duration = Duration::from_millis(50);

/// How fast rows come: an average that forgets, by exponential decay.
pub(super) struct Pace {
    rows_per_s: f64,
    at: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            rows_per_s: 0.0,
            at: now,
        }
    }

    /// Whether a batch that has so many rows now will have noticeably more after [`LINGER`].
    pub(super) fn is_worth_waiting(&self, now: Instant, rows: usize) -> bool {
        rows < ROWS_ENOUGH && self.decayed(now) * LINGER.as_secs_f64() >= ROWS_EXPECTED_MIN
    }

    /// So many rows came since the last time.
    pub(super) fn took(&mut self, now: Instant, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.rows_per_s = self.decayed(now) + f64::from(rows) / MEMORY.as_secs_f64();
        self.at = now;
    }

    fn decayed(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        self.rows_per_s * (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pace after a second of so many rows every so many milliseconds.
    fn after(rows: usize, every_ms: u64) -> (Pace, Instant) {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1_000 / every_ms {
            now += Duration::from_millis(every_ms);
            pace.took(now, rows);
        }
        (pace, now)
    }

    #[test]
    fn a_few_rows_wait_only_when_more_are_about_to_come() {
        for (rows, every_ms, waits) in [(1, 10, false), (1, 2, false), (4, 2, true), (20, 5, true)] {
            let (pace, now) = after(rows, every_ms);
            assert_eq!(pace.is_worth_waiting(now, 1), waits, "{rows} every {every_ms} ms");
            assert!(!pace.is_worth_waiting(now, ROWS_ENOUGH), "a batch that is large enough");
            assert!(
                !pace.is_worth_waiting(now + Duration::from_millis(500), 1),
                "it has become quiet"
            );
        }
    }
}
