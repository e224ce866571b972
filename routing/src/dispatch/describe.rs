//! What a series of numbers is like, in the figures and by the arithmetic of pandas' `describe`, so that both print the same.

use serde::Serialize;

/// What a series of numbers is like. All but the count are absent for an empty series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Description {
    /// How many there are.
    pub count: usize,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their standard deviation as that of a sample; absent for a single one.
    pub std: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// A tenth is below, interpolated.
    pub p10: Option<f64>,
    /// The median, interpolated.
    pub p50: Option<f64>,
    /// A tenth is above, interpolated.
    pub p90: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
}

/// The names of the figures, as pandas prints them.
pub(super) const FIGURES: [&str; 8] = ["count", "mean", "std", "min", "10%", "50%", "90%", "max"];

impl Description {
    /// Of these numbers.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mean = mean(values);
        Self {
            count: values.len(),
            mean,
            std: mean.and_then(|mean| deviation(values, mean)),
            min: sorted.first().copied(),
            p10: quantile(&sorted, 0.1),
            p50: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
            max: sorted.last().copied(),
        }
    }

    /// The figures, in the sequence of [`FIGURES`].
    pub(super) fn figures(&self) -> [Option<f64>; 8] {
        let count = Some(number(self.count));
        [
            count, self.mean, self.std, self.min, self.p10, self.p50, self.p90, self.max,
        ]
    }
}

/// The mean; absent without values.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| sum(values) / number(values.len()))
}

/// Exact: days have fewer orders than a float has integers.
pub(super) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn deviation(values: &[f64], mean: f64) -> Option<f64> {
    let squares: Vec<f64> = values.iter().map(|value| (mean - value) * (mean - value)).collect();
    (values.len() > 1).then(|| (sum(&squares) / number(values.len() - 1)).sqrt())
}

/// Between the two nearest ranks, from whichever of them is nearer.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = number(sorted.len().checked_sub(1)?) * share;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the list"
    )]
    let below = at.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    let (part, step) = (at - at.floor(), high - low);
    Some(if part < 0.5 {
        low + step * part
    } else {
        high - step * (1.0 - part)
    })
}

/// Adds in numpy's sequence: sums of fractions depend on it in the last bits. Eight at a time up to 128, halves of longer ones.
pub(super) fn sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    if values.len() < LANES {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if values.len() > BLOCK {
        let half = values.len() / 2 / LANES * LANES;
        return sum(&values[..half]) + sum(&values[half..]);
    }
    let mut lanes = [0.0; LANES];
    let mut rows = values.chunks_exact(LANES);
    for row in &mut rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value;
        }
    }
    let pairs = [0, 2, 4, 6].map(|at| lanes[at] + lanes[at + 1]);
    let whole = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
    rows.remainder().iter().fold(whole, |sum, value| sum + value)
}
