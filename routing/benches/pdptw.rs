//! What one move costs: ruin, recreate, and taking it back or not.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use routing::Budget;
use routing::pdptw::{Problem, Role, Task, solve};
use std::hint::black_box;

const MOVES: u64 = 2_000;

/// Requests scattered over a square, with windows of this width.
fn problem(requests: u16, width: f64) -> Problem {
    let mut random = SmallRng::seed_from_u64(1);
    let depot = Task {
        x: 50.0,
        y: 50.0,
        demand: 0,
        earliest: 0.0,
        latest: 2_000.0,
        service: 0.0,
        role: Role::Depot,
    };
    let mut tasks = vec![depot];
    for pickup in (0..requests).map(|request| 2 * request + 1) {
        let opens = random.random_range(80.0..800.0);
        let mut end = |demand, role, earliest: f64| Task {
            x: random.random_range(0.0..100.0),
            y: random.random_range(0.0..100.0),
            demand,
            earliest,
            latest: earliest + width,
            service: 10.0,
            role,
        };
        tasks.push(end(10, Role::Pickup { to: pickup + 1 }, opens));
        tasks.push(end(-10, Role::Delivery { from: pickup }, opens + 160.0));
    }
    Problem::new(usize::from(requests), 200, &tasks).expect("each can be served alone")
}

fn moves(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pdptw");
    group.throughput(Throughput::Elements(MOVES)).sample_size(20);
    for (requests, width) in [(50, 60.0), (50, 600.0), (200, 60.0)] {
        let problem = problem(requests, width);
        let name = BenchmarkId::new(format!("moves of {requests} requests"), format!("windows of {width}"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(solve(&problem, Budget::moves(MOVES), 1).expect("there are vehicles enough")));
        });
    }
    group.finish();
}

criterion_group!(benches, moves);
criterion_main!(benches);
