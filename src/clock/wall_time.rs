//! Wall time on which all nodes over one store agree, however wrong the clocks of their machines are.
//!
//! Where the store has a clock of its own (Postgres), this follows it: measured at the start and every [`EVERY`] from then
//! on, with the round trip halved, of several answers the one that came soonest. Between two measurements it follows this
//! process's monotonic clock. It never runs backwards, and never jumps for small differences: it makes them good at a
//! tenth of its pace ([`Line`]), so that nodes agree to within the delay of the network to the store. The machine's own
//! clock plays no part then. A store in this machine has no clock but the machine's, which is read as it is.

use crate::participants::wall::WallClock;
use arc_swap::ArcSwap;
use domain::ports::{Store, StoreError};
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the store's clock is read again.
const EVERY: Duration = Duration::from_secs(30);
/// How many times it is read for one measurement.
const PROBES: usize = 3;
/// Differences are made good at one part in so many of the clock's pace.
const SLEW_PART: i64 = 10;
/// By how much time must be behind to jump forward at once: the process was suspended, or the store's clock set.
const JUMP_US: i64 = 1_000_000;

/// The store's clock, where it has one.
type Ask = Arc<dyn Fn() -> BoxFuture<'static, Result<Option<i64>, StoreError>> + Send + Sync>;

/// Wall time. Reads cost a few atomic operations.
pub(super) struct WallTime {
    born: Instant,
    line: ArcSwap<Line>,
    /// The latest that anybody was told, so that nobody is told less.
    told_us: AtomicI64,
    /// Whether it follows the store's clock rather than the machine's.
    is_shared: bool,
}

/// A straight line through time: what it was at a moment of the monotonic clock, and what is still to be made good.
/// Everything in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    at: i64,
    wall: i64,
    behind: i64,
}

impl Line {
    /// The wall time at a moment that is not before the line begins.
    fn read(&self, now: i64) -> i64 {
        let passed = now.saturating_sub(self.at).max(0);
        let most = passed / SLEW_PART;
        self.wall + passed + self.behind.clamp(-most, most)
    }

    /// The line from a measurement on: it is `truth`, give or take `doubt`, at the moment `now`.
    fn corrected(&self, now: i64, truth: i64, doubt: i64) -> Self {
        let wall = self.read(now);
        let behind = truth - wall;
        if behind > JUMP_US {
            return Self {
                at: now,
                wall: truth,
                behind: 0,
            };
        }
        // Within the doubt it may well be right as it is; what was being made good is known no better.
        let behind = if behind.abs() <= doubt { 0 } else { behind };
        Self { at: now, wall, behind }
    }
}

/// A reading of the store's clock.
struct Reading {
    /// When, by the monotonic clock, in microseconds.
    at: i64,
    truth: i64,
    doubt: i64,
}

impl WallTime {
    /// The time of a store, from now on.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn of(store: &Arc<dyn Store>, local: &WallClock) -> Result<Arc<Self>, StoreError> {
        let store = Arc::clone(store);
        let ask: Ask = Arc::new(move || {
            let store = Arc::clone(&store);
            Box::pin(async move { store.clock_ms().await })
        });
        Self::following(ask, local).await
    }

    async fn following(ask: Ask, local: &WallClock) -> Result<Arc<Self>, StoreError> {
        let born = Instant::now();
        let reading = measure(&ask, born).await?;
        let line = match &reading {
            Some(reading) => Line {
                at: reading.at,
                wall: reading.truth,
                behind: 0,
            },
            None => Line {
                at: micros(born),
                wall: local().saturating_mul(1_000),
                behind: 0,
            },
        };
        let time = Arc::new(Self {
            born,
            line: ArcSwap::from_pointee(line),
            told_us: AtomicI64::new(i64::MIN),
            is_shared: reading.is_some(),
        });
        if time.is_shared {
            tokio::spawn(keep_in_step(Arc::downgrade(&time), ask));
        }
        Ok(time)
    }

    /// Microseconds since the Unix epoch. Never less than anybody was told before.
    pub(super) fn now_us(&self) -> i64 {
        let now = self.line.load().read(micros(self.born));
        self.told_us.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// This time, for those who want milliseconds; where there is no other, the machine's own clock as it is.
    pub(super) fn clock(self: &Arc<Self>, local: WallClock) -> WallClock {
        if !self.is_shared {
            return local;
        }
        let time = Arc::clone(self);
        Arc::new(move || time.now_us().div_euclid(1_000))
    }

    fn correct(&self, reading: &Reading) {
        let before = self.line.load();
        let now = micros(self.born);
        let truth = reading.truth.saturating_add(now - reading.at);
        let behind_ms = (truth - before.read(now)) / 1_000;
        if behind_ms.abs() > 1_000 {
            tracing::warn!(behind_ms, "the time here is far from that of the store: making it good");
        }
        self.line.store(Arc::new(before.corrected(now, truth, reading.doubt)));
    }
}

/// Keeps a time in step with the store's clock for as long as somebody uses it.
async fn keep_in_step(time: Weak<WallTime>, ask: Ask) {
    loop {
        sleep(EVERY).await;
        let Some(time) = time.upgrade() else { return };
        match measure(&ask, time.born).await {
            Ok(Some(reading)) => time.correct(&reading),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the store's clock cannot be read at present"),
        }
    }
}

/// Reads the store's clock a few times, and takes the reading with the shortest way.
async fn measure(ask: &Ask, born: Instant) -> Result<Option<Reading>, StoreError> {
    let mut best: Option<Reading> = None;
    for _ in 0..PROBES {
        let asked = micros(born);
        let Some(told_ms) = ask().await? else { return Ok(None) };
        let at = micros(born);
        let half = (at - asked) / 2;
        // What is told is cut to whole milliseconds.
        let doubt = half + 1_000;
        if best.as_ref().is_none_or(|best| doubt < best.doubt) {
            best = Some(Reading {
                at,
                truth: told_ms.saturating_mul(1_000).saturating_add(half),
                doubt,
            });
        }
    }
    Ok(best)
}

fn micros(born: Instant) -> i64 {
    i64::try_from(born.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    /// A store's clock that runs with the test's time, so many milliseconds ahead.
    struct Remote {
        born: Instant,
        ahead_ms: AtomicI64,
        /// How long an answer takes to come.
        way: Duration,
    }

    impl Remote {
        fn new(way_ms: u64) -> Arc<Self> {
            Arc::new(Self {
                born: Instant::now(),
                ahead_ms: AtomicI64::new(0),
                way: Duration::from_millis(way_ms),
            })
        }

        fn now_ms(&self) -> i64 {
            START_MS + micros(self.born) / 1_000 + self.ahead_ms.load(Ordering::Relaxed)
        }

        fn ask(self: &Arc<Self>) -> Ask {
            let remote = Arc::clone(self);
            Arc::new(move || {
                let remote = Arc::clone(&remote);
                Box::pin(async move {
                    sleep(remote.way).await;
                    let told = remote.now_ms();
                    sleep(remote.way).await;
                    Ok(Some(told))
                })
            })
        }
    }

    fn machine(ahead_ms: i64) -> WallClock {
        Arc::new(move || START_MS + ahead_ms)
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_agree_whatever_their_own_clocks_say() {
        let remote = Remote::new(20);
        for skew_ms in [-300_000, 0, 300_000] {
            let local = machine(skew_ms);
            let time = WallTime::following(remote.ask(), &local).await.expect("a clock");
            for _ in 0..3 {
                let apart = time.clock(Arc::clone(&local))() - remote.now_ms();
                assert!(apart.abs() <= 2, "{apart} ms apart at a skew of {skew_ms} ms");
                sleep(Duration::from_secs(50)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_differences_are_made_good_slowly_and_time_never_runs_backwards() {
        for ahead_ms in [-400, 400] {
            let remote = Remote::new(1);
            let time = WallTime::following(remote.ask(), &machine(0)).await.expect("a clock");
            remote.ahead_ms.store(ahead_ms, Ordering::Relaxed);
            let (mut before, mut at) = (time.now_us(), micros(time.born));
            for _ in 0..400 {
                sleep(Duration::from_millis(100)).await;
                let (now, now_at) = (time.now_us(), micros(time.born));
                let pace = (now - before) * 100 / (now_at - at);
                assert!((89..=111).contains(&pace), "{pace} % of its pace");
                (before, at) = (now, now_at);
            }
            let apart = time.now_us() / 1_000 - remote.now_ms();
            assert!(apart.abs() <= 3, "{apart} ms apart");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_suspended_jumps_forward_and_nobody_ever_back() {
        let remote = Remote::new(0);
        let time = WallTime::following(remote.ask(), &machine(0)).await.expect("a clock");
        remote.ahead_ms.store(600_000, Ordering::Relaxed);
        sleep(EVERY + EVERY / 2).await;
        assert!((time.now_us() / 1_000 - remote.now_ms()).abs() <= 2);
        remote.ahead_ms.store(0, Ordering::Relaxed);
        let mut before = time.now_us();
        for _ in 0..100 {
            sleep(Duration::from_secs(1)).await;
            let now = time.now_us();
            assert!(now > before, "it stands still or runs backwards");
            before = now;
        }
        assert!(before / 1_000 > remote.now_ms(), "it comes back slowly");
    }

    #[test]
    fn what_is_within_the_doubt_is_left_alone() {
        let line = Line {
            at: 0,
            wall: 1_000_000,
            behind: 0,
        };
        assert_eq!(line.corrected(500, 1_000_600, 200).behind, 0);
        assert_eq!(line.corrected(500, 1_000_800, 200).behind, 300);
        assert_eq!(line.corrected(500, 1_000_100, 200).behind, -400);
    }
}
