//! Counts that vary more than chance alone.

/// How orders of a slot are distributed: a negative binomial, that is a Poisson whose rate itself varies like a gamma
/// (Greenwood and Yule 1920). Its variance is *mean + mean² / size*.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// How many are expected.
    pub mean: f64,
    /// How little the rate varies: infinite for a Poisson.
    pub size: f64,
}

/// More than this is no quantile of a slot.
const QUANTILE_MAX: u32 = 1_000_000;

impl Counts {
    /// The least number that is exceeded with a probability of at most `1 - level`; `level` lies between 0 and 1, exclusive.
    pub fn quantile(&self, level: f64) -> u32 {
        if self.mean <= 0.0 {
            return 0;
        }
        // Logarithms: the chance of none at all is below the least number there is from a mean of 745 on.
        let is_poisson = self.size.is_infinite();
        let (mut log_chance, log_ratio) = if is_poisson {
            (-self.mean, self.mean.ln())
        } else {
            let log_of_none = -self.size * (self.mean / self.size).ln_1p();
            (log_of_none, (self.mean / (self.size + self.mean)).ln())
        };
        let mut sum = log_chance.exp();
        let mut count = 0;
        while sum < level && count < QUANTILE_MAX {
            let at = f64::from(count);
            let rising = if is_poisson { 0.0 } else { (at + self.size).ln() };
            log_chance += log_ratio + rising - (at + 1.0).ln();
            sum += log_chance.exp();
            count += 1;
        }
        count
    }
}

/// The size of the negative binomial that explains how far counts lie from what was expected of them, by the method of
/// moments: as much as squares of differences exceed the means, as a share of the squared means (Cameron and Trivedi,
/// *Regression Analysis of Count Data*, section 3.3). Infinite when they do not exceed them. Each is
/// (expected, count, how much it counts).
pub(super) fn size_of(pairs: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    let (mut squares, mut excess) = (0.0, 0.0);
    for (expected, count, weight) in pairs {
        squares += weight * expected * expected;
        excess += weight * ((count - expected) * (count - expected) - expected);
    }
    if excess > 0.0 && squares > 0.0 {
        squares / excess
    } else {
        f64::INFINITY
    }
}

/// Least expectation that counts are held against: where none was expected, an order would be infinitely surprising.
const EXPECTED_MIN: f64 = 0.001;

/// How unlikely a count is under a Poisson, against the likeliest: twice the difference of the logarithms.
pub fn deviance(expected: f64, count: f64) -> f64 {
    let expected = expected.max(EXPECTED_MIN);
    let log = if count > 0.0 {
        count * (count / expected).ln()
    } else {
        0.0
    };
    2.0 * (log - (count - expected))
}
