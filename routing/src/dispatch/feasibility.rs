//! Whether a solution keeps the rules: those that the library's evaluator checks, and those that it does not (nothing is known
//! before its time, nobody leaves before being told to, services take their time, nothing comes after the limit).

use super::day::{Day, PlacedOrder, Spot};
use super::problem::{CourierKey, OrderKey};
use super::solution::{Carried, Move, Solution};

/// A rule that a solution breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Something is named that the day does not have.
    #[error("{0:?} is not of this day")]
    Unknown(Spot),
    /// A bundle without orders, or with those of several restaurants.
    #[error("a bundle of {0:?} is empty or of several restaurants")]
    Bundle(CourierKey),
    /// An order is in several bundles, or in one twice.
    #[error("{0:?} is carried twice")]
    Twice(OrderKey),
    /// An order is given to a courier before it is placed, or a courier is told to fetch one that is not.
    #[error("{0:?} is assigned before it is placed")]
    Foreseen(OrderKey),
    /// A bundle is changed after its pick-up, or before the courier is told of it.
    #[error("a bundle of {0:?} is assigned before the courier hears of it, or after its pick-up")]
    Assignment(CourierKey),
    /// A bundle is picked up before an order of it is ready.
    #[error("{0:?} is picked up before it is ready")]
    NotReady(OrderKey),
    /// A bundle is picked up after the shift.
    #[error("{0:?} picks up after its shift")]
    AfterShift(CourierKey),
    /// An order is dropped off later than the limit allows.
    #[error("{0:?} takes longer than the limit")]
    TooLate(OrderKey),
    /// A courier leaves from where it is not.
    #[error("{courier:?} leaves from where it is not, at minute {minute}")]
    Elsewhere {
        /// Who.
        courier: CourierKey,
        /// When.
        minute: i32,
    },
    /// A courier leaves before it is free, or before it was told to.
    #[error("{courier:?} leaves too early, at minute {minute}")]
    LeavesEarly {
        /// Who.
        courier: CourierKey,
        /// When.
        minute: i32,
    },
    /// A courier is not there when it picks up or drops off, or not for long enough.
    #[error("{courier:?} is not where it hands over at minute {minute}")]
    NotThere {
        /// Who.
        courier: CourierKey,
        /// When.
        minute: i32,
    },
}

/// The rules that a solution breaks; none when it is feasible.
pub fn violations(day: &Day, solution: &Solution) -> Vec<Violation> {
    let mut found = unknown(day, solution);
    if !found.is_empty() {
        return found;
    }
    let mut carried = vec![false; day.orders.len()];
    for bundle in &solution.carried {
        for (OrderKey(at), _) in &bundle.orders {
            if std::mem::replace(&mut carried[*at as usize], true) {
                found.push(Violation::Twice(OrderKey(*at)));
            }
        }
        check_bundle(day, bundle, &mut found);
    }
    for courier in (0..).map(CourierKey).take(day.couriers.len()) {
        let bundles = solution.carried.iter().filter(|bundle| bundle.courier == courier);
        let moves = solution.moves.iter().filter(|way| way.courier == courier);
        let walked = Walk::new(day, courier, moves).all(bundles);
        found.extend(walked.err());
    }
    found
}

fn unknown(day: &Day, solution: &Solution) -> Vec<Violation> {
    let carried = solution.carried.iter().flat_map(|bundle| {
        let orders = bundle.orders.iter().map(|(order, _)| Spot::Dropoff(*order));
        orders.chain([Spot::Start(bundle.courier)])
    });
    let ways = solution.moves.iter();
    let ways = ways.flat_map(|way| [Spot::Start(way.courier), way.from, way.to]);
    let spots = carried.chain(ways).filter(|spot| day.place(*spot).is_none());
    spots.map(Violation::Unknown).collect()
}

fn check_bundle(day: &Day, bundle: &Carried, found: &mut Vec<Violation>) {
    let order = |OrderKey(at): OrderKey| -> &PlacedOrder { &day.orders[at as usize] };
    let orders = || bundle.orders.iter().map(|(key, dropoff)| (*key, order(*key), *dropoff));
    let restaurants = orders().map(|(_, order, _)| order.restaurant);
    let first = restaurants.clone().next();
    if first.is_none() || restaurants.clone().any(|restaurant| Some(restaurant) != first) {
        found.push(Violation::Bundle(bundle.courier));
    }
    if bundle.told_minute > bundle.assigned_minute || bundle.assigned_minute > bundle.pickup_minute {
        found.push(Violation::Assignment(bundle.courier));
    }
    if let Some((key, earliest, _)) = orders().min_by_key(|(_, order, _)| order.placed_minute)
        && bundle.told_minute < earliest.placed_minute
    {
        found.push(Violation::Foreseen(key));
    }
    for (key, order, dropoff_minute) in orders() {
        if bundle.assigned_minute < order.placed_minute {
            found.push(Violation::Foreseen(key));
        }
        if bundle.pickup_minute < order.ready_minute {
            found.push(Violation::NotReady(key));
        }
        if (dropoff_minute - order.placed_minute) * 60 > day.rules.limit_s {
            found.push(Violation::TooLate(key));
        }
    }
    if bundle.pickup_minute > day.couriers[bundle.courier.0 as usize].off_minute {
        found.push(Violation::AfterShift(bundle.courier));
    }
}

/// A courier's day, gone through way by way.
struct Walk<'a, M> {
    day: &'a Day,
    courier: CourierKey,
    moves: M,
    at: Spot,
    free_minute: i32,
}

impl<'a, M: Iterator<Item = &'a Move>> Walk<'a, M> {
    fn new(day: &'a Day, courier: CourierKey, moves: M) -> Self {
        Self {
            day,
            courier,
            moves,
            at: Spot::Start(courier),
            free_minute: day.couriers[courier.0 as usize].on_minute,
        }
    }

    fn all(mut self, bundles: impl Iterator<Item = &'a Carried>) -> Result<(), Violation> {
        for bundle in bundles {
            let Some((first, _)) = bundle.orders.first() else {
                continue;
            };
            let restaurant = Spot::Restaurant(self.day.orders[first.0 as usize].restaurant);
            while self.at != restaurant {
                self.go(bundle.told_minute, bundle.pickup_minute)?;
            }
            self.hand_over(bundle.pickup_minute, self.day.rules.pickup_service_s)?;
            for (order, dropoff_minute) in &bundle.orders {
                self.go(self.free_minute, *dropoff_minute)?;
                if self.at != Spot::Dropoff(*order) {
                    return Err(self.not_there(*dropoff_minute));
                }
                self.hand_over(*dropoff_minute, self.day.rules.dropoff_service_s)?;
            }
        }
        while let Some(way) = self.moves.next() {
            self.follow(way, self.free_minute)?;
        }
        Ok(())
    }

    /// The next way, which there must be for what happens at a minute.
    fn go(&mut self, told_minute: i32, minute: i32) -> Result<(), Violation> {
        let next = self.moves.next();
        let way = next.ok_or_else(|| self.not_there(minute))?;
        self.follow(way, told_minute)
    }

    fn follow(&mut self, way: &Move, told_minute: i32) -> Result<(), Violation> {
        let (courier, minute) = (self.courier, way.depart_minute);
        if way.from != self.at {
            return Err(Violation::Elsewhere { courier, minute });
        }
        if minute < self.free_minute.max(told_minute) {
            return Err(Violation::LeavesEarly { courier, minute });
        }
        self.free_minute = minute + self.day.way_min(way).unwrap_or_default();
        self.at = way.to;
        Ok(())
    }

    /// Half of a service lies before a hand-over and half after it.
    fn hand_over(&mut self, minute: i32, service_s: i32) -> Result<(), Violation> {
        let half_min = service_s / 2 / 60;
        if minute < self.free_minute + half_min {
            return Err(self.not_there(minute));
        }
        self.free_minute = minute + half_min;
        Ok(())
    }

    fn not_there(&self, minute: i32) -> Violation {
        let courier = self.courier;
        Violation::NotThere { courier, minute }
    }
}
