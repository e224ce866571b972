//! Redis is killed, and comes back empty.

use crate::load::Load;
use crate::redis::Redis;
use crate::rig::{PATIENCE, Rig, Start, kinds};
use crate::settings::Settings;
use crate::turn;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FAILURES: &str = "uoop_redis_failures_total";

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_redis_is_killed_under_load() {
    let _turn = turn().await;
    let settings = Settings::read();
    let Some(mut redis) = Redis::start().await else { return };
    let set = vec![format!("redis.url={}", redis.url())];
    let rig = Rig::start(Start {
        set,
        ..Start::default()
    })
    .await;
    let mut load = rig.load(settings);
    sleep(settings.calm).await;
    is_used(&redis, &rig, &load).await;
    let before = rig.figure(FAILURES, &[]).await;

    redis.kill();
    let (polls_before, gone) = (load.polls().len(), Instant::now());
    sleep(settings.outage).await;
    // NV-1: it was asked for, in vain.
    let failures = rig.figure_is(FAILURES, &[], |failures| failures > before).await - before;
    let accepted = load.acknowledged_since(gone);
    let polls = load.polls().len() - polls_before;
    assert!(!accepted.is_empty() && polls > 0, "work was under way");
    rig.all_confirmed(&accepted).await;
    redis.restart().await;

    is_used(&redis, &rig, &load).await;
    sleep(settings.calm).await;
    let orders = load.end().await;
    assert_eq!(kinds(&load.submissions()), BTreeMap::new(), "submissions");
    assert_eq!(kinds(&load.polls()), BTreeMap::new(), "polls");
    rig.exactly(&orders).await;
    println!(
        "Redis away for {:?} at {}/s: {} orders, {} of them meanwhile, with {polls} polls; nobody was refused; {failures} \
         requests to Redis failed",
        settings.outage,
        settings.rate,
        orders.len(),
        accepted.len(),
    );
}

/// Waits until Redis has the status of an order that was accepted and asked for after this began.
async fn is_used(redis: &Redis, rig: &Rig, load: &Load) {
    let begun = Instant::now();
    let order = loop {
        if let Some(order) = load.acknowledged_since(begun).pop() {
            break order;
        }
        assert!(begun.elapsed() < PATIENCE, "no order is accepted");
        sleep(Duration::from_millis(20)).await;
    };
    rig.client.status(&order).await.expect("its status");
    redis
        .until(&format!("GET order:{order}:status"), |answer| answer.starts_with('{'))
        .await;
}
