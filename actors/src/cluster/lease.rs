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
}

impl Lease {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            began: Instant::now(),
            length,
            until: AtomicU64::new(0),
        }
    }

    /// The store renewed it; the request left at `asked`, so it runs at least until its length after that.
    pub(crate) fn renewed(&self, asked: Instant) {
        let until = asked.duration_since(self.began) + self.length;
        self.until.fetch_max(millis(until), Ordering::AcqRel);
    }

    pub(crate) fn holds(&self) -> bool {
        millis(self.began.elapsed()) < self.until.load(Ordering::Acquire)
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
}
