//! What kitchens, partners and couriers report over Kafka: taken as over HTTP, once, and never in the way of what
//! follows. On the Kafka of `UOOP_TEST_KAFKA_BROKERS`, or else on one that librdkafka plays.

#[path = "support/kafka.rs"]
mod kafka;
mod support;

use kafka::{Kafka, Sent};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use support::{PATIENCE, Server, burger};

fn start(kafka: &Kafka, data: &Path) -> Server {
    let data = format!("store.data_dir={}", data.display());
    let settings = kafka.settings();
    let settings = settings.iter().chain([&data]).flat_map(|setting| ["--set", setting]);
    Server::start(&settings.collect::<Vec<_>>())
}

/// How often events of this topic came to this.
async fn outcomes(server: &Server, topic: &str, outcome: &str) -> u64 {
    let figures = server.request("GET", "/metrics").send().await.expect("an answer");
    let figures = figures.text().await.expect("text");
    let (topic, outcome) = (format!("topic=\"{topic}\""), format!("outcome=\"{outcome}\""));
    let line = figures.lines().find(|line| {
        line.starts_with("uoop_inbound_events_total{") && line.contains(&topic) && line.contains(&outcome)
    });
    let count = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
    count.parse().expect("a number")
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = tokio::time::Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("no {name} in {of}"))
}

async fn order(server: &Server, id: &str) -> Value {
    server.read(&format!("/v1/orders/{id}")).await
}

/// All that was estimated about when the food is ready.
async fn estimates(server: &Server, id: &str) -> Vec<i64> {
    let history = server.read(&format!("/v1/orders/{id}/events")).await;
    let events = history["events"].as_array().expect("a list");
    let estimates = events.iter().filter(|event| event["type"] == "ReadyEstimated");
    let at = |event: &Value| {
        event["data"]["ready_at"]
            .as_i64()
            .unwrap_or_else(|| panic!("no time in {event}"))
    };
    estimates.map(at).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_move_an_order_and_what_cannot_be_taken_is_in_nobodys_way() {
    let (kafka, data) = (Kafka::start().await, tempfile::tempdir().expect("a directory"));
    let server = start(&kafka, data.path());
    let placed = server.place(&burger()).await;
    let (id, channel) = (text(&placed, "id"), text(&placed, "channel_id"));
    let report = |kind: &str| json!({"order_id": id, "type": kind}).to_string();
    let topic = &kafka.channels;

    // All in one partition: each must get past those before it.
    let stranger = json!({"order_id": "00000000-0001-8000-8000-000000000000", "type": "ready"}).to_string();
    kafka.send(topic, &Sent::new(channel, "e-1", "not JSON")).await;
    kafka.send(topic, &Sent::new(channel, "e-2", &stranger)).await;
    kafka.send(topic, &Sent::new(channel, "e-3", &report("stirring"))).await;
    kafka
        .send(topic, &Sent::new(channel, "e-4", &report("preparing")))
        .await;
    until("the kitchen cooks", async || {
        order(&server, id).await["status"] == "PREPARING"
    })
    .await;
    let structured = json!({
        "specversion": "1.0", "type": "kitchen", "source": "//kitchen", "id": "e-5", "subject": channel,
        "data": {"order_id": id, "type": "ready"},
    });
    kafka
        .send(
            topic,
            &Sent::structured("a key that is nobody", &structured.to_string()),
        )
        .await;
    until("the food is ready", async || {
        order(&server, id).await["status"] == "READY_FOR_PICKUP"
    })
    .await;

    let letters = kafka.dead(2).await;
    assert_eq!(letters[0].payload, "not JSON");
    assert_eq!(
        (letters[0].header("ce_id"), letters[0].header("dead_letter_code")),
        ("e-1", "malformed")
    );
    assert_eq!(
        (letters[1].header("ce_id"), letters[1].header("dead_letter_code")),
        ("e-2", "unknown")
    );
    assert_eq!(letters[1].header("dead_letter_topic"), topic);
    assert_eq!(outcomes(&server, topic, "dead_letter").await, 2);
    assert_eq!(outcomes(&server, topic, "ignored").await, 1);
    assert_eq!(outcomes(&server, topic, "applied").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_report_about_themselves_once() {
    let (kafka, data) = (Kafka::start().await, tempfile::tempdir().expect("a directory"));
    let server = start(&kafka, data.path());
    let courier = json!({"location": {"lat": 41.88, "lng": -87.63}});
    let put = server.request("PUT", "/v1/couriers/anna").json(&courier).send().await;
    assert_eq!(put.expect("an answer").status(), 201);
    let topic = &kafka.couriers;
    let says = |kind: &str| json!({"type": kind}).to_string();
    kafka.send(topic, &Sent::new("anna", "1", &says("offline"))).await;
    kafka.send(topic, &Sent::new("anna", "2", &says("online"))).await;
    // What its producer sends again, late.
    kafka.send(topic, &Sent::new("anna", "1", &says("offline"))).await;
    kafka.send(topic, &Sent::new("berta", "3", &says("online"))).await;
    let letters = kafka.dead(1).await;
    assert!(
        letters[0].header("dead_letter_reason").contains("berta"),
        "{:?}",
        letters[0]
    );
    until("both are taken", async || {
        outcomes(&server, topic, "applied").await == 2
    })
    .await;
    until("the third is known", async || {
        outcomes(&server, topic, "duplicate").await == 1
    })
    .await;
    assert_eq!(server.read("/v1/couriers/anna").await["online"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_after_a_crash_changes_nothing() {
    let (kafka, data) = (Kafka::start().await, tempfile::tempdir().expect("a directory"));
    let server = start(&kafka, data.path());
    let placed = server.place(&burger()).await;
    let (id, channel) = (text(&placed, "id").to_owned(), text(&placed, "channel_id").to_owned());
    let clock = server.read("/v1/clock").await;
    let now = clock["now"].as_i64().unwrap_or_else(|| panic!("no time in {clock}"));
    let (first, second) = (now + 3_000_000, now + 3_600_000);
    let estimate = |at: i64| json!({"order_id": id, "type": "accepted", "ready_at": at}).to_string();
    let topic = &kafka.channels;

    // The third is the first once more: taken for itself, it would bring the first estimate back.
    kafka.send(topic, &Sent::new(&channel, "e-1", &estimate(first))).await;
    kafka.send(topic, &Sent::new(&channel, "e-2", &estimate(second))).await;
    kafka.send(topic, &Sent::new(&channel, "e-1", &estimate(first))).await;
    until("all are dealt with", async || {
        outcomes(&server, topic, "duplicate").await == 1
    })
    .await;
    assert_eq!(outcomes(&server, topic, "applied").await, 2);
    assert_eq!(estimates(&server, &id).await, [first, second]);
    drop(server);
    assert_eq!(
        kafka.committed(topic),
        None,
        "the server was killed before it committed"
    );

    let server = start(&kafka, data.path());
    until("all three come again", async || {
        outcomes(&server, topic, "duplicate").await == 3
    })
    .await;
    assert_eq!(outcomes(&server, topic, "applied").await, 0);
    assert_eq!(estimates(&server, &id).await, [first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_courier_said_is_not_heard_again_after_a_crash() {
    let (kafka, data) = (Kafka::start().await, tempfile::tempdir().expect("a directory"));
    let server = start(&kafka, data.path());
    let courier = json!({"location": {"lat": 41.88, "lng": -87.63}});
    let put = server.request("PUT", "/v1/couriers/anna").json(&courier).send().await;
    assert_eq!(put.expect("an answer").status(), 201);
    let topic = &kafka.couriers;
    let says = |kind: &str| json!({"type": kind}).to_string();
    // Each of them changes something, so that taken once more it would be seen to.
    for (id, kind) in [("1", "offline"), ("2", "online"), ("3", "offline")] {
        kafka.send(topic, &Sent::new("anna", id, &says(kind))).await;
    }
    until("all are taken", async || outcomes(&server, topic, "applied").await == 3).await;
    drop(server);

    let server = start(&kafka, data.path());
    kafka.send(topic, &Sent::new("anna", "4", &says("online"))).await;
    until("the new one is taken", async || {
        outcomes(&server, topic, "applied").await == 1
    })
    .await;
    // The broker may have heard of none of the others, of some or of all; none of them counts again.
    assert!(outcomes(&server, topic, "duplicate").await <= 3);
    assert_eq!(server.read("/v1/couriers/anna").await["online"], true);
}
