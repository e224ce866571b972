//! What is true at the moment of a decision, and what a route costs then.

use super::objective::{BROKEN, COST_PER_S, Objective};
use super::problem::{Courier, CourierKey, Order, OrderKey, Place, Rules, Seconds};
use super::route::{Entry, Route, Slot};
use super::travel::travel_s;
use std::collections::HashMap;

/// One in so many orders is ready so late that a courier whose shift ends is gone.
const SLIPS_IN: i64 = 5;

/// Nobody.
pub(super) const NOBODY: u16 = u16::MAX;

/// An order, as the search sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) key: OrderKey,
    pub(super) restaurant: u32,
    pub(super) pickup: Place,
    pub(super) dropoff: Place,
    pub(super) placed_at: Seconds,
    pub(super) ready_at: Seconds,
    /// How long it takes from the click to the door at least.
    pub(super) ideal_s: Seconds,
    /// How long it may take from the click to the door.
    pub(super) limit_s: Seconds,
    /// How far its drop-off is from where orders are usually fetched.
    remote_s: Seconds,
    /// The courier that it is promised to.
    pub(super) promised_to: u16,
}

/// A courier, as the search sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rider {
    pub(super) key: CourierKey,
    pub(super) place: Place,
    pub(super) free_at: Seconds,
    pub(super) off_at: Seconds,
    /// When it is at the restaurant of its promise, if it is on its way.
    pub(super) arrives_at: Option<Seconds>,
    /// How many orders it was promised.
    pub(super) promised: usize,
    /// How far its place is from where orders are usually fetched.
    remote_s: Seconds,
    metres_per_min: f64,
    orders_taken: i64,
    /// What its shift earns in any case, in minor units.
    guaranteed_minor: i64,
}

/// Where a courier is after a part of its route, when, and what the part cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) place: Place,
    pub(super) free_at: Seconds,
    pub(super) cost: i64,
    /// When the last bundle was picked up.
    pub(super) pickup_at: Seconds,
}

/// What is true at the moment of a decision. It does not change while plans are compared.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) now: Seconds,
    pub(super) rules: Rules,
    pub(super) objective: Objective,
    /// How much later than thought food may well be ready.
    slip_s: Seconds,
    pub(super) tasks: Vec<Task>,
    pub(super) riders: Vec<Rider>,
    /// The longest of the orders' ways from their drop-offs to where orders are usually fetched.
    remote_most_s: Seconds,
}

impl Situation {
    pub(super) const fn new(rules: Rules, objective: Objective, slip_s: Seconds) -> Self {
        Self {
            now: 0,
            rules,
            objective,
            slip_s,
            tasks: Vec::new(),
            riders: Vec::new(),
            remote_most_s: 0,
        }
    }

    /// Looks at what is true now.
    pub(super) fn observe(&mut self, now: Seconds, couriers: &[Courier], orders: &[Order]) {
        self.now = now;
        self.riders.clear();
        self.riders
            .extend(couriers.iter().map(|courier| self.rules.rider(courier)));
        self.tasks.clear();
        let metres_per_min = couriers.iter().map(|courier| courier.metres_per_min).max().unwrap_or(1);
        let task = |order: &Order| self.rules.task(order, metres_per_min);
        self.tasks.extend(orders.iter().map(task));
    }

    /// Measures how far everything is from where orders are usually fetched: places with weights.
    pub(super) fn measure(&mut self, usual: &[(Place, f64)]) {
        let Some(first) = self.riders.first() else { return };
        let all: f64 = usual.iter().map(|(_, weight)| weight).sum();
        if all <= 0.0 || self.objective.per_remote_s == 0 {
            return;
        }
        let metres_per_min = first.metres_per_min;
        let remote_s = |from: Place| {
            let ways = usual
                .iter()
                .map(|&(to, weight)| f64::from(travel_s(from, to, metres_per_min)) * weight);
            #[expect(clippy::cast_possible_truncation, reason = "a mean of ways")]
            let mean_s = (ways.sum::<f64>() / all) as Seconds;
            mean_s
        };
        for rider in &mut self.riders {
            rider.remote_s = remote_s(rider.place);
        }
        for task in &mut self.tasks {
            task.remote_s = remote_s(task.dropoff);
        }
        self.remote_most_s = self.tasks.iter().map(|task| task.remote_s).max().unwrap_or(0);
    }

    /// What it costs that a route ends with an order.
    fn tail_cost(&self, last: u16) -> i64 {
        i64::from(self.tasks[usize::from(last)].remote_s) * self.objective.per_remote_s
    }

    /// Notes which orders a courier was promised. An order that is promised twice stays with the first.
    pub(super) fn promise(&mut self, rider: usize, courier: &Courier, names: &HashMap<OrderKey, u16>) {
        let Some(promise) = &courier.promise else { return };
        #[expect(clippy::cast_possible_truncation, reason = "couriers are numbered in 16 bits")]
        let own = rider as u16;
        for order in promise.orders.iter().filter_map(|key| names.get(key)) {
            let task = &mut self.tasks[usize::from(*order)];
            if task.promised_to == NOBODY {
                task.promised_to = own;
                self.riders[rider].promised += 1;
            }
        }
    }

    /// How long a courier needs from one place to another.
    pub(super) fn travel_s(&self, rider: usize, from: Place, to: Place) -> Seconds {
        travel_s(from, to, self.riders[rider].metres_per_min)
    }

    /// Where a courier begins.
    pub(super) fn begin(&self, rider: usize) -> Progress {
        let rider = &self.riders[rider];
        Progress {
            place: rider.place,
            free_at: rider.free_at.max(self.now),
            cost: 0,
            pickup_at: self.now,
        }
    }

    /// What a bundle adds. `promised`: it is the one that the courier was told to fetch.
    pub(super) fn carry(&self, rider: usize, from: Progress, bundle: &[u16], promised: bool) -> Progress {
        let Some(&first) = bundle.first() else { return from };
        let rider = &self.riders[rider];
        let rules = &self.rules;
        let restaurant = self.tasks[usize::from(first)].pickup;
        let way_s = travel_s(from.place, restaurant, rider.metres_per_min);
        let arrives_at = match rider.arrives_at {
            Some(arrives_at) if promised => arrives_at,
            _ => from.free_at + way_s,
        };
        let mut pickup_at = (arrives_at + rules.pickup_service_s / 2).max(self.now);
        for &order in bundle {
            pickup_at = pickup_at.max(self.tasks[usize::from(order)].ready_at);
        }
        let mut cost = from.cost;
        if pickup_at > rider.off_at {
            cost += BROKEN;
        } else if pickup_at > rider.off_at - self.slip_s && pickup_at > self.now {
            let orders = i64::try_from(bundle.len()).unwrap_or(i64::MAX);
            cost += self.objective.per_unassigned_order / SLIPS_IN * orders;
        }
        let mut work_s = way_s + rules.pickup_service_s;
        let mut leaves_at = pickup_at + rules.pickup_service_s / 2;
        let mut place = restaurant;
        for &order in bundle {
            let task = &self.tasks[usize::from(order)];
            let way_s = travel_s(place, task.dropoff, rider.metres_per_min);
            let dropoff_at = leaves_at + way_s + rules.dropoff_service_s / 2;
            cost += self.delivery_cost(dropoff_at - task.placed_at, task.limit_s);
            work_s += way_s + rules.dropoff_service_s;
            leaves_at = dropoff_at + rules.dropoff_service_s / 2;
            place = task.dropoff;
        }
        cost += i64::from(work_s) * self.objective.per_work_s;
        Progress {
            place,
            free_at: leaves_at,
            cost,
            pickup_at,
        }
    }

    /// What it costs that an order takes so long from the click to the door.
    fn delivery_cost(&self, click_to_door_s: Seconds, limit_s: Seconds) -> i64 {
        let overdue_s = (click_to_door_s - self.rules.target_s).max(0);
        let late = if click_to_door_s > limit_s { BROKEN } else { 0 };
        i64::from(click_to_door_s) * COST_PER_S + i64::from(overdue_s) * self.objective.per_overdue_s + late
    }

    /// What carrying so many more orders takes off a courier's cost.
    fn end_cost(&self, rider: usize, orders: usize) -> i64 {
        let rider = &self.riders[rider];
        let left = if orders == 0 {
            0
        } else {
            i64::from(rider.remote_s) * self.objective.per_remote_s
        };
        self.filling_cost(rider, orders) - left
    }

    fn filling_cost(&self, rider: &Rider, orders: usize) -> i64 {
        let pay = self.rules.pay_per_order_minor;
        if pay <= 0 || rider.orders_taken * pay >= rider.guaranteed_minor {
            return 0;
        }
        let before = rider.orders_taken * pay;
        #[expect(clippy::cast_possible_wrap, reason = "a route has at most 16 orders")]
        let after = (before + orders as i64 * pay).min(rider.guaranteed_minor);
        -(after - before) * self.objective.off_per_guaranteed_order / pay
    }

    /// What a route costs, from scratch.
    pub(super) fn route_cost(&self, rider: usize, route: &Route) -> i64 {
        let tail_cost = route.orders().last().map_or(0, |&last| self.tail_cost(last));
        self.cost_from(rider, self.begin(rider), route, 0, i64::MAX) + tail_cost + self.end_cost(rider, route.len())
    }

    /// What a route costs from the bundle on that begins at `start`; no more exact than `enough` once beyond it.
    fn cost_from(&self, rider: usize, from: Progress, route: &Route, mut start: usize, enough: i64) -> i64 {
        let mut progress = from;
        while start < route.len() && progress.cost < enough {
            let end = route.bundle_end(start);
            let promised = start == 0 && self.riders[rider].promised > 0;
            progress = self.carry(rider, progress, &route.orders()[start..end], promised);
            start = end;
        }
        progress.cost
    }

    /// What an order adds at least to any route of a courier, and what it adds to an empty one. The first never exceeds
    /// what an insertion adds, because ways keep the triangle inequality, even rounded up; it is without the way to the
    /// restaurant, on which the courier may be anyhow.
    pub(super) fn bounds(&self, rider: usize, order: u16) -> (i64, i64) {
        let task = &self.tasks[usize::from(order)];
        let mut begin = self.begin(rider);
        if self.riders[rider].promised > 0 {
            begin.place = task.pickup;
            begin.free_at = self.now - self.rules.pickup_service_s / 2;
        }
        let alone = self.carry(rider, begin, &[order], false);
        let there_s = self.travel_s(rider, begin.place, task.pickup);
        let spared_s = there_s + self.travel_s(rider, task.pickup, task.dropoff) + self.rules.pickup_service_s;
        let least = alone.cost - i64::from(spared_s) * self.objective.per_work_s;
        let filling = self.filling_cost(&self.riders[rider], 1) < 0;
        let filled = i64::from(filling) * self.objective.off_per_guaranteed_order;
        let nearer = i64::from(self.remote_most_s) * self.objective.per_remote_s;
        let solo = alone.cost + self.tail_cost(order) + self.end_cost(rider, 1);
        ((least - filled - nearer).min(solo), solo)
    }

    /// The cheapest place for an order in a courier's route, and what it adds; absent when nothing adds less than `bound`.
    pub(super) fn cheapest_slot(&self, rider: usize, route: &Route, order: u16, bound: i64) -> Option<(i64, Slot)> {
        if route.is_full() {
            return None;
        }
        let old_end_cost = self.end_cost(rider, route.len());
        let end_cost = self.end_cost(rider, route.len() + 1);
        let mut best = Best {
            cost: bound.min(BROKEN / 2) + route.cost - end_cost,
            slot: None,
        };
        let orders = route.orders();
        let tail_cost = orders.last().map_or(0, |&last| self.tail_cost(last));
        let restaurant = self.tasks[usize::from(order)].restaurant;
        let promised = self.riders[rider].promised > 0;
        let mut progress = self.begin(rider);
        let mut start = 0;
        while start < route.len() && progress.cost < best.cost {
            let end = route.bundle_end(start);
            let first = &self.tasks[usize::from(orders[start])];
            if start > 0 || !promised {
                let alone = self.carry(rider, progress, &[order], false);
                // What follows costs no less than it did, but for the way to it.
                let spared_s = self.travel_s(rider, progress.place, first.pickup);
                let later = route.cost - old_end_cost - progress.cost - i64::from(spared_s) * self.objective.per_work_s;
                if alone.cost + later < best.cost {
                    best.offer(
                        self.cost_from(rider, alone, route, start, best.cost) + tail_cost,
                        start,
                        Entry::Alone,
                    );
                }
            }
            if first.restaurant == restaurant {
                for at in start..=end {
                    let entry = if at == start { Entry::First } else { Entry::Further };
                    let mut joined = *route;
                    joined.insert(order, Slot { at, entry });
                    let tail_cost = if at == route.len() {
                        self.tail_cost(order)
                    } else {
                        tail_cost
                    };
                    best.offer(
                        self.cost_from(rider, progress, &joined, start, best.cost) + tail_cost,
                        at,
                        entry,
                    );
                }
            }
            progress = self.carry(rider, progress, &orders[start..end], start == 0 && promised);
            start = end;
        }
        if start == route.len() && progress.cost < best.cost {
            let alone = self.carry(rider, progress, &[order], false);
            best.offer(alone.cost + self.tail_cost(order), start, Entry::Alone);
        }
        best.slot.map(|slot| (best.cost + end_cost - route.cost, slot))
    }
}

/// The cheapest of what was offered.
struct Best {
    cost: i64,
    slot: Option<Slot>,
}

impl Best {
    fn offer(&mut self, cost: i64, at: usize, entry: Entry) {
        if cost < self.cost {
            self.cost = cost;
            self.slot = Some(Slot { at, entry });
        }
    }
}

impl Rules {
    fn rider(&self, courier: &Courier) -> Rider {
        Rider {
            key: courier.key,
            place: courier.place,
            free_at: courier.free_at.max(courier.on_at),
            off_at: courier.off_at,
            arrives_at: courier.promise.as_ref().and_then(|promise| promise.arrives_at),
            promised: 0,
            remote_s: 0,
            metres_per_min: f64::from(courier.metres_per_min.max(1)),
            orders_taken: i64::from(courier.orders_taken),
            guaranteed_minor: i64::from(courier.off_at - courier.on_at) * self.pay_per_hour_minor / 3600,
        }
    }

    fn task(&self, order: &Order, metres_per_min: u32) -> Task {
        Task {
            key: order.key,
            restaurant: order.restaurant.0,
            pickup: order.pickup,
            dropoff: order.dropoff,
            placed_at: order.placed_at,
            ready_at: order.ready_at,
            ideal_s: self.ideal_s(order, metres_per_min),
            limit_s: self.limit_of_s(order, metres_per_min).unwrap_or(Seconds::MAX),
            remote_s: 0,
            promised_to: NOBODY,
        }
    }
}
