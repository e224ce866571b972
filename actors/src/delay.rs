//! How long what is ready to run waits for its turn. In an overloaded process that grows first, and everything else waits
//! behind it: a refusal too. So new orders are refused for it, and what was taken goes on at its pace.
//!
//! The time for which requests queue tells more of overload than how many there are, since it needs no knowledge of what
//! the machine can do: see Zhou et al., "Overload Control for Scaling `WeChat` Microservices", `SoCC` 2018, which sheds by it
//! from 20 ms on.

use crate::node::Node;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(10);

/// The part of the places for orders that may be taken before the delay matters: when there is little to do, somebody else
/// keeps the machine busy, and refusing orders would not help.
const BUSY_SHARE: usize = 16;

/// The delay as it was measured last.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    us: AtomicU64,
}

impl Delay {
    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.us.load(Ordering::Relaxed))
    }

    /// Whether new orders are to be refused while so many are under way. A limit of zero refuses none.
    pub(crate) fn is_too_long(&self, limit: Duration, under_way: usize, under_way_max: usize) -> bool {
        !limit.is_zero() && under_way >= under_way_max.div_ceil(BUSY_SHARE) && self.now() > limit
    }

    /// Keeps measuring, by how late a task that slept gets its turn, for as long as there is a node.
    pub(crate) async fn measure(node: Weak<Node>) {
        let gauge = metrics::gauge!("uoop_scheduling_delay_seconds");
        loop {
            let due = Instant::now() + EVERY;
            sleep(EVERY).await;
            let Some(node) = node.upgrade().filter(|node| !node.is_stopped()) else {
                return;
            };
            let late = due.elapsed();
            let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            node.delay.us.store(us, Ordering::Relaxed);
            gauge.set(late.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_refused_for_it_only_when_many_are_under_way() {
        let delay = Delay::default();
        let limit = Duration::from_millis(25);
        let refuses = |under_way| delay.is_too_long(limit, under_way, 160);
        assert!(!refuses(160), "nothing was measured yet");
        delay.us.store(25_000, Ordering::Relaxed);
        assert!(!refuses(160), "at the limit");
        delay.us.store(25_001, Ordering::Relaxed);
        assert_eq!([refuses(0), refuses(9), refuses(10)], [false, false, true]);
        assert!(!delay.is_too_long(Duration::ZERO, 160, 160), "no limit");
    }
}
