//! How long what is ready to run waits for its turn. In an overloaded process that grows first, and everything else waits
//! behind it: a refusal too. So new orders are refused for it, and what was taken goes on at its pace.
//!
//! The time for which requests queue tells more of overload than how many there are, since it needs no knowledge of what
//! the machine can do: see Zhou et al., "Overload Control for Scaling `WeChat` Microservices", `SoCC` 2018, which sheds by it
//! from 20 ms on.

use crate::node::Node;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(10);

/// For how long it must have been too long without a break before anybody is refused: a stall is over by then, and what has
/// gathered while the store was away is worked off.
const STANDING: Duration = Duration::from_secs(1);

/// For how long after the last time it was too long nobody waits for that again.
const ALERT: Duration = Duration::from_secs(5);

/// The part of the places for orders that may be taken before the delay matters: when there is little to do, somebody else
/// keeps the machine busy, and refusing orders would not help.
const BUSY_SHARE: usize = 16;

/// The delay as it was measured last, and whether new orders are refused for it.
#[derive(Debug)]
pub(crate) struct Delay {
    /// Zero: however long.
    limit: Duration,
    us: AtomicU64,
    is_too_long: AtomicBool,
}

impl Delay {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            us: AtomicU64::new(0),
            is_too_long: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.us.load(Ordering::Relaxed))
    }

    /// Whether new orders are to be refused while so many are under way.
    pub(crate) fn refuses(&self, under_way: usize, under_way_max: usize) -> bool {
        under_way >= under_way_max.div_ceil(BUSY_SHARE) && self.is_too_long.load(Ordering::Relaxed)
    }

    fn show(&self, late: Duration, is_too_long: bool) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.us.store(us, Ordering::Relaxed);
        self.is_too_long.store(is_too_long, Ordering::Relaxed);
    }

    /// Keeps measuring, by how late a task that slept gets its turn, for as long as there is a node.
    pub(crate) async fn measure(node: Weak<Node>) {
        let gauge = metrics::gauge!("uoop_scheduling_delay_seconds");
        let mut queue = Queue::default();
        loop {
            let due = Instant::now() + EVERY;
            sleep(EVERY).await;
            let Some(node) = node.upgrade().filter(|node| !node.is_stopped()) else {
                return;
            };
            let late = due.elapsed();
            let is_above = !node.delay.limit.is_zero() && late > node.delay.limit;
            node.delay.show(late, queue.is_standing(Instant::now(), is_above));
            gauge.set(late.as_secs_f64());
        }
    }
}

/// Whether what waits is a queue that stands, or a burst that passes.
#[derive(Default)]
struct Queue {
    above_since: Option<Instant>,
    alert_until: Option<Instant>,
}

impl Queue {
    /// Takes in whether the delay is above its limit now. It must be for a while before that counts, or have counted not
    /// long ago.
    fn is_standing(&mut self, now: Instant, is_above: bool) -> bool {
        if !is_above {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        let is_alert = self.alert_until.is_some_and(|until| now < until);
        let stands = is_alert || now.duration_since(since) >= STANDING;
        if stands {
            self.alert_until = Some(now + ALERT);
        }
        stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_refused_for_it_only_when_many_are_under_way() {
        let delay = Delay::new(Duration::from_millis(25));
        let refuses = |under_way| delay.refuses(under_way, 160);
        assert!(!refuses(160), "nothing was measured yet");
        delay.show(Duration::from_millis(30), true);
        assert_eq!([refuses(0), refuses(9), refuses(10)], [false, false, true]);
        delay.show(Duration::from_millis(30), false);
        assert!(!refuses(160));
    }

    #[test]
    fn a_queue_must_stand_for_a_while_and_is_known_for_a_while() {
        let mut queue = Queue::default();
        let begin = Instant::now();
        let mut at = |ms, is_above| queue.is_standing(begin + Duration::from_millis(ms), is_above);
        assert!(!at(0, true));
        assert!(!at(999, true), "it may pass");
        assert!(!at(1_010, false), "it has passed");
        assert!(!at(1_020, true));
        assert!(at(2_020, true), "it stands");
        assert!(!at(2_030, false));
        assert!(at(2_040, true), "it is back");
        assert!(!at(2_050, false));
        assert!(!at(7_040, true), "nobody remembers");
    }
}
