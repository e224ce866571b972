//! When orders arrive: pure.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Always the same time apart.
    Even,
    /// Independent of each other (a Poisson process), as many customers are.
    Poisson,
}

/// The moments at which orders arrive, counted from the load's begin, and which of them wait for their outcome. The
/// same seed gives the same arrivals, however the server fares.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    rate_per_s: f64,
    spacing: Spacing,
    wait_share: f64,
    draws: SmallRng,
    /// How many there were.
    count: u64,
    /// The last one's moment, when they are not even.
    last_s: f64,
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// When, counted from the load's begin.
    pub(super) at: Duration,
    /// Whether its submission waits for the outcome.
    pub(super) wait: bool,
}

impl Arrivals {
    /// So many a second; `wait_share` of them, from 0 to 1, wait.
    pub(super) fn new(rate_per_s: f64, spacing: Spacing, wait_share: f64, seed: u64) -> Self {
        Self {
            rate_per_s,
            spacing,
            wait_share: wait_share.clamp(0.0, 1.0),
            draws: SmallRng::seed_from_u64(seed),
            count: 0,
            last_s: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Offset;

    fn next(&mut self) -> Option<Offset> {
        let at_s = match self.spacing {
            // From the count, so that rounding does not add up.
            Spacing::Even => super::numbers::float(self.count) / self.rate_per_s,
            Spacing::Poisson => {
                // Of the half-open interval [0, 1): its complement has a logarithm.
                let uniform: f64 = self.draws.random();
                self.last_s += -(1.0 - uniform).ln() / self.rate_per_s;
                self.last_s
            }
        };
        self.count += 1;
        Some(Offset {
            at: Duration::try_from_secs_f64(at_s).ok()?,
            wait: self.draws.random_bool(self.wait_share),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn within(arrivals: Arrivals, length: Duration) -> Vec<Offset> {
        arrivals.take_while(|arrival| arrival.at < length).collect()
    }

    #[test]
    fn even_arrivals_keep_their_rate_for_ever() {
        let arrivals = within(Arrivals::new(300.0, Spacing::Even, 0.0, 1), 60 * SECOND);
        assert_eq!(arrivals.len(), 18_000);
        assert_eq!(arrivals[0].at, Duration::ZERO);
        assert_eq!(arrivals[300].at, SECOND);
        assert_eq!(arrivals[15_000].at, 50 * SECOND);
        assert!(arrivals.iter().all(|arrival| !arrival.wait));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_one() {
        let arrivals = within(Arrivals::new(1_000.0, Spacing::Poisson, 0.0, 7), 100 * SECOND);
        // The number has a standard deviation of its own root: five of them are never seen.
        assert!(arrivals.len().abs_diff(100_000) < 5 * 317, "{}", arrivals.len());
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| pair[1].at.as_secs_f64() - pair[0].at.as_secs_f64())
            .collect();
        let long = gaps.iter().filter(|gap| **gap > 0.001).count();
        // Of exponential gaps, 1/e are longer than their mean; of even ones, none.
        assert!(long.abs_diff(36_788) < 1_000, "{long}");
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let arrivals = |seed| within(Arrivals::new(500.0, Spacing::Poisson, 0.5, seed), 2 * SECOND);
        assert_eq!(arrivals(3), arrivals(3));
        assert_ne!(arrivals(3), arrivals(4));
    }

    #[test]
    fn the_share_that_waits_is_kept() {
        let waiting = |share| {
            let arrivals = within(Arrivals::new(10_000.0, Spacing::Even, share, 5), SECOND);
            arrivals.iter().filter(|arrival| arrival.wait).count()
        };
        assert_eq!((waiting(0.0), waiting(1.0)), (0, 10_000));
        assert!(waiting(0.1).abs_diff(1_000) < 200, "{}", waiting(0.1));
    }
}
