//! The topic of the orders' events, compared with the store (EV-2).

use domain::ids::Position;
use domain::order::{PublicEvent, public_events};
use domain::shard::ShardMap;
use persistence::Sharding;
use persistence::rdkafka::config::ClientConfig;
use persistence::rdkafka::consumer::{BaseConsumer, Consumer};
use persistence::rdkafka::message::{BorrowedMessage, Headers, Message};
use persistence::rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Longer than a message takes: not a measure, but an end.
const MESSAGE_MAX: Duration = Duration::from_secs(30);

/// What was compared.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Events of the store, all of which are in the topic.
    pub(crate) events: usize,
    /// Messages that came more than once.
    pub(crate) repeated: usize,
}

/// The `ce_id`s of each order's events, in order.
type EventIds = BTreeMap<String, Vec<String>>;

/// Fails unless the topic holds exactly the public events of the store, each order's in order, duplicates only by `ce_id`;
/// and these orders are among them. To be called when nobody writes to either any more.
pub(crate) async fn compare(brokers: &str, topic: &str, store: &str, orders: &[String]) -> Compared {
    let expected = expected(store).await;
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let read = tokio::task::spawn_blocking(move || read(&brokers, &topic));
    let messages = read.await.expect("the topic is read");
    let mut seen = HashSet::new();
    let mut found = EventIds::new();
    for (order, id) in &messages {
        if seen.insert(id) {
            found.entry(order.clone()).or_default().push(id.clone());
        }
    }
    for order in orders {
        let events = expected.get(order).map_or(0, Vec::len);
        assert!(
            events >= 2,
            "order {order} was placed and confirmed, and has {events} public events"
        );
    }
    for (order, ids) in &expected {
        assert_eq!(found.get(order), Some(ids), "the events of order {order}, in order");
    }
    assert_eq!(
        found.len(),
        expected.len(),
        "the topic holds orders that are not in the store"
    );
    Compared {
        events: seen.len(),
        repeated: messages.len() - seen.len(),
    }
}

async fn expected(store: &str) -> EventIds {
    let mut expected = EventIds::new();
    for event in events(store).await {
        expected.entry(event.order.to_string()).or_default().push(event.id());
    }
    expected
}

/// All public events of a store, line after line, each in order.
pub(crate) async fn events(store: &str) -> Vec<PublicEvent> {
    let as_created = Sharding::AsCreated(ShardMap::EMBEDDED);
    let store = persistence::open(store, as_created).await.expect("the store");
    let mut events = Vec::new();
    for shard in store.shard_map().all() {
        let mut after = Position(0);
        loop {
            let rows = store.positions(shard, after, 1_000).await.expect("the line");
            let Some(last) = rows.last() else { break };
            after = last.position;
            events.extend(rows.iter().flat_map(|row| public_events(row).expect("events")));
        }
    }
    events
}

/// A consumer of our own; it keeps no offsets.
pub(crate) fn consumer(brokers: &str) -> BaseConsumer {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("group.id", "load-faults")
        .set("enable.auto.commit", "false");
    client.create().expect("a consumer")
}

/// Order and `ce_id` of every message in the topic, partition after partition, each in order.
fn read(brokers: &str, topic: &str) -> Vec<(String, String)> {
    let consumer = consumer(brokers);
    let metadata = consumer.fetch_metadata(Some(topic), MESSAGE_MAX).expect("metadata");
    let partitions = metadata.topics().first().expect("the topic").partitions();
    let (mut ends, mut assignment) = (HashMap::new(), TopicPartitionList::new());
    for partition in partitions
        .iter()
        .map(persistence::rdkafka::metadata::MetadataPartition::id)
    {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, MESSAGE_MAX)
            .expect("its end");
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
        if end > 0 {
            ends.insert(partition, end);
        }
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut messages = Vec::new();
    while !ends.is_empty() {
        let message = consumer
            .poll(MESSAGE_MAX)
            .expect("a message in time")
            .expect("a message");
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

/// Order and `ce_id` of a message.
pub(crate) fn describe(message: &BorrowedMessage<'_>) -> (String, String) {
    let key = message.key_view::<str>().expect("a key").expect("text").to_owned();
    let headers = message.headers().expect("headers");
    let id = headers
        .iter()
        .find(|header| header.key == "ce_id")
        .and_then(|header| header.value);
    (key, String::from_utf8_lossy(id.expect("an id")).into_owned())
}
