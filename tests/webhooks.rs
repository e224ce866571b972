//! Webhooks over the whole way: subscribed over HTTP, told by a real server, repaired over HTTP.

mod support;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use support::{PATIENCE, Server, body, burger};
use tokio::sync::mpsc;

const OPEN: [&str; 4] = [
    "--set",
    "webhooks.allow_http=true",
    "--set",
    "webhooks.allow_private=true",
];

/// An endpoint that answers with a status that can be changed, and hands on what it is sent.
async fn endpoint() -> (String, Arc<AtomicU16>, mpsc::Receiver<(String, Value)>) {
    let (messages_tx, messages_rx) = mpsc::channel(1_000);
    let status = Arc::new(AtomicU16::new(200));
    let answer = Arc::clone(&status);
    let handler = async move |headers: HeaderMap, body: Bytes| {
        let id = headers.get("webhook-id").map_or("", |id| id.to_str().expect("text"));
        let message = serde_json::from_slice(&body).expect("JSON");
        messages_tx
            .send((id.to_owned(), message))
            .await
            .expect("the test listens");
        StatusCode::from_u16(answer.load(Ordering::SeqCst)).expect("a status")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (format!("http://127.0.0.1:{port}/"), status, messages_rx)
}

async fn put(server: &Server, id: &str, webhook: &Value, condition: (&str, &str)) -> Response {
    let request = server
        .request("PUT", &format!("/v1/webhooks/{id}"))
        .header(condition.0, condition.1);
    request.json(webhook).send().await.expect("an answer")
}

fn tag(response: &Response) -> &str {
    response
        .headers()
        .get("etag")
        .map_or("", |tag| tag.to_str().expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_created_changed_listed_and_removed() {
    let server = Server::start(&OPEN);
    let webhook = json!({"url": "http://127.0.0.1:9/", "event_types": ["order.failed"]});
    let created = put(&server, "shop", &webhook, ("if-none-match", "*")).await;
    assert_eq!((created.status().as_u16(), tag(&created)), (201, "\"1\""));
    assert_eq!(created.headers()["location"], "/v1/webhooks/shop");
    let created = body(created).await;
    let secret = created["secret"].as_str().expect("it is shown once").to_owned();
    assert!(secret.starts_with("whsec_"));
    let again = put(&server, "shop", &webhook, ("if-match", "\"1\"")).await;
    assert_eq!(
        (again.status().as_u16(), tag(&again)),
        (200, "\"1\""),
        "nothing changed"
    );
    assert_eq!(body(again).await["secret"], Value::Null);
    let stale = put(&server, "shop", &webhook, ("if-match", "\"7\"")).await;
    assert_eq!(stale.status(), 412);
    let absent = put(&server, "other", &webhook, ("if-match", "*")).await;
    assert_eq!(absent.status(), 412);

    let shown = server.read("/v1/webhooks/shop").await;
    assert_eq!((&shown["url"], &shown["enabled"]), (&webhook["url"], &json!(true)));
    let list = server.read("/v1/webhooks?limit=1").await;
    assert_eq!(list["webhooks"], json!([shown]));
    assert!(!list.to_string().contains("whsec_"), "secrets are not shown");

    for (wrong, pointer) in [
        (json!({"url": "ftp://x"}), "/url"),
        (
            json!({"url": "http://x", "event_types": ["order.eaten"]}),
            "/event_types/0",
        ),
        (json!({"url": "http://x", "secrets": ["short"]}), "/secrets/0"),
        (json!({"url": "http://x", "surprise": 1}), "/surprise"),
    ] {
        let refused = put(&server, "wrong", &wrong, ("prefer", "none")).await;
        assert_eq!(refused.status(), 422, "{wrong}");
        assert_eq!(body(refused).await["errors"][0]["pointer"], pointer);
    }
    let named = put(&server, "no.dots", &webhook, ("prefer", "none")).await;
    assert_eq!(named.status(), 400);

    let delete = |condition: &'static str| {
        let request = server
            .request("DELETE", "/v1/webhooks/shop")
            .header("if-match", condition);
        async { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(
        (delete("\"2\"").await, delete("\"1\"").await, delete("*").await),
        (412, 204, 404)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let server = Server::start(&[]);
    for url in [
        "http://shop.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
    ] {
        let refused = put(&server, "a", &json!({"url": url}), ("prefer", "none")).await;
        assert_eq!(refused.status(), 422, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_as_it_goes_and_dead_letters_are_replayed() {
    let mut arguments = OPEN.to_vec();
    arguments.extend(["--set", "webhooks.retry_schedule_ms=1"]);
    let server = Server::start(&arguments);
    let (url, status, mut messages_rx) = endpoint().await;
    let created = put(&server, "shop", &json!({"url": url}), ("prefer", "none")).await;
    assert_eq!(created.status(), 201);
    let order = server.place(&burger()).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let (_, message) = tokio::time::timeout(PATIENCE, messages_rx.recv())
            .await
            .expect("in time")
            .expect("a message");
        assert_eq!(message["data"]["order_id"], order["id"]);
        if ["order.placed", "order.confirmed"].contains(&message["type"].as_str().expect("a type")) {
            told.push(message["data"]["version"].as_u64().expect("a version"));
        }
    }
    assert_ne!(told[0], told[1]);
    let figures = server.request("GET", "/metrics").send().await.expect("an answer");
    let figures = figures.text().await.expect("text");
    assert!(
        figures.contains("uoop_webhook_deliveries_total{outcome=\"delivered\"}")
            && figures.contains("uoop_webhook_delivery_seconds_count"),
        "{figures}"
    );

    status.store(500, Ordering::SeqCst);
    server.place(&burger()).await;
    let dead = async {
        loop {
            let page = server.read("/v1/dead-letters?webhook_id=shop&limit=1").await;
            if page["dead_letters"][0].is_object() && page["next"].is_string() {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, dead).await.expect("in time");
    let letter = &page["dead_letters"][0];
    assert_eq!(
        (&letter["attempts"], &letter["error"]),
        (&json!(2), &json!("answered 500"))
    );
    let cursor = page["next"].as_str().expect("a cursor");
    let next = server.read(&format!("/v1/dead-letters?limit=1&cursor={cursor}")).await;
    assert_ne!(next["dead_letters"][0]["id"], letter["id"]);

    status.store(200, Ordering::SeqCst);
    // Its attempts are over: what comes of it from here on is the replay.
    while messages_rx.try_recv().is_ok() {}
    let id = letter["id"].as_str().expect("an id");
    let replay = |id: &str| server.request("POST", &format!("/v1/dead-letters/{id}/replay"));
    assert_eq!(replay(id).send().await.expect("an answer").status(), 202);
    let replayed = async {
        loop {
            let (came, message) = messages_rx.recv().await.expect("a message");
            if came == id {
                return message;
            }
        }
    };
    let message = tokio::time::timeout(PATIENCE, replayed).await.expect("in time");
    assert_eq!(message, letter["message"]);
    let listed = server.read("/v1/dead-letters?limit=1000").await;
    let mut listed = listed["dead_letters"].as_array().expect("a list").iter();
    assert!(listed.all(|one| one["id"] != id), "it is no longer dead");
    assert_eq!(replay("nothing").send().await.expect("an answer").status(), 404);
    let odd = server.request("GET", "/v1/dead-letters?cursor=none").send().await;
    assert_eq!(odd.expect("an answer").status(), 400);
}
