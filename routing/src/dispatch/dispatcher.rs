//! The dispatcher: a plan that lives on from one decision to the next.

use super::demand::Demand;
use super::nearest;
use super::objective::BROKEN;
use super::plan::Plan;
use super::policy::Policy;
use super::problem::{Commitment, Courier, CourierKey, Order, OrderKey, Rules, Seconds};
use super::route::Route;
use super::ruin::{Improvement, Scratch};
use super::situation::{NOBODY, Situation};
use super::split::split;
use super::tuning::Tuning;
use crate::anneal::{Budget, anneal};
use std::collections::{BTreeMap, HashMap};

/// Most couriers that are looked at: they are numbered in 16 bits.
const RIDERS_MAX: usize = 60_000;

/// What was planned for each courier, in bundles.
type Intentions = BTreeMap<CourierKey, Vec<Vec<OrderKey>>>;

/// Decides which courier fetches what. What it planned lives on from one decision to the next, but nothing depends on it:
/// promises come with the couriers, and a new dispatcher plans the rest anew.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    rules: Rules,
    policy: Policy,
    seed: u64,
    tuning: Tuning,
    /// What was planned for each courier, in bundles.
    intended: Intentions,
    demand: Demand,
    pub(super) situation: Situation,
    pub(super) plan: Plan,
    scratch: Scratch,
    movable: Vec<u16>,
}

/// A clock for those who want to know how long thinking takes.
pub(super) struct Stopwatch<'a> {
    pub(super) clock_ns: &'a dyn Fn() -> u64,
    pub(super) insertion_ns: &'a mut Vec<u64>,
}

impl Dispatcher {
    /// A dispatcher without a plan.
    pub const fn new(rules: Rules, policy: Policy, seed: u64, tuning: Tuning) -> Self {
        Self {
            rules,
            policy,
            seed,
            tuning,
            intended: BTreeMap::new(),
            demand: Demand::new(),
            situation: Situation::new(rules, tuning.objective, tuning.doubt.slip_s),
            plan: Plan::new(),
            scratch: Scratch::new(),
            movable: Vec::new(),
        }
    }

    /// Decides what must be decided now. The orders are all that are known and not picked up, the couriers all whose shift
    /// has not ended. Deterministic for a seed as long as the budget has no time in it.
    pub fn decide(
        &mut self,
        now: Seconds,
        couriers: &[Courier],
        orders: &[Order],
        budget: Budget<'_>,
    ) -> Vec<Commitment> {
        self.decide_timed(now, couriers, orders, budget, None)
    }

    pub(super) fn decide_timed(
        &mut self,
        now: Seconds,
        couriers: &[Courier],
        orders: &[Order],
        budget: Budget<'_>,
        stopwatch: Option<Stopwatch<'_>>,
    ) -> Vec<Commitment> {
        if self.policy == Policy::Nearest {
            return nearest::decide(&self.rules, now, couriers, orders);
        }
        self.demand.learn(now, orders);
        let relevant = |courier: &&Courier| self.is_relevant(now, courier);
        let couriers: Vec<Courier> = couriers.iter().filter(relevant).take(RIDERS_MAX).cloned().collect();
        let mut commitments = Vec::new();
        let mut intended = BTreeMap::new();
        if orders.len() <= self.tuning.part_orders_max {
            self.decide_part(now, &couriers, orders, budget, stopwatch);
            self.conclude(&mut intended, &mut commitments);
        } else {
            self.decide_parts(now, &couriers, orders, budget, |part| {
                part.conclude(&mut intended, &mut commitments);
            });
        }
        self.intended = intended;
        commitments
    }

    /// Whether a courier can make a difference: it was promised something, or can still pick something up before all that
    /// is open is too late.
    fn is_relevant(&self, now: Seconds, courier: &Courier) -> bool {
        let free_at = courier.free_at.max(courier.on_at).max(now);
        courier.promise.is_some() || free_at <= courier.off_at && free_at <= now + self.rules.limit_s
    }

    /// Decides a problem in parts, each with its share of the budget.
    fn decide_parts(
        &mut self,
        now: Seconds,
        couriers: &[Courier],
        orders: &[Order],
        budget: Budget<'_>,
        mut conclude: impl FnMut(&Self),
    ) {
        let parts = split(couriers, orders, self.tuning.part_orders_max);
        let (mut begun, all) = (0, orders.len());
        for part in parts {
            let ended = begun + part.orders.len();
            #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
            let (from, to) = (begun as f64 / all as f64, ended as f64 / all as f64);
            let used = |used: &dyn Fn() -> f64| (used() - from) / (to - from).max(f64::EPSILON);
            let share = budget.time_used.map(|time_used| move || used(time_used));
            let share = Budget {
                moves_max: budget.moves_max * part.orders.len() as u64 / all as u64,
                time_used: share.as_ref().map(|share| share as &dyn Fn() -> f64),
            };
            let couriers: Vec<Courier> = part.couriers.iter().map(|&at| couriers[at].clone()).collect();
            let orders: Vec<Order> = part.orders.iter().map(|&at| orders[at]).collect();
            self.decide_part(now, &couriers, &orders, share, None);
            conclude(self);
            begun = ended;
        }
    }

    fn decide_part(
        &mut self,
        now: Seconds,
        couriers: &[Courier],
        orders: &[Order],
        budget: Budget<'_>,
        stopwatch: Option<Stopwatch<'_>>,
    ) {
        self.observe(now, couriers, orders);
        self.insert_new(stopwatch);
        if self.policy == Policy::Anneal {
            self.improve(budget);
        }
    }

    /// Takes in what is true, and lays the old plan over it as far as it still holds.
    fn observe(&mut self, now: Seconds, couriers: &[Courier], orders: &[Order]) {
        self.situation.observe(now, couriers, orders);
        self.situation.measure(&self.demand.usual());
        self.plan.clear(&self.situation);
        let names = (0u16..).zip(orders);
        let names: HashMap<OrderKey, u16> = names.map(|(name, order)| (order.key, name)).collect();
        for (rider, courier) in couriers.iter().enumerate() {
            self.situation.promise(rider, courier, &names);
        }
        for (rider, courier) in couriers.iter().enumerate() {
            let route = self.adopted(rider, courier, &names);
            self.plan.replace(&self.situation, rider, route);
        }
        self.movable.clear();
        for (name, task) in (0u16..).zip(&self.situation.tasks) {
            if task.promised_to == NOBODY {
                self.movable.push(name);
            }
            if self.plan.carrier[usize::from(name)] == NOBODY {
                self.plan.unassigned.push(name);
            }
        }
    }

    /// The route that a courier was going to take, as far as it still can.
    fn adopted(&self, rider: usize, courier: &Courier, names: &HashMap<OrderKey, u16>) -> Route {
        let tasks = &self.situation.tasks;
        #[expect(clippy::cast_possible_truncation, reason = "couriers are numbered in 16 bits")]
        let own = rider as u16;
        let mut route = Route::default();
        let promise = courier.promise.as_ref().map_or(&[][..], |promise| &promise.orders);
        let known = |keys: &[OrderKey]| -> Vec<u16> { keys.iter().filter_map(|key| names.get(key).copied()).collect() };
        let free = |order: u16| {
            tasks[usize::from(order)].promised_to == NOBODY && self.plan.carrier[usize::from(order)] == NOBODY
        };
        let mut intended = match self.policy {
            Policy::Anneal => self.intended.get(&courier.key).map_or(&[][..], Vec::as_slice),
            _ => &[],
        };
        let promised = known(promise);
        let promised = promised
            .iter()
            .copied()
            .filter(|&order| tasks[usize::from(order)].promised_to == own);
        if self.situation.riders[rider].promised > 0 {
            match intended.split_first() {
                Some((first, rest)) if promise.iter().all(|order| first.contains(order)) => {
                    intended = rest;
                    let same = promised
                        .clone()
                        .next()
                        .map(|order| tasks[usize::from(order)].restaurant);
                    let kept = known(first).into_iter().filter(|&order| {
                        let task = &tasks[usize::from(order)];
                        task.promised_to == own || free(order) && Some(task.restaurant) == same
                    });
                    route.append(kept);
                }
                _ => route.append(promised),
            }
        }
        for bundle in intended {
            route.append(known(bundle).into_iter().filter(|&order| free(order)));
        }
        self.shortened(rider, route)
    }

    /// A route without what no longer fits behind the promise.
    fn shortened(&self, rider: usize, mut route: Route) -> Route {
        let tasks = &self.situation.tasks;
        let broken = |route: &Route| self.situation.route_cost(rider, route) / (BROKEN / 2);
        let free = |order: &u16| tasks[usize::from(*order)].promised_to == NOBODY;
        let mut promised = route;
        while let Some(at) = promised.orders().iter().rposition(free) {
            promised.remove(at);
        }
        let excused = broken(&promised);
        while broken(&route) > excused {
            let Some(at) = route.orders().iter().rposition(free) else {
                break;
            };
            route.remove(at);
        }
        route
    }

    /// Puts the orders that nobody carries where they are cheapest.
    fn insert_new(&mut self, mut stopwatch: Option<Stopwatch<'_>>) {
        let mut waiting = std::mem::take(&mut self.plan.unassigned);
        let tasks = &self.situation.tasks;
        waiting.sort_by_key(|&order| (tasks[usize::from(order)].ready_at, order));
        waiting.retain(|&order| {
            let begun = stopwatch.as_ref().map(|watch| (watch.clock_ns)());
            let carried = self.plan.insert_cheapest(&self.situation, order, || false).is_some();
            if let (Some(watch), Some(begun)) = (&mut stopwatch, begun) {
                watch.insertion_ns.push((watch.clock_ns)().saturating_sub(begun));
            }
            !carried
        });
        self.plan.unassigned = waiting;
    }

    /// Ruins and recreates the plan, as long as the budget lasts.
    fn improve(&mut self, budget: Budget<'_>) {
        let orders = self.movable.len() as u64;
        let moves_max = budget.moves_max.min(orders * self.tuning.moves_per_order);
        if moves_max == 0 {
            return;
        }
        let mut improvement = Improvement {
            situation: &self.situation,
            plan: &mut self.plan,
            scratch: &mut self.scratch,
            movable: &self.movable,
            ruin: self.tuning.ruin,
        };
        let seed = self.seed ^ u64::from(self.situation.now.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        anneal(
            &mut improvement,
            self.tuning.cooling(),
            Budget { moves_max, ..budget },
            seed,
        );
        improvement.finish();
    }

    /// Writes down what is planned, by names that last, and what must be said now.
    fn conclude(&self, intended: &mut Intentions, commitments: &mut Vec<Commitment>) {
        for (rider, courier) in self.situation.riders.iter().enumerate() {
            if !self.plan.routes[rider].is_empty() {
                intended.insert(courier.key, self.plan.keys(&self.situation, rider));
            }
        }
        commitments.extend((0..self.situation.riders.len()).filter_map(|rider| self.commitment(rider)));
    }

    fn commitment(&self, at: usize) -> Option<Commitment> {
        let situation = &self.situation;
        let rider = &situation.riders[at];
        let bundle = self.plan.routes[at].bundles().next()?;
        let promised = rider.promised > 0;
        let due_by = situation.now + self.tuning.commit_ahead_s;
        let begin = situation.begin(at);
        let carried = situation.carry(at, begin, bundle, promised);
        if let Some(ready) = self.ready_part(at, bundle) {
            return Some(self.told(at, &ready, situation.now, situation.now));
        }
        let departs_at = if promised {
            let own = |&&order: &&u16| situation.tasks[usize::from(order)].promised_to != NOBODY;
            let old: Vec<u16> = bundle.iter().filter(own).copied().collect();
            let last_moment = situation.carry(at, begin, &old, true).pickup_at;
            if old.len() == bundle.len() || last_moment > due_by {
                return None;
            }
            situation.now
        } else {
            let restaurant = situation.tasks[usize::from(bundle[0])].pickup;
            let way_s = situation.travel_s(at, begin.place, restaurant);
            let there_at = carried.pickup_at - situation.rules.pickup_service_s / 2;
            let lazy = there_at - way_s - self.tuning.doubt.head_start_s;
            let departs_at = lazy.max(begin.free_at);
            if departs_at > due_by {
                return None;
            }
            departs_at
        };
        Some(self.told(at, bundle, departs_at, carried.pickup_at))
    }

    /// What is ready of a promise whose courier has waited long enough for the rest.
    fn ready_part(&self, at: usize, bundle: &[u16]) -> Option<Vec<u16>> {
        let (situation, rider) = (&self.situation, &self.situation.riders[at]);
        let there_at = rider.arrives_at? + situation.rules.pickup_service_s / 2;
        let ready_at = |order: u16| situation.tasks[usize::from(order)].ready_at;
        let ready: Vec<u16> = bundle
            .iter()
            .copied()
            .filter(|&order| ready_at(order) <= situation.now)
            .collect();
        let begun_at = ready.iter().map(|&order| ready_at(order)).min()?.max(there_at);
        let promised_late = bundle
            .iter()
            .any(|&order| ready_at(order) > situation.now && situation.tasks[usize::from(order)].promised_to != NOBODY);
        let waited = situation.now - begun_at >= self.tuning.doubt.patience_s?;
        (rider.promised > 0 && promised_late && waited).then_some(ready)
    }

    fn told(&self, at: usize, bundle: &[u16], departs_at: Seconds, pickup_at: Seconds) -> Commitment {
        Commitment {
            courier: self.situation.riders[at].key,
            orders: bundle
                .iter()
                .map(|&order| self.situation.tasks[usize::from(order)].key)
                .collect(),
            departs_at,
            pickup_at,
        }
    }
}
