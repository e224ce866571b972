//! Where orders are usually fetched, learned from those that come.

use super::problem::{Order, OrderKey, Place, RestaurantKey, Seconds};
use std::collections::{BTreeMap, BTreeSet};

/// After how long an order counts half.
const HALF_LIFE_S: f64 = 4.0 * 3_600.0;

/// Restaurants that count for less than this share of an order are forgotten.
const WEIGHT_MIN: f64 = 0.05;

/// Most restaurants that are looked at, the busiest first: distances to them are measured in every decision.
const PLACES_MAX: usize = 64;

/// Where orders are usually fetched. A dispatcher that begins anew learns it anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// The orders that were open last time: they are counted.
    counted: BTreeSet<OrderKey>,
    /// Each restaurant with the weight of its orders.
    restaurants: BTreeMap<RestaurantKey, (Place, f64)>,
    at: Seconds,
}

impl Demand {
    pub(super) const fn new() -> Self {
        Self {
            counted: BTreeSet::new(),
            restaurants: BTreeMap::new(),
            at: 0,
        }
    }

    /// Counts the orders that are new.
    pub(super) fn learn(&mut self, now: Seconds, orders: &[Order]) {
        let passed_s = f64::from(now.saturating_sub(self.at).max(0));
        let kept = 0.5_f64.powf(passed_s / HALF_LIFE_S);
        self.at = now;
        self.restaurants.retain(|_, (_, weight)| {
            *weight *= kept;
            *weight >= WEIGHT_MIN
        });
        for order in orders.iter().filter(|order| !self.counted.contains(&order.key)) {
            self.restaurants
                .entry(order.restaurant)
                .or_insert((order.pickup, 0.0))
                .1 += 1.0;
        }
        self.counted = orders.iter().map(|order| order.key).collect();
    }

    /// The busiest restaurants' places, with their weights.
    pub(super) fn usual(&self) -> Vec<(Place, f64)> {
        let mut usual: Vec<(Place, f64)> = self.restaurants.values().copied().collect();
        usual.sort_by(|a, b| b.1.total_cmp(&a.1));
        usual.truncate(PLACES_MAX);
        usual
    }
}
