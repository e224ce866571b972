//! The projector: from the journal to the list.

use crate::fixture::shard_map;
use crate::history::{Turn, World, order};
use crate::rig::Rig;
use async_trait::async_trait;
use domain::ids::{OrderId, Position};
use domain::ports::{Append, Clock, CommitError, Journal, Refusal, Store, StoreError};
use domain::shard::ShardId;
use domain::time::Timestamp;
use persistence::projection::{
    Applied, Batch, OrderSearch, OrderSummary, Projection, Projector, ProjectorOptions, Search, StuckOrders,
};
use persistence::{GroupJournal, JournalHandle, JournalOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
const PATIENCE: Duration = Duration::from_mins(1);

/// A clock that moves when it is looked at.
#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(10_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn scale(&self) -> u64 {
        1
    }
}

pub(crate) struct Node {
    pub(crate) journal: JournalHandle,
    clock: Arc<Ticking>,
}

impl Node {
    pub(crate) async fn start(rig: &Rig, tail_bytes_max: usize) -> (Self, World) {
        let world = rig.world().await;
        let options = JournalOptions {
            tail_bytes_max,
            ..JournalOptions::default()
        };
        let journal = GroupJournal::start(&rig.fixture.store, &world.owned, "test", &options);
        let clock = Arc::default();
        (Self { journal, clock }, world)
    }

    /// Another node, over a handle of its own and without shards.
    pub(crate) async fn join(&self, rig: &Rig, name: &str) -> Self {
        let store = rig.fixture.open_again(shard_map()).await.expect("the store");
        let journal = GroupJournal::start(&store, &[], name, &JournalOptions::default());
        let clock = Arc::clone(&self.clock);
        Self { journal, clock }
    }

    /// Hands shards over to another node.
    async fn hand_over(&self, rig: &Rig, shards: &[ShardId], to: &Self, name: &str) {
        self.journal.journal().release(shards).await;
        let owned = rig.fixture.store.acquire(name, shards).await.expect("acquired");
        to.journal.journal().adopt(&owned).await;
    }

    pub(crate) fn project(&self, store: &Arc<dyn Store>, projection: Arc<dyn Projection>) -> Projector {
        let options = ProjectorOptions {
            interval: Duration::from_millis(5),
            batch_orders_max: 7,
        };
        Projector::start(projection, &self.journal.tail(), store, self.clock.clone(), options)
    }

    pub(crate) async fn append(&self, rows: Vec<Append>) {
        for row in rows {
            self.journal.journal().append(row).await.expect("appended");
        }
    }

    /// Waits until all that has happened, which must be appended, is applied, and said to be.
    pub(crate) async fn level(&self, rig: &Rig, world: &World, search: &OrderSearch) {
        let rows: u64 = world.owned.iter().map(|owned| owned.position.0).sum();
        let level = async {
            while rig.cursors().await.values().map(|at| at.0).sum::<u64>() < rows {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let now = self.clock.now();
            while search.as_of() < Some(now) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, level).await.expect("level");
    }
}

fn places(world: &mut World, range: std::ops::Range<u32>) -> Vec<Append> {
    range.map(|n| world.place(n, 0)).collect()
}

pub(crate) async fn what_is_appended_is_found_and_a_restart_goes_on(rig: Arc<Rig>) {
    // Without a tail all is read from the store, so the end of what is read must be found there too.
    for (from, tail_bytes_max) in [(0, 1 << 20), (1_000, 0)] {
        let (node, mut world) = Node::start(&rig, tail_bytes_max).await;
        world.expected = rig.all().await.into_iter().map(|order| (order.order, order)).collect();
        let rows = places(&mut world, from..from + 20);
        node.append(rows).await;
        let projector = node.project(&rig.fixture.store, Arc::clone(&rig.projection));
        let search = projector.search();
        node.level(&rig, &world, &search).await;
        let rows = (from..from + 10).map(|n| world.turn(n, Turn::Confirmed(3))).collect();
        node.append(rows).await;
        node.level(&rig, &world, &search).await;
        assert_eq!(rig.all().await, world.list());
        drop(projector);

        let mut rows = places(&mut world, from + 20..from + 30);
        rows.extend((from..from + 5).map(|n| world.turn(n, Turn::Preparing)));
        node.append(rows).await;
        let counted = Arc::new(Watched::new(&rig.projection, Vec::new()));
        let projector = node.project(&rig.fixture.store, counted.clone());
        node.level(&rig, &world, &projector.search()).await;
        assert_eq!(rig.all().await, world.list());
        assert_eq!(counted.orders.load(Ordering::Relaxed), 15, "only what was not in yet");
    }
}

pub(crate) async fn a_projection_that_is_emptied_is_filled_again(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 20).await;
    let projector = node.project(&rig.fixture.store, Arc::clone(&rig.projection));
    let rows = places(&mut world, 0..30);
    node.append(rows).await;
    node.level(&rig, &world, &projector.search()).await;
    for written_after in [true, false] {
        rig.projection.reset().await.expect("emptied");
        // It finds out when it writes next, or when it has had nothing to write for a while.
        if written_after {
            let rows = (0..30).map(|n| world.turn(n, Turn::Confirmed(1))).collect();
            node.append(rows).await;
        }
        let refilled = async {
            while rig.all().await != world.list() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refilled).await.expect("filled again");
    }
}

pub(crate) async fn an_order_that_is_refused_is_passed_over_and_its_neighbours_are_in(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 20).await;
    let mut rows = places(&mut world, 0..40);
    rows.push(world.poison(3));
    rows.push(world.turn(3, Turn::Confirmed(1)));
    node.append(rows).await;
    let refused = vec![order(5), order(6), order(31)];
    let picky = Arc::new(Watched::new(&rig.projection, refused));
    for refused in &picky.refused {
        world.expected.remove(refused);
    }
    let projector = node.project(&rig.fixture.store, picky);
    node.level(&rig, &world, &projector.search()).await;
    assert_eq!(rig.all().await, world.list());
    let done: u64 = rig.cursors().await.values().map(|at| at.0).sum();
    assert_eq!(done, 42, "the cursors are at the end");
}

/// Two nodes feed the lines that each of them owns, and hand some over while orders go on.
pub(crate) async fn nodes_feed_the_lines_that_they_own(rig: Arc<Rig>) {
    let (one, mut world) = Node::start(&rig, 1 << 20).await;
    let two = one.join(&rig, "two").await;
    let watched = Arc::new(Watched::new(&rig.projection, Vec::new()));
    let _feeding = two.project(&rig.fixture.store, Arc::clone(&rig.projection));
    let projector = one.project(&rig.fixture.store, watched.clone());
    let rows = places(&mut world, 0..40);
    one.append(rows).await;

    let odd: Vec<ShardId> = shard_map().all().filter(|shard| shard.0 % 2 == 1).collect();
    let nodes = [(&one, "test"), (&two, "two")];
    for (round, turn) in (0_u32..).zip([Turn::Confirmed(1), Turn::Preparing, Turn::Ready, Turn::PickedUp]) {
        let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let mut rows: Vec<Append> = (0..40).map(|n| world.turn(n, turn)).collect();
        rows.extend(places(&mut world, 100 * (round + 1)..100 * (round + 1) + 10));
        let late = rows.split_off(20);
        let odd_owner = nodes[from].0;
        write_to(&one, odd_owner, rows).await;
        odd_owner.hand_over(&rig, &odd, nodes[to].0, nodes[to].1).await;
        write_to(&one, nodes[to].0, late).await;
        one.level(&rig, &world, &projector.search()).await;
        assert_eq!(rig.all().await, world.list(), "round {round}");
    }

    // Once more, for good: what the other node feeds does not concern this one, which has nothing to do.
    one.hand_over(&rig, &odd, &two, "two").await;
    one.level(&rig, &world, &projector.search()).await;
    let search = projector.search();
    let looks = watched.looks.load(Ordering::Relaxed);
    let rows = (0..40).map(|n| world.turn(n, Turn::InTransit)).collect();
    let of_two = |row: &Append| odd.contains(&shard_map().shard_of(row.stream));
    let (of_two, of_one): (Vec<Append>, Vec<Append>) = Vec::into_iter(rows).partition(of_two);
    two.append(of_two).await;
    let idle = async {
        // It looks now and then whether somebody has emptied the projection.
        while watched.looks.load(Ordering::Relaxed) < looks + 3 {
            assert!(search.as_of().is_some(), "it begins anew over what is not its own");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.expect("it looks");
    one.append(of_one).await;
    one.level(&rig, &world, &search).await;
    assert_eq!(rig.all().await, world.list());
}

/// Appends rows in order, those of odd shards to one node and the others to another.
async fn write_to(even: &Node, odd: &Node, rows: Vec<Append>) {
    for row in rows {
        let owner = if shard_map().shard_of(row.stream).0 % 2 == 1 {
            odd
        } else {
            even
        };
        owner.append(vec![row]).await;
    }
}

/// Counts what is written and how often the cursors are read, and refuses some orders.
struct Watched {
    inner: Arc<dyn Projection>,
    orders: AtomicI64,
    looks: AtomicI64,
    refused: Vec<OrderId>,
}

impl Watched {
    fn new(inner: &Arc<dyn Projection>, refused: Vec<OrderId>) -> Self {
        Self {
            inner: Arc::clone(inner),
            orders: AtomicI64::new(0),
            looks: AtomicI64::new(0),
            refused,
        }
    }
}

#[async_trait]
impl Projection for Watched {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn cursors(&self) -> Result<Vec<(ShardId, Position)>, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        // So that a projector that begins anew is seen to do so.
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.inner.cursors().await
    }

    async fn stuck(&self) -> Result<StuckOrders, StoreError> {
        self.inner.stuck().await
    }

    async fn apply(&self, batch: &Arc<Batch>) -> Result<Applied, CommitError> {
        if batch.orders.iter().any(|change| self.refused.contains(&change.order)) {
            return Err(CommitError::Refused(Refusal::Poison("not to my taste".into())));
        }
        let orders = i64::try_from(batch.orders.len()).expect("small");
        self.orders.fetch_add(orders, Ordering::Relaxed);
        self.inner.apply(batch).await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.inner.reset().await
    }

    async fn forget(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        self.inner.forget(orders).await
    }

    async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError> {
        self.inner.search(search).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.inner.count().await
    }
}
