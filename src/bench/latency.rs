//! Distributions of latencies.

use super::numbers::{float, micros, rounded};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest latency that is told from longer ones, in microseconds: ten minutes.
const HIGHEST_US: u64 = 600_000_000;
/// Three digits: an error of a thousandth.
const DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    pub(super) fn new() -> Self {
        // The bounds are sound, so there always is one.
        Self(Histogram::new_with_bounds(1, HIGHEST_US, DIGITS).ok())
    }

    pub(super) fn record(&mut self, length: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros(length).max(1));
        }
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Quantiles::default();
        };
        let ms = |us: u64| Some(rounded(float(us) / 1_000.0));
        Quantiles {
            count: histogram.len(),
            p50: ms(histogram.value_at_quantile(0.5)),
            p90: ms(histogram.value_at_quantile(0.9)),
            p99: ms(histogram.value_at_quantile(0.99)),
            p999: ms(histogram.value_at_quantile(0.999)),
            max: ms(histogram.max()),
        }
    }
}

/// A distribution in milliseconds; null when there is nothing to distribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Of how many.
    pub count: u64,
    /// The median.
    pub p50: Option<f64>,
    /// What 9 of 10 do not exceed.
    pub p90: Option<f64>,
    /// What 99 of 100 do not exceed.
    pub p99: Option<f64>,
    /// What 999 of 1,000 do not exceed.
    pub p999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() <= expected * 0.002)
    }

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new();
        for us in 1..=100_000 {
            latencies.record(Duration::from_micros(us));
        }
        let quantiles = latencies.quantiles();
        assert_eq!(quantiles.count, 100_000);
        for (value, expected) in [
            (quantiles.p50, 50.0),
            (quantiles.p90, 90.0),
            (quantiles.p99, 99.0),
            (quantiles.p999, 99.9),
            (quantiles.max, 100.0),
        ] {
            assert!(near(value, expected), "{quantiles:?}");
        }
    }

    #[test]
    fn nothing_has_no_quantiles_and_too_long_is_the_longest() {
        assert_eq!(Latencies::new().quantiles(), Quantiles::default());
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_hours(1));
        assert!(
            near(latencies.quantiles().p50, 600_000.0),
            "{:?}",
            latencies.quantiles()
        );
    }
}
