//! The optimiser against its own arithmetic, against rules it must never break, and against published instances.

use super::draft::Draft;
use super::problem::{Problem, Role, Task};
use super::{Solution, Verdict, check, solve};
use crate::anneal::Budget;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;

mod format;
mod moves;
mod plans;

/// Tasks for so many requests that can all be served, each by a vehicle of its own.
fn tasks(requests: u16, seed: u64) -> Vec<Task> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tasks = vec![Task {
        x: 50.0,
        y: 50.0,
        demand: 0,
        earliest: 0.0,
        latest: 1_000.0,
        service: 0.0,
        role: Role::Depot,
    }];
    for request in 0..requests {
        let pickup = 2 * request + 1;
        let demand = random.random_range(1..=20);
        let opens = f64::from(random.random_range(80..300));
        let mut end = |demand, role, after: f64| Task {
            x: f64::from(random.random_range(0..=100)),
            y: f64::from(random.random_range(0..=100)),
            demand,
            earliest: after,
            latest: after + f64::from(random.random_range(10..=300)),
            service: 10.0,
            role,
        };
        tasks.push(end(demand, Role::Pickup { to: pickup + 1 }, opens));
        // No two places are farther apart than 142.
        let reached = tasks[usize::from(pickup)].latest + 160.0;
        tasks.push(end(-demand, Role::Delivery { from: pickup }, reached));
        let delivery = tasks.last_mut().expect("it was pushed");
        delivery.earliest = opens;
        delivery.latest = delivery.latest.max(reached);
    }
    tasks
}

/// Li and Lim's format.
fn text(vehicles: usize, capacity: i32, tasks: &[Task]) -> String {
    let mut text = format!("{vehicles}\t{capacity}\t1\n");
    for (index, task) in tasks.iter().enumerate() {
        let (from, to) = match task.role {
            Role::Depot => (0, 0),
            Role::Pickup { to } => (0, to),
            Role::Delivery { from } => (from, 0),
        };
        let Task {
            x,
            y,
            demand,
            earliest,
            latest,
            service,
            ..
        } = task;
        writeln!(
            text,
            "{index}\t{x}\t{y}\t{demand}\t{earliest}\t{latest}\t{service}\t{from}\t{to}"
        )
        .expect("memory");
    }
    text
}

fn problem(requests: u16, seed: u64) -> (String, Problem) {
    let text = text(usize::from(requests), 60, &tasks(requests, seed));
    let problem = text.parse().expect("it can be served");
    (text, problem)
}
