//! What becomes of an order that is older than the store keeps: over HTTP, in lists, and in what is measured.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often something that must come is looked for: a bound, so that what does not come fails the test.
const LOOKS_MAX: usize = 3_000;
const LOOK: Duration = Duration::from_millis(20);

/// A server over a directory that outlives it.
struct Server {
    process: Child,
    url: String,
    client: Client,
}

impl Server {
    fn start(data: &Path, settings: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_uoop"))
            .args(["serve", "--port", "0", "--time-scale", "1", "--data-dir"])
            .arg(data)
            // One line, so that the newest row is known.
            .args([
                "--set",
                "store.shards=1",
                "--set",
                "redis.url=",
                "--set",
                "kafka.brokers=",
            ])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let client = Client::builder().no_proxy().build().expect("a client");
        Self {
            process,
            url: url.expect("it listens"),
            client,
        }
    }

    /// Ends it as an operator does: what follows the orders keeps how far it is.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        assert!(self.process.wait().expect("it ran").success());
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        request.send().await.expect("an answer")
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.client.post(format!("{}{path}", self.url)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.header("prefer", "wait=30").send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// Submits an order, and says what it is called.
    async fn place(&self, key: &str) -> String {
        let order = json!({
            "customer_id": "c-1042",
            "restaurant_id": "demo-burgers",
            "items": [{"sku": "cheeseburger", "name": "Cheeseburger", "quantity": 2, "unit_price_minor": 950}],
            "currency": "USD",
            "delivery_location": {"lat": 41.886, "lng": -87.63, "address": "1 Lake St"},
            "payment_token": "tok_visa",
        });
        let (status, order) = self.post("/v1/orders", Some(key), &order).await;
        assert_eq!(status, 201, "{order}");
        order["id"].as_str().expect("an id").to_owned()
    }

    async fn listed(&self) -> Vec<String> {
        let list: Value = self.get("/v1/orders").await.json().await.expect("JSON");
        let orders = list["orders"].as_array().expect("orders").clone();
        orders
            .iter()
            .map(|order| order["id"].as_str().expect("an id").to_owned())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds().await {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("it does not come to pass that {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_gone_and_what_lives_stays() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path(), &[]);
    let old = server.place("first").await;
    let (status, _) = server.post(&format!("/v1/orders/{old}/cancel"), None, &json!({})).await;
    assert!(matches!(status, 200 | 202));
    let settled = async || {
        let order: Value = server
            .get(&format!("/v1/orders/{old}"))
            .await
            .json()
            .await
            .expect("JSON");
        order["settled"] == true
    };
    until("the order is settled", settled).await;
    // It holds the newest rows, so that the other need not.
    let live = server.place("second").await;
    until("both are listed", async || {
        server.listed().await == [live.clone(), old.clone()]
    })
    .await;
    server.stop();

    // A day later, which is as far as a clock can be set ahead.
    let later = [
        "time.skew_ms=86400000",
        "store.retention_days=1",
        "store.key_retention_h=24",
    ];
    let server = Server::start(folder.path(), &later);
    until("the old one is gone", async || {
        server.status(&format!("/v1/orders/{old}")).await == 404
    })
    .await;
    until("the list does without it", async || {
        server.listed().await == [live.clone()]
    })
    .await;
    for path in ["", "/status", "/events"] {
        assert_eq!(server.status(&format!("/v1/orders/{old}{path}")).await, 404, "{path}");
        assert_eq!(server.status(&format!("/v1/orders/{live}{path}")).await, 200, "{path}");
    }
    let (status, problem) = server.post(&format!("/v1/orders/{old}/cancel"), None, &json!({})).await;
    assert_eq!(
        (status, problem["type"].as_str()),
        (404, Some("urn:uoop:problem:not-found"))
    );
    let told = async || {
        let figures = server.get("/metrics").await.text().await.expect("text");
        figures.contains("\nuoop_retention_orders_total 1\n") && figures.contains("\nuoop_retention_keys_total 2\n")
    };
    until("it is counted", told).await;
    let figures = server.get("/metrics").await.text().await.expect("text");
    assert!(figures.contains("uoop_retention_oldest_order_seconds"), "{figures}");
    // Whoever repeats the first request now makes it anew.
    let again = server.place("first").await;
    assert!(again != old && again != live);
    server.stop();

    // Everything else is as it was: the lines go on, and the list is not made anew.
    let server = Server::start(folder.path(), &later);
    until("the list is as it was", async || {
        server.listed().await == [again.clone(), live.clone()]
    })
    .await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nothing_is_ever_deleted() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path(), &[]);
    let old = server.place("first").await;
    let (status, _) = server.post(&format!("/v1/orders/{old}/cancel"), None, &json!({})).await;
    assert!(matches!(status, 200 | 202));
    server.stop();
    let server = Server::start(folder.path(), &["time.skew_ms=86400000"]);
    assert_eq!(server.status(&format!("/v1/orders/{old}")).await, 200);
    let figures = server.get("/metrics").await.text().await.expect("text");
    assert!(!figures.contains("uoop_retention"), "nobody sweeps");
    server.stop();
}
