//! This node's own lease, by its monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Until when this node may believe that its shards are its own. Only the pace: that it does not write to another's shard
/// is up to the epochs.
pub(crate) struct Lease {
    began: Instant,
    length: Duration,
    /// Milliseconds since `began`.
    until: AtomicU64,
    /// Since when it has run without a gap, in milliseconds since `began`.
    since: AtomicU64,
}

impl Lease {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            began: Instant::now(),
            length,
            until: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// The store renewed it; the request left at `asked`, so it runs at least until its length after that.
    pub(crate) fn renewed(&self, asked: Instant) {
        if !self.holds() {
            self.since.store(millis(self.began.elapsed()), Ordering::Release);
        }
        let until = asked.duration_since(self.began) + self.length;
        self.until.fetch_max(millis(until), Ordering::AcqRel);
    }

    pub(crate) fn holds(&self) -> bool {
        millis(self.began.elapsed()) < self.until.load(Ordering::Acquire)
    }

    /// Whether it has run for its whole length without a gap: who could renew theirs meanwhile has.
    pub(crate) fn is_settled(&self) -> bool {
        let running = millis(self.began.elapsed()).saturating_sub(self.since.load(Ordering::Acquire));
        self.holds() && running >= self.length_ms()
    }

    pub(crate) fn length_ms(&self) -> u64 {
        millis(self.length)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_from_when_it_was_asked_for() {
        let lease = Lease::new(Duration::from_secs(3));
        assert!(!lease.holds(), "not before the store said so");
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        lease.renewed(asked);
        tokio::time::advance(Duration::from_millis(1_999)).await;
        assert!(lease.holds());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_gap_it_takes_its_length_to_settle() {
        let lease = Lease::new(Duration::from_secs(3));
        for seconds in [0, 2, 2, 5, 2, 2] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let before = lease.is_settled();
            lease.renewed(Instant::now());
            // Two seconds without a gap are too little, four are enough, and five without a renewal are a gap.
            assert!(!before || seconds == 2, "{seconds}");
        }
        assert!(lease.is_settled());
        tokio::time::advance(Duration::from_secs(3)).await;
        lease.renewed(Instant::now());
        assert!(!lease.is_settled(), "there was a gap");
    }
}
