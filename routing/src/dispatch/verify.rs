//! Whether a day was played by the rules.

use super::day::{Day, Spot};
use super::problem::{CourierKey, OrderKey, Seconds};
use super::solution::{Carried, Move, Solution};
use super::travel::travel_s;
use std::collections::BTreeSet;

/// A rule that a solution broke. Times are whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// There is no such courier, order or spot in the day.
    #[error("courier {} does something with what the day does not have", .0.0)]
    Unknown(CourierKey),
    /// An order was carried twice.
    #[error("order {} is carried twice", .0.0)]
    Twice(OrderKey),
    /// A bundle was empty.
    #[error("courier {} carries an empty bundle", .0.0)]
    Empty(CourierKey),
    /// An order was assigned before it was placed, or a courier was sent before any order of the bundle was placed.
    #[error("order {} is used before it is placed", .0.0)]
    Clairvoyant(OrderKey),
    /// An order was added to its bundle after the pick-up.
    #[error("order {} is assigned after it is picked up", .0.0)]
    Afterthought(OrderKey),
    /// An order was picked up before it was ready.
    #[error("order {} is picked up before it is ready", .0.0)]
    Raw(OrderKey),
    /// Orders of several restaurants are in one bundle.
    #[error("order {} is in a bundle of another restaurant", .0.0)]
    Mixed(OrderKey),
    /// An order took longer than the limit, though a courier could have kept it.
    #[error("order {} takes longer than the limit", .0.0)]
    Late(OrderKey),
    /// A bundle was picked up outside the courier's shift.
    #[error("courier {} picks up at minute {at_minute}, outside its shift", courier.0)]
    OffShift {
        /// Whose shift.
        courier: CourierKey,
        /// When.
        at_minute: i32,
    },
    /// A courier did not go where its bundles are, or not in time, or left before it was told to or free.
    #[error("courier {} is not where it is said to be at minute {at_minute}", courier.0)]
    Elsewhere {
        /// Who.
        courier: CourierKey,
        /// When.
        at_minute: i32,
    },
}

/// Every rule that a solution breaks; none for a feasible one.
pub fn verify(day: &Day, solution: &Solution) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for carried in &solution.carried {
        if let Err(unknown) = check_orders(day, carried, &mut seen, &mut violations) {
            violations.push(unknown);
        }
    }
    let taken = taken(day, solution);
    for (key, shift) in (0u32..).zip(&day.couriers) {
        let courier = CourierKey(key);
        let ways: Vec<Move> = solution
            .moves
            .iter()
            .filter(|way| way.courier == courier)
            .copied()
            .collect();
        let bundles = solution.carried.iter().filter(|carried| carried.courier == courier);
        let mut walk = Walk {
            day,
            courier,
            ways: &ways,
            spot: Spot::Start(courier),
            free_at: shift.on_minute * 60,
            taken: &taken,
        };
        let walked = bundles
            .map(|carried| walk.carry(carried))
            .collect::<Result<Vec<()>, _>>();
        violations.extend(walked.and_then(|_| walk.idle()).err());
    }
    violations
}

/// By whom and when each order was picked up, if it was.
fn taken(day: &Day, solution: &Solution) -> Vec<Option<(CourierKey, i32)>> {
    let mut taken = vec![None; day.orders.len()];
    for carried in &solution.carried {
        for (key, _) in &carried.orders {
            if let Some(taken) = taken.get_mut(key.0 as usize) {
                *taken = Some((carried.courier, carried.pickup_minute));
            }
        }
    }
    taken
}

/// Checks what concerns the orders of a bundle.
fn check_orders(
    day: &Day,
    carried: &Carried,
    seen: &mut BTreeSet<OrderKey>,
    violations: &mut Vec<Violation>,
) -> Result<(), Violation> {
    let unknown = Violation::Unknown(carried.courier);
    let shift = day.couriers.get(carried.courier.0 as usize).ok_or(unknown)?;
    if !(shift.on_minute..=shift.off_minute).contains(&carried.pickup_minute) {
        violations.push(Violation::OffShift {
            courier: carried.courier,
            at_minute: carried.pickup_minute,
        });
    }
    let mut restaurant = None;
    let mut first_placed: Option<(i32, OrderKey)> = None;
    for &(key, dropoff_minute) in &carried.orders {
        let order = day.orders.get(key.0 as usize).ok_or(unknown)?;
        let placed = (order.placed_minute, key);
        first_placed = Some(first_placed.map_or(placed, |first| first.min(placed)));
        let took_s = (dropoff_minute - order.placed_minute) * 60;
        let mixed = *restaurant.get_or_insert(order.restaurant) != order.restaurant;
        let broken = [
            (!seen.insert(key), Violation::Twice(key)),
            (
                carried.assigned_minute < order.placed_minute,
                Violation::Clairvoyant(key),
            ),
            (
                carried.assigned_minute > carried.pickup_minute,
                Violation::Afterthought(key),
            ),
            (carried.pickup_minute < order.ready_minute, Violation::Raw(key)),
            (mixed, Violation::Mixed(key)),
            (
                day.limit_of_s(key).is_some_and(|limit_s| took_s > limit_s),
                Violation::Late(key),
            ),
        ];
        violations.extend(
            broken
                .into_iter()
                .filter_map(|(broken, violation)| broken.then_some(violation)),
        );
    }
    let (placed_minute, key) = first_placed.ok_or(Violation::Empty(carried.courier))?;
    if carried.told_minute < placed_minute {
        violations.push(Violation::Clairvoyant(key));
    }
    Ok(())
}

/// A courier's day, walked through.
struct Walk<'a> {
    day: &'a Day,
    courier: CourierKey,
    /// The ways it has not gone yet.
    ways: &'a [Move],
    spot: Spot,
    free_at: Seconds,
    /// By whom and when each order was picked up.
    taken: &'a [Option<(CourierKey, i32)>],
}

impl Walk<'_> {
    const fn elsewhere(&self, at: Seconds) -> Violation {
        Violation::Elsewhere {
            courier: self.courier,
            at_minute: at / 60,
        }
    }

    /// Goes to a spot, not before `earliest`, and is there by `latest`.
    fn go(&mut self, to: Spot, earliest: Seconds, latest: Seconds) -> Result<(), Violation> {
        while self.spot != to {
            let way = self.ways.first().ok_or(self.elsewhere(latest))?;
            let in_vain = way.to != to || way.depart_minute * 60 < earliest;
            if in_vain && !self.was_called_off(way, (latest + self.day.rules.pickup_service_s / 2) / 60) {
                return Err(self.elsewhere(way.depart_minute * 60));
            }
            self.step()?;
        }
        if self.free_at > latest {
            return Err(self.elsewhere(latest));
        }
        Ok(())
    }

    /// Goes one way.
    fn step(&mut self) -> Result<(), Violation> {
        let Some((way, rest)) = self.ways.split_first() else {
            return Ok(());
        };
        let departs_at = way.depart_minute * 60;
        let (Some(from), Some(to)) = (self.day.place(way.from), self.day.place(way.to)) else {
            return Err(Violation::Unknown(self.courier));
        };
        if way.from != self.spot || departs_at < self.free_at {
            return Err(self.elsewhere(departs_at));
        }
        self.free_at = departs_at + travel_s(from, to, f64::from(self.day.metres_per_min.max(1)));
        self.spot = way.to;
        self.ways = rest;
        Ok(())
    }

    /// Whether a way can be one to food that the courier did not get then: some order of the restaurant was placed and not
    /// picked up when it left, and it was not this courier who picked it up, or only after `then_minute`.
    fn was_called_off(&self, way: &Move, then_minute: i32) -> bool {
        let Spot::Restaurant(restaurant) = way.to else {
            return false;
        };
        let mut orders = self.day.orders.iter().zip(self.taken);
        orders.any(|(order, taken)| {
            let open = order.restaurant == restaurant && order.placed_minute <= way.depart_minute;
            open && taken.is_none_or(|(courier, minute)| {
                minute >= way.depart_minute && (courier != self.courier || minute > then_minute)
            })
        })
    }

    /// Goes what ways are left when nothing is carried any more.
    fn idle(&mut self) -> Result<(), Violation> {
        while let Some(way) = self.ways.first() {
            if !self.was_called_off(way, i32::MAX) {
                return Err(self.elsewhere(way.depart_minute * 60));
            }
            self.step()?;
        }
        Ok(())
    }

    fn carry(&mut self, carried: &Carried) -> Result<(), Violation> {
        let rules = &self.day.rules;
        let Some((first, _)) = carried.orders.first() else {
            return Ok(());
        };
        let order = self
            .day
            .orders
            .get(first.0 as usize)
            .ok_or(Violation::Unknown(self.courier))?;
        let pickup_at = carried.pickup_minute * 60;
        let latest = pickup_at - rules.pickup_service_s / 2;
        self.go(Spot::Restaurant(order.restaurant), carried.told_minute * 60, latest)?;
        self.free_at = pickup_at + rules.pickup_service_s / 2;
        for &(key, dropoff_minute) in &carried.orders {
            let dropoff_at = dropoff_minute * 60;
            let latest = dropoff_at - rules.dropoff_service_s / 2;
            self.go(Spot::Dropoff(key), self.free_at, latest)?;
            self.free_at = dropoff_at + rules.dropoff_service_s / 2;
        }
        Ok(())
    }
}
