//! What was asked of a channel, day by day: the units reserved of it, by the quarter of an hour that they were for.
//!
//! Bounded, whole numbers, and folded from the channel's own claims, like what it [`super::Learned`]. An order that was
//! confirmed counts, whatever became of it: somebody wanted it. The snapshot of a release that did not remember has none, and
//! what came before it is not looked for again.

use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long each count spans, whatever the slots of capacity are.
pub const QUARTER: Millis = Millis::from_mins(15);
/// How many there are in a day.
pub const QUARTERS_A_DAY: usize = 96;
/// How many days are remembered: four weeks, so that each day of the week was met a few times.
pub const DAYS_MAX: usize = 28;

const DAY_MS: i64 = 24 * 3_600_000;

/// Units by quarter of an hour of a local day; after the last of the list there were none.
type Units = Vec<u32>;

/// What was asked of a channel. At most 28 days of 96 small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Demand {
    /// By local day, as a number of days since the Unix epoch; days without any are left out.
    days: BTreeMap<i64, Arc<Units>>,
}

impl Demand {
    /// Whether nothing was ever asked.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// The first day that is remembered.
    pub fn first_day(&self) -> Option<i64> {
        self.days.keys().next().copied()
    }

    /// The units of a local day by quarter of an hour, as far as there were any.
    pub fn day(&self, day: i64) -> &[u32] {
        self.days.get(&day).map_or(&[], |units| units)
    }

    /// Takes in units that were reserved for a moment.
    pub(super) fn learn(&mut self, at: Timestamp, units: u32, utc_offset_min: i16) {
        let (day, quarter) = place_of(at, utc_offset_min);
        let counts = Arc::make_mut(self.days.entry(day).or_default());
        if counts.len() <= quarter {
            counts.resize(quarter + 1, 0);
        }
        counts[quarter] = counts[quarter].saturating_add(units);
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
    }
}

/// The local day of a moment, as a number of days since the Unix epoch, and the quarter of an hour in it, 0 to 95.
pub fn place_of(at: Timestamp, utc_offset_min: i16) -> (i64, usize) {
    let local_ms = at.0.saturating_add(i64::from(utc_offset_min) * 60_000);
    let quarter = local_ms.rem_euclid(DAY_MS).unsigned_abs() / QUARTER.0;
    (local_ms.div_euclid(DAY_MS), usize::try_from(quarter).unwrap_or(0))
}
