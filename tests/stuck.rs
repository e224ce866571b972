//! A kitchen that cannot be told to stop: the order is stuck, is found as such over HTTP and from the command line on
//! either store, and the kitchen's circuit is seen to be open; until it answers again and an operator has it retried.

#[path = "load_faults/database.rs"]
mod database;
mod support;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use database::Database;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, Server, burger};
use tokio::net::TcpListener;

/// Takes every ticket, and fails when it is to cancel one, for as long as it is deaf.
async fn kitchen(is_deaf: Arc<AtomicBool>) -> String {
    async fn answer(State(is_deaf): State<Arc<AtomicBool>>, uri: Uri) -> (StatusCode, &'static str) {
        if uri.path().ends_with("/cancel") && is_deaf.load(Ordering::Relaxed) {
            return (StatusCode::INTERNAL_SERVER_ERROR, "");
        }
        (StatusCode::OK, r#"{"result":"done"}"#)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let kitchens = Router::new().fallback(answer).with_state(is_deaf);
    tokio::spawn(async move { axum::serve(listener, kitchens).await });
    url
}

/// Reads a path until it is as it should be.
async fn becomes(server: &Server, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let found = server.read(path).await;
            if is_so(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("{path} is never as it should be"))
}

/// The ids of a list.
fn ids(list: &Value) -> Vec<&str> {
    let orders = list["orders"].as_array().expect("a list").iter();
    orders.map(|order| order["id"].as_str().expect("an id")).collect()
}

/// What `uoop order list --stuck` prints.
fn listed(server: &Server) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .args(["order", "list", "--stuck", "--url", &server.at("")])
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn figure(server: &Server, line: &str) {
    let looking = async {
        loop {
            let answer = server.request("GET", "/metrics").send().await.expect("an answer");
            if answer.text().await.expect("text").lines().any(|known| known == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "the figures never say '{line}'");
}

async fn an_order_that_is_stuck_is_found(store: &[&str]) {
    let is_deaf = Arc::new(AtomicBool::new(true));
    let kitchens_url = format!("participants.kitchens_url={}", kitchen(Arc::clone(&is_deaf)).await);
    let settings = [
        "participants.kitchens=http",
        &kitchens_url,
        "participants.breaker_failures=2",
        "participants.breaker_open_ms=100",
        "policy.kitchen.attempts_max=2",
        "policy.kitchen.persistent_attempts_max=2",
        "policy.kitchen.backoff_ms=1",
        "kafka.brokers=",
        "redis.url=",
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = settings.chain(store.iter().copied()).collect();
    let server = Server::start(&arguments);
    let mut placed = Vec::new();
    for _ in 0..2 {
        let order = server.place(&burger()).await;
        assert_eq!(order["status"], "CONFIRMED");
        placed.push(order["id"].as_str().expect("an id").to_owned());
    }
    let path = format!("/v1/orders/{}", placed[0]);
    let cancelled = server.request("POST", &format!("{path}/cancel")).send().await;
    assert!(cancelled.expect("an answer").status().is_success());

    let order = becomes(&server, &path, |order| order["stuck"] == true).await;
    let stuck = "/v1/orders?stuck=true";
    let list = becomes(&server, stuck, |list| !ids(list).is_empty()).await;
    assert_eq!(ids(&list), [&placed[0]]);
    assert_eq!(list["orders"][0]["stuck"], true);
    let others = server.read("/v1/orders?stuck=false").await;
    assert_eq!(ids(&others), [&placed[1]]);
    let printed = listed(&server);
    assert!(
        printed.contains(&placed[0]) && !printed.contains(&placed[1]),
        "{printed}"
    );
    figure(&server, "uoop_orders_stuck 1").await;

    let channel = order["channel_id"].as_str().expect("a channel");
    let circuit = format!("/v1/actors/node/circuit-channel-{channel}");
    let found = server.read(&circuit).await;
    assert_eq!(
        (&found["kind"], &found["status"], &found["state"]["failures"]),
        (&json!("circuit"), &json!("open"), &json!(2)),
        "{found}"
    );
    let circuits = server.read("/v1/actors?kind=circuit").await;
    assert_eq!(circuits["counts"]["circuit"]["open"], 1, "{circuits}");
    let paths = circuits["actors"].as_array().expect("a list").iter();
    assert!(
        paths.clone().any(|circuit| circuit["path"] == "node/circuit-payments"),
        "{circuits}"
    );

    is_deaf.store(false, Ordering::Relaxed);
    let retried = server.request("POST", &format!("{path}/retry")).send().await;
    assert_eq!(retried.expect("an answer").status(), 202);
    becomes(&server, stuck, |list| ids(list).is_empty()).await;
    becomes(&server, &path, |order| order["status"] == "CANCELLED").await;
    becomes(&server, &circuit, |circuit| circuit["status"] == "closed").await;
    figure(&server, "uoop_orders_stuck 0").await;
    assert_eq!(listed(&server), "no orders\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_stuck_is_found_in_the_embedded_store() {
    an_order_that_is_stuck_is_found(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_stuck_is_found_in_postgres() {
    let Some(database) = Database::create() else { return };
    an_order_that_is_stuck_is_found(&["--database-url", database.url()]).await;
}
