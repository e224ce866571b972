//! What a channel has shown of itself: how long it cooks, hour by hour, and how far its word can be relied on.
//!
//! Everything is bounded, whole numbers, and folded from the channel's own events, so that replaying them gives the same.
//! Cooking times are kept as factors of what menu and settings say, in a histogram for each hour of the local day: a
//! kitchen that is slow at seven in the evening is so for soup and for roast. Quantiles are read from the histogram.

use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The edges of the histogram's bins, as factors in ten thousandths: eighths of an octave, so that each bin is 9 % wide.
/// The first and the last bin take in everything beyond: a ticket that was forgotten for a day, or reported ready the
/// moment it was taken, counts as four times, or a quarter of, the time expected.
const EDGES: [u32; BINS + 1] = [
    2_394, 2_611, 2_847, 3_105, 3_386, 3_692, 4_026, 4_391, 4_788, 5_221, 5_694, 6_209, 6_771, 7_384, 8_052, 8_781,
    9_576, 10_443, 11_388, 12_419, 13_543, 14_768, 16_105, 17_563, 19_152, 20_885, 22_776, 24_837, 27_085, 29_537,
    32_210, 35_125, 38_304, 41_771,
];
/// How many bins there are.
const BINS: usize = 33;
/// What the edges are parts of.
const WHOLE: u64 = 10_000;
/// How many tickets must have been seen before they are believed rather than the menu.
pub const OBSERVATIONS_MIN: u32 = 20;
/// From so many tickets in one hour of the day on, older ones are halved with each further one: what a kitchen was like
/// long ago is forgotten.
const OBSERVATIONS_MAX: u32 = 400;
/// Kept tickets that a channel of which nothing is known is credited with.
const CREDIT: u32 = 20;
/// Food is late from here on.
const LATE_MS: Millis = Millis::from_mins(5);
const HOUR_MIN: i64 = 60;
const DAY_MIN: i64 = 24 * HOUR_MIN;

/// How long a ticket took, as its order tells when the food has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooked {
    /// From when on it counts: when cooking was to begin, or began before that.
    pub began_at: Timestamp,
    /// How long it was until the food was ready, in business time.
    pub took_ms: Millis,
    /// How long it should have taken by menu and settings.
    pub expected_ms: Millis,
    /// How much later than promised the food was ready.
    pub late_ms: Millis,
}

/// What became of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The food has left.
    Served {
        /// How long it took, if that was reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cooked: Option<Cooked>,
    },
    /// It was refused, dropped, or not answered.
    Lost,
}

/// How often each bin was met, by its number; bins that were not are left out.
type Bins = BTreeMap<u8, u32>;

/// What a channel has shown of itself. At most 24 × 33 small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// How long tickets took, by the local hour in which cooking began, 0 to 23: as factors of what was expected.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hours: BTreeMap<u8, Arc<Bins>>,
    /// How many tickets were kept or lost.
    #[serde(default)]
    tickets: Share,
    /// How many of those whose times are known were late.
    #[serde(default)]
    times: Share,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    of: u32,
    bad: u32,
}

impl Share {
    fn count(&mut self, bad: bool) {
        if self.of >= OBSERVATIONS_MAX {
            (self.of, self.bad) = (self.of / 2, self.bad / 2);
        }
        self.of += 1;
        self.bad += u32::from(bad);
    }

    /// The share of the bad, in thousandths: cautious as long as little is known.
    fn bad_pm(self) -> u32 {
        self.bad * 1_000 / (self.of + CREDIT)
    }
}

impl Learned {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many tickets of an hour's histogram are remembered.
    pub fn observations(&self, hour: u8) -> u32 {
        self.hours.get(&hour).map_or(0, |bins| bins.values().sum())
    }

    /// The hours of which tickets are remembered.
    pub fn hours(&self) -> impl Iterator<Item = u8> {
        self.hours.keys().copied()
    }

    /// How long `expected_ms` was for `quantile_pct` of a hundred tickets of an hour, however few there were.
    pub fn took_ms(&self, expected_ms: Millis, hour: u8, quantile_pct: u8) -> Option<Millis> {
        let bins = self.hours.get(&hour)?;
        let factor = quantile(bins.iter().map(|(&bin, &count)| (bin, count)), quantile_pct);
        Some(Millis(expected_ms.0.saturating_mul(factor) / WHOLE))
    }

    /// How many tickets in a thousand are refused, dropped or not answered.
    pub fn lost_pm(&self) -> u32 {
        self.tickets.bad_pm()
    }

    /// How many in a thousand are ready more than five minutes later than promised.
    pub fn late_pm(&self) -> u32 {
        self.times.bad_pm()
    }

    /// Takes in what became of a ticket.
    pub(super) fn learn(&mut self, outcome: Outcome, utc_offset_min: i16) {
        self.tickets.count(outcome == Outcome::Lost);
        let Outcome::Served { cooked: Some(cooked) } = outcome else {
            return;
        };
        self.times.count(cooked.late_ms > LATE_MS);
        let Some(bin) = bin_of(cooked.took_ms, cooked.expected_ms) else {
            return;
        };
        let hour = self.hours.entry(hour_of(cooked.began_at, utc_offset_min));
        let bins = Arc::make_mut(hour.or_default());
        if bins.values().sum::<u32>() >= OBSERVATIONS_MAX {
            bins.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        *bins.entry(bin).or_default() += 1;
    }

    /// How long cooking takes that begins at a moment and is expected to take `expected_ms`: so that `quantile_pct` of a
    /// hundred tickets are ready by then. From the tickets of that hour of the day; if they are few, from those of all
    /// hours; `None` if those are few, too.
    pub fn prep_ms(
        &self,
        expected_ms: Millis,
        begins_at: Timestamp,
        utc_offset_min: i16,
        quantile_pct: u8,
    ) -> Option<Millis> {
        let hour = hour_of(begins_at, utc_offset_min);
        if self.observations(hour) >= OBSERVATIONS_MIN {
            return self.took_ms(expected_ms, hour, quantile_pct);
        }
        let mut all = [0; BINS];
        for (&bin, &count) in self.hours.values().flat_map(|bins| bins.iter()) {
            if let Some(sum) = all.get_mut(usize::from(bin)) {
                *sum += count;
            }
        }
        if all.iter().sum::<u32>() < OBSERVATIONS_MIN {
            return None;
        }
        let factor = quantile((0..).zip(all), quantile_pct);
        Some(Millis(expected_ms.0.saturating_mul(factor) / WHOLE))
    }
}

/// The local hour of the day, 0 to 23.
fn hour_of(at: Timestamp, utc_offset_min: i16) -> u8 {
    let local_min = at.0.div_euclid(60_000) + i64::from(utc_offset_min);
    u8::try_from(local_min.rem_euclid(DAY_MIN) / HOUR_MIN).unwrap_or(0)
}

/// The bin of a factor; `None` when nothing was expected, so that there is none.
fn bin_of(took_ms: Millis, expected_ms: Millis) -> Option<u8> {
    let factor = took_ms.0.saturating_mul(WHOLE).checked_div(expected_ms.0)?;
    let above = EDGES[1..BINS].partition_point(|edge| u64::from(*edge) <= factor);
    u8::try_from(above).ok()
}

/// The factor that `pct` of a hundred do not exceed, in ten thousandths: linear between the edges of its bin.
fn quantile(bins: impl Iterator<Item = (u8, u32)> + Clone, pct: u8) -> u64 {
    let all: u64 = bins.clone().map(|(_, count)| u64::from(count)).sum();
    let wanted = all * u64::from(pct.min(100));
    let mut below = 0;
    for (bin, count) in bins {
        let count = u64::from(count) * 100;
        if below + count >= wanted && count > 0 {
            let edge = |n: usize| u64::from(EDGES[n.min(BINS)]);
            let (from, to) = (edge(usize::from(bin)), edge(usize::from(bin) + 1));
            return from + (to - from) * (wanted - below) / count;
        }
        below += count;
    }
    WHOLE
}
