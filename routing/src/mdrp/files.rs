//! A solution as the library's evaluator reads it: three texts of columns between blanks, under one header line each.

use super::instance::Instance;
use crate::dispatch::{CourierKey, OrderKey, RestaurantKey, Solution, Spot};
use std::fmt::Write;

/// The evaluator's names of the files.
pub const SOLUTION_FILES: [&str; 3] = [
    "solution_info_assignments.txt",
    "solution_info_orders.txt",
    "solution_info_couriers.txt",
];

/// Where the evaluator looks for the place at which a courier's shift begins.
const START: &str = "0";

/// The texts of the files, in the sequence of [`SOLUTION_FILES`]: bundles, delivered orders, and ways. Orders that were not
/// delivered are in none.
pub fn solution_texts(instance: &Instance, solution: &Solution) -> [String; 3] {
    [
        assignments(instance, solution),
        orders(instance, solution),
        ways(instance, solution),
    ]
}

fn assignments(instance: &Instance, solution: &Solution) -> String {
    let mut text = "assignment_time pickup_time courier orders\n".to_owned();
    for bundle in &solution.carried {
        let courier = courier(instance, bundle.courier);
        let _ = write!(text, "{} {} {courier}", bundle.assigned_minute, bundle.pickup_minute);
        for (key, _) in &bundle.orders {
            let _ = write!(text, " {}", order(instance, *key));
        }
        text.push('\n');
    }
    text
}

fn orders(instance: &Instance, solution: &Solution) -> String {
    let mut delivered = vec![None; instance.orders.len()];
    for bundle in &solution.carried {
        for (key, dropoff_minute) in &bundle.orders {
            if let Some(place) = delivered.get_mut(key.0 as usize) {
                *place = Some((bundle.pickup_minute, *dropoff_minute, bundle.courier));
            }
        }
    }
    let mut text = "order placement_time ready_time pickup_time dropoff_time courier\n".to_owned();
    for (order, delivered) in instance.orders.iter().zip(delivered) {
        if let Some((pickup, dropoff, key)) = delivered {
            let courier = courier(instance, key);
            let (id, placed, ready) = (&order.id, order.placed_minute, order.ready_minute);
            let _ = writeln!(text, "{id} {placed} {ready} {pickup} {dropoff} {courier}");
        }
    }
    text
}

/// Courier by courier, since the evaluator takes a new name for a new courier.
fn ways(instance: &Instance, solution: &Solution) -> String {
    let mut moves: Vec<_> = solution.moves.iter().collect();
    moves.sort_by_key(|way| way.courier);
    let mut text = "courier departure_time origin destination\n".to_owned();
    for way in moves {
        let courier = courier(instance, way.courier);
        let (from, to) = (spot(instance, way.from), spot(instance, way.to));
        let _ = writeln!(text, "{courier} {} {from} {to}", way.depart_minute);
    }
    text
}

fn spot(instance: &Instance, spot: Spot) -> &str {
    match spot {
        Spot::Start(_) => START,
        Spot::Restaurant(RestaurantKey(at)) => &instance.restaurants[at as usize].id,
        Spot::Dropoff(key) => order(instance, key),
    }
}

fn order(instance: &Instance, OrderKey(at): OrderKey) -> &str {
    &instance.orders[at as usize].id
}

fn courier(instance: &Instance, CourierKey(at): CourierKey) -> &str {
    &instance.couriers[at as usize].id
}
