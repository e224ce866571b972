//! The baseline: the nearest free courier, first come, first served.

use super::problem::{Commitment, Courier, Order, Rules, Seconds};
use super::travel::travel_s;
use std::cmp::Reverse;

/// Gives each order, in the sequence of their placement, at once to the free courier that is nearest to its restaurant and
/// can bring it in time. One order at a time; what finds nobody waits.
pub(super) fn decide(rules: &Rules, now: Seconds, couriers: &[Courier], orders: &[Order]) -> Vec<Commitment> {
    let promised = |order: &&Order| {
        let mut promises = couriers.iter().filter_map(|courier| courier.promise.as_ref());
        !promises.any(|promise| promise.orders.contains(&order.key))
    };
    let mut waiting: Vec<&Order> = orders.iter().filter(promised).collect();
    waiting.sort_by_key(|order| (order.placed_at, order.key));
    let idle = |courier: &&Courier| courier.promise.is_none() && courier.on_at <= now && courier.free_at <= now;
    let mut free: Vec<&Courier> = couriers.iter().filter(idle).collect();
    let mut commitments = Vec::new();
    for order in waiting {
        let offers = free.iter().enumerate().filter_map(|(at, courier)| {
            let offer = offer(rules, now, courier, order)?;
            Some((
                travel_to(courier, order),
                Reverse(courier.off_at),
                courier.key,
                at,
                offer,
            ))
        });
        let Some((.., at, commitment)) = offers.min_by_key(|offer| (offer.0, offer.1, offer.2)) else {
            continue;
        };
        free.swap_remove(at);
        commitments.push(commitment);
    }
    commitments
}

fn travel_to(courier: &Courier, order: &Order) -> Seconds {
    travel_s(courier.place, order.pickup, f64::from(courier.metres_per_min.max(1)))
}

/// What a courier would do with an order, if it can.
fn offer(rules: &Rules, now: Seconds, courier: &Courier, order: &Order) -> Option<Commitment> {
    let arrives_at = now + travel_to(courier, order);
    let pickup_at = (arrives_at + rules.pickup_service_s / 2).max(order.ready_at);
    let way_s = travel_s(order.pickup, order.dropoff, f64::from(courier.metres_per_min.max(1)));
    let dropoff_at = pickup_at + rules.pickup_service_s / 2 + way_s + rules.dropoff_service_s / 2;
    let limit_s = rules.limit_of_s(order, courier.metres_per_min).unwrap_or(Seconds::MAX);
    let in_time = pickup_at <= courier.off_at && dropoff_at - order.placed_at <= limit_s;
    in_time.then(|| Commitment {
        courier: courier.key,
        orders: vec![order.key],
        departs_at: now,
        pickup_at,
    })
}
