//! Days that are over, counted.

use crate::mdrp::{Instance, Restaurant};
use std::collections::HashMap;

/// How long a slot is, in minutes.
pub const SLOT_MIN: u32 = 15;

/// A day that is over: how many orders each restaurant had in each slot, by their placement.
#[derive(Clone, Debug, PartialEq)]
pub struct PastDay {
    /// Its restaurants. One is known again by its id and its place together: ids alone recur between markets.
    pub(super) restaurants: Vec<Restaurant>,
    /// Orders by restaurant and slot; all restaurants have as many slots.
    pub(super) counts: Vec<Vec<u32>>,
    /// Orders by slot.
    pub(super) totals: Vec<f64>,
}

impl PastDay {
    /// Counts a day's orders.
    pub fn new(instance: &Instance) -> Self {
        let slot = |minute: u32| (minute / SLOT_MIN) as usize;
        let slots = instance
            .orders
            .iter()
            .map(|order| slot(order.placed_minute) + 1)
            .max()
            .unwrap_or(0);
        let restaurants = instance.restaurants.clone();
        let places: HashMap<&str, usize> = restaurants.iter().map(|of| of.id.as_str()).zip(0..).collect();
        let mut counts = vec![vec![0; slots]; restaurants.len()];
        let mut totals = vec![0.0; slots];
        for order in &instance.orders {
            // An instance names no restaurant that it does not have.
            counts[places[order.restaurant.as_str()]][slot(order.placed_minute)] += 1;
            totals[slot(order.placed_minute)] += 1.0;
        }
        Self {
            restaurants,
            counts,
            totals,
        }
    }

    /// A day of a restaurant by itself, the [`Self::only_restaurant`]: its orders by slot.
    pub(super) fn of_one(counts: Vec<u32>) -> Self {
        Self {
            restaurants: vec![Self::only_restaurant()],
            totals: counts.iter().copied().map(f64::from).collect(),
            counts: vec![counts],
        }
    }

    /// A restaurant that is always the same one.
    pub(super) const fn only_restaurant() -> Restaurant {
        Restaurant {
            id: String::new(),
            x: 0,
            y: 0,
        }
    }

    /// Orders by slot.
    pub fn totals(&self) -> &[f64] {
        &self.totals
    }

    /// All its orders.
    pub fn orders(&self) -> f64 {
        self.totals.iter().sum()
    }

    /// How many restaurants it has; at least one, to divide by.
    pub(super) fn size(&self) -> f64 {
        u32::try_from(self.restaurants.len().max(1)).map_or(f64::MAX, f64::from)
    }
}

/// Which of the days to learn from, given as places in a list: each day once, and never the one to plan.
///
/// Instances may be variants of one day, with other places, shifts, speeds or preparation times, or only some of its orders;
/// who learned from one would know the orders of the other. One is taken for a variant of another when it has no order, but
/// for one of a hundred, that is not placed at the same minute there; and a variant of a variant for one as well. Of several
/// the first stands for all.
pub fn distinct(days: &[&Instance], planned: &Instance) -> Vec<usize> {
    let mut forbidden = vec![planned];
    let mut left: Vec<usize> = (0..days.len()).collect();
    // Each turn forbids what is a variant of what the turn before did.
    let mut next = 0;
    while let Some(known) = forbidden.get(next).copied() {
        left.retain(|day| {
            let is_variant = same_day(days[*day], known);
            forbidden.extend(is_variant.then_some(days[*day]));
            !is_variant
        });
        next += 1;
    }
    let mut kept: Vec<usize> = Vec::new();
    for day in left {
        if !kept.iter().any(|other| same_day(days[day], days[*other])) {
            kept.push(day);
        }
    }
    kept
}

fn same_day(a: &Instance, b: &Instance) -> bool {
    let (small, large) = if a.orders.len() < b.orders.len() {
        (a, b)
    } else {
        (b, a)
    };
    let mut minutes: HashMap<u32, usize> = HashMap::new();
    for order in &large.orders {
        *minutes.entry(order.placed_minute).or_default() += 1;
    }
    let mut strangers = 0;
    for order in &small.orders {
        match minutes.get_mut(&order.placed_minute) {
            Some(left) if *left > 0 => *left -= 1,
            _ => strangers += 1,
        }
    }
    !small.orders.is_empty() && 100 * strangers <= small.orders.len()
}
