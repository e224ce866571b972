//! Ruin and recreate: strings of orders near one another are taken out of their routes, and put back where they are
//! cheapest.
//!
//! After SISR (Christiaens and Vanden Berghe 2020), with what is near redefined for meals: near restaurants, near doors and
//! near ready times. Promised orders stay where they are.

use super::plan::Plan;
use super::route::Route;
use super::situation::{NOBODY, Situation};
use crate::anneal::Landscape;
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// How much is ruined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ruin {
    /// Orders taken out at a time, on average.
    pub orders_mean: f64,
    /// Longest string that is taken out of one route.
    pub string_max: usize,
    /// How often the best courier is overlooked when an order is put back.
    pub blink: f64,
}

impl Default for Ruin {
    fn default() -> Self {
        Self {
            orders_mean: 10.0,
            string_max: 2,
            blink: 0.01,
        }
    }
}

/// What the search works with; kept from one search to the next, so that it allocates only as it grows.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    /// The routes that the move changed, as they were.
    before: Vec<(usize, Route)>,
    unassigned_before: Vec<u16>,
    /// When each route was last changed, as a number of moves.
    touched: Vec<u64>,
    moves: u64,
    removed: Vec<u16>,
    /// Orders by how near they are to the first that is taken out.
    near: Vec<(i64, u16)>,
    /// Keys by which orders are put back.
    ranked: Vec<(i64, u16)>,
    best_routes: Vec<Route>,
    best_unassigned: Vec<u16>,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self {
            before: Vec::new(),
            unassigned_before: Vec::new(),
            touched: Vec::new(),
            moves: 0,
            removed: Vec::new(),
            near: Vec::new(),
            ranked: Vec::new(),
            best_routes: Vec::new(),
            best_unassigned: Vec::new(),
        }
    }
}

/// A plan being improved.
pub(super) struct Improvement<'a> {
    pub(super) situation: &'a Situation,
    pub(super) plan: &'a mut Plan,
    pub(super) scratch: &'a mut Scratch,
    /// The orders that may move.
    pub(super) movable: &'a [u16],
    pub(super) ruin: Ruin,
}

impl Improvement<'_> {
    /// Makes the best plan seen the plan.
    pub(super) fn finish(self) {
        self.plan.carrier.fill(NOBODY);
        for (rider, route) in self.scratch.best_routes.iter().enumerate() {
            self.plan.restore(rider, *route);
        }
        self.plan.unassigned.clone_from(&self.scratch.best_unassigned);
    }

    fn remember(&mut self, rider: usize) {
        if self.scratch.touched[rider] != self.scratch.moves {
            self.scratch.touched[rider] = self.scratch.moves;
            self.scratch.before.push((rider, self.plan.routes[rider]));
        }
    }

    /// How far an order is from another, in seconds.
    fn distance(&self, a: u16, b: u16) -> i64 {
        let (a, b) = (
            &self.situation.tasks[usize::from(a)],
            &self.situation.tasks[usize::from(b)],
        );
        let pickups = super::travel::apart(a.pickup, b.pickup);
        let dropoffs = super::travel::apart(a.dropoff, b.dropoff);
        pickups + dropoffs / 2 + i64::from((a.ready_at - b.ready_at).abs()) * 2
    }

    /// Takes strings out around an order.
    fn ruin(&mut self, random: &mut SmallRng) {
        let seed = self.movable[random.random_range(0..self.movable.len())];
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let string_max = self.ruin.string_max.max(1) as f64;
        let most = 4.0 * self.ruin.orders_mean / (1.0 + string_max) - 1.0;
        let strings = random.random_range(1.0..most.max(1.0) + 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        let strings = strings as usize;
        self.rank_near(seed, 3 * strings);
        let mut taken = 0;
        for at in 0..self.scratch.near.len() {
            let (_, order) = self.scratch.near[at];
            let carrier = self.plan.carrier[usize::from(order)];
            if carrier == NOBODY || self.scratch.touched[usize::from(carrier)] == self.scratch.moves {
                continue;
            }
            self.take_string(usize::from(carrier), order, random);
            taken += 1;
            if taken == strings {
                return;
            }
        }
    }

    /// Lists the orders nearest to one of them, nearest first.
    fn rank_near(&mut self, seed: u16, count: usize) {
        let mut near = std::mem::take(&mut self.scratch.near);
        near.clear();
        near.extend(self.movable.iter().map(|&order| (self.distance(seed, order), order)));
        if near.len() > count {
            near.select_nth_unstable(count);
            near.truncate(count);
        }
        near.sort_unstable();
        self.scratch.near = near;
    }

    /// Takes a string of a route out that contains the order.
    fn take_string(&mut self, rider: usize, order: u16, random: &mut SmallRng) {
        self.remember(rider);
        let mut route = self.plan.routes[rider];
        let at = route.position(order).unwrap_or_default();
        let length = random.random_range(1..=self.ruin.string_max.min(route.len()));
        let first = random.random_range(at.saturating_sub(length - 1)..=at.min(route.len() - length));
        for at in (first..first + length).rev() {
            let order = route.orders()[at];
            if usize::from(self.situation.tasks[usize::from(order)].promised_to) == rider {
                continue;
            }
            route.remove(at);
            self.plan.carrier[usize::from(order)] = NOBODY;
            self.scratch.removed.push(order);
        }
        self.plan.replace(self.situation, rider, route);
    }

    /// Puts everything back that nobody carries, in one of several sequences.
    fn recreate(&mut self, random: &mut SmallRng) {
        let mut ranked = std::mem::take(&mut self.scratch.ranked);
        let waiting = self.scratch.removed.iter().chain(&self.plan.unassigned);
        let tasks = &self.situation.tasks;
        let kind = random.random_range(0..10);
        ranked.clear();
        ranked.extend(waiting.map(|&order| {
            let task = &tasks[usize::from(order)];
            let rank = match kind {
                0..4 => random.random_range(0..1 << 20),
                4..7 => i64::from(task.ready_at),
                7 => i64::from(task.placed_at),
                8 => -super::travel::apart(task.pickup, task.dropoff),
                _ => super::travel::apart(task.pickup, task.dropoff),
            };
            (rank, order)
        }));
        ranked.sort_unstable();
        self.plan.unassigned.clear();
        for &(_, order) in &ranked {
            self.put_back(order, random);
        }
        self.scratch.ranked = ranked;
    }

    fn put_back(&mut self, order: u16, random: &mut SmallRng) {
        let blink = self.ruin.blink;
        let best = self
            .plan
            .cheapest_rider(self.situation, order, || random.random_bool(blink));
        let Some((rider, _)) = best else {
            self.plan.unassigned.push(order);
            return;
        };
        self.remember(rider);
        let slot = self
            .situation
            .cheapest_slot(rider, &self.plan.routes[rider], order, i64::MAX);
        if let Some((_, slot)) = slot {
            self.plan.insert(self.situation, rider, order, slot);
        }
    }
}

impl Landscape for Improvement<'_> {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    fn cost(&self) -> f64 {
        self.plan.cost(self.situation) as f64
    }

    fn change(&mut self, random: &mut SmallRng) -> f64 {
        self.scratch.moves += 1;
        self.scratch.touched.resize(self.plan.routes.len(), 0);
        self.scratch.before.clear();
        self.scratch.removed.clear();
        self.scratch.unassigned_before.clone_from(&self.plan.unassigned);
        self.ruin(random);
        self.recreate(random);
        self.cost()
    }

    fn keep(&mut self) {}

    fn undo(&mut self) {
        for &order in self.scratch.removed.iter().chain(&self.scratch.unassigned_before) {
            self.plan.carrier[usize::from(order)] = NOBODY;
        }
        while let Some((rider, route)) = self.scratch.before.pop() {
            self.plan.restore(rider, route);
        }
        self.plan.unassigned.clone_from(&self.scratch.unassigned_before);
    }

    fn publish(&mut self) {
        self.scratch.best_routes.clone_from(&self.plan.routes);
        self.scratch.best_unassigned.clone_from(&self.plan.unassigned);
    }
}
