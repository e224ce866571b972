//! Bad input over HTTP: each gets its status and a problem that helps, and nothing is left behind.

#[path = "support/bad_input.rs"]
mod bad_input;
mod support;

use bad_input::{Case, refused};
use serde_json::{Value, json};
use std::time::Duration;
use support::{PATIENCE, Server, body, burger};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_problem_that_helps_and_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let before = (server.read("/v1/channels").await, server.read("/v1/couriers").await);
    for case in bad_input::all() {
        case.check(&server).await;
    }
    assert_eq!(orders(&server).await, [""; 0], "no order came of it");
    assert_eq!(
        (server.read("/v1/channels").await, server.read("/v1/couriers").await),
        before,
        "nothing else changed"
    );
    no_capacity_is_taken(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_an_orders_state_is_refused_and_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let order = server.place(&burger()).await;
    assert_eq!(order["status"], "CONFIRMED", "{order}");
    let (id, channel) = (
        order["id"].as_str().expect("an id"),
        order["channel_id"].as_str().expect("a channel"),
    );
    let path = |rest: &str| format!("/v1/orders/{id}{rest}");
    Case::new("a stale cancel", "POST", path("/cancel"))
        .with("if-match", "\"1\"")
        .is(412, "precondition-failed", "not 1")
        .check(&server)
        .await;
    Case::new("nothing to retry", "POST", path("/retry"))
        .is(409, "not-allowed", "nothing")
        .check(&server)
        .await;
    let report = format!(r#"{{"order_id":"{id}","type":"ready"}}"#);
    let others = if channel == "partner-express" {
        "downtown-kitchen"
    } else {
        "partner-express"
    };
    Case::new(
        "a report by another channel",
        "POST",
        format!("/v1/channels/{others}/events"),
    )
    .sends(&report)
    .is(409, "not-allowed", others)
    .check(&server)
    .await;

    let cancelled = server
        .request("POST", &path("/cancel"))
        .json(&json!({"reason": "changed my mind"}))
        .send()
        .await;
    assert!(
        cancelled.expect("an answer").status().is_success(),
        "it can still be cancelled"
    );
    assert_eq!(settled(&server, id).await["status"], "CANCELLED");
    let again = server
        .request("POST", &path("/cancel"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(again.status(), 200, "asking again is harmless");
    Case::new(
        "an event for a finished order",
        "POST",
        format!("/v1/channels/{channel}/events"),
    )
    .sends(&report)
    .is(409, "not-allowed", "CANCELLED")
    .check(&server)
    .await;

    let strangers: Vec<_> = orders(&server).await.into_iter().filter(|order| order != id).collect();
    assert_eq!(strangers, [""; 0], "only the one order ever was");
    no_capacity_is_taken(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request() {
    let server = Server::start(&[]);
    let submit = |order: &Value| {
        server
            .request("POST", "/v1/orders")
            .header("idempotency-key", "key-1")
            .json(order)
    };
    let first = submit(&burger()).send().await.expect("an answer");
    assert_eq!(first.status(), 201);
    let first = body(first).await;
    let again = submit(&burger()).send().await.expect("an answer");
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(body(again).await, first, "the same answer again");
    let mut other = burger();
    other["items"][0]["quantity"] = json!(3);
    let refusal = submit(&other).send().await.expect("an answer");
    refused(
        "the same key with another body",
        refusal,
        422,
        "idempotency-key-reused",
        "/v1/orders",
    )
    .await;
    let id = first["id"].as_str().expect("an id");
    assert_eq!(orders(&server).await, [id], "one order came of it");
}

/// The orders that exist. An actor without a version has nothing to show: it was woken to say that there is no such
/// order, and is on its way out.
async fn orders(server: &Server) -> Vec<String> {
    let actors = server.read("/v1/actors?kind=order&limit=1000").await;
    let exists = |actor: &&Value| !actor["version"].is_null();
    let id = |actor: &Value| {
        actor["path"]
            .as_str()
            .and_then(|path| path.split_once("/order-"))
            .map(|(_, id)| id.to_owned())
    };
    let existing = actors["actors"].as_array().expect("a list").iter().filter(exists);
    existing.map(|actor| id(actor).expect("an order's path")).collect()
}

/// The order once nothing more is to happen to it.
async fn settled(server: &Server, id: &str) -> Value {
    let waiting = async {
        loop {
            let order = server.read(&format!("/v1/orders/{id}")).await;
            if order["settled"] == true {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the order is settled in time")
}

/// No channel has anything held or reserved.
async fn no_capacity_is_taken(server: &Server) {
    let channels = server.read("/v1/channels").await;
    let channels = channels["channels"].as_array().expect("a list").clone();
    assert!(channels.len() >= 3, "the demonstration channels are there");
    for channel in channels {
        let id = channel["id"].as_str().expect("an id");
        let capacity = server.read(&format!("/v1/channels/{id}/capacity")).await;
        assert_eq!(
            (&capacity["claims"], &capacity["slots"]),
            (&json!({}), &json!([])),
            "{id}"
        );
    }
}
