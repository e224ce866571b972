//! What happens when: pure.

use routing::mdrp::{Instance, Order};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Latest cancel after an order was placed, in minutes.
const CANCEL_MINUTES_MAX: u32 = 30;

/// Which orders are played, and what happens to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wishes {
    /// What the draws start from.
    pub seed: u64,
    /// How many of a hundred orders are cancelled, 0 to 100.
    pub cancel_pct: f64,
    /// How many of a hundred orders are submitted again under the same key, 0 to 100.
    pub duplicate_pct: f64,
    /// Only so many orders, the earliest ones.
    pub orders_max: Option<usize>,
}

/// A day's orders in order of placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The minute the day begins with: that of the first placement.
    pub first_minute: u32,
    /// The minute of the last placement, ready time or cancel.
    pub last_minute: u32,
    /// The orders.
    pub orders: Vec<Planned>,
}

/// What happens to one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The order.
    pub order: Order,
    /// When it is cancelled, if it is.
    pub cancel_minute: Option<u32>,
    /// Whether it is submitted again under the same key.
    pub duplicate: bool,
}

impl Schedule {
    /// The schedule of a day. The same wishes give the same schedule, and what happens to one order does not depend on
    /// which others are played.
    pub fn new(instance: &Instance, wishes: &Wishes) -> Self {
        let mut orders: Vec<Planned> = instance.orders.iter().map(|order| plan(order, wishes)).collect();
        orders.sort_by_key(|planned| planned.order.placed_minute);
        orders.truncate(wishes.orders_max.unwrap_or(usize::MAX));
        let last = |planned: &Planned| planned.order.ready_minute.max(planned.cancel_minute.unwrap_or(0));
        Self {
            first_minute: orders.first().map_or(0, |planned| planned.order.placed_minute),
            last_minute: orders.iter().map(last).max().unwrap_or(0),
            orders,
        }
    }
}

fn plan(order: &Order, wishes: &Wishes) -> Planned {
    let draw = |purpose: &str| draw(wishes.seed, purpose, &order.id);
    let cancel = draw("cancel") * 100.0 < wishes.cancel_pct;
    let minutes = (1..=CANCEL_MINUTES_MAX).rfind(|minute| {
        let share = f64::from(minute - 1) / f64::from(CANCEL_MINUTES_MAX);
        share <= draw("minutes until the cancel")
    });
    Planned {
        order: order.clone(),
        cancel_minute: minutes.filter(|_| cancel).map(|minutes| order.placed_minute + minutes),
        duplicate: draw("duplicate") * 100.0 < wishes.duplicate_pct,
    }
}

/// A number from 0 up to, and without, 1 that depends on the seed, the purpose and the order alone.
fn draw(seed: u64, purpose: &str, order: &str) -> f64 {
    let mut hasher = SipHasher24::new_with_keys(seed, 0);
    for part in [purpose, order] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    let high = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}
