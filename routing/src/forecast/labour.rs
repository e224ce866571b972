//! How much of couriers' time orders take, and how many couriers that makes.

use super::ForecastError;
use super::past::SLOT_MIN;
use crate::dispatch::{Day, Policy, RestaurantKey, Settings, Solution, Spot, play};
use std::collections::HashMap;

/// The time of couriers that an order takes, by when it takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labour {
    /// Minutes by slots after the one in which the order is placed: the way to the restaurant, the service at both doors and
    /// the way to the customer, each shared by the orders that are carried together.
    pub minutes: Vec<f64>,
    /// Of how many orders that is the mean.
    pub orders: u32,
}

impl Labour {
    /// What orders took on a day that is over: played with its own couriers by cheapest insertion, which is as deterministic
    /// as it is quick, and watched.
    pub fn of(day: &Day) -> Self {
        let settings = Settings {
            policy: Policy::Rolling,
            ..Settings::default()
        };
        Self::watched(day, &play(day, &settings, &|| 0).solution)
    }

    /// What orders took in a solution.
    pub fn watched(day: &Day, solution: &Solution) -> Self {
        let mut ways: HashMap<_, Vec<(i32, Spot)>> = HashMap::new();
        for way in &solution.moves {
            ways.entry(way.courier).or_default().push((way.depart_minute, way.to));
        }
        let mut free_at = HashMap::new();
        let mut labour = Self::default();
        for bundle in &solution.carried {
            let Some((last, back_at)) = bundle.orders.last().copied() else {
                continue;
            };
            let from = day.orders[last.0 as usize].restaurant;
            let free = free_at.get(&bundle.courier).copied().unwrap_or(i32::MIN);
            let ways = ways.get(&bundle.courier).map_or(&[][..], Vec::as_slice);
            let here = bundle.pickup_minute - day.rules.pickup_service_s / 120;
            let begun = left_for(from, ways, free, bundle.pickup_minute).unwrap_or(here);
            let done = back_at + day.rules.dropoff_service_s / 120;
            free_at.insert(bundle.courier, done);
            let together = u32::try_from(bundle.orders.len()).unwrap_or(u32::MAX);
            labour.orders += together;
            for (order, _) in &bundle.orders {
                let placed = day.orders[order.0 as usize].placed_minute;
                (begun..done).for_each(|minute| labour.add(slot(minute) - slot(placed), 1.0 / f64::from(together)));
            }
        }
        let all = f64::from(labour.orders.max(1));
        labour.minutes.iter_mut().for_each(|minutes| *minutes /= all);
        labour
    }

    /// A courier who sets out before the order is there works for it at once.
    fn add(&mut self, lag: i32, minutes: f64) {
        let lag = usize::try_from(lag).unwrap_or(0);
        if self.minutes.len() <= lag {
            self.minutes.resize(lag + 1, 0.0);
        }
        self.minutes[lag] += minutes;
    }

    /// The mean over days that count differently. Days without orders do not count.
    ///
    /// # Errors
    /// [`ForecastError::NoOrders`] when there is none that counts.
    pub fn mean<'a>(days: impl Iterator<Item = (&'a Self, f64)>) -> Result<Self, ForecastError> {
        let (mut mean, mut weights) = (Self::default(), 0.0);
        for (day, weight) in days.filter(|(day, _)| day.orders > 0) {
            for (lag, minutes) in (0..).zip(&day.minutes) {
                mean.add(lag, weight * minutes);
            }
            mean.orders += day.orders;
            weights += weight;
        }
        if weights <= 0.0 {
            return Err(ForecastError::NoOrders);
        }
        mean.minutes.iter_mut().for_each(|minutes| *minutes /= weights);
        Ok(mean)
    }

    /// Minutes of a courier that an order takes altogether.
    pub fn minutes_per_order(&self) -> f64 {
        self.minutes.iter().sum()
    }

    /// How many couriers are at work in each slot, on average, when so many orders are placed in each.
    pub fn load(&self, orders: &[f64]) -> Vec<f64> {
        let mut load = vec![0.0; orders.len() + self.minutes.len().saturating_sub(1)];
        for (slot, orders) in orders.iter().enumerate() {
            for (lag, minutes) in self.minutes.iter().enumerate() {
                load[slot + lag] += orders * minutes / f64::from(SLOT_MIN);
            }
        }
        load
    }
}

/// When the courier left for the restaurant, if it was not there already.
fn left_for(restaurant: RestaurantKey, ways: &[(i32, Spot)], free: i32, pickup: i32) -> Option<i32> {
    let to = |way: &&(i32, Spot)| way.1 == Spot::Restaurant(restaurant) && (free..=pickup).contains(&way.0);
    ways.iter().filter(to).map(|way| way.0).max()
}

fn slot(minute: i32) -> i32 {
    minute.div_euclid(SLOT_MIN.cast_signed())
}

/// How many couriers there are for their work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Staffing {
    /// The share of their time that couriers are at work: above 0, at most 1.
    pub utilisation: f64,
}

/// Less work than this, in couriers, is nobody's shift.
const LOAD_MIN: f64 = 0.05;

impl Staffing {
    /// The couriers needed in each slot for a load.
    ///
    /// # Errors
    /// [`ForecastError::Setting`] when the utilisation is out of range.
    pub fn needed(&self, load: &[f64]) -> Result<Vec<u32>, ForecastError> {
        if !(self.utilisation > 0.0 && self.utilisation <= 1.0) {
            return Err(ForecastError::Setting {
                what: "the utilisation",
                value: self.utilisation,
                allowed: "above 0 and at most 1",
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "couriers are no fewer than none, and saturate at more than there are people"
        )]
        let needed = |load: &f64| match *load {
            load if load < LOAD_MIN => 0,
            load => (load / self.utilisation).ceil() as u32,
        };
        Ok(load.iter().map(needed).collect())
    }
}
