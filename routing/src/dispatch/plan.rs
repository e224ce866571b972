//! A plan: everybody's route, and who is not carried.

use super::problem::OrderKey;
use super::route::{Route, Slot};
use super::situation::{NOBODY, Situation};

/// What an insertion would add, as it was found for a version of a route.
#[derive(Clone, Copy, Debug, Default)]
struct Quote {
    version: u32,
    added: i32,
    /// Whether it adds that; at least that, otherwise.
    exact: bool,
}

/// What a courier could do for an order, whatever else it does.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    /// What the order adds at least.
    least: i32,
    /// What it adds when the courier does nothing else.
    solo: i32,
    rider: u16,
}

/// No slot.
const NO_SLOT: i32 = i32::MAX;

/// A plan for a situation. Routes change by copies that are kept to undo them; quotes for insertions are kept as long as
/// the route they were made for is the same.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) routes: Vec<Route>,
    /// Who carries each order.
    pub(super) carrier: Vec<u16>,
    pub(super) unassigned: Vec<u16>,
    /// What the routes cost together.
    routes_cost: i64,
    versions: u32,
    quotes: Vec<Quote>,
    offers: Vec<Offer>,
    /// How many offers each order has, once they were listed.
    ranked: Vec<Option<u16>>,
}

impl Plan {
    pub(super) const fn new() -> Self {
        Self {
            routes: Vec::new(),
            carrier: Vec::new(),
            unassigned: Vec::new(),
            routes_cost: 0,
            versions: 0,
            quotes: Vec::new(),
            offers: Vec::new(),
            ranked: Vec::new(),
        }
    }

    /// Empties it, for a situation.
    pub(super) fn clear(&mut self, situation: &Situation) {
        let (riders, orders) = (situation.riders.len(), situation.tasks.len());
        self.routes.clear();
        self.routes.resize(riders, Route::default());
        self.carrier.clear();
        self.carrier.resize(orders, NOBODY);
        self.unassigned.clear();
        self.quotes.clear();
        self.quotes.resize(riders * orders, Quote::default());
        self.offers.resize(riders * orders, Offer::default());
        self.ranked.clear();
        self.ranked.resize(orders, None);
        self.routes_cost = 0;
        self.versions = 1;
        for route in &mut self.routes {
            route.version = 1;
        }
    }

    /// What it costs.
    pub(super) fn cost(&self, situation: &Situation) -> i64 {
        #[expect(clippy::cast_possible_wrap, reason = "orders are numbered in 16 bits")]
        let unassigned = self.unassigned.len() as i64;
        self.routes_cost + unassigned * situation.objective.per_unassigned_order
    }

    /// Replaces a route by one of known cost and version.
    pub(super) fn restore(&mut self, rider: usize, route: Route) {
        self.routes_cost += route.cost - self.routes[rider].cost;
        self.routes[rider] = route;
        self.settle(rider);
    }

    /// Replaces a route by a new one.
    pub(super) fn replace(&mut self, situation: &Situation, rider: usize, mut route: Route) {
        self.versions += 1;
        route.version = self.versions;
        route.cost = situation.route_cost(rider, &route);
        self.restore(rider, route);
    }

    fn settle(&mut self, rider: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "couriers are numbered in 16 bits")]
        let name = rider as u16;
        for &order in self.routes[rider].orders() {
            self.carrier[usize::from(order)] = name;
        }
    }

    /// Puts an order where it was said to be cheapest.
    pub(super) fn insert(&mut self, situation: &Situation, rider: usize, order: u16, slot: Slot) {
        let mut route = self.routes[rider];
        route.insert(order, slot);
        self.replace(situation, rider, route);
    }

    /// Lists the couriers who could carry an order, those first for whom it may cost least.
    fn rank(&mut self, situation: &Situation, order: u16) -> usize {
        let riders = self.routes.len();
        let from = usize::from(order) * riders;
        if let Some(count) = self.ranked[usize::from(order)] {
            return usize::from(count);
        }
        let worth = situation.objective.per_unassigned_order;
        let mut count = 0;
        for rider in (0u16..).take(riders) {
            let (least, solo) = situation.bounds(usize::from(rider), order);
            if least < worth {
                let price = |cost: i64| i32::try_from(cost.min(worth)).unwrap_or(NO_SLOT);
                self.offers[from + count] = Offer {
                    least: price(least),
                    solo: if solo < worth { price(solo) } else { NO_SLOT },
                    rider,
                };
                count += 1;
            }
        }
        self.offers[from..from + count].sort_unstable_by_key(|offer| (offer.least, offer.rider));
        self.ranked[usize::from(order)] = u16::try_from(count).ok();
        count
    }

    /// What an order would add to a courier's route, as far as it is less than `bound`.
    fn quote(&mut self, situation: &Situation, offer: Offer, order: u16, bound: i32) -> i32 {
        let rider = usize::from(offer.rider);
        let route = &self.routes[rider];
        if route.is_empty() {
            return offer.solo;
        }
        let at = usize::from(order) * self.routes.len() + rider;
        let quote = self.quotes[at];
        if quote.version == route.version && (quote.exact || quote.added >= bound) {
            return quote.added;
        }
        let worth = situation.objective.per_unassigned_order;
        let slot = situation.cheapest_slot(rider, route, order, worth.min(i64::from(bound)));
        let added = slot.map_or(bound, |(added, _)| i32::try_from(added).unwrap_or(NO_SLOT));
        self.quotes[at] = Quote {
            version: route.version,
            added,
            exact: slot.is_some(),
        };
        added
    }

    /// The courier to whose route an order adds least, and what it adds; couriers for whom `overlook` says so are passed
    /// over.
    pub(super) fn cheapest_rider(
        &mut self,
        situation: &Situation,
        order: u16,
        mut overlook: impl FnMut() -> bool,
    ) -> Option<(usize, i32)> {
        let count = self.rank(situation, order);
        let from = usize::from(order) * self.routes.len();
        let mut best: Option<(usize, i32)> = None;
        let mut least_added = NO_SLOT;
        for at in from..from + count {
            let offer = self.offers[at];
            if offer.least >= least_added {
                break;
            }
            let added = self.quote(situation, offer, order, least_added);
            if added < least_added && !overlook() {
                best = Some((usize::from(offer.rider), added));
                least_added = added;
            }
        }
        best
    }

    /// Inserts an order where it adds least, if it is worth it.
    pub(super) fn insert_cheapest(
        &mut self,
        situation: &Situation,
        order: u16,
        overlook: impl FnMut() -> bool,
    ) -> Option<usize> {
        let (rider, _) = self.cheapest_rider(situation, order, overlook)?;
        let (_, slot) = situation.cheapest_slot(rider, &self.routes[rider], order, i64::MAX)?;
        self.insert(situation, rider, order, slot);
        Some(rider)
    }

    /// The orders of a courier's route, by their keys, in bundles.
    pub(super) fn keys(&self, situation: &Situation, rider: usize) -> Vec<Vec<OrderKey>> {
        let key = |&order: &u16| situation.tasks[usize::from(order)].key;
        let bundles = self.routes[rider].bundles();
        bundles.map(|bundle| bundle.iter().map(key).collect()).collect()
    }
}
