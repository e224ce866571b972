//! A server of our own to test against: the real binary, on a port and in a data directory of its own.

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running server. It is killed, and its data is gone, when this is dropped.
pub(crate) struct Server {
    process: Child,
    url: String,
    client: Client,
    _data: TempDir,
}

impl Server {
    /// Starts a server with the default configuration at life's pace, and these arguments beside; waits until it listens.
    ///
    /// # Panics
    /// The server does not start.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let log = data.path().join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_uoop"))
            .args(["serve", "--port", "0", "--time-scale", "1", "--data-dir"])
            .arg(data.path().join("data"))
            .args(arguments)
            .current_dir(data.path())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let Some(url) = url else {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            // Both fail only if it is gone already.
            let _ = process.kill();
            let _ = process.wait();
            panic!("the server did not start:\n{log}");
        };
        let client = Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            process,
            url,
            client,
            _data: data,
        }
    }

    /// The address of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A request to make.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().expect("a method"), self.at(path))
    }

    /// Reads a path that must be there.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let response = self.request("GET", path).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "GET {path}");
        body(response).await
    }

    /// Submits an order that must be accepted, and waits until its outcome is known.
    pub(crate) async fn place(&self, order: &Value) -> Value {
        let request = self
            .request("POST", "/v1/orders")
            .header("prefer", "wait=30")
            .json(order);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 201, "{order}");
        body(response).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A JSON body; null when there is none.
pub(crate) async fn body(response: Response) -> Value {
    let bytes = response.bytes().await.expect("a body");
    if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).expect("JSON")
    }
}

/// An order that a fresh server takes.
pub(crate) fn burger() -> Value {
    json!({
        "customer_id": "c-1042",
        "restaurant_id": "demo-burgers",
        "items": [{"sku": "cheeseburger", "name": "Cheeseburger", "quantity": 2, "unit_price_minor": 950}],
        "currency": "USD",
        "delivery_location": {"lat": 41.886, "lng": -87.63, "address": "1 Lake St"},
        "payment_token": "tok_visa",
    })
}
