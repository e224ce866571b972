//! The platform's clock and its randomness: the one place where either is read.

mod wall_time;

use crate::participants::wall::{self, WallClock};
use domain::ports::{Clock, IdSource, Store, StoreError};
use domain::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use wall_time::WallTime;

/// The setting that keeps a scaled time line's anchor with its data.
const ANCHOR: &str = "clock_anchor";

/// Where a time line starts: at this wall time it was this business time, and it runs so many times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    wall_ms: i64,
    business_ms: i64,
    scale: u64,
}

/// Business time: wall time, or a multiple of it since the data was created. Nodes over one store agree on it to within the
/// delay of the network between them and the store, whatever their machines' clocks say (see [`wall_time`]): so who takes
/// a shard over goes on where the owner before it was. Never runs backwards within a process.
pub struct BusinessClock {
    anchor: Anchor,
    time: Arc<WallTime>,
    wall: WallClock,
}

impl BusinessClock {
    /// The clock of a store: its anchor is kept with the data, so that a restart goes on where time has got to. `local` is
    /// this machine's clock, by which a store goes that has none of its own. Needs a runtime.
    ///
    /// # Errors
    /// The store is away, or its time line has another scale.
    pub async fn of(store: &Arc<dyn Store>, scale: u64, local: WallClock) -> Result<Self, StoreError> {
        let time = WallTime::of(store, &local).await?;
        let wall_ms = time.now_us().div_euclid(1_000);
        let fresh = Anchor {
            wall_ms,
            business_ms: wall_ms,
            scale,
        };
        let text = serde_json::to_string(&fresh).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let kept = store.keep_setting(ANCHOR, &text).await?;
        let anchor: Anchor =
            serde_json::from_str(&kept).map_err(|e| StoreError::Corrupt(format!("setting {ANCHOR}: {e}")))?;
        if anchor.scale != scale {
            return Err(StoreError::Mismatch(format!(
                "this store's time line runs at scale {}, not {scale}: start with --time-scale {}, or use another store",
                anchor.scale, anchor.scale
            )));
        }
        let wall = time.clock(local);
        Ok(Self { anchor, time, wall })
    }

    /// Wall time, for signatures and schedules: the store's, so that a node whose machine's clock is wrong signs what
    /// others believe and is due when others are; where the store has none, the machine's.
    pub fn wall(&self) -> WallClock {
        Arc::clone(&self.wall)
    }
}

impl Clock for BusinessClock {
    fn now(&self) -> Timestamp {
        let anchor = &self.anchor;
        // Not before the anchor, even if the clock was set back since.
        let passed_us = self
            .time
            .now_us()
            .saturating_sub(anchor.wall_ms.saturating_mul(1_000))
            .max(0);
        let scaled_ms = i128::from(passed_us) * i128::from(anchor.scale) / 1_000;
        let scaled_ms = i64::try_from(scaled_ms).unwrap_or(i64::MAX);
        Timestamp(anchor.business_ms.saturating_add(scaled_ms))
    }

    fn scale(&self) -> u64 {
        self.anchor.scale
    }
}

/// The machine's clock, where nothing better is known.
pub(crate) fn wall_ms() -> i64 {
    wall::system()()
}

/// Randomness for ids, seeded by the operating system.
pub struct RandomIds(Mutex<SmallRng>);

impl Default for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one IdSource")]
    fn default() -> Self {
        Self(Mutex::new(SmallRng::from_os_rng()))
    }
}

impl IdSource for RandomIds {
    fn random(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::shard::ShardMap;
    use persistence::{MemoryStore, PostgresOptions, PostgresStore};
    use std::time::Duration;

    const FIVE_MINUTES: i64 = 300_000;

    fn memory() -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(ShardMap::new(1).expect("one shard")))
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_at_its_scale_and_goes_on_after_a_restart() {
        let store = memory();
        let clock = BusinessClock::of(&store, 240, wall::system()).await.expect("a clock");
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now().ms_since(before), 2_400_000);
        let again = BusinessClock::of(&store, 240, wall::system()).await.expect("a clock");
        assert!(again.now() >= before, "time does not start anew");
        let other = BusinessClock::of(&store, 1, wall::system()).await;
        let other = other.err().expect("another scale");
        assert!(other.to_string().contains("--time-scale 240"), "{other}");
    }

    #[tokio::test]
    async fn a_store_in_this_machine_goes_by_its_clock() {
        let ahead = BusinessClock::of(&memory(), 1, wall::skewed(FIVE_MINUTES)).await;
        let clock = BusinessClock::of(&memory(), 1, wall::system()).await.expect("a clock");
        let ahead = ahead.expect("a clock");
        let apart = |a: i64, b: i64| (a - b).abs_diff(FIVE_MINUTES);
        assert!(apart(ahead.now().as_ms(), clock.now().as_ms()) < 60_000);
        assert!(apart(ahead.wall()(), clock.wall()()) < 60_000);
    }

    /// Two nodes over one Postgres, ten minutes apart by their machines. Once in order and once the other way round: whoever
    /// is there second must not go back behind what the first has written.
    #[tokio::test]
    async fn nodes_over_one_postgres_agree_whatever_their_machines_say() {
        let Some(database) = crate::database::Database::create() else {
            return;
        };
        for (first, second) in [(-FIVE_MINUTES, FIVE_MINUTES), (FIVE_MINUTES, -FIVE_MINUTES)] {
            let mut clocks = Vec::new();
            for skew_ms in [first, second] {
                let map = ShardMap::new(2).expect("a power of two");
                let store = PostgresStore::connect(database.url(), map, &PostgresOptions::default()).await;
                let store: Arc<dyn Store> = Arc::new(store.expect("a database"));
                clocks.push(
                    BusinessClock::of(&store, 60, wall::skewed(skew_ms))
                        .await
                        .expect("a clock"),
                );
            }
            let apart_ms = (clocks[0].wall()() - clocks[1].wall()()).abs();
            assert!(apart_ms < 30_000, "{apart_ms} ms apart, at a skew of ten minutes");
            let written = clocks[0].now();
            let behind = written.ms_since(clocks[1].now());
            assert!(behind < 60 * 30_000, "{behind} business ms behind what was written");
        }
    }
}
