//! One problem too big for its budget, cut into several that are not.

use super::problem::{Courier, Order, OrderKey, Place};
use std::collections::HashMap;

/// A part of a problem, as positions in the lists it was cut from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its couriers.
    pub couriers: Vec<usize>,
    /// Its orders.
    pub orders: Vec<usize>,
}

/// Cuts a problem along the wider side of where its restaurants are, again and again, until no part has more than
/// `orders_max` orders. The orders of a restaurant stay together, unless they alone are too many for 16 bits; a courier
/// stays with what it was promised, and the others are shared out by place, in proportion to the orders. Every courier and
/// every order is in exactly one part.
pub fn split(couriers: &[Courier], orders: &[Order], orders_max: usize) -> Vec<Part> {
    let all = Part {
        couriers: (0..couriers.len()).collect(),
        orders: (0..orders.len()).collect(),
    };
    let mut names: HashMap<OrderKey, usize> = HashMap::with_capacity(orders.len());
    for (at, order) in orders.iter().enumerate() {
        names.entry(order.key).or_insert(at);
    }
    let cutter = Cutter {
        couriers,
        orders,
        names,
    };
    let (mut open, mut parts) = (vec![all], Vec::new());
    while let Some(part) = open.pop() {
        match cutter.halves(&part, orders_max.max(1)) {
            Some(halves) => open.extend(halves),
            None => parts.push(part),
        }
    }
    parts
}

/// Most orders of a part, even if they are all of one restaurant: they are numbered in 16 bits.
const ORDERS_LIMIT: usize = 1 << 15;

struct Cutter<'a> {
    couriers: &'a [Courier],
    orders: &'a [Order],
    names: HashMap<OrderKey, usize>,
}

impl Cutter<'_> {
    fn halves(&self, part: &Part, orders_max: usize) -> Option<[Part; 2]> {
        if part.orders.len() <= orders_max {
            return None;
        }
        let by_east = self.is_wide(part);
        let along = |place: Place| {
            if by_east {
                (place.x, place.y)
            } else {
                (place.y, place.x)
            }
        };
        let mut orders = part.orders.clone();
        orders.sort_by_key(|&at| (along(self.orders[at].pickup), self.orders[at].restaurant, at));
        let cut = self.cut(&orders)?;
        let mut side = vec![false; self.orders.len()];
        for &at in &orders[cut..] {
            side[at] = true;
        }
        let (mut near, mut far, mut free) = (Vec::new(), Vec::new(), Vec::new());
        for &at in &part.couriers {
            match self.promised(at).map(|order| side[order]) {
                Some(false) => near.push(at),
                Some(true) => far.push(at),
                None => free.push(at),
            }
        }
        free.sort_by_key(|&at| (along(self.couriers[at].place), at));
        let shared = (free.len() * cut + orders.len() / 2) / orders.len();
        far.extend(free.split_off(shared));
        near.extend(free);
        let rest = orders.split_off(cut);
        let half = |mut couriers: Vec<usize>, mut orders: Vec<usize>| {
            couriers.sort_unstable();
            orders.sort_unstable();
            Part { couriers, orders }
        };
        Some([half(near, orders), half(far, rest)])
    }

    /// The first order that a courier was promised.
    fn promised(&self, courier: usize) -> Option<usize> {
        let promise = self.couriers[courier].promise.as_ref()?;
        promise.orders.iter().find_map(|key| self.names.get(key).copied())
    }

    fn is_wide(&self, part: &Part) -> bool {
        let reach = |along: fn(Place) -> i32| {
            let along = || part.orders.iter().map(|&at| i64::from(along(self.orders[at].pickup)));
            along().max().unwrap_or(0) - along().min().unwrap_or(0)
        };
        reach(|place| place.x) >= reach(|place| place.y)
    }

    /// Where to cut a sorted list, as near to its middle as restaurants let it.
    fn cut(&self, orders: &[usize]) -> Option<usize> {
        let middle = orders.len() / 2;
        let restaurant = |at: usize| self.orders[orders[at]].restaurant;
        let between = (1..orders.len()).filter(|&at| restaurant(at - 1) != restaurant(at));
        let nearest = between.min_by_key(|at| at.abs_diff(middle));
        nearest.or((orders.len() > ORDERS_LIMIT).then_some(middle))
    }
}
