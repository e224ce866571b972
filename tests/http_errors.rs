//! Bad input over HTTP: each gets its status and a problem that helps, and nothing is left behind.

#[path = "support/bad_input.rs"]
mod bad_input;
mod support;

use bad_input::{Case, refused};
use serde_json::{Value, json};
use std::net::IpAddr;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer_though_the_request_would_no_longer_pass() {
    let server = Server::start(&[]);
    let submit = |order: &Value, key: &str| {
        server
            .request("POST", "/v1/orders")
            .header("idempotency-key", key)
            .json(order)
    };
    let first = submit(&burger(), "key-1").send().await.expect("an answer");
    assert_eq!(
        (first.status().as_u16(), first.headers().get("idempotent-replayed")),
        (201, None)
    );
    let first = body(first).await;
    for channel in ["downtown-kitchen", "partner-express"] {
        let sold_out = server
            .request("PUT", &format!("/v1/channels/{channel}/sold-out"))
            .json(&json!({"skus": ["cheeseburger"]}));
        assert_eq!(sold_out.send().await.expect("an answer").status(), 200, "{channel}");
    }
    let new = submit(&burger(), "key-2").send().await.expect("an answer");
    let problem = refused("a new order", new, 422, "invalid-request", "/v1/orders").await;
    assert!(problem.to_string().contains("sold out"), "{problem}");

    let again = submit(&burger(), "key-1").send().await.expect("an answer");
    let location = format!("/v1/orders/{}", first["id"].as_str().expect("an id"));
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.headers()["location"], location.as_str());
    assert_eq!(body(again).await, first, "the same answer again");

    let mut other = burger();
    other["items"][0]["quantity"] = json!(3);
    let other = submit(&other, "key-1").send().await.expect("an answer");
    let name = "another order under a used key";
    refused(name, other, 422, "idempotency-key-reused", "/v1/orders").await;
    assert_eq!(orders(&server).await.len(), 1, "one order came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_makes_too_many_requests_is_told_when_to_come_back() {
    let server = Server::start(&["--set", "http.throttle_limit=3", "--set", "http.throttle_ttl_s=86400"]);
    let ask = |path: &'static str| async {
        let response = server.request("GET", path).send().await;
        response.expect("an answer")
    };
    for (left, full_in_s) in [(2, 28_800), (1, 57_600), (0, 86_400)] {
        let answer = ask("/v1/clock").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["ratelimit-policy"], "\"client\";q=3;w=86400");
        // What came back meanwhile is seconds of a day.
        let told = answer.headers()["ratelimit"].to_str().expect("text").to_owned();
        let t = told
            .strip_prefix(&format!("\"client\";r={left};t="))
            .unwrap_or_else(|| panic!("{told}"));
        assert!(
            (full_in_s - 600..=full_in_s).contains(&t.parse().expect("a number")),
            "{told}"
        );
    }
    let refusal = ask("/v1/clock").await;
    assert!(refusal.headers().contains_key("ratelimit"), "it is told how it stands");
    let problem = refused("one too many", refusal, 429, "too-many-requests", "/v1/clock").await;
    assert!(
        problem["detail"]
            .as_str()
            .expect("a detail")
            .contains("3 requests in 86400 s"),
        "{problem}"
    );
    for path in ["/livez", "/readyz", "/metrics", "/api/docs-json", "/"] {
        assert_eq!(ask(path).await.status(), 200, "{path} is not throttled");
    }
    let order = server.request("POST", "/v1/orders").json(&burger());
    assert_eq!(
        order.send().await.expect("an answer").status(),
        429,
        "whatever it asks for"
    );
    // Elsewhere only 127.0.0.1 is there from the start.
    if cfg!(target_os = "linux") {
        let other = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2]));
        let other = other.no_proxy().build().expect("a client");
        let answer = other.get(server.at("/v1/clock")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "another address is another client");
    }
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
