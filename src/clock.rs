//! The platform's clock and its randomness: the one place where either is read.

use domain::ports::{Clock, IdSource, Store, StoreError};
use domain::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The setting that keeps a scaled time line's anchor with its data.
const ANCHOR: &str = "clock_anchor";

/// Where a time line starts: at this wall time it was this business time, and it runs so many times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    wall_ms: i64,
    business_ms: i64,
    scale: u64,
}

/// Business time: the wall clock, or a multiple of it since the data was created. Within a process it follows the
/// monotonic clock, so that it never runs backwards.
pub struct BusinessClock {
    scale: u64,
    start: Instant,
    start_business_ms: i64,
}

impl BusinessClock {
    /// The clock of a store: its anchor is kept with the data, so that a restart goes on where time has got to.
    ///
    /// # Errors
    /// The store is away, or its time line has another scale.
    pub async fn of(store: &dyn Store, scale: u64) -> Result<Self, StoreError> {
        let (wall_ms, start) = (wall_ms(), Instant::now());
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
        let passed_ms = wall_ms.saturating_sub(anchor.wall_ms).max(0);
        let scaled_ms = passed_ms.saturating_mul(i64::try_from(scale).unwrap_or(i64::MAX));
        Ok(Self {
            scale,
            start,
            start_business_ms: anchor.business_ms.saturating_add(scaled_ms),
        })
    }
}

impl Clock for BusinessClock {
    fn now(&self) -> Timestamp {
        let business_ms = self.start.elapsed().as_micros().saturating_mul(u128::from(self.scale)) / 1_000;
        Timestamp(
            self.start_business_ms
                .saturating_add(i64::try_from(business_ms).unwrap_or(i64::MAX)),
        )
    }

    fn scale(&self) -> u64 {
        self.scale
    }
}

fn wall_ms() -> i64 {
    crate::participants::wall::system()()
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
    use persistence::MemoryStore;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn time_runs_at_its_scale_and_goes_on_after_a_restart() {
        let store = MemoryStore::new(ShardMap::new(1).expect("one shard"));
        let clock = BusinessClock::of(&store, 240).await.expect("a clock");
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now().ms_since(before), 2_400_000);
        let again = BusinessClock::of(&store, 240).await.expect("a clock");
        assert!(again.now() >= before, "time does not start anew");
        let other = BusinessClock::of(&store, 1).await.err().expect("another scale");
        assert!(other.to_string().contains("--time-scale 240"), "{other}");
    }
}
