//! Kafka goes away, and comes back.

use crate::rig::{Rig, Start, kinds};
use crate::service::{Service, Stop};
use crate::settings::Settings;
use crate::{topic, turn};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use tokio::time::{Instant, sleep};

const LAG: &str = "uoop_follower_lag_rows";
const OF_RELAY: [&str; 1] = ["follower=\"relay\""];

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_without_kafka_and_every_event_is_published_when_it_is_back() {
    let _turn = turn().await;
    let settings = Settings::read();
    let Some(mut kafka) = Service::given("kafka", "UOOP_TEST_KAFKA_BROKERS") else {
        return;
    };
    let brokers = std::env::var("UOOP_TEST_KAFKA_BROKERS").expect("given");
    let name = format!("uoop.test.load.{:016x}", RandomState::new().hash_one(0));
    let set = vec![format!("kafka.brokers={brokers}"), format!("kafka.orders_topic={name}")];
    let mut rig = Rig::start(Start {
        set,
        ..Start::default()
    })
    .await;
    let mut load = rig.load(settings);
    sleep(settings.calm).await;
    // NV-1: events are being published.
    rig.figure_is("uoop_relay_events_total", &[], |events| events > 0.0)
        .await;

    let away = kafka.stop(Stop::Kill).await;
    let gone = Instant::now();
    sleep(settings.outage).await;
    let meanwhile = load.acknowledged_since(gone);
    let lag = rig.figure(LAG, &OF_RELAY).await;
    assert!(!meanwhile.is_empty(), "orders are accepted without Kafka");
    rig.all_confirmed(&meanwhile).await;
    // Of each order that was accepted since, at least one row waits.
    let least = f64::from(u32::try_from(meanwhile.len()).expect("few"));
    assert!(
        lag >= least,
        "{lag} rows wait to be published, and {least} orders were accepted"
    );
    away.back().await;

    let back = Instant::now();
    // Less than what comes in a second.
    rig.figure_is(LAG, &OF_RELAY, |rows| rows < f64::from(settings.rate))
        .await;
    let caught_up = back.elapsed();
    sleep(settings.calm).await;
    let orders = load.end().await;
    assert_eq!(kinds(&load.submissions()), BTreeMap::new(), "submissions");
    assert_eq!(kinds(&load.polls()), BTreeMap::new(), "polls");
    rig.exactly(&orders).await;
    rig.figure_is(LAG, &OF_RELAY, |rows| rows == 0.0).await;
    rig.server.kill().await.expect("it ran until now");
    let compared = topic::compare(&brokers, &name, &rig.store, &orders).await;
    println!(
        "Kafka away for {:?} at {}/s: {} orders, {} of them meanwhile; {lag} rows behind, level again {caught_up:?} after it \
         was back; {} events, {} of them more than once",
        settings.outage,
        settings.rate,
        orders.len(),
        meanwhile.len(),
        compared.events,
        compared.repeated,
    );
}
