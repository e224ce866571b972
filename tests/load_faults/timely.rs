//! EV-3: without faults, 99.9 % of the events are delivered within five seconds. This is the one test here in which nothing
//! breaks, and the one figure that is asserted, because it is what was promised: delivered to a consumer of the topic.

use crate::rig::{PATIENCE, Rig, Start, kinds};
use crate::settings::Settings;
use crate::{topic, turn};
use persistence::rdkafka::consumer::{BaseConsumer, Consumer};
use persistence::rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uoop::participants::wall;

/// How late an event may come, ...
const LATE_MS: i64 = 5_000;
/// ... except one in so many.
const ONE_IN: usize = 1_000;
/// How much longer than the calm of other tests the load lasts, so that there are some thousand events.
const TIMES: u32 = 4;
/// How long the consumer waits for messages at a time.
const POLL: Duration = Duration::from_millis(100);

/// When each event came first, by its `ce_id`, in wall milliseconds.
type Arrivals = Arc<Mutex<HashMap<String, i64>>>;

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_events_are_delivered_within_five_seconds() {
    let _turn = turn().await;
    let settings = Settings::read();
    let Ok(brokers) = std::env::var("UOOP_TEST_KAFKA_BROKERS") else {
        println!("skipped: UOOP_TEST_KAFKA_BROKERS is not set");
        return;
    };
    let name = format!("uoop.test.timely.{:016x}", RandomState::new().hash_one(0));
    let set = vec![format!("kafka.brokers={brokers}"), format!("kafka.orders_topic={name}")];
    let mut rig = Rig::start(Start {
        set,
        ..Start::default()
    })
    .await;
    let arrivals = Arrivals::default();
    // Shared with a thread that ends when this does.
    let consuming = tokio::task::spawn_blocking({
        let (brokers, name, arrivals) = (brokers.clone(), name.clone(), Arc::downgrade(&arrivals));
        move || {
            let consumer = topic::consumer(&brokers);
            assign(&consumer, &name);
            while let Some(arrivals) = arrivals.upgrade() {
                receive(&consumer, &arrivals);
            }
        }
    });
    let mut load = rig.load(settings);
    sleep(settings.calm * TIMES).await;
    let orders = load.end().await;
    assert_eq!(kinds(&load.submissions()), BTreeMap::new(), "nothing went wrong");
    rig.exactly(&orders).await;
    rig.figure_is("uoop_follower_lag_rows", &["follower=\"relay\""], |rows| rows == 0.0)
        .await;
    rig.server.kill().await.expect("it ran until now");

    // An event is as old as the decision that it tells of, which is before its commit.
    let events: Vec<(String, i64)> = topic::events(&rig.store)
        .await
        .iter()
        .map(|event| (event.id(), event.at.as_ms()))
        .collect();
    assert!(events.len() >= ONE_IN, "{} events prove nothing", events.len());
    let end = Instant::now() + PATIENCE;
    let ages = loop {
        let ages = ages(&events, &arrivals);
        if ages.len() == events.len() || Instant::now() > end {
            break ages;
        }
        sleep(POLL).await;
    };
    drop(arrivals);
    consuming.await.expect("the consumer goes on");
    let late = ages.iter().filter(|age| **age > LATE_MS).count() + (events.len() - ages.len());
    println!(
        "{} events of {} orders: {late} came later than {LATE_MS} ms; the last of 99 % after {} ms, the very last after {} ms",
        events.len(),
        orders.len(),
        ages.get(ages.len() * 99 / 100).copied().unwrap_or_default(),
        ages.last().copied().unwrap_or_default(),
    );
    assert!(
        late * ONE_IN <= events.len(),
        "EV-3: {late} of {} events were late",
        events.len()
    );
}

/// The ages of those that came, the youngest first.
fn ages(events: &[(String, i64)], arrivals: &Arrivals) -> Vec<i64> {
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let came = events.iter().filter_map(|(id, at)| Some(arrivals.get(id)? - at));
    let mut ages: Vec<i64> = came.collect();
    ages.sort_unstable();
    ages
}

/// Takes every partition of a topic, from its beginning, once there is one.
fn assign(consumer: &BaseConsumer, name: &str) {
    let mut waited = Duration::ZERO;
    loop {
        let metadata = consumer
            .fetch_metadata(Some(name), PATIENCE)
            .expect("the brokers answer");
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        if !partitions.is_empty() {
            let mut all = TopicPartitionList::new();
            for partition in partitions {
                all.add_partition_offset(name, partition.id(), Offset::Beginning)
                    .expect("a partition");
            }
            return consumer.assign(&all).expect("an assignment");
        }
        assert!(waited < PATIENCE, "the relay never creates its topic");
        std::thread::sleep(POLL);
        waited += POLL;
    }
}

fn receive(consumer: &BaseConsumer, arrivals: &Arrivals) {
    // A partition whose leader is just being chosen is an error that passes.
    if let Some(Ok(message)) = consumer.poll(POLL) {
        let now = wall::system()();
        let (_, id) = topic::describe(&message);
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.entry(id).or_insert(now);
    }
}
