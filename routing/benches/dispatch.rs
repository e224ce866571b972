//! How fast the dispatcher thinks: a move of the search, an insertion, a whole re-plan of 200 orders and 200 couriers.
//!
//! `cargo bench -p routing --bench dispatch`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use routing::Budget;
use routing::dispatch::{
    Courier, CourierKey, Dispatcher, Order, OrderKey, Place, Policy, RestaurantKey, Rules, Seconds, Tuning,
};
use std::hint::black_box;

const NOW: Seconds = 3_600;
const SIZE: u32 = 200;
const RESTAURANTS: u32 = 60;
/// Metres from side to side of the zone.
const SIDE: i32 = 10_000;

const RULES: Rules = Rules {
    pickup_service_s: 240,
    dropoff_service_s: 240,
    target_s: 2_400,
    limit_s: 5_400,
    pay_per_order_minor: 1_000,
    pay_per_hour_minor: 1_500,
};

fn place(random: &mut SmallRng) -> Place {
    Place {
        x: random.random_range(0..SIDE),
        y: random.random_range(0..SIDE),
    }
}

/// A busy moment: 200 open orders of the last forty minutes, 200 couriers of whom half are under way.
fn busy_zone() -> (Vec<Courier>, Vec<Order>) {
    let mut random = SmallRng::seed_from_u64(1);
    let restaurants: Vec<Place> = (0..RESTAURANTS).map(|_| place(&mut random)).collect();
    let order = |key| {
        let restaurant = random.random_range(0..RESTAURANTS);
        let placed_at = NOW - random.random_range(0..2_400);
        Order {
            key: OrderKey(key),
            restaurant: RestaurantKey(restaurant),
            pickup: restaurants[restaurant as usize],
            dropoff: place(&mut random),
            placed_at,
            ready_at: placed_at + random.random_range(600..2_400),
        }
    };
    let orders = (0..SIZE).map(order).collect();
    let courier = |key| Courier {
        key: CourierKey(key),
        metres_per_min: 320,
        on_at: 0,
        off_at: NOW + random.random_range(1_800..14_400),
        place: place(&mut random),
        free_at: NOW + random.random_range(-1_200..1_200),
        orders_taken: random.random_range(0..6),
        promise: None,
    };
    ((0..SIZE).map(courier).collect(), orders)
}

fn dispatcher(policy: Policy) -> Dispatcher {
    Dispatcher::new(RULES, policy, 1, Tuning::default())
}

fn bench(criterion: &mut Criterion) {
    let (couriers, orders) = busy_zone();
    let mut planned = dispatcher(Policy::Anneal);
    planned.decide(NOW, &couriers, &orders, Budget::moves(1_000));
    let mut run = |name: &str, from: &Dispatcher, moves: u64, elements: u64| {
        let mut group = criterion.benchmark_group("dispatch of 200 orders, 200 couriers");
        group.throughput(Throughput::Elements(elements)).sample_size(20);
        let decide = |mut dispatcher: Dispatcher| {
            black_box(dispatcher.decide(NOW, &couriers, &orders, Budget::moves(moves)));
            dispatcher
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| from.clone(), decide, BatchSize::LargeInput);
        });
        group.finish();
    };
    run(
        "insertion, of each order",
        &dispatcher(Policy::Rolling),
        0,
        u64::from(SIZE),
    );
    run("move, in a plan that is good already", &planned, 4_000, 4_000);
    run("re-plan with 500 moves", &planned, 500, 1);
}

criterion_group!(benches, bench);
criterion_main!(benches);
