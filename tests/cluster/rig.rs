//! A cluster to look at from outside, and questions to its nodes.

use crate::database::Database;
use chaos::run::{Server, free_port};
use domain::cluster::owner_of;
use domain::shard::ShardId;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const LOOK: Duration = Duration::from_millis(50);
pub(crate) const NODES: usize = 3;
pub(crate) const SHARDS: usize = 256;

/// One cluster at a time: the machine has few cores.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Three nodes with a kitchen. They are killed, and their database goes, when this is dropped.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) http: Client,
    pub(crate) database: Database,
    _files: TempDir,
}

impl Cluster {
    /// Starts it; `None`, and a word about it, without a Postgres.
    pub(crate) async fn start(settings: &[&str]) -> Option<Self> {
        let database = Database::create()?;
        let files = tempfile::tempdir().expect("a directory");
        let node = |n: usize| {
            let mut arguments = vec!["--cluster".to_owned(), "--time-scale".to_owned(), "1".to_owned()];
            let listen = format!("cluster.listen=127.0.0.1:{}", free_port().expect("a free port"));
            let name = format!("cluster.node=n{n}");
            let common = [
                "demo.enabled=false",
                "participants.couriers=external",
                "http.throttle_limit=0",
            ];
            let elsewhere = ["kafka.brokers=", "redis.url="];
            for set in common
                .iter()
                .chain(&elsewhere)
                .chain(settings)
                .copied()
                .chain([&*listen, &*name])
            {
                arguments.extend(["--set".to_owned(), set.to_owned()]);
            }
            let variables = vec![
                ("DATABASE_URL", database.url().to_owned()),
                ("UOOP_CLUSTER__SECRET", "a secret of three nodes".to_owned()),
            ];
            let log = files.path().join(format!("n{n}.log"));
            let port = free_port().expect("a free port");
            Server::new(
                PathBuf::from(env!("CARGO_BIN_EXE_uoop")),
                port,
                arguments,
                variables,
                log,
            )
        };
        let mut nodes: Vec<Server> = (1..=NODES).map(node).collect();
        let starts = nodes.iter_mut().map(Server::start);
        futures::future::try_join_all(starts).await.expect("the nodes start");
        let http = Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .expect("a client");
        let cluster = Self {
            nodes,
            http,
            database,
            _files: files,
        };
        cluster.shared_by(&[1, 2, 3]).await;
        cluster.kitchen().await;
        Some(cluster)
    }

    /// A request to the node `n`, from 1.
    pub(crate) fn at(&self, n: usize, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.nodes[n - 1].url());
        self.http.request(method.parse().expect("a method"), url)
    }

    pub(crate) async fn read(&self, n: usize, path: &str) -> Value {
        let answer = self.at(n, "GET", path).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "GET {path} at node {n}");
        answer.json().await.expect("JSON")
    }

    /// What a node is called, with its incarnation.
    pub(crate) async fn name(&self, n: usize) -> String {
        text(&self.read(n, "/v1/cluster").await["node"])
    }

    /// The shards that a node owns, as another sees it.
    pub(crate) async fn shards(&self, seen_by: usize, name: &str) -> BTreeSet<u64> {
        let status = self.read(seen_by, "/v1/cluster").await;
        let shards = status["shards"].as_array().expect("shards").iter();
        let owned = shards.filter(|shard| shard["owner"] == name);
        owned.map(|shard| shard["shard"].as_u64().expect("a number")).collect()
    }

    /// Waits until these nodes own all shards, each those that rendezvous hashing gives it, and reach each other. How many
    /// each has.
    pub(crate) async fn shared_by(&self, nodes: &[usize]) -> Vec<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.read(nodes[0], "/v1/cluster").await;
            let members = status["members"].as_array().expect("members").iter();
            let staying: Vec<String> = members
                .filter(|member| member["draining"] == false)
                .map(|member| text(&member["name"]))
                .collect();
            let mut shares = vec![0; NODES];
            let mut is_level = staying.len() == nodes.len();
            for (shard, owner) in status["shards"].as_array().expect("shards").iter().enumerate() {
                let shard = ShardId(u16::try_from(shard).expect("few shards"));
                is_level &= owner_of(shard, staying.iter().map(String::as_str)) == owner["owner"].as_str();
                let owner = text(&owner["owner"]);
                if let Some(n) = nodes.iter().find(|n| owner.starts_with(&format!("n{n}-"))) {
                    shares[n - 1] += 1;
                }
            }
            let links = status["links"].as_array().expect("links").iter();
            let up = links.filter(|link| link["up"] == true).count();
            if is_level && up + 1 >= nodes.len() && shares.iter().sum::<usize>() == SHARDS {
                return shares;
            }
            assert!(
                Instant::now() < end,
                "the shards are never shared by {nodes:?}: {shares:?}, {up} links"
            );
            sleep(LOOK).await;
        }
    }

    /// A kitchen that any node knows. It cooks for six hours, so that orders rest at CONFIRMED.
    pub(crate) async fn kitchen(&self) {
        let channel = json!({
            "name": "Kitchen", "kind": "kitchen", "serves": ["diner"], "currency": "USD", "prep_ms": 21_600_000,
            "location": {"lat": 41.88, "lng": -87.63}, "capacity_per_slot": 1_000_000,
        });
        let menu = json!({"items": [{"sku": "soup", "name": "Soup", "price_minor": 950}]});
        for (path, body) in [("/v1/channels/kitchen", &channel), ("/v1/channels/kitchen/menu", &menu)] {
            let put = self.at(1, "PUT", path).json(body).send().await.expect("an answer");
            assert!(put.status().is_success(), "PUT {path}: {}", put.status());
        }
        for n in 1..=NODES {
            let end = Instant::now() + PATIENCE;
            while self
                .at(n, "GET", "/v1/channels")
                .send()
                .await
                .expect("an answer")
                .json::<Value>()
                .await
                .expect("JSON")["channels"][0]["id"]
                != "kitchen"
            {
                assert!(Instant::now() < end, "node {n} never knows the kitchen");
                sleep(LOOK).await;
            }
        }
    }

    /// Waits until a node's own copy of the kitchen, by which it routes, is of the version that is committed.
    pub(crate) async fn knows_the_kitchen(&self, n: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let list = self.read(n, "/v1/channels").await;
            let is = self.read(n, "/v1/channels/kitchen").await;
            let (copy, is) = (&list["channels"][0], &is);
            if copy["version"] == is["version"] && copy["capacity_per_slot"] == is["capacity_per_slot"] {
                return;
            }
            assert!(
                Instant::now() < end,
                "node {n} knows version {} of {}",
                copy["version"],
                is["version"]
            );
            sleep(LOOK).await;
        }
    }

    pub(crate) fn submit(&self, n: usize, key: &str) -> RequestBuilder {
        submit(&self.http, self.nodes[n - 1].url(), key)
    }

    /// Submits an order at a node, which must take it. Its id.
    pub(crate) async fn order(&self, n: usize, key: &str) -> String {
        let answer = self.submit(n, key).send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "{key} at node {n}");
        text(&answer.json::<Value>().await.expect("JSON")["id"])
    }

    /// Waits until a node says that the order has this status.
    pub(crate) async fn status_is(&self, n: usize, id: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = text(&self.read(n, &format!("/v1/orders/{id}/status")).await["status"]);
            if status == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "node {n} says that order {id} is {status}, never {wanted}"
            );
            sleep(LOOK).await;
        }
    }

    /// `uoop cluster …` about a node.
    pub(crate) fn uoop_cluster(&self, command: &str, n: usize) -> Output {
        let mut uoop = Command::new(env!("CARGO_BIN_EXE_uoop"));
        let uoop = uoop.args(["cluster", command, "--json", "--url", self.nodes[n - 1].url()]);
        let output = uoop.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "uoop cluster {command}: {said}");
        output
    }
}

/// The submission of an order, with a key that is its customer's name, too.
pub(crate) fn submit(http: &Client, url: &str, key: &str) -> RequestBuilder {
    let order = json!({
        "customer_id": key, "restaurant_id": "diner", "currency": "USD", "payment_token": "tok",
        "items": [{"sku": "soup", "name": "Soup", "quantity": 1, "unit_price_minor": 950}],
        "delivery_location": {"lat": 41.886, "lng": -87.63},
    });
    http.post(format!("{url}/v1/orders"))
        .header("idempotency-key", key)
        .json(&order)
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
