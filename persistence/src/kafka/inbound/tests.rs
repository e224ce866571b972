//! Against a cluster that librdkafka plays, and whose faults it plays too.

use super::*;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Mutex;

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster with a topic of two partitions and one for dead letters.
struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    kafka: KafkaOptions,
    producer: FutureProducer,
}

impl Cluster {
    fn start() -> Self {
        let mock = MockCluster::new(1).expect("a cluster");
        mock.create_topic("events", 2, 1).expect("a topic");
        mock.create_topic("dead", 1, 1).expect("a topic");
        // The mock lets a group wait for nearly the session's timeout whenever a member has gone.
        let quick = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200")];
        let kafka = KafkaOptions {
            brokers: mock.bootstrap_servers(),
            properties: quick.map(|(name, value)| (name.into(), value.into())).into(),
            ..KafkaOptions::default()
        };
        let producer = kafka.client().create().expect("a producer");
        Self { mock, kafka, producer }
    }

    async fn send(&self, partition: i32, key: &str, payload: &str) {
        let headers = OwnedHeaders::new().insert(Header {
            key: "ce_id",
            value: Some(payload),
        });
        let record = FutureRecord::to("events").key(key).payload(payload).headers(headers);
        let sent = self.producer.send(record.partition(partition), PATIENCE).await;
        sent.expect("it is sent");
    }

    fn options() -> InboundOptions {
        InboundOptions {
            topics: vec!["events".into()],
            dead_letters_topic: "dead".into(),
            retry_backoff: Duration::from_millis(1),
            retry_backoff_max: Duration::from_millis(10),
            ..InboundOptions::default()
        }
    }

    fn consume(&self, handler: &Arc<Script>) -> Inbound {
        self.consume_with(Self::options(), handler)
    }

    fn consume_with(&self, options: InboundOptions, handler: &Arc<Script>) -> Inbound {
        Inbound::start(&self.kafka, options, Arc::clone(handler)).expect("it starts")
    }

    /// The next offset of a partition, as the group has committed it.
    fn committed(&self, partition: i32) -> Option<i64> {
        let mut config: ClientConfig = self.kafka.client();
        config.set("group.id", Self::options().group);
        let asking: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition("events", partition);
        let list = asking.committed_offsets(list, PATIENCE).expect("offsets");
        match list
            .find_partition("events", partition)
            .expect("the partition")
            .offset()
        {
            Offset::Offset(next) => Some(next),
            _ => None,
        }
    }

    /// The first dead letters.
    async fn dead(&self, count: usize) -> Vec<InboundMessage> {
        let mut config = self.kafka.client();
        config
            .set("group.id", "undertaker")
            .set("auto.offset.reset", "earliest");
        let consumer: StreamConsumer = config.create().expect("a consumer");
        consumer.subscribe(&["dead"]).expect("a subscription");
        let mut letters = Vec::new();
        while letters.len() < count {
            let letter = timeout(PATIENCE, consumer.recv())
                .await
                .expect("in time")
                .expect("a letter");
            letters.push(InboundMessage::of(&letter));
        }
        letters
    }
}

/// A handler that does what the message says, and keeps what it was told.
#[derive(Default)]
struct Script {
    told: Mutex<Vec<(i32, String)>>,
    attempts: Mutex<HashMap<String, usize>>,
    /// Whether messages that ask for it are let through.
    open: watch::Sender<bool>,
}

impl Script {
    /// What was applied, in its order.
    fn told(&self) -> Vec<(i32, String)> {
        self.told.lock().expect("a list").clone()
    }

    fn told_of(&self, partition: i32) -> Vec<String> {
        let told = self.told().into_iter();
        told.filter(|(of, _)| *of == partition)
            .map(|(_, payload)| payload)
            .collect()
    }

    fn attempts(&self, payload: &str) -> usize {
        self.attempts.lock().expect("a map").get(payload).copied().unwrap_or(0)
    }
}

#[async_trait]
impl InboundHandler for Arc<Script> {
    async fn handle(&self, message: &InboundMessage) -> Handled {
        let text = String::from_utf8(message.payload.clone().unwrap_or_default()).expect("text");
        let attempt = {
            let mut attempts = self.attempts.lock().expect("a map");
            let attempt = attempts.entry(text.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        if text.starts_with("poison") {
            let detail = "it is poison".into();
            return Handled::Poison(Poison { code: "bad", detail });
        }
        assert!(!text.starts_with("crash"), "as the message says");
        if text.starts_with("busy") && attempt < 5 || text.starts_with("gate") && !*self.open.borrow() {
            return Handled::Again("busy".into());
        }
        if text.starts_with("hang") {
            std::future::pending::<()>().await;
        }
        self.told.lock().expect("a list").push((message.partition, text));
        Handled::Applied
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = tokio::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_handled_in_the_order_of_their_key_and_committed_at_the_end() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    for number in 0..40 {
        cluster.send(number % 2, "k", &format!("{number:02}")).await;
    }
    let inbound = cluster.consume(&script);
    until("all are handled", || script.told().len() == 40).await;
    inbound.stop().await;
    for partition in 0..2 {
        let told = script.told_of(partition);
        assert!(told.is_sorted() && told.len() == 20, "{told:?}");
        assert_eq!(cluster.committed(partition), Some(20));
    }

    cluster.send(0, "k", "last").await;
    let inbound = cluster.consume(&script);
    until("the group goes on", || script.told().len() > 40).await;
    inbound.stop().await;
    assert_eq!(script.told_of(0).last().map(String::as_str), Some("last"));
    assert_eq!(script.told().len(), 41, "nothing came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_and_what_crashes_go_to_the_dead_letters_and_the_partition_goes_on() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    for payload in ["poison", "crash", "fine"] {
        cluster.send(0, "k", payload).await;
    }
    let inbound = cluster.consume(&script);
    let letters = cluster.dead(2).await;
    until("the next one is handled", || script.told_of(0) == ["fine"]).await;
    inbound.stop().await;
    assert_eq!(cluster.committed(0), Some(3));
    let letter = &letters[0];
    assert_eq!(
        (letter.key.as_deref(), letter.payload.as_deref()),
        (Some(&b"k"[..]), Some(&b"poison"[..]))
    );
    let header = |letter: &InboundMessage, name: &str| {
        let value = letter.header(name).map(<[u8]>::to_vec);
        value.map(|value| String::from_utf8(value).expect("text"))
    };
    let expected = [
        ("ce_id", "poison"),
        ("dead_letter_code", "bad"),
        ("dead_letter_reason", "it is poison"),
        ("dead_letter_topic", "events"),
        ("dead_letter_partition", "0"),
        ("dead_letter_offset", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(header(letter, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header(&letters[1], "dead_letter_code").as_deref(), Some("crashed"));
    assert_eq!(script.attempts("poison"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_its_dead_letter_to_be_acknowledged() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    cluster.send(0, "k", "poison").await;
    cluster.send(0, "k", "fine").await;
    // The brokers refuse to take anything for a while: more often than librdkafka tries by itself.
    let refusals = [rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3];
    cluster
        .mock
        .request_errors(rdkafka::types::RDKafkaApiKey::Produce, &refusals);
    let inbound = cluster.consume(&script);
    until("the next one is handled", || script.told_of(0) == ["fine"]).await;
    let letters = cluster.dead(1).await;
    assert_eq!(letters[0].payload.as_deref(), Some(&b"poison"[..]));
    inbound.stop().await;
    assert_eq!(cluster.committed(0), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_holds_back_only_its_key_and_then_its_partition() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    let options = InboundOptions {
        waiting_max: 8,
        ..Cluster::options()
    };
    // Of these keys none shares a lane with the other: see the assertion on "other".
    cluster.send(0, "slow", "gate").await;
    cluster.send(0, "slow", "after").await;
    cluster.send(0, "quick", "other").await;
    for number in 0..50 {
        cluster.send(0, "slow", &format!("s{number:02}")).await;
    }
    cluster.send(1, "k", "elsewhere").await;
    let inbound = cluster.consume_with(options, &script);
    until("the others are handled", || {
        script.told_of(0) == ["other"] && script.told_of(1) == ["elsewhere"]
    })
    .await;
    until("it is tried again and again", || script.attempts("gate") > 5).await;
    assert_eq!(script.attempts("after"), 0);
    cluster.send(1, "k", "later").await;
    until("the other partition goes on", || script.told_of(1).len() == 2).await;
    script.open.send_replace(true);
    until("the rest is handled", || script.told_of(0).len() == 53).await;
    let told = script.told_of(0);
    assert_eq!(&told[1..3], ["gate", "after"]);
    assert!(told[3..].is_sorted(), "{told:?}");
    inbound.stop().await;
    assert_eq!(cluster.committed(0), Some(53));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_finished_comes_again() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    for (key, payload) in [("a", "first"), ("b", "gate"), ("c", "third")] {
        cluster.send(0, key, payload).await;
    }
    let inbound = cluster.consume(&script);
    until("those around it are handled", || {
        script.told_of(0).len() == 2 && script.attempts("gate") > 0
    })
    .await;
    inbound.stop().await;
    assert_eq!(cluster.committed(0), Some(1), "not beyond the open one");
    script.open.send_replace(true);
    let inbound = cluster.consume(&script);
    until("all that was not committed comes again", || {
        script.told_of(0).len() == 4
    })
    .await;
    inbound.stop().await;
    assert_eq!(cluster.committed(0), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_partitions_and_lose_nothing_when_one_goes() {
    let cluster = Cluster::start();
    let (one, other) = (Arc::new(Script::default()), Arc::new(Script::default()));
    let first = cluster.consume(&one);
    for number in 0..20 {
        cluster.send(number % 2, "k", &format!("{number:03}")).await;
    }
    until("one member has it all", || one.told().len() == 20).await;
    let second = cluster.consume(&other);
    let mut number = 20;
    // Each sends until both have partitions, and then takes on what the one that goes leaves.
    while other.told().is_empty() {
        assert!(number < 10_000, "the other member gets nothing");
        for _ in 0..2 {
            cluster.send(number % 2, "k", &format!("{number:03}")).await;
            number += 1;
        }
        sleep(Duration::from_millis(10)).await;
    }
    first.stop().await;
    for _ in 0..20 {
        cluster.send(number % 2, "k", &format!("{number:03}")).await;
        number += 1;
    }
    let all = || {
        let told = one.told().into_iter().chain(other.told());
        let mut numbers: Vec<_> = told.map(|(_, payload)| payload).collect();
        numbers.sort();
        numbers.dedup();
        numbers.len()
    };
    let sent = usize::try_from(number).expect("a number");
    until("everything is handled", || all() == sent).await;
    second.stop().await;
    assert_eq!(
        (cluster.committed(0), cluster.committed(1)),
        (Some(i64::from(number) / 2), Some(i64::from(number) / 2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_although_a_message_hangs_and_waits_for_brokers_that_are_away() {
    let cluster = Cluster::start();
    let script = Arc::new(Script::default());
    cluster.send(0, "k", "hang").await;
    let inbound = cluster.consume(&script);
    until("it hangs", || script.attempts("hang") == 1).await;
    inbound.stop().await;
    assert_eq!(cluster.committed(0), None);

    cluster.mock.broker_down(1).expect("the broker is down");
    cluster.consume(&script).stop().await;
    let inbound = cluster.consume(&script);
    cluster.mock.broker_up(1).expect("the broker is up");
    until("it comes again", || script.attempts("hang") == 2).await;
    inbound.stop().await;
}
