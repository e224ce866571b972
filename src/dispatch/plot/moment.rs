//! Who is where, and what waits, at one minute of a day that was played.

use routing::dispatch::{Carried, CourierKey, Day, Move, OrderKey, Place, Solution, Spot};

/// A place in metres, between whole ones.
pub(super) type Metres = (f64, f64);

/// A courier on the way with a bundle, or to fetch it.
pub(super) struct Tour {
    /// Where the courier is.
    pub(super) at: Metres,
    /// The restaurant, while it has not picked up.
    pub(super) restaurant: Option<Metres>,
    /// Where it still goes, in this sequence.
    pub(super) dropoffs: Vec<Metres>,
}

/// A minute of a day.
pub(super) struct Moment {
    /// Couriers with something to do.
    pub(super) tours: Vec<Tour>,
    /// Couriers on their shift with nothing to do.
    pub(super) free: Vec<Metres>,
    /// Where orders wait for a pick-up to be brought to, and whether they are past the target.
    pub(super) waiting: Vec<(Metres, bool)>,
    /// Where orders in bags are brought to, and whether they are past the target.
    pub(super) carried: Vec<(Metres, bool)>,
}

impl Moment {
    pub(super) fn new(day: &Day, solution: &Solution, minute: i32) -> Self {
        let mut moment = Self {
            tours: Vec::new(),
            free: Vec::new(),
            waiting: Vec::new(),
            carried: Vec::new(),
        };
        let lives = lives(day, solution);
        for (order, life) in day.orders.iter().zip(lives) {
            let late = (minute - order.placed_minute) * 60 > day.rules.target_s;
            let place = metres(order.dropoff);
            if life.is_waiting(minute) {
                moment.waiting.push((place, late));
            } else if (life.pickup_minute..life.end_minute).contains(&minute) {
                moment.carried.push((place, late));
            }
        }
        for (key, shift) in (0..).map(CourierKey).zip(&day.couriers) {
            let at = position(day, solution, key, minute);
            let mut bundles = solution.carried.iter().filter(|bundle| bundle.courier == key);
            if let Some(bundle) = bundles.find(|bundle| busy(day, bundle).contains(&minute)) {
                moment.tours.push(tour(day, bundle, at, minute));
            } else if (shift.on_minute..=shift.off_minute).contains(&minute) {
                moment.free.push(at);
            }
        }
        moment
    }
}

/// The minutes of an order. One that is not delivered waits until it is given up.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) placed_minute: i32,
    pub(super) pickup_minute: i32,
    pub(super) end_minute: i32,
    pub(super) delivered: bool,
}

impl Life {
    /// Whether it waits for its pick-up.
    pub(super) fn is_waiting(&self, minute: i32) -> bool {
        (self.placed_minute..self.pickup_minute).contains(&minute)
    }
}

/// The minutes of each order of a day.
pub(super) fn lives(day: &Day, solution: &Solution) -> Vec<Life> {
    let limit_min = day.rules.limit_s / 60;
    let unserved = day.orders.iter().map(|order| Life {
        placed_minute: order.placed_minute,
        pickup_minute: order.placed_minute + limit_min,
        end_minute: order.placed_minute + limit_min,
        delivered: false,
    });
    let mut lives: Vec<Life> = unserved.collect();
    for bundle in &solution.carried {
        for (OrderKey(at), dropoff_minute) in &bundle.orders {
            if let Some(life) = lives.get_mut(*at as usize) {
                life.pickup_minute = bundle.pickup_minute;
                life.end_minute = *dropoff_minute;
                life.delivered = true;
            }
        }
    }
    lives
}

/// The minutes in which a bundle keeps its courier busy: from the message until it is free again.
pub(super) fn busy(day: &Day, bundle: &Carried) -> std::ops::Range<i32> {
    let last = bundle.orders.last().map_or(bundle.pickup_minute, |(_, minute)| *minute);
    bundle.told_minute..last + day.rules.dropoff_service_s / 2 / 60
}

fn tour(day: &Day, bundle: &Carried, at: Metres, minute: i32) -> Tour {
    let place = |spot: Spot| day.place(spot).map(metres);
    let restaurant = bundle.orders.first().and_then(|(OrderKey(at), _)| {
        let order = day.orders.get(*at as usize)?;
        place(Spot::Restaurant(order.restaurant))
    });
    let left = bundle
        .orders
        .iter()
        .filter(|(_, dropoff_minute)| *dropoff_minute > minute);
    Tour {
        at,
        restaurant: restaurant.filter(|_| minute < bundle.pickup_minute),
        dropoffs: left.filter_map(|(order, _)| place(Spot::Dropoff(*order))).collect(),
    }
}

/// Where a courier is: at its last stop, or between two.
fn position(day: &Day, solution: &Solution, courier: CourierKey, minute: i32) -> Metres {
    let place = |spot: Spot| day.place(spot).map_or((0.0, 0.0), metres);
    let gone = |way: &&Move| way.courier == courier && way.depart_minute <= minute;
    let Some(way) = solution.moves.iter().filter(gone).max_by_key(|way| way.depart_minute) else {
        return place(Spot::Start(courier));
    };
    let took_min = day.way_min(way).unwrap_or_default().max(1);
    let share = (f64::from(minute - way.depart_minute) / f64::from(took_min)).min(1.0);
    let ((x1, y1), (x2, y2)) = (place(way.from), place(way.to));
    (x1 + (x2 - x1) * share, y1 + (y2 - y1) * share)
}

pub(super) fn metres(Place { x, y }: Place) -> Metres {
    (f64::from(x), f64::from(y))
}
