//! Topics of our own, on the Kafka of `UOOP_TEST_KAFKA_BROKERS` or else on one that librdkafka plays.

use persistence::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use persistence::rdkafka::client::DefaultClientContext;
use persistence::rdkafka::config::ClientConfig;
use persistence::rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use persistence::rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use persistence::rdkafka::mocking::MockCluster;
use persistence::rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use persistence::rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Longer than anything here takes: not a measure, but an end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A Kafka with three topics of one partition each.
pub(crate) struct Kafka {
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
    client: ClientConfig,
    producer: FutureProducer,
    brokers: String,
    group: String,
    pub(crate) channels: String,
    pub(crate) couriers: String,
    dead_letters: String,
}

/// A message to send.
pub(crate) struct Sent<'a> {
    key: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    payload: &'a str,
}

impl<'a> Sent<'a> {
    /// A `CloudEvent` in binary mode, from this reporter.
    pub(crate) fn new(key: &'a str, id: &'a str, payload: &'a str) -> Self {
        let headers = vec![("ce_specversion", "1.0"), ("ce_source", "//reporter"), ("ce_id", id)];
        Self { key, headers, payload }
    }

    /// One in structured mode.
    pub(crate) fn structured(key: &'a str, payload: &'a str) -> Self {
        let headers = vec![("content-type", "application/cloudevents+json")];
        Self { key, headers, payload }
    }
}

/// A dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    headers: HashMap<String, String>,
    pub(crate) payload: String,
}

impl Letter {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text")
}

impl Kafka {
    pub(crate) async fn start() -> Self {
        let given = std::env::var("UOOP_TEST_KAFKA_BROKERS").ok();
        let mock = given.is_none().then(|| MockCluster::new(1).expect("a cluster"));
        let brokers = given.or_else(|| mock.as_ref().map(MockCluster::bootstrap_servers));
        let brokers = brokers.expect("one or the other");
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &brokers);
        let number = RandomState::new().hash_one(0);
        let named = |what: &str| format!("uoop.test.{number:016x}.{what}");
        let topics = ["channels", "couriers", "dead"].map(named);
        match &mock {
            Some(mock) => topics
                .iter()
                .for_each(|topic| mock.create_topic(topic, 1, 1).expect("a topic")),
            None => create(&client, &topics).await,
        }
        let [channels, couriers, dead_letters] = topics;
        Self {
            _mock: mock,
            producer: client.create().expect("a producer"),
            client,
            brokers,
            group: named("group"),
            channels,
            couriers,
            dead_letters,
        }
    }

    /// How a server is told of it. It commits only when it stops, and a killed one is given up soon.
    pub(crate) fn settings(&self) -> Vec<String> {
        let properties = "auto.commit.interval.ms=3600000,session.timeout.ms=6000,heartbeat.interval.ms=500";
        vec![
            format!("kafka.brokers={}", self.brokers),
            format!("kafka.orders_topic={}.orders", self.group),
            format!("kafka.channel_events_topic={}", self.channels),
            format!("kafka.courier_events_topic={}", self.couriers),
            format!("kafka.dead_letters_topic={}", self.dead_letters),
            format!("kafka.group={}", self.group),
            format!("kafka.properties={properties}"),
        ]
    }

    pub(crate) async fn send(&self, topic: &str, sent: &Sent<'_>) {
        let headers = sent.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        });
        let record = FutureRecord::to(topic)
            .key(sent.key)
            .payload(sent.payload)
            .headers(headers);
        self.producer.send(record, PATIENCE).await.expect("it is sent");
    }

    /// The next offset of the topic's partition, as the server's group has committed it.
    pub(crate) fn committed(&self, topic: &str) -> Option<i64> {
        let mut client = self.client.clone();
        let asking: BaseConsumer = client.set("group.id", &self.group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let list = asking.committed_offsets(list, PATIENCE).expect("offsets");
        match list.find_partition(topic, 0).expect("the partition").offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        }
    }

    /// The first dead letters.
    pub(crate) async fn dead(&self, count: usize) -> Vec<Letter> {
        let mut client = self.client.clone();
        client.set("group.id", format!("{}.undertaker", self.group));
        let consumer: StreamConsumer = client.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.dead_letters, 0, Offset::Beginning)
            .expect("a partition");
        consumer.assign(&list).expect("an assignment");
        let mut letters = Vec::new();
        while letters.len() < count {
            let received = tokio::time::timeout(PATIENCE, consumer.recv()).await;
            let message = received.expect("in time").expect("a letter");
            let headers = message.headers().into_iter().flat_map(Headers::iter);
            letters.push(Letter {
                headers: headers
                    .map(|header| (header.key.to_owned(), text(header.value)))
                    .collect(),
                payload: text(message.payload()),
            });
        }
        letters
    }
}

async fn create(client: &ClientConfig, topics: &[String; 3]) {
    let admin: AdminClient<DefaultClientContext> = client.create().expect("a client");
    let one = |topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let topics: Vec<_> = topics.iter().map(|topic| one(topic)).collect();
    let asked = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for created in admin.create_topics(&topics, &asked).await.expect("an answer") {
        created.expect("a topic");
    }
}
