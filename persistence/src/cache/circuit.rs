//! Whether Redis is worth asking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Lets everybody through until a failure; then nobody for a pause, and after it one at a time until one succeeds.
pub(super) struct Circuit {
    began: Instant,
    pause: Duration,
    /// When the next one is let through, in milliseconds since `began`; 0: everybody is.
    next_at: AtomicU64,
}

impl Circuit {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            began: Instant::now(),
            pause,
            next_at: AtomicU64::new(0),
        }
    }

    /// Whether to ask now. Whoever is let through must say how it went.
    pub(super) fn admits(&self) -> bool {
        // The time is not looked at while all is well: every request comes by.
        self.next_at.load(Ordering::Relaxed) == 0 || self.admits_at(self.now())
    }

    fn admits_at(&self, now: u64) -> bool {
        let next_at = self.next_at.load(Ordering::Relaxed);
        // Whoever moves the moment on is the one that tries.
        let tries = || {
            let then = self.after_pause(now);
            self.next_at
                .compare_exchange(next_at, then, Ordering::Relaxed, Ordering::Relaxed)
        };
        next_at == 0 || (now >= next_at && tries().is_ok())
    }

    /// It answered. Says whether that is news.
    pub(super) fn succeeded(&self) -> bool {
        // Not written unless it changes, as it seldom does.
        self.next_at.load(Ordering::Relaxed) != 0 && self.next_at.swap(0, Ordering::Relaxed) != 0
    }

    /// It did not answer. Says whether that is news.
    pub(super) fn failed(&self) -> bool {
        self.failed_at(self.now())
    }

    fn failed_at(&self, now: u64) -> bool {
        self.next_at.swap(self.after_pause(now), Ordering::Relaxed) == 0
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn after_pause(&self, now: u64) -> u64 {
        let pause = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
        now.saturating_add(pause).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_failure_nobody_is_let_through_and_then_one_at_a_time() {
        let circuit = Circuit::new(Duration::from_secs(1));
        assert!(circuit.admits() && circuit.admits(), "everybody while nothing failed");
        assert!(!circuit.succeeded(), "no news");
        assert!(circuit.failed_at(500) && !circuit.failed_at(1_000), "news once");
        assert!(!circuit.admits_at(1_999));
        assert!(circuit.admits_at(2_000), "one tries");
        assert!(!circuit.admits_at(2_000), "the others wait for what comes of it");
        assert!(!circuit.failed_at(2_010), "no news");
        assert!(!circuit.admits_at(3_009));
        assert!(
            circuit.admits_at(3_010) && circuit.succeeded(),
            "one tries, and it answers"
        );
        assert!(circuit.admits_at(3_010) && circuit.admits_at(3_010), "everybody again");
    }
}
