//! How many orders each restaurant will have in each slot.

use super::ForecastError;
use super::dispersion::{Counts, size_of};
use super::past::PastDay;
use crate::mdrp::Restaurant;
use std::collections::HashMap;

/// How far a forecast looks for what is alike.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bandwidths {
    /// How much a market's size may differ before its days count less: in logarithms of the number of restaurants.
    pub likeness: f64,
    /// How far apart slots may lie before they count less; 0 for each by itself.
    pub slots: f64,
}

/// Sizes that count, from *within a twentieth* to *all markets alike*.
const LIKENESS: [f64; 6] = [0.05, 0.1, 0.2, 0.4, 0.8, 1e9];

/// From *each slot by itself* to three quarters of an hour either way.
const SLOTS: [f64; 6] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0];

impl Bandwidths {
    /// Where a single day leaves nothing to choose by: the middle.
    const MIDDLE: Self = Self {
        likeness: LIKENESS[2],
        slots: SLOTS[3],
    };

    /// Those to choose among. Where all markets are of one size, they are alike by any measure.
    fn all(history: &[&PastDay]) -> impl Iterator<Item = Self> {
        let one_size = history
            .windows(2)
            .all(|pair| pair[0].restaurants.len() == pair[1].restaurants.len());
        let likeness = if one_size { &LIKENESS[..1] } else { &LIKENESS };
        let with = |likeness: &f64| {
            let likeness = *likeness;
            SLOTS.into_iter().map(move |slots| Self { likeness, slots })
        };
        likeness.iter().flat_map(with)
    }
}

/// What is expected of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Orders of all restaurants by slot.
    pub expected: Vec<f64>,
    /// Orders by restaurant, as they were given, and slot.
    pub restaurants: Vec<Vec<f64>>,
    /// How much each day of the history counts, in its sequence; together 1.
    pub weights: Vec<f64>,
    /// What was looked for.
    pub bandwidths: Bandwidths,
    /// How little the orders of a slot vary around what is expected: the size of a negative binomial.
    pub market_size: f64,
    /// The same for the orders of one restaurant in a slot.
    pub restaurant_size: f64,
}

/// Forecasts a day in a market with these restaurants.
///
/// A restaurant of a market is expected to have, slot by slot, the mean of what those of the history had on average, where
/// days of markets of like size count more (a kernel regression: Nadaraya 1964, Watson 1964), and neighbouring slots speak
/// for each other. How much more is chosen by leaving out one day of the history after the other. A restaurant that the
/// history knows has its own share, drawn towards the mean as far as its orders are few (the gamma-Poisson estimate of
/// empirical Bayes). All is scaled by *1 + growth rate*.
///
/// # Errors
/// [`ForecastError`] when the history is empty or without orders, or demand is to grow by less than -100 %.
pub fn forecast(history: &[&PastDay], restaurants: &[Restaurant], growth_rate: f64) -> Result<Forecast, ForecastError> {
    if history.is_empty() {
        return Err(ForecastError::NoHistory);
    }
    if history.iter().all(|day| day.orders() <= 0.0) {
        return Err(ForecastError::NoOrders);
    }
    if !(growth_rate >= -1.0 && growth_rate.is_finite()) {
        return Err(ForecastError::Setting {
            what: "the growth rate",
            value: growth_rate,
            allowed: "at least -1, which leaves nothing",
        });
    }
    let bandwidths = choose(history);
    let residuals = residuals(history, bandwidths);
    let expectation = Expectation::new(history, restaurants, bandwidths);
    let grown = |slots: Vec<f64>| slots.into_iter().map(|orders| orders * (1.0 + growth_rate)).collect();
    let by_restaurant: Vec<Vec<f64>> = expectation.by_restaurant().map(grown).collect();
    Ok(Forecast {
        expected: summed(&by_restaurant, expectation.rate.len()),
        restaurants: by_restaurant,
        weights: expectation.weights,
        bandwidths,
        market_size: size_of(residuals.iter().flat_map(|of| of.weighted(of.market()))),
        restaurant_size: size_of(residuals.iter().flat_map(|of| of.weighted(of.by_restaurant()))),
    })
}

impl Forecast {
    /// What is expected of the market in a slot.
    pub fn market(&self, slot: usize) -> Counts {
        Counts {
            mean: self.expected.get(slot).copied().unwrap_or(0.0),
            size: self.market_size,
        }
    }

    /// Orders of each slot to plan couriers for: what is expected, or the number that is exceeded with a probability of
    /// `1 - level`.
    ///
    /// # Errors
    /// [`ForecastError::Setting`] when the level is not between 0 and 1.
    pub fn orders(&self, level: Option<f64>) -> Result<Vec<f64>, ForecastError> {
        let Some(level) = level else {
            return Ok(self.expected.clone());
        };
        check_level("the level of couriers", level)?;
        let most = |slot| f64::from(self.market(slot).quantile(level));
        Ok((0..self.expected.len()).map(most).collect())
    }

    /// The orders that each restaurant should be able to make in each slot, so that it need refuse none with a probability
    /// of `level`, between 0 and 1; at least one while the market is likelier to have an order than not.
    ///
    /// # Errors
    /// [`ForecastError::Setting`] when the level is not between 0 and 1.
    pub fn capacity(&self, level: f64) -> Result<Vec<Vec<u32>>, ForecastError> {
        check_level("the service level", level)?;
        // Most restaurants expect less than one order in most slots, and still have to make it when it comes.
        let is_open: Vec<bool> = (0..self.expected.len())
            .map(|slot| self.market(slot).quantile(0.5) > 0)
            .collect();
        let units = |(mean, is_open): (&f64, &bool)| {
            let size = self.restaurant_size;
            Counts { mean: *mean, size }.quantile(level).max(u32::from(*is_open))
        };
        let all = |slots: &Vec<f64>| slots.iter().zip(&is_open).map(units).collect();
        Ok(self.restaurants.iter().map(all).collect())
    }
}

fn check_level(what: &'static str, level: f64) -> Result<(), ForecastError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(ForecastError::Setting {
        what,
        value: level,
        allowed: "between 0 and 1",
    })
}

/// What history says of a market, before growth.
struct Expectation {
    /// Orders of a restaurant by slot, on average.
    rate: Vec<f64>,
    /// How the orders of each restaurant compare with the average.
    shares: Vec<f64>,
    weights: Vec<f64>,
    /// How like the likest day is: 1 for a market of the same size, near 0 when the history knows nothing like it.
    support: f64,
}

impl Expectation {
    fn new(history: &[&PastDay], restaurants: &[Restaurant], bandwidths: Bandwidths) -> Self {
        let (weights, support) = weights(history, restaurants.len(), bandwidths.likeness);
        let mut rate = vec![0.0; history.iter().map(|day| day.totals.len()).max().unwrap_or(0)];
        for (day, weight) in history.iter().zip(&weights) {
            for (slot, orders) in rate.iter_mut().zip(&day.totals) {
                *slot += weight * orders / day.size();
            }
        }
        Self {
            rate: smoothed(&rate, bandwidths.slots),
            shares: shares(history, restaurants),
            weights,
            support,
        }
    }

    fn by_restaurant(&self) -> impl Iterator<Item = Vec<f64>> {
        self.shares
            .iter()
            .map(|share| self.rate.iter().map(|orders| orders * share).collect())
    }

    fn market(&self) -> Vec<f64> {
        let all: f64 = self.shares.iter().sum();
        self.rate.iter().map(|orders| orders * all).collect()
    }
}

fn summed(by_restaurant: &[Vec<f64>], slots: usize) -> Vec<f64> {
    (0..slots)
        .map(|slot| by_restaurant.iter().map(|of| of[slot]).sum())
        .collect()
}

/// How much each day counts for a market of so many restaurants, and how like the likest is.
fn weights(history: &[&PastDay], restaurants: usize, likeness: f64) -> (Vec<f64>, f64) {
    let size = u32::try_from(restaurants.max(1)).map_or(f64::MAX, f64::from);
    let logs = history
        .iter()
        .map(|day| -0.5 * ((day.size() / size).ln() / likeness).powi(2));
    let logs: Vec<f64> = logs.collect();
    // Relative to the likest, so that a market unlike all has the likest day rather than none.
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (weights.into_iter().map(|weight| weight / sum).collect(), most.exp())
}

/// Gives each slot's orders to its neighbours as well, none of them twice and none to nobody.
fn smoothed(rate: &[f64], bandwidth: f64) -> Vec<f64> {
    if bandwidth <= 0.0 {
        return rate.to_vec();
    }
    // By how far apart two slots are.
    let apart = (0..u32::try_from(rate.len()).unwrap_or(u32::MAX)).map(f64::from);
    let kernel: Vec<f64> = apart.map(|apart| (-0.5 * (apart / bandwidth).powi(2)).exp()).collect();
    let mut smooth = vec![0.0; rate.len()];
    for (from, orders) in rate.iter().enumerate().filter(|(_, orders)| **orders > 0.0) {
        let all: f64 = (0..rate.len()).map(|to| kernel[from.abs_diff(to)]).sum();
        for (to, slot) in smooth.iter_mut().enumerate() {
            *slot += orders * kernel[from.abs_diff(to)] / all;
        }
    }
    smooth
}

/// How each restaurant's orders compare with those of its market, where the history knows it; else 1.
fn shares(history: &[&PastDay], restaurants: &[Restaurant]) -> Vec<f64> {
    let mut seen: HashMap<(&str, i32, i32), (f64, f64)> = HashMap::new();
    for day in history {
        let expected = day.orders() / day.size();
        for (restaurant, slots) in day.restaurants.iter().zip(&day.counts) {
            let of = seen.entry((&restaurant.id, restaurant.x, restaurant.y)).or_default();
            of.0 += expected;
            of.1 += slots.iter().copied().map(f64::from).sum::<f64>();
        }
    }
    let size = size_of(seen.values().map(|(expected, orders)| (*expected, *orders, 1.0)));
    let share = |(expected, orders): &(f64, f64)| {
        if size.is_infinite() {
            1.0
        } else {
            (size + orders) / (size + expected)
        }
    };
    let of = |restaurant: &Restaurant| {
        let known = seen.get(&(restaurant.id.as_str(), restaurant.x, restaurant.y));
        known.map_or(1.0, share)
    };
    restaurants.iter().map(of).collect()
}

/// The bandwidths under which days of the history are forecast best from its other days: by the absolute error, each day's
/// as a share of its orders, so that a large market does not decide alone.
fn choose(history: &[&PastDay]) -> Bandwidths {
    if history.len() < 2 {
        return Bandwidths::MIDDLE;
    }
    let error = |bandwidths: Bandwidths| -> f64 {
        let of = |residual: &Residual<'_>| {
            let wrong: f64 = residual
                .market()
                .iter()
                .map(|(expected, orders)| (expected - orders).abs())
                .sum();
            wrong / residual.day.orders().max(1.0)
        };
        residuals(history, bandwidths).iter().map(of).sum()
    };
    let judged = Bandwidths::all(history).map(|bandwidths| (error(bandwidths), bandwidths));
    let best = judged.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(Bandwidths::MIDDLE, |(_, bandwidths)| bandwidths)
}

/// A day of the history, and what the others say of it.
struct Residual<'a> {
    day: &'a PastDay,
    expectation: Expectation,
}

impl Residual<'_> {
    /// What was expected of each slot, and what happened; also of slots that only one of the two knows.
    fn market(&self) -> Vec<(f64, f64)> {
        paired(&self.expectation.market(), &self.day.totals).collect()
    }

    /// Counts as far as a day like it was left to say something: what nobody could know shows nothing of how much days of a
    /// known market vary.
    fn weighted(&self, pairs: Vec<(f64, f64)>) -> impl Iterator<Item = (f64, f64, f64)> {
        let support = self.expectation.support;
        pairs
            .into_iter()
            .map(move |(expected, orders)| (expected, orders, support))
    }

    fn by_restaurant(&self) -> Vec<(f64, f64)> {
        let expected = self.expectation.by_restaurant();
        let both = expected.zip(&self.day.counts);
        both.flat_map(|(expected, slots)| {
            let slots: Vec<f64> = slots.iter().copied().map(f64::from).collect();
            paired(&expected, &slots).collect::<Vec<_>>()
        })
        .collect()
    }
}

/// Two rows of slots beside each other, of which the shorter goes on with nothing.
pub(super) fn paired(expected: &[f64], orders: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let at = |row: &[f64], slot: usize| row.get(slot).copied().unwrap_or(0.0);
    (0..expected.len().max(orders.len())).map(move |slot| (at(expected, slot), at(orders, slot)))
}

/// Each day beside what the others say of it; a single day beside what it says itself.
fn residuals<'a>(history: &[&'a PastDay], bandwidths: Bandwidths) -> Vec<Residual<'a>> {
    let of = |(at, day): (usize, &&'a PastDay)| {
        let mut others = history.to_vec();
        if others.len() > 1 {
            others.remove(at);
        }
        Residual {
            day,
            expectation: Expectation::new(&others, &day.restaurants, bandwidths),
        }
    };
    history.iter().enumerate().map(of).collect()
}
