//! How good a forecast was.

use super::ForecastError;
use super::demand::{Forecast, forecast, paired};
use super::dispersion::deviance;
use super::past::PastDay;

/// How far an expectation was from what happened; the less, the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Score {
    /// Orders expected over the day.
    pub expected: f64,
    /// The mean absolute error of a slot, in orders.
    pub absolute_error: f64,
    /// The mean Poisson deviance of a slot.
    pub deviance: f64,
}

/// How well a day was forecast from others.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What was forecast.
    pub forecast: Forecast,
    /// How good that was.
    pub score: Score,
    /// How good the plain mean of the others would have been, slot by slot.
    pub plain: Score,
    /// How good it would have been per restaurant.
    pub plain_per_restaurant: Score,
    /// The share of restaurants' slots, of those in which there were any orders at all in the market, whose orders the
    /// suggested capacity would have held: 0 to 1.
    pub held: f64,
    /// The share of orders that lie within the capacity of their restaurant's slot: 0 to 1.
    pub held_orders: f64,
}

/// Forecasts a day from others and holds that against what happened. The other days are other days, which only the caller
/// can know ([`super::distinct`]).
///
/// # Errors
/// [`ForecastError`] when nothing can be forecast, or the service level is not between 0 and 1.
pub fn judge(history: &[&PastDay], day: &PastDay, level: f64) -> Result<Judged, ForecastError> {
    let forecast = forecast(history, &day.restaurants, 0.0)?;
    let (held, held_orders) = held(&forecast.capacity(level)?, day);
    let mean = |of: fn(&PastDay) -> f64, scale: f64| {
        let mut mean = vec![0.0; forecast.expected.len()];
        let days = u32::try_from(history.len()).map_or(f64::MAX, f64::from);
        for other in history {
            for (slot, orders) in mean.iter_mut().zip(&other.totals) {
                *slot += scale * orders / (of(other) * days);
            }
        }
        mean
    };
    Ok(Judged {
        score: Score::of(&forecast.expected, &day.totals),
        plain: Score::of(&mean(|_| 1.0, 1.0), &day.totals),
        plain_per_restaurant: Score::of(&mean(PastDay::size, day.size()), &day.totals),
        held,
        held_orders,
        forecast,
    })
}

impl Score {
    fn of(expected: &[f64], orders: &[f64]) -> Self {
        let pairs: Vec<(f64, f64)> = paired(expected, orders).collect();
        let slots = u32::try_from(pairs.len().max(1)).map_or(f64::MAX, f64::from);
        let mean = |of: fn(f64, f64) -> f64| {
            pairs
                .iter()
                .map(|(expected, orders)| of(*expected, *orders))
                .sum::<f64>()
                / slots
        };
        Self {
            expected: expected.iter().sum(),
            absolute_error: mean(|expected, orders| (expected - orders).abs()),
            deviance: mean(deviance),
        }
    }
}

/// The shares of slots and of orders that a capacity would have held.
fn held(capacity: &[Vec<u32>], day: &PastDay) -> (f64, f64) {
    let (mut slots, mut slots_held, mut orders, mut orders_held) = (0.0, 0.0, 0.0, 0.0);
    for (units, counts) in capacity.iter().zip(&day.counts) {
        for (slot, count) in counts.iter().enumerate().filter(|(slot, _)| day.totals[*slot] > 0.0) {
            let units = units.get(slot).copied().unwrap_or(0);
            slots += 1.0;
            slots_held += f64::from(u8::from(*count <= units));
            orders += f64::from(*count);
            orders_held += f64::from(units.min(*count));
        }
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
    (share(slots_held, slots), share(orders_held, orders))
}
