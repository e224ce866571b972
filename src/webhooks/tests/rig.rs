//! A line of events, webhooks over it, and a clock that tests own.

use super::super::*;
use crate::clock::RandomIds;
use domain::ids::{Epoch, HashSlot, OrderId, Position};
use domain::ports::{Append, Journal, StreamKind};
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use persistence::{GroupJournal, JournalHandle, JournalOptions, MemoryStore, MemoryWebhooks};
use std::sync::atomic::{AtomicI64, Ordering};

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
const PATIENCE: Duration = Duration::from_mins(1);

/// Wall time, moved forward at will.
#[derive(Clone, Default)]
pub(super) struct Wall(Arc<AtomicI64>);

impl Wall {
    pub(super) fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn clock(&self) -> WallClock {
        let (ahead, system) = (Arc::clone(&self.0), crate::participants::wall::system());
        Arc::new(move || system() + ahead.load(Ordering::SeqCst))
    }
}

/// Options with which this machine may be called, with two quick retries.
pub(super) fn options() -> WebhookOptions {
    WebhookOptions {
        guard: Guard {
            allow_http: true,
            allow_private: true,
        },
        timeout: Duration::from_secs(30),
        retry_schedule_ms: vec![1, 5],
        subscriptions_max: 4,
        concurrency_max: 4,
        queue_max: 64,
        kept_max: 1_000,
        dead_letter_ttl: Duration::from_hours(24),
    }
}

pub(super) fn webhooks(store: Arc<dyn WebhookStore>, options: WebhookOptions, wall: &Wall) -> Webhooks {
    Webhooks::new(store, options, wall.clock(), Arc::new(RandomIds::default())).expect("an HTTP client")
}

pub(super) fn id(text: &str) -> WebhookId {
    text.parse().expect("a webhook id")
}

pub(super) fn draft(url: &str) -> Draft {
    Draft {
        url: url.to_owned(),
        event_types: None,
        secrets: None,
        enabled: true,
        description: String::new(),
    }
}

/// A node's worth of it: orders' rows are written here, and webhooks follow them.
pub(super) struct Rig {
    pub(super) store: Arc<dyn Store>,
    pub(super) kept: Arc<dyn WebhookStore>,
    pub(super) webhooks: Webhooks,
    pub(super) wall: Wall,
    journal: JournalHandle,
    delivering: Delivering,
}

impl Rig {
    /// A rig with everything in memory.
    pub(super) async fn start(options: WebhookOptions) -> Self {
        let store = Arc::new(MemoryStore::new(ShardMap::new(4).expect("a power of two")));
        Self::over(store, Arc::new(MemoryWebhooks::default()), options, Wall::default()).await
    }

    /// A rig over these stores, as a restarted node has it.
    pub(super) async fn over(
        store: Arc<dyn Store>,
        kept: Arc<dyn WebhookStore>,
        options: WebhookOptions,
        wall: Wall,
    ) -> Self {
        let shards: Vec<ShardId> = store.shard_map().all().collect();
        Self::node(store, kept, options, wall, &shards).await
    }

    /// A rig over these stores that owns some of the shards, as a node of a cluster has it.
    pub(super) async fn node(
        store: Arc<dyn Store>,
        kept: Arc<dyn WebhookStore>,
        options: WebhookOptions,
        wall: Wall,
        shards: &[ShardId],
    ) -> Self {
        let owned = store.acquire("test", shards).await.expect("the shards");
        let journal = GroupJournal::start(&store, &owned, "test", &JournalOptions::default());
        let webhooks = webhooks(Arc::clone(&kept), options, &wall);
        let delivering = webhooks
            .start(&journal.tail(), &store)
            .await
            .expect("the stores are there");
        Self {
            store,
            kept,
            webhooks,
            wall,
            journal,
            delivering,
        }
    }

    /// Subscribes, and says which secret was made.
    pub(super) async fn subscribe(&self, name: &str, draft: Draft) -> String {
        let put = self.webhooks.put(&id(name), draft, None).await.expect("subscribed");
        put.secret.unwrap_or_default()
    }

    /// Commits a row of the `n`th order, and says which order it is.
    pub(super) async fn commit(&self, n: u64, seq: u64, events: &str) -> String {
        let order = OrderId::mint(Timestamp(1_700_000_000_000), HashSlot::of(&[&n.to_be_bytes()]), n);
        let append = Append {
            shard: self.store.shard_map().shard_of_slot(order.stream().slot()),
            epoch: Epoch(0),
            position: Position(0),
            stream: order.stream(),
            kind: StreamKind::Order,
            seq: Seq(seq),
            at: Timestamp(1_700_000_000_123),
            events: events.to_owned(),
            snapshot: None,
            claim: None,
        };
        self.journal.journal().append(append).await.expect("committed");
        order.to_string()
    }

    /// Loses all shards, and gets them back.
    pub(super) async fn lose_and_regain(&self) {
        let (shards, journal): (Vec<ShardId>, _) = (self.store.shard_map().all().collect(), self.journal.journal());
        journal.release(&shards).await;
        let owned = self.store.acquire("test", &shards).await.expect("the shards");
        journal.adopt(&owned).await;
    }

    /// The first numbers of orders that live in these shards.
    pub(super) fn numbers(&self, shards: &[ShardId], count: usize) -> Vec<u64> {
        let map = self.store.shard_map();
        let lives = |n: &u64| shards.contains(&map.shard_of_slot(HashSlot::of(&[&n.to_be_bytes()])));
        (0..).filter(lives).take(count).collect()
    }

    /// Commits that the `n`th order is being prepared.
    pub(super) async fn prepare(&self, n: u64) -> String {
        self.commit(n, 1, r#"[{"type":"OrderPreparing"}]"#).await
    }

    /// What is kept for a subscription.
    pub(super) async fn kept(&self, name: &str) -> persistence::Kept {
        let kept = self.kept.kept().await.expect("read");
        kept.into_iter()
            .find(|(of, _)| *of == id(name))
            .map(|(_, kept)| kept)
            .unwrap_or_default()
    }

    pub(super) async fn dead(&self) -> Vec<Delivery> {
        self.webhooks.dead_letters(None, None, 100).await.expect("read")
    }

    /// Up to where the cursors have got, summed up.
    pub(super) async fn cursor(&self) -> u64 {
        let cursors = self.store.cursors(follow::NAME).await.expect("read");
        cursors.iter().map(|(_, position)| position.0).sum()
    }

    /// Stops in good order.
    pub(super) async fn stop(self) -> (Arc<dyn Store>, Arc<dyn WebhookStore>, Wall) {
        self.journal.close().await;
        self.delivering.stop().await;
        (self.store, self.kept, self.wall)
    }
}

/// Waits until something is so.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

/// What comes in time.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}
