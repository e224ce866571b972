//! Faults of Kafka, played by librdkafka's mock cluster. Each test proves that its fault met work in flight.

use crate::fixture::{PATIENCE, ROWS_PER_ORDER, Rig, eventually};
use domain::shard::ShardId;
use persistence::Relay;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::time::Duration;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster of one broker, and a topic on it: the mock does not know how to create one when asked.
async fn cluster() -> (Cluster, Rig) {
    let cluster = MockCluster::new(1).expect("a cluster");
    let rig = Rig::new(&cluster.bootstrap_servers()).await;
    let made = cluster.create_topic(&rig.options.orders_topic, 4, 1);
    made.expect("a topic");
    (cluster, rig)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_once_and_in_order() {
    let (_cluster, mut rig) = cluster().await;
    rig.write(200).await;
    let relay = rig.relay();
    rig.write(200).await;
    assert!(relay.stop(PATIENCE).await, "all delivered");
    assert_eq!(rig.assert_all_relayed().await, 0);
    assert_eq!(rig.saved().await, 400 * ROWS_PER_ORDER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_costs_nothing_but_time() {
    let (cluster, mut rig) = cluster().await;
    let relay = rig.relay();
    rig.write(200).await;
    eventually("something is delivered", async || relay.status().events > 0).await;
    cluster.broker_down(-1).expect("down");
    rig.write(200).await;
    eventually("something waits for the broker", async || relay.status().in_flight > 0).await;
    // Long enough for attempts that fail, and for a save of the cursors.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(relay.status().in_flight > 0, "still away");
    assert!(rig.saved().await < rig.rows(), "no cursor passes what is not delivered");
    cluster.broker_up(-1).expect("up");
    assert!(relay.stop(PATIENCE).await, "all delivered");
    rig.assert_all_relayed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_be_away_at_the_start() {
    let (cluster, mut rig) = cluster().await;
    cluster.broker_down(-1).expect("down");
    let relay = rig.relay();
    rig.write(100).await;
    eventually("the relay has tried", async || relay.status().errors > 0).await;
    assert_eq!(relay.status().events, 0);
    cluster.broker_up(-1).expect("up");
    assert!(relay.stop(PATIENCE).await, "all delivered");
    assert_eq!(rig.assert_all_relayed().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_fail_for_now_are_repeated_in_order() {
    let (cluster, mut rig) = cluster().await;
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        // This one the relay sees, and so we see that it was the turn of all before it.
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let relay = rig.relay();
    eventually("all errors were answered", async || {
        rig.write(20).await;
        relay.status().errors > 0
    })
    .await;
    eventually("all delivered", async || rig.saved().await == rig.rows()).await;
    assert!(relay.stop(PATIENCE).await);
    rig.assert_all_relayed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_refused_ends_the_producer_and_nothing_is_lost() {
    let (cluster, mut rig) = cluster().await;
    let delay = Duration::from_millis(20);
    cluster.broker_round_trip_time(-1, delay).expect("a slow broker");
    let relay = rig.relay();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    for round in 1..=3 {
        cluster.request_errors(RDKafkaApiKey::Produce, &refused);
        rig.write(50).await;
        rig.write(50).await;
        eventually("a failure", async || relay.status().errors >= round).await;
        eventually("delivery after it", async || rig.saved().await == rig.rows()).await;
    }
    assert!(relay.stop(PATIENCE).await, "all delivered");
    rig.assert_all_relayed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_in_flight_comes_again() {
    let (cluster, mut rig) = cluster().await;
    let delay = Duration::from_millis(50);
    cluster.broker_round_trip_time(-1, delay).expect("a slow broker");
    for _ in 0..3 {
        let relay = rig.relay();
        rig.write(150).await;
        eventually("something is delivered", async || relay.status().events > 0).await;
        rig.write(150).await;
        eventually("something is in flight", async || relay.status().in_flight > 0).await;
        drop(relay);
    }
    let relay = rig.relay();
    assert!(relay.stop(PATIENCE).await, "all delivered");
    let twice = rig.assert_all_relayed().await;
    assert!(twice > 0, "delivered, not saved, and so delivered again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_is_passed_over_and_counted() {
    let (_cluster, mut rig) = cluster().await;
    rig.write(20).await;
    rig.write_poison().await;
    let relay = rig.relay();
    rig.write(20).await;
    eventually("all handled", async || rig.saved().await == rig.rows()).await;
    assert_eq!(relay.status().poison, 1);
    assert!(relay.stop(PATIENCE).await);
    assert_eq!(rig.assert_all_relayed().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_ever() {
    let (cluster, mut rig) = cluster().await;
    let relay = rig.relay();
    rig.write(50).await;
    eventually("something is delivered", async || relay.status().events > 0).await;
    cluster.broker_down(-1).expect("down");
    rig.write(50).await;
    let complete = tokio::time::timeout(PATIENCE, relay.stop(Duration::from_millis(200))).await;
    assert_eq!(complete, Ok(false), "something is left");
    assert!(rig.saved().await < rig.rows());
    cluster.broker_up(-1).expect("up");
    assert!(rig.relay().stop(PATIENCE).await, "all delivered");
    rig.assert_all_relayed().await;
}

/// Shards go to another node and come back while their events are on the way, and while Kafka is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_change_hands_are_relayed_whole_and_in_order() {
    let (cluster, mut rig) = cluster().await;
    let other = rig.another("other");
    let all: Vec<ShardId> = rig.store.shard_map().all().collect();
    let away: Vec<ShardId> = all.iter().copied().filter(|shard| shard.0 % 2 == 1).collect();
    rig.write(300).await;
    rig.hand_over(&away, &rig.journal, (&other, "other")).await;
    let (relay, second) = (
        rig.relay(),
        Relay::start(&other.tail(), &rig.store, rig.options.clone()),
    );
    let both = async || relay.status().events > 0 && second.status().events > 0;
    eventually("both have something to do", both).await;
    rig.hand_over(&away, &other, (&rig.journal, "node")).await;
    for is_away in [true, false, false] {
        if is_away {
            cluster.broker_down(-1).expect("down");
        }
        rig.write(300).await;
        if is_away {
            eventually("something waits for the broker", async || relay.status().in_flight > 0).await;
        }
        rig.hand_over(&away, &rig.journal, (&other, "other")).await;
        if is_away {
            // Behind the cursors the other has the same on its way.
            eventually("both wait for the broker", async || second.status().in_flight > 0).await;
        }
        rig.hand_over(&away, &other, (&rig.journal, "node")).await;
        if is_away {
            rig.write(50).await;
            cluster.broker_up(-1).expect("up");
        }
    }
    rig.hand_over(&away, &rig.journal, (&other, "other")).await;
    let rows = rig.rows_of_all().await;
    eventually("all delivered", async || rig.saved().await == rows).await;
    assert!(relay.stop(PATIENCE).await && second.stop(PATIENCE).await);
    rig.assert_all_relayed().await;
}
