//! Retention: what is deleted leaves the lists too, and gaps in the lines trip nobody up.

use crate::feeding::Node;
use crate::fixture::shard_map;
use crate::history::{Turn, World, order};
use crate::rig::{Rig, all};
use domain::ids::Position;
use domain::ports::{Append, Clock, KeyClaim, Snapshot, Store};
use domain::time::Timestamp;
use persistence::projection::{Pending, StuckOrders, rebuild};
use persistence::{Follower, RetentionOptions, Sweep, Swept};
use std::sync::Arc;
use std::time::Duration;

/// A name under which somebody follows and keeps a cursor in the store.
const FOLLOWER: &str = "somebody";

/// The age at which orders go: those whose last row is at 9,000,000 or before.
const AGE: Duration = Duration::from_secs(1_000);

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(10_000_000)
    }

    fn scale(&self) -> u64 {
        1
    }
}

async fn sweep(rig: &Rig, node: &Node) -> Sweep {
    Sweep {
        kept: rig.fixture.kept().await,
        store: Arc::clone(&rig.fixture.store),
        projection: Arc::clone(&rig.projection),
        tail: node.journal.tail(),
        clock: Arc::new(Noon),
        followers: vec![FOLLOWER],
    }
}

fn options() -> RetentionOptions {
    RetentionOptions {
        orders: Some(AGE),
        keys: Some(AGE),
        orders_at_once: 7,
        pause: Duration::ZERO,
        ..RetentionOptions::default()
    }
}

fn with_state(append: Append, live: bool) -> Append {
    let snapshot = Snapshot {
        seq: append.seq,
        state: "{}".into(),
        live,
    };
    Append {
        snapshot: Some(snapshot),
        ..append
    }
}

/// Sixty orders, of which the first forty are delivered; and behind them a live one on each line.
fn history(world: &mut World) -> Vec<Append> {
    let mut rows: Vec<Append> = (0..60).map(|n| with_state(world.place(n, 0), true)).collect();
    rows.extend((0..40).map(|n| with_state(world.turn(n, Turn::Delivered), false)));
    let mut lines: Vec<_> = shard_map().all().collect();
    for n in 60..1_000 {
        let shard = shard_map().shard_of(order(n).stream());
        if let Some(at) = lines.iter().position(|line| *line == shard) {
            lines.swap_remove(at);
            rows.push(with_state(world.place(n, 0), true));
        }
    }
    assert!(lines.is_empty(), "no order on {lines:?}");
    rows
}

/// Moves the follower's cursors to the ends of all lines.
async fn pass_by(store: &dyn Store, world: &World) {
    let ends: Vec<_> = world.owned.iter().map(|owned| (owned.shard, owned.position)).collect();
    store.advance(FOLLOWER, &ends).await.expect("advanced");
}

pub(crate) async fn what_everybody_has_passed_leaves_store_and_list(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 16).await;
    let sweep = sweep(&rig, &node).await;
    let rows = history(&mut world);
    node.append(rows).await;
    let held_back = Swept {
        held_back: 40,
        ..Swept::default()
    };
    assert_eq!(
        sweep.pass(&options()).await,
        Ok(held_back),
        "nobody has passed anything"
    );
    pass_by(&*rig.fixture.store, &world).await;
    assert_eq!(sweep.pass(&options()).await, Ok(held_back), "the list has not");

    let projector = node.project(&rig.fixture.store, Arc::clone(&rig.projection));
    node.level(&rig, &world, &projector.search()).await;
    assert_eq!(rig.all().await, world.list());
    let forever = RetentionOptions {
        orders: None,
        ..options()
    };
    assert_eq!(sweep.pass(&forever).await, Ok(Swept::default()));
    let swept = Swept {
        orders: 40,
        rows: 80,
        ..Swept::default()
    };
    assert_eq!(sweep.pass(&options()).await, Ok(swept));
    assert_eq!(
        sweep.pass(&options()).await,
        Ok(Swept::default()),
        "nothing is left to do"
    );
    world.expected.retain(|id, _| !(0..40).any(|n| order(n) == *id));
    assert_eq!(rig.all().await, world.list());
    // The lists go on behind the gaps.
    let rows = (40..60).map(|n| world.turn(n, Turn::Confirmed(1))).collect();
    node.append(rows).await;
    node.level(&rig, &world, &projector.search()).await;
    assert_eq!(rig.all().await, world.list());
}

/// A key may belong to another node's shard than its order. It must not outlive that because the other sweeps later.
pub(crate) async fn keys_go_whosever_shards_they_belong_to(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 16).await;
    let mut keyed = Vec::new();
    for (n, home) in (0..).zip(shard_map().all()) {
        let claim = KeyClaim {
            home: Some(home),
            key: format!("key {n}"),
            fingerprint: String::new(),
        };
        keyed.push(Append {
            claim: Some(claim),
            ..with_state(world.place(n, 0), true)
        });
    }
    let count = keyed.len() as u64;
    node.append(keyed).await;
    let other = node.join(&rig, "other").await;
    let swept = sweep(&rig, &other).await.pass(&options()).await.expect("swept");
    assert_eq!((swept.keys, swept.orders), (count, 0), "by a node without any shard");
}

pub(crate) async fn gaps_trip_up_nobody_who_begins_at_the_beginning(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 0).await;
    let sweep = sweep(&rig, &node).await;
    let rows = history(&mut world);
    node.append(rows).await;
    pass_by(&*rig.fixture.store, &world).await;
    rebuild(&*rig.fixture.store, &*rig.projection, |_| {})
        .await
        .expect("built");
    assert_eq!(sweep.pass(&options()).await.expect("swept").orders, 40);
    world.expected.retain(|id, _| !(0..40).any(|n| order(n) == *id));

    // Somebody new gets what is left, in order, and comes to the ends.
    let (tail, store) = (node.journal.tail(), Arc::clone(&rig.fixture.store));
    let mut follower = Follower::start(&tail, &store, "new").await.expect("begun");
    let mut seen = Vec::new();
    while follower.lag_rows() > 0 {
        for row in follower.next(5).await.expect("rows") {
            follower.done(row.shard, row.row.position);
            seen.push(row.row.stream);
        }
    }
    seen.sort_unstable();
    let expected: Vec<_> = world.expected.keys().map(|order| order.stream()).collect();
    assert_eq!(seen, expected);

    // A rebuild, and a projector that finds the projection empty.
    let done = rebuild(&*rig.fixture.store, &*rig.projection, |_| {})
        .await
        .expect("built");
    assert_eq!((done.rows, rig.all().await), (expected.len() as u64, world.list()));
    rig.projection.reset().await.expect("emptied");
    let projector = node.project(&rig.fixture.store, Arc::clone(&rig.projection));
    node.level(&rig, &world, &projector.search()).await;
    assert_eq!(rig.all().await, world.list());
}

pub(crate) async fn a_pass_removes_what_an_interrupted_one_left_in_the_list(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 16).await;
    let sweep = sweep(&rig, &node).await;
    let rows = history(&mut world);
    node.append(rows).await;
    pass_by(&*rig.fixture.store, &world).await;
    rebuild(&*rig.fixture.store, &*rig.projection, |_| {})
        .await
        .expect("built");
    let listed = rig.all().await.len();
    // Interrupted between the store and the list.
    let expiry = persistence::Expiry {
        before: Timestamp(9_000_000),
        lines: world.owned.iter().map(|owned| (owned.shard, owned.position)).collect(),
    };
    let gone = sweep
        .kept
        .expire_orders(&expiry, None, 1_000)
        .await
        .expect("expired")
        .orders
        .len();
    assert_eq!((gone, rig.all().await.len()), (40, listed));
    let swept = sweep.pass(&options()).await.expect("swept");
    assert_eq!((swept.orders, swept.strays), (0, 40));
    world.expected.retain(|id, _| !(0..40).any(|n| order(n) == *id));
    assert_eq!(rig.search(&all()).await, world.list());
}

#[test]
fn a_line_that_begins_with_a_gap_is_moved_from_where_the_projection_is() {
    let mut world = World::new(shard_map().all().map(crate::rig::unowned).collect());
    let append = world.place(1, 0);
    let shard = shard_map().shard_of(append.stream);
    let mut row = crate::fixture::row_of(&append);
    row.position = Position(9);
    let mut pending = Pending::default();
    pending.take_in(shard, Position(4), &row, &mut StuckOrders::new());
    row.position = Position(12);
    pending.take_in(shard, Position(4), &row, &mut StuckOrders::new());
    let lines = pending.into_batch().lines;
    assert_eq!(
        (lines.len(), lines[0].from, lines[0].to),
        (1, Position(4), Position(12))
    );
}
