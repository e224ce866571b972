//! The customers' side of a day: each looks at the status of its live order every few seconds.

use super::TimeLine;
use crate::client::{Client, ClientError, RetryPolicy};
use domain::time::{Millis, Timestamp};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often a customer looks, in business time.
const PERIOD: Millis = Millis::from_secs(10);
/// Looks under way at once. Who finds no place has to wait, and leaves out what it misses meanwhile.
const LOOKS_MAX: usize = 256;
/// What the server counts reads of a status by, and the label that tells a hit from a miss.
const FIGURE: &str = "uoop_status_cache_total";

/// What customers saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Polls {
    /// How often they asked and were answered.
    pub answered: u64,
    /// How often they were not.
    pub failed: u64,
    /// Answers that told an older version of an order than the answer before; none, if all is well.
    pub backward: u64,
    /// The share of all reads of a status that the server answered without its store; null when it does not say.
    pub hit_ratio: Option<f64>,
}

/// All customers of a day.
pub(super) struct Customers {
    client: Client,
    period: Duration,
    looks: Semaphore,
    answered: AtomicU64,
    failed: AtomicU64,
    backward: AtomicU64,
    /// What the server had counted before.
    before: Option<Reads>,
}

impl Customers {
    /// The customers of a day on this time line.
    pub(super) async fn new(client: &Client, line: &TimeLine) -> Self {
        Self {
            before: reads(client).await,
            // A look that fails is not repeated: the next one comes soon.
            client: client.with_retry(RetryPolicy {
                give_up: Duration::ZERO,
                ..RetryPolicy::PATIENT
            }),
            period: line
                .wall_between(Timestamp(0), Timestamp(0) + PERIOD)
                .max(Duration::from_millis(1)),
            looks: Semaphore::new(LOOKS_MAX),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            backward: AtomicU64::new(0),
        }
    }

    /// Looks at an order's status until nothing more is to happen to it.
    pub(super) async fn watch(&self, id: &str) {
        let mut ticks = interval_at(Instant::now() + self.period, self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut seen = 0;
        loop {
            ticks.tick().await;
            // Never closed, so there is always a place in the end.
            let _place = self.looks.acquire().await;
            match self.client.status(id).await {
                Ok(status) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if status.version < seen {
                        self.backward.fetch_add(1, Ordering::Relaxed);
                    }
                    seen = seen.max(status.version);
                    if status.settled {
                        return;
                    }
                }
                Err(_) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// What they saw.
    pub(super) async fn polls(&self) -> Polls {
        let after = reads(&self.client).await;
        Polls {
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            backward: self.backward.load(Ordering::Relaxed),
            hit_ratio: self
                .before
                .zip(after)
                .and_then(|(before, after)| after.ratio_since(before)),
        }
    }
}

/// How many reads of a status a server has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    hits: u64,
    misses: u64,
}

async fn reads(client: &Client) -> Option<Reads> {
    let figures: Result<String, ClientError> = client.figures().await;
    figures.ok().map(|text| Reads::parse(&text))
}

impl Reads {
    /// Reads them from figures in Prometheus' text format.
    pub(super) fn parse(text: &str) -> Self {
        let mut reads = Self::default();
        let samples = text.lines().filter_map(|line| line.strip_prefix(FIGURE));
        for (labels, value) in samples.filter_map(|sample| sample.rsplit_once(' ')) {
            let count = value.trim().parse::<u64>().unwrap_or(0);
            if labels.contains("outcome=\"hit\"") {
                reads.hits += count;
            } else {
                reads.misses += count;
            }
        }
        reads
    }

    /// The share of hits since an earlier reading; `None` when there were no reads, or the server has counted anew.
    pub(super) fn ratio_since(self, before: Self) -> Option<f64> {
        let hits = self.hits.checked_sub(before.hits)?;
        let all = hits + self.misses.checked_sub(before.misses)?;
        let count = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        (all > 0).then(|| count(hits) / count(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_what_was_counted_in_between() {
        let before = Reads::parse(
            "# TYPE uoop_status_cache_total counter\n\
             uoop_status_cache_total{outcome=\"hit\",tier=\"memory\"} 5\n\
             uoop_status_cache_total{outcome=\"miss\",tier=\"store\"} 7\n\
             http_requests_total{outcome=\"hit\"} 9\n",
        );
        assert_eq!(before, Reads { hits: 5, misses: 7 });
        let after = Reads::parse(
            "uoop_status_cache_total{outcome=\"hit\",tier=\"memory\"} 12\n\
             uoop_status_cache_total{tier=\"actor\",outcome=\"hit\"} 2\n\
             uoop_status_cache_total{outcome=\"miss\",tier=\"store\"} 10\n",
        );
        assert_eq!(after.ratio_since(before), Some(0.75));
        assert_eq!(after.ratio_since(after), None, "nothing was read");
        assert_eq!(before.ratio_since(after), None, "the server was restarted");
    }
}
