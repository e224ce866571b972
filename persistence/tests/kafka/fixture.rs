//! A store with orders, a topic, and the comparison of the two (EV-2).

use domain::ids::{Epoch, HashSlot, OrderId, Position, Seq};
use domain::order::{Event, public_events};
use domain::ports::{Append, Journal, Store, StreamKind};
use domain::saga::{Receipt, Step};
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use futures::future::join_all;
use persistence::{GroupJournal, JournalHandle, JournalOptions, KafkaOptions, MemoryStore, Relay};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything here takes: not a measure, but an end.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Rows of each order that [`Rig::write`] makes.
pub(crate) const ROWS_PER_ORDER: u64 = 4;

/// A store, its journal, and a topic of its own.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: JournalHandle,
    pub(crate) options: KafkaOptions,
    written: u64,
}

impl Rig {
    /// Over a store in memory.
    pub(crate) async fn new(brokers: &str) -> Self {
        let map = ShardMap::new(16).expect("a power of two");
        Self::over(Arc::new(MemoryStore::new(map)), brokers).await
    }

    /// Over a store that is empty.
    pub(crate) async fn over(store: Arc<dyn Store>, brokers: &str) -> Self {
        let shards: Vec<ShardId> = store.shard_map().all().collect();
        let owned = store.acquire("node", &shards).await.expect("acquired");
        let journal = GroupJournal::start(&store, &owned, "node", &JournalOptions::default());
        let options = KafkaOptions {
            brokers: brokers.to_owned(),
            orders_topic: format!("uoop.test.{:016x}", RandomState::new().hash_one(0)),
            partitions: 4,
            ..KafkaOptions::default()
        };
        Self {
            store,
            journal,
            options,
            written: 0,
        }
    }

    /// A journal over the same store, as another node of that name has it, without shards.
    pub(crate) fn another(&self, name: &str) -> JournalHandle {
        GroupJournal::start(&self.store, &[], name, &JournalOptions::default())
    }

    /// Hands shards over from one node's journal to another's.
    pub(crate) async fn hand_over(&self, shards: &[ShardId], from: &JournalHandle, to: (&JournalHandle, &str)) {
        from.journal().release(shards).await;
        let owned = self.store.acquire(to.1, shards).await.expect("acquired");
        to.0.journal().adopt(&owned).await;
    }

    /// The lengths of all lines, whoever owns them.
    pub(crate) async fn rows_of_all(&self) -> u64 {
        let mut rows = 0;
        for shard in self.store.shard_map().all() {
            let line = self
                .store
                .positions(shard, Position(0), usize::MAX)
                .await
                .expect("readable");
            rows += line.len() as u64;
        }
        rows
    }

    pub(crate) fn relay(&self) -> Relay {
        Relay::start(&self.journal.tail(), &self.store, self.options.clone())
    }

    /// Writes so many orders: the first rows of all, then the second ones of all, and so on.
    pub(crate) async fn write(&mut self, orders: u64) {
        let ids: Vec<OrderId> = (0..orders)
            .map(|n| {
                let number = self.written + n;
                let slot = HashSlot::of(&[&number.to_be_bytes()]);
                OrderId::mint(Timestamp(1_800_000_000_000), slot, number)
            })
            .collect();
        self.written += orders;
        for seq in 1..=ROWS_PER_ORDER {
            for some in ids.chunks(1_000) {
                join_all(some.iter().map(|id| self.append(*id, seq, events(seq)))).await;
            }
        }
    }

    async fn append(&self, order: OrderId, seq: u64, events: String) {
        let stream = order.stream();
        let append = Append {
            shard: self.store.shard_map().shard_of(stream),
            epoch: Epoch(0),
            position: Position(0),
            stream,
            kind: StreamKind::Order,
            seq: Seq(seq),
            at: Timestamp(1_800_000_000_000),
            events,
            snapshot: None,
            claim: None,
        };
        self.journal.journal().append(append).await.expect("appended");
    }

    /// Writes a row that no program of ours can read.
    pub(crate) async fn write_poison(&mut self) {
        let slot = HashSlot::of(&[&self.written.to_be_bytes()]);
        let order = OrderId::mint(Timestamp(1_800_000_000_000), slot, self.written);
        self.written += 1;
        self.append(order, 1, r#"[{"type":"OrderPlaced"}]"#.into()).await;
    }

    /// The ids of the public events of every row that is in the store, by order and in order.
    pub(crate) async fn expected(&self) -> BTreeMap<String, Vec<String>> {
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for shard in self.store.shard_map().all() {
            let mut after = Position(0);
            loop {
                let rows = self.store.positions(shard, after, 1_000).await.expect("readable");
                let Some(last) = rows.last() else { break };
                after = last.position;
                for event in rows.iter().flat_map(|row| public_events(row).unwrap_or_default()) {
                    expected.entry(event.order.to_string()).or_default().push(event.id());
                }
            }
        }
        expected
    }

    /// How many rows the saved cursors cover.
    pub(crate) async fn saved(&self) -> u64 {
        let cursors = self.store.cursors("relay").await.expect("readable");
        cursors.iter().map(|(_, position)| position.0).sum()
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.journal.tail().ends().iter().map(|(_, end)| end.0).sum()
    }

    /// EV-2: the topic holds every public event of every row, per order in order, duplicates only by `ce_id`. Returns
    /// how many came more than once. To be called when nobody writes to the topic any more.
    pub(crate) async fn assert_all_relayed(&self) -> usize {
        let expected = self.expected().await;
        let options = self.options.clone();
        let read = tokio::task::spawn_blocking(move || read_topic(&options));
        let messages = read.await.expect("read");
        let mut seen = HashSet::new();
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, id) in &messages {
            if seen.insert(id) {
                found.entry(key.clone()).or_default().push(id.clone());
            }
        }
        assert_eq!(found.len(), expected.len(), "orders");
        for (order, ids) in &expected {
            assert_eq!(found.get(order), Some(ids), "order {order}");
        }
        messages.len() - seen.len()
    }
}

/// What a turn writes: public events among those that are not, and a row with none.
fn events(seq: u64) -> String {
    let private = || Event::StepDone {
        step: Step::ConfirmCapacity,
        round: 0,
        receipt: Receipt::Empty,
    };
    let confirmed = Event::OrderConfirmed {
        channel: None,
        ready_at: None,
    };
    let events = match seq {
        1 => vec![private(), confirmed, private(), Event::OrderPreparing],
        2 => vec![private()],
        3 => vec![Event::OrderReady],
        _ => vec![Event::OrderPickedUp, Event::OrderInTransit],
    };
    serde_json::to_string(&events).expect("JSON")
}

/// Key and `ce_id` of every message in the topic, partition after partition, each in order.
fn read_topic(options: &KafkaOptions) -> Vec<(String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(&options.orders_topic), PATIENCE)
        .expect("metadata");
    let topic = metadata.topics().first().expect("the topic");
    let mut ends = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id) {
        let (_, end) = consumer
            .fetch_watermarks(topic.name(), partition, PATIENCE)
            .expect("watermarks");
        assignment
            .add_partition_offset(topic.name(), partition, Offset::Beginning)
            .expect("a partition");
        if end > 0 {
            ends.insert(partition, end);
        }
    }
    consumer.assign(&assignment).expect("assigned");
    let mut messages = Vec::new();
    while !ends.is_empty() {
        let message = consumer.poll(PATIENCE).expect("a message in time").expect("a message");
        messages.push(describe(&message));
        if ends
            .get(&message.partition())
            .is_some_and(|end| message.offset() + 1 >= *end)
        {
            ends.remove(&message.partition());
        }
    }
    messages
}

fn describe(message: &impl Message) -> (String, String) {
    let key = message.key_view::<str>().expect("a key").expect("text").to_owned();
    let id = message.headers().and_then(|headers| {
        let found = headers.iter().find(|header| header.key == "ce_id")?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    });
    let value: serde_json::Value = serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
    assert_eq!(value["order_id"], key.as_str());
    (key, id.expect("an id"))
}

/// Looks again and again until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !so().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
