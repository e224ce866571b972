//! A day in simulated time, minute by minute.

use super::day::{Day, Spot};
use super::dispatcher::{Dispatcher, Stopwatch};
use super::policy::Policy;
use super::problem::{Commitment, Courier, CourierKey, Order, OrderKey, Place, Promise, Seconds};
use super::solution::{Carried, Move, Solution};
use super::travel::travel_s;
use super::tuning::{Doubt, Tuning};
use crate::anneal::Budget;

/// Seconds in a minute.
const MINUTE_S: Seconds = 60;

/// What is known of an order's preparation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knowledge {
    /// The ready time, from the placement on.
    #[default]
    Exact,
    /// Until the food is ready, only the mean preparation time of its restaurant over the day.
    Estimated,
}

/// How a day is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How couriers are dispatched.
    pub policy: Policy,
    /// What is known of preparation times.
    pub knowledge: Knowledge,
    /// The seed of the dispatcher.
    pub seed: u64,
    /// Most moves of a re-plan.
    pub moves_max: u64,
    /// Longest improvement of a plan, in nanoseconds of the caller's clock. With it, the day depends on how fast that runs.
    pub budget_ns: Option<u64>,
    /// How the dispatcher is set.
    pub tuning: Tuning,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            knowledge: Knowledge::default(),
            seed: 1,
            moves_max: 1_000,
            budget_ns: None,
            tuning: Tuning::default(),
        }
    }
}

/// What came of a day, and how long it took to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// What became of the day.
    pub solution: Solution,
    /// What each re-plan took, in nanoseconds of the caller's clock.
    pub replan_ns: Vec<u64>,
    /// What each insertion of a new order into the plan took, in nanoseconds of the caller's clock.
    pub insertion_ns: Vec<u64>,
    /// The most orders that were open in one re-plan.
    pub open_orders_max: usize,
}

/// Plays a day under a policy. An order is known from its placement on, never before. Deterministic for a seed; `clock_ns`
/// is only asked how long thinking takes.
pub fn play(day: &Day, settings: &Settings, clock_ns: &dyn Fn() -> u64) -> Played {
    let tuning = Tuning {
        commit_ahead_s: 0,
        doubt: match settings.knowledge {
            Knowledge::Exact => Doubt::NONE,
            Knowledge::Estimated => settings.tuning.doubt,
        },
        ..settings.tuning
    };
    let mut dispatcher = Dispatcher::new(day.rules, settings.policy, settings.seed, tuning);
    let mut game = Game::new(day, settings.knowledge);
    let mut played = Played::default();
    while let Some(now) = game.tick() {
        let (couriers, orders) = (game.couriers(), game.orders());
        if !orders.is_empty() {
            let begun = clock_ns();
            let stopwatch = Stopwatch {
                clock_ns,
                insertion_ns: &mut played.insertion_ns,
            };
            #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
            let time_used =
                || clock_ns().saturating_sub(begun) as f64 / settings.budget_ns.unwrap_or(u64::MAX).max(1) as f64;
            let budget = Budget {
                time_used: settings.budget_ns.is_some().then_some(&time_used),
                ..Budget::moves(settings.moves_max)
            };
            let commitments = dispatcher.decide_timed(now, &couriers, &orders, budget, Some(stopwatch));
            played.replan_ns.push(clock_ns().saturating_sub(begun));
            played.open_orders_max = played.open_orders_max.max(orders.len());
            for commitment in commitments {
                game.commit(&commitment);
            }
        }
        game.pick_up();
    }
    played.solution = game.solution;
    played
}

/// A courier during the day.
struct Player {
    spot: Spot,
    place: Place,
    free_at: Seconds,
    orders_taken: u32,
    errand: Option<Errand>,
}

/// What a courier was told to do.
struct Errand {
    told_at: Seconds,
    assigned_at: Seconds,
    arrives_at: Seconds,
    orders: Vec<OrderKey>,
}

/// The state of a day.
pub(super) struct Game<'a> {
    day: &'a Day,
    knowledge: Knowledge,
    metres_per_min: f64,
    /// The mean preparation time of each restaurant, in minutes.
    prep_minutes: Vec<i32>,
    now: Seconds,
    /// When the last shift ends.
    ends_at: Seconds,
    /// Orders in the sequence of their placement; those before `placed` are known.
    by_placement: Vec<OrderKey>,
    placed: usize,
    /// Orders that are known and not picked up.
    open: Vec<OrderKey>,
    players: Vec<Player>,
    pub(super) solution: Solution,
}

impl<'a> Game<'a> {
    pub(super) fn new(day: &'a Day, knowledge: Knowledge) -> Self {
        let mut by_placement: Vec<OrderKey> = (0u32..).zip(&day.orders).map(|(key, _)| OrderKey(key)).collect();
        by_placement.sort_by_key(|key| day.orders[key.0 as usize].placed_minute);
        let first = by_placement
            .first()
            .map_or(0, |key| day.orders[key.0 as usize].placed_minute);
        let player = |(key, shift): (u32, &super::day::Shift)| Player {
            spot: Spot::Start(CourierKey(key)),
            place: shift.start,
            free_at: shift.on_minute * MINUTE_S,
            orders_taken: 0,
            errand: None,
        };
        Self {
            day,
            knowledge,
            metres_per_min: f64::from(day.metres_per_min.max(1)),
            prep_minutes: mean_prep_minutes(day),
            now: (first - 1) * MINUTE_S,
            ends_at: day.couriers.iter().map(|shift| shift.off_minute).max().unwrap_or(0) * MINUTE_S,
            by_placement,
            placed: 0,
            open: Vec::new(),
            players: (0u32..).zip(&day.couriers).map(player).collect(),
            solution: Solution::default(),
        }
    }

    /// Goes on by a minute, unless the day is over.
    pub(super) fn tick(&mut self) -> Option<Seconds> {
        let done = self.open.is_empty() && self.placed == self.by_placement.len();
        if done || self.now > self.ends_at {
            return None;
        }
        self.now += MINUTE_S;
        while let Some(&key) = self.by_placement.get(self.placed) {
            if self.day.orders[key.0 as usize].placed_minute * MINUTE_S > self.now {
                break;
            }
            self.open.push(key);
            self.placed += 1;
        }
        let (day, now) = (self.day, self.now);
        for (player, shift) in self.players.iter_mut().zip(&day.couriers) {
            if now > shift.off_minute * MINUTE_S {
                player.drop_errand();
            }
        }
        let promised: Vec<OrderKey> = self
            .errands()
            .flat_map(|errand| errand.orders.iter().copied())
            .collect();
        self.open.retain(|key| {
            let waits_s = now - day.orders[key.0 as usize].placed_minute * MINUTE_S;
            day.limit_of_s(*key).is_none_or(|limit_s| waits_s <= limit_s) || promised.contains(key)
        });
        Some(now)
    }

    fn errands(&self) -> impl Iterator<Item = &Errand> {
        self.players.iter().filter_map(|player| player.errand.as_ref())
    }

    /// When an order is ready, as far as one can know.
    fn ready_at(&self, key: OrderKey) -> Seconds {
        let order = &self.day.orders[key.0 as usize];
        let ready_at = order.ready_minute * MINUTE_S;
        if self.knowledge == Knowledge::Exact || ready_at <= self.now {
            return ready_at;
        }
        let prep = self.prep_minutes[order.restaurant.0 as usize];
        ((order.placed_minute + prep) * MINUTE_S).max(self.now + MINUTE_S)
    }

    pub(super) fn orders(&self) -> Vec<Order> {
        let order = |&key: &OrderKey| Order {
            ready_at: self.ready_at(key),
            ..self.day.order(key)
        };
        self.open.iter().map(order).collect()
    }

    pub(super) fn couriers(&self) -> Vec<Courier> {
        let everybody = (0u32..).zip(self.players.iter().zip(&self.day.couriers));
        let working = everybody.filter(|(_, (_, shift))| shift.off_minute * MINUTE_S >= self.now);
        let courier = |(key, (player, shift)): (u32, (&Player, &super::day::Shift))| Courier {
            key: CourierKey(key),
            metres_per_min: self.day.metres_per_min,
            on_at: shift.on_minute * MINUTE_S,
            off_at: shift.off_minute * MINUTE_S,
            place: player.place,
            free_at: player.free_at,
            orders_taken: player.orders_taken,
            promise: player.errand.as_ref().map(|errand| Promise {
                orders: errand.orders.clone(),
                arrives_at: Some(errand.arrives_at),
            }),
        };
        working.map(courier).collect()
    }

    /// Tells a courier what was decided.
    pub(super) fn commit(&mut self, commitment: &Commitment) {
        let now = self.now;
        let player = &mut self.players[commitment.courier.0 as usize];
        if let Some(errand) = &mut player.errand {
            errand.orders.clone_from(&commitment.orders);
            // It was sent for an order that is left behind, perhaps.
            let placed = errand
                .orders
                .iter()
                .map(|key| self.day.orders[key.0 as usize].placed_minute * MINUTE_S);
            errand.told_at = errand.told_at.max(placed.min().unwrap_or(now));
            errand.assigned_at = now;
            return;
        }
        let Some(first) = commitment.orders.first() else { return };
        let restaurant = self.day.orders[first.0 as usize].restaurant;
        let place = self.day.restaurants[restaurant.0 as usize];
        let departs_at = commitment.departs_at.max(now).max(player.free_at);
        let arrives_at = departs_at + travel_s(player.place, place, self.metres_per_min);
        let to = Spot::Restaurant(restaurant);
        if player.spot != to {
            self.solution.moves.push(Move {
                courier: commitment.courier,
                depart_minute: departs_at / MINUTE_S,
                from: player.spot,
                to,
            });
        }
        (player.spot, player.place) = (to, place);
        player.errand = Some(Errand {
            told_at: now,
            assigned_at: now,
            arrives_at,
            orders: commitment.orders.clone(),
        });
    }

    /// Lets couriers pick up what is ready, and carry it.
    pub(super) fn pick_up(&mut self) {
        for at in 0..self.players.len() {
            let Some(errand) = &self.players[at].errand else {
                continue;
            };
            let there = errand.arrives_at + self.day.rules.pickup_service_s / 2 <= self.now;
            let ready = |key: &OrderKey| self.day.orders[key.0 as usize].ready_minute * MINUTE_S <= self.now;
            if there
                && errand.orders.iter().all(ready)
                && let Some(errand) = self.players[at].errand.take()
            {
                self.carry(at, &errand);
            }
        }
    }

    /// A courier has its bundle: it brings every order that can still be there within the limit.
    fn carry(&mut self, at: usize, errand: &Errand) {
        let rules = self.day.rules;
        #[expect(clippy::cast_possible_truncation, reason = "keys have 32 bits")]
        let courier = CourierKey(at as u32);
        let player = &mut self.players[at];
        let mut leaves_at = self.now + rules.pickup_service_s / 2;
        let mut carried = Vec::with_capacity(errand.orders.len());
        for &key in &errand.orders {
            let order = &self.day.orders[key.0 as usize];
            let arrives_at = leaves_at + travel_s(player.place, order.dropoff, self.metres_per_min);
            let dropoff_at = arrives_at + rules.dropoff_service_s / 2;
            let took_s = dropoff_at - order.placed_minute * MINUTE_S;
            if self.day.limit_of_s(key).is_some_and(|limit_s| took_s > limit_s) {
                continue;
            }
            self.solution.moves.push(Move {
                courier,
                depart_minute: leaves_at / MINUTE_S,
                from: player.spot,
                to: Spot::Dropoff(key),
            });
            carried.push((key, dropoff_at / MINUTE_S));
            leaves_at = dropoff_at + rules.dropoff_service_s / 2;
            (player.spot, player.place) = (Spot::Dropoff(key), order.dropoff);
            player.orders_taken += 1;
        }
        player.free_at = leaves_at;
        self.open.retain(|key| !errand.orders.contains(key));
        if carried.is_empty() {
            return;
        }
        self.solution.carried.push(Carried {
            courier,
            told_minute: errand.told_at / MINUTE_S,
            assigned_minute: errand.assigned_at / MINUTE_S,
            pickup_minute: self.now / MINUTE_S,
            orders: carried,
        });
    }
}

impl Player {
    /// The courier's shift is over and it never got its bundle.
    fn drop_errand(&mut self) {
        if let Some(errand) = self.errand.take() {
            self.free_at = errand.arrives_at;
        }
    }
}

/// The mean preparation time of each restaurant's orders, in whole minutes.
fn mean_prep_minutes(day: &Day) -> Vec<i32> {
    let mut sums = vec![(0, 0); day.restaurants.len()];
    for order in &day.orders {
        let (minutes, orders) = &mut sums[order.restaurant.0 as usize];
        *minutes += order.ready_minute - order.placed_minute;
        *orders += 1;
    }
    let mean = |(minutes, orders): (i32, i32)| (minutes + orders / 2) / orders.max(1);
    sums.into_iter().map(mean).collect()
}
