//! Channel choice: one order over many channels, and bursts over few.
//!
//! `cargo bench -p routing --bench choice` prints criterion's estimates, and before them the distribution of single choices.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use domain::channel::{Channel, ChannelConfig, ChannelKind, Command, Cooked, MenuItem, slot_of};
use domain::entity::{Context, Entity, fold};
use domain::geo::Location;
use domain::ids::{HashSlot, OrderId};
use domain::money::Money;
use domain::order::{DeliveryLocation, Details, Item};
use domain::policy::Policy;
use domain::saga::{CapacityRequest, Direction, EffectKey, Step};
use domain::time::{Millis, Timestamp};
use routing::{Promised, batch_len, choose, choose_batch};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// A Friday, 08:00 UTC.
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Articles of each menu.
const ARTICLES: usize = 40;

fn sku(n: usize) -> String {
    format!("article-{n}")
}

fn details(n: usize) -> Details {
    let item = |n: usize| Item {
        sku: sku(n * 13 % ARTICLES),
        name: sku(n * 13 % ARTICLES),
        quantity: 1,
        unit_price_minor: 500,
    };
    Details {
        customer_id: "customer-1".parse().expect("a name"),
        restaurant_id: "restaurant-1".parse().expect("a name"),
        items: (n..n + 3).map(item).collect(),
        total: Money {
            minor: 1_500,
            currency: "USD".parse().expect("a currency"),
        },
        delivery_location: DeliveryLocation {
            lat: 41.0 + 0.000_5 * f64::from(u32::try_from(n % 64).unwrap_or(0)),
            lng: -87.0,
            address: "1 Main Street".into(),
        },
        requested_for: None,
        payment_token: "tok-1".into(),
        notes: None,
    }
}

fn told(channel: Option<Channel>, command: Command) -> Option<Channel> {
    let policy = Policy::default();
    let context = Context {
        now: NOW,
        policy: &policy,
    };
    let decision = Channel::decide(channel.as_ref(), command, &context).expect("the command is valid");
    fold(channel, &decision.events, NOW).expect("its own events can follow")
}

fn key(channel: usize, n: u64) -> EffectKey {
    let order = OrderId::mint(NOW, HashSlot::of(&[&channel.to_be_bytes()]), n);
    EffectKey {
        order,
        step: Step::HoldCapacity,
        round: 0,
        direction: Direction::Forward,
    }
}

/// A kitchen with a menu, a history, and `taken` of its `capacity` units of the next slots given away.
fn channel(n: usize, capacity: u32, taken: u64) -> Channel {
    let place = f64::from(u32::try_from(n).unwrap_or(0));
    let config = ChannelConfig {
        name: "Kitchen".into(),
        kind: ChannelKind::Kitchen,
        serves: vec!["restaurant-1".parse().expect("a name")],
        location: Location {
            lat: 41.0 + 0.000_1 * place,
            lng: -87.0,
        },
        zone: "centre".parse().expect("a name"),
        currency: "USD".parse().expect("a currency"),
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: Millis::from_mins(10),
        capacity_per_slot: capacity,
        cost_minor: i64::try_from(n * 37 % 400).unwrap_or(0),
        radius_m: 20_000,
    };
    let id = format!("channel-{n}").parse().expect("a name");
    let config = Box::new(config);
    let article = |n| MenuItem {
        sku: sku(n),
        name: sku(n),
        price_minor: 500,
        prep_ms: None,
    };
    let mut channel = told(None, Command::Configure { id, config });
    channel = told(channel, Command::SetMenu((0..ARTICLES).map(article).collect()));
    let slot_ms = Policy::default().slot_ms;
    for unit in 0..taken {
        let slot = slot_of(NOW, slot_ms) + slot_ms.times(unit % 3);
        let key = key(n, unit);
        let request = CapacityRequest::Hold {
            key,
            slot,
            slots_ahead_max: 0,
            units: 1,
            expires_at: slot + Millis::from_mins(600),
            asked_before: false,
        };
        channel = told(channel, Command::Capacity(request));
    }
    for past in 10_000..10_040 {
        let key = key(n, past);
        let request = CapacityRequest::Hold {
            key,
            slot: NOW + slot_ms.times(20),
            slots_ahead_max: 8,
            units: 1,
            expires_at: NOW + Millis::from_mins(600),
            asked_before: false,
        };
        channel = told(channel, Command::Capacity(request));
        let cooked = Some(Cooked {
            began_at: NOW - Millis::from_mins(past % 90),
            took_ms: Millis::from_mins(8 + past % 7),
            expected_ms: Millis::from_mins(10),
            late_ms: Millis(0),
        });
        channel = told(channel, Command::Capacity(CapacityRequest::Close { key, cooked }));
    }
    channel.expect("configured")
}

/// How long each of so many calls takes, by the shortest of fifteen runs of each: so that whoever else runs on the machine is
/// measured as little as can be.
#[expect(clippy::disallowed_methods, reason = "a measurement, outside of any runtime")]
fn distribution(calls: usize, call: impl Fn(usize)) -> String {
    let shortest = |n: usize| {
        let runs = (0..15).map(|_| {
            let begun = Instant::now();
            call(n);
            begun.elapsed()
        });
        runs.min().unwrap_or_default()
    };
    let mut took: Vec<_> = (0..calls).map(shortest).collect();
    took.sort_unstable();
    let (p50, p99, max) = (took[calls / 2], took[calls * 99 / 100], took[calls - 1]);
    format!("{calls} choices, p50 {p50:?}, p99 {p99:?}, max {max:?}")
}

fn one_order(criterion: &mut Criterion) {
    let channels: Vec<_> = (0..200).map(|n| Arc::new(channel(n, 40, 60))).collect();
    let orders: Vec<_> = (0..64).map(details).collect();
    let policy = Policy::default();
    let context = Context {
        now: NOW,
        policy: &policy,
    };
    let took = distribution(5_000, |n| {
        black_box(choose(&orders[n % orders.len()], &channels, &context));
    });
    println!("one order, 200 channels: {took}");
    let mut group = criterion.benchmark_group("choose");
    for few in [1, 10, 200] {
        group.bench_with_input(BenchmarkId::new("channels", few), &few, |bencher, &few| {
            bencher.iter(|| choose(black_box(&orders[0]), &channels[..few], &context));
        });
    }
}

/// Orders that want more than the next slots have left: of ten kitchens, as many as a restaurant has, and of two hundred.
fn bursts(criterion: &mut Criterion) {
    let orders: Vec<_> = (0..164).map(details).collect();
    let orders: Vec<_> = orders.iter().collect();
    let promised = Promised::default();
    let policy = Policy::default();
    let context = Context {
        now: NOW,
        policy: &policy,
    };
    for (kitchens, capacity, taken) in [(10, 8, 12), (200, 2, 5)] {
        let channels: Vec<_> = (0..kitchens).map(|n| Arc::new(channel(n, capacity, taken))).collect();
        for burst in [1, 16, 64] {
            let len = batch_len(std::iter::repeat_n(kitchens, burst));
            let took = distribution(100, |n| {
                let from = n % (orders.len() - len + 1);
                let batch = &orders[from..from + len];
                black_box(choose_batch(batch, &channels, &promised, &context));
            });
            println!("{burst} orders at once, {kitchens} channels, {len} a batch: {took}");
        }
        let mut group = criterion.benchmark_group(format!("choose_batch, {kitchens} channels"));
        for burst in [1, 16, 64] {
            group.bench_with_input(BenchmarkId::new("orders", burst), &burst, |bencher, &burst| {
                bencher.iter(|| choose_batch(black_box(&orders[..burst]), &channels, &promised, &context));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = one_order, bursts
}
criterion_main!(benches);
