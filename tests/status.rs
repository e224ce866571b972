//! What `GET /v1/orders/{id}/status` promises: never older than what was acknowledged, with Redis, without, and while it
//! is killed; and what stands in Redis for others.

#[path = "support/redis.rs"]
mod redis;
mod support;

use redis::Redis;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Server, burger};

/// Submits an order that is to be followed from its first version on.
async fn submit(server: &Server) -> Value {
    let request = server.request("POST", "/v1/orders").json(&burger());
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 201);
    support::body(response).await
}

fn version(order: &Value) -> u64 {
    order["version"]
        .as_u64()
        .unwrap_or_else(|| panic!("no version in {order}"))
}

fn path(order: &Value) -> String {
    format!("/v1/orders/{}/status", order["id"].as_str().expect("an id"))
}

/// Reads the status, which must be at least as new as this order was when somebody was told of it.
async fn as_new_as(server: &Server, order: &Value) -> Value {
    let status = server.read(&path(order)).await;
    assert!(version(&status) >= version(order), "{status} is older than {order}");
    status
}

/// Every change that is acknowledged shows in the next status.
async fn reads_its_writes(server: &Server) {
    for _ in 0..10 {
        let placed = submit(server).await;
        as_new_as(server, &placed).await;
        let confirmed = server.place(&burger()).await;
        as_new_as(server, &confirmed).await;
        // Twice: the first answer is kept, and the cancel must not be hidden by it.
        let before = as_new_as(server, &confirmed).await;
        assert_eq!(before["settled"], false);
        let id = confirmed["id"].as_str().expect("an id");
        let cancel = server
            .request("POST", &format!("/v1/orders/{id}/cancel"))
            .json(&json!({}));
        let cancelled = support::body(cancel.send().await.expect("an answer")).await;
        assert!(version(&cancelled) > version(&before), "{cancelled}");
        as_new_as(server, &cancelled).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_never_older_than_what_was_acknowledged() {
    let server = Server::start(&["--set", "redis.url="]);
    reads_its_writes(&server).await;
    let order = server.place(&burger()).await;
    let response = server.request("GET", &path(&order)).send().await.expect("an answer");
    let tag = response.headers()["etag"].clone();
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = support::body(response).await;
    assert_eq!(tag, format!("\"{}\"", version(&status)));
    for name in ["promised_ready_at", "promised_delivered_at", "updated_at"] {
        assert!(status[name].is_i64(), "no {name} in {status}");
    }
    let nobody = server.request("GET", "/v1/orders/01900000-0000-8000-8000-000000000000/status");
    assert_eq!(nobody.send().await.expect("an answer").status(), 404);
    let figures = server.request("GET", "/metrics").send().await.expect("an answer");
    let figures = figures.text().await.expect("text");
    assert!(
        figures.contains("uoop_status_cache_total{outcome=\"hit\",tier=\"memory\"}"),
        "{figures}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn others_find_the_status_and_the_channels_shares_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(&["--set", &format!("redis.url={}", redis.url())]);
    reads_its_writes(&server).await;
    let order = server.place(&burger()).await;
    as_new_as(&server, &order).await;
    let id = order["id"].as_str().expect("an id");
    let cancel = server
        .request("POST", &format!("/v1/orders/{id}/cancel"))
        .json(&json!({}));
    assert!(cancel.send().await.expect("an answer").status().is_success());
    let get = format!("GET order:{id}:status");
    let shared = redis.until(&get, |answer| answer.contains("\"settled\":true")).await;
    let shared: Value = serde_json::from_str(&shared).expect("JSON");
    assert_eq!(
        shared,
        server.read(&path(&order)).await,
        "exactly what the server answers"
    );
    assert_eq!(shared["status"], "CANCELLED");

    let channel = order["channel_id"].as_str().expect("a channel");
    let score = format!("ZSCORE uoop:channel:utilisation {channel}");
    let share = redis.until(&score, |answer| answer.parse::<f64>().is_ok()).await;
    let share: f64 = share.parse().expect("a number");
    assert!((0.0..=1.0).contains(&share), "{share}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_redis_is_killed() {
    let Some(mut redis) = Redis::start().await else { return };
    let server = Arc::new(Server::start(&["--set", &format!("redis.url={}", redis.url())]));
    let order = server.place(&burger()).await;
    as_new_as(&server, &order).await;
    let get = format!("GET order:{}:status", order["id"].as_str().expect("an id"));
    redis.until(&get, |answer| answer.starts_with('{')).await;

    let (over, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reading = {
        let (server, over, reads) = (Arc::clone(&server), Arc::clone(&over), Arc::clone(&reads));
        tokio::spawn(async move {
            while !over.load(Ordering::Acquire) {
                // Known orders, and one that is nowhere, for which every tier is asked.
                as_new_as(&server, &order).await;
                let nobody = server.request("GET", "/v1/orders/01900000-0000-8000-8000-000000000000/status");
                assert_eq!(nobody.send().await.expect("an answer").status(), 404);
                reads.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    let more = async || {
        let so_far = reads.load(Ordering::Acquire);
        while reads.load(Ordering::Acquire) < so_far + 20 && !reading.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    more().await;
    redis.kill();
    more().await;
    reads_its_writes(&server).await;
    let figures = server.request("GET", "/metrics").send().await.expect("an answer");
    let figures = figures.text().await.expect("text");
    assert!(
        figures.contains("\nuoop_redis_failures_total "),
        "the fault happened: {figures}"
    );
    redis.restart().await;
    more().await;
    over.store(true, Ordering::Release);
    reading.await.expect("no read failed");

    // It is used again: what is read now is there soon.
    let after = server.place(&burger()).await;
    as_new_as(&server, &after).await;
    let get = format!("GET order:{}:status", after["id"].as_str().expect("an id"));
    redis.until(&get, |answer| answer.starts_with('{')).await;
}
