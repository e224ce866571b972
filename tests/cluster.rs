//! A cluster from outside: three real nodes over one Postgres. They share the shards, any of them serves any request, one
//! that is killed is replaced by the others, and one that is stopped or drained is not missed by anybody.
//!
//! Needs `UOOP_TEST_POSTGRES_URL`; without it, the tests say that they are skipped.

#[path = "load_faults/database.rs"]
mod database;

use chaos::run::{Server, Signal, free_port};
use database::Database;
use domain::ids::OrderId;
use domain::shard::ShardMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
const NODES: usize = 3;
const SHARDS: usize = 256;

/// One cluster at a time: the machine has few cores.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Three nodes with a kitchen. They are killed, and their database goes, when this is dropped.
struct Cluster {
    nodes: Vec<Server>,
    http: Client,
    database: Database,
    _files: TempDir,
}

impl Cluster {
    /// Starts it; `None`, and a word about it, without a Postgres.
    async fn start(settings: &[&str]) -> Option<Self> {
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
    fn at(&self, n: usize, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.nodes[n - 1].url());
        self.http.request(method.parse().expect("a method"), url)
    }

    async fn read(&self, n: usize, path: &str) -> Value {
        let answer = self.at(n, "GET", path).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "GET {path} at node {n}");
        answer.json().await.expect("JSON")
    }

    /// What a node is called, with its incarnation.
    async fn name(&self, n: usize) -> String {
        text(&self.read(n, "/v1/cluster").await["node"])
    }

    /// The shards that a node owns, as another sees it.
    async fn shards(&self, seen_by: usize, name: &str) -> BTreeSet<u64> {
        let status = self.read(seen_by, "/v1/cluster").await;
        let shards = status["shards"].as_array().expect("shards").iter();
        let owned = shards.filter(|shard| shard["owner"] == name);
        owned.map(|shard| shard["shard"].as_u64().expect("a number")).collect()
    }

    /// Waits until these nodes own all shards, each its share, and reach each other. How many each has.
    async fn shared_by(&self, nodes: &[usize]) -> Vec<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.read(nodes[0], "/v1/cluster").await;
            let mut shares = vec![0; NODES];
            for shard in status["shards"].as_array().expect("shards") {
                let owner = text(&shard["owner"]);
                if let Some(n) = nodes.iter().find(|n| owner.starts_with(&format!("n{n}-"))) {
                    shares[n - 1] += 1;
                }
            }
            let links = status["links"].as_array().expect("links").iter();
            let up = links.filter(|link| link["up"] == true).count();
            // The least that rendezvous hashing gives anybody here.
            let is_level = nodes.iter().all(|n| shares[n - 1] >= 60) && up + 1 >= nodes.len();
            if is_level && shares.iter().sum::<usize>() == SHARDS {
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
    async fn kitchen(&self) {
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

    fn submit(&self, n: usize, key: &str) -> RequestBuilder {
        submit(&self.http, self.nodes[n - 1].url(), key)
    }

    /// Submits an order at a node, which must take it. Its id.
    async fn order(&self, n: usize, key: &str) -> String {
        let answer = self.submit(n, key).send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "{key} at node {n}");
        text(&answer.json::<Value>().await.expect("JSON")["id"])
    }

    /// Waits until a node says that the order has this status.
    async fn status_is(&self, n: usize, id: &str, wanted: &str) {
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
    fn uoop_cluster(&self, command: &str, n: usize) -> Output {
        let mut uoop = Command::new(env!("CARGO_BIN_EXE_uoop"));
        let uoop = uoop.args(["cluster", command, "--json", "--url", self.nodes[n - 1].url()]);
        let output = uoop.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "uoop cluster {command}: {said}");
        output
    }
}

/// The submission of an order, with a key that is its customer's name, too.
fn submit(http: &Client, url: &str, key: &str) -> RequestBuilder {
    let order = json!({
        "customer_id": key, "restaurant_id": "diner", "currency": "USD", "payment_token": "tok",
        "items": [{"sku": "soup", "name": "Soup", "quantity": 1, "unit_price_minor": 950}],
        "delivery_location": {"lat": 41.886, "lng": -87.63},
    });
    http.post(format!("{url}/v1/orders"))
        .header("idempotency-key", key)
        .json(&order)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// The shard that an order lives in.
fn shard_of(id: &str) -> u64 {
    let map = ShardMap::new(u16::try_from(SHARDS).expect("few")).expect("a power of two");
    let order: OrderId = id.parse().expect("an order's id");
    map.shard_of(order.stream()).0.into()
}

/// Reads a stream of events until it says this; whether it does.
async fn says(stream: &mut Response, wanted: &str) -> bool {
    let mut said = String::new();
    while let Ok(Some(chunk)) = stream.chunk().await {
        said.push_str(&String::from_utf8_lossy(&chunk));
        if said.contains(wanted) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_serves_any_request() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start(&[]).await else {
        return;
    };
    let owned = cluster.shared_by(&[1, 2, 3]).await;
    assert!(owned.iter().all(|shards| (60..=110).contains(shards)), "{owned:?}");

    // Of ten orders, the chance that one node owns all is below one in ten thousand.
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(cluster.order(n % NODES + 1, &format!("o{n}")).await);
    }
    for id in &ids {
        for n in 1..=NODES {
            cluster.status_is(n, id, "CONFIRMED").await;
            let path = format!("/v1/orders/{id}");
            assert_eq!(cluster.read(n, &path).await["id"], **id);
            assert!(cluster.read(n, &format!("{path}/events")).await["events"].is_array());
        }
    }
    for id in &ids[..3] {
        let path = format!("/v1/orders/{id}/stream");
        let mut streams = Vec::new();
        for n in 1..=NODES {
            let mut stream = cluster.at(n, "GET", &path).send().await.expect("a stream");
            assert!(says(&mut stream, "\"CONFIRMED\"").await, "node {n} tells how it is");
            streams.push(stream);
        }
        let cancelled = cluster.at(2, "POST", &format!("/v1/orders/{id}/cancel")).send().await;
        assert!(cancelled.expect("an answer").status().is_success());
        for (n, stream) in (1..).zip(&mut streams) {
            assert!(says(stream, "\"CANCELLED\"").await, "node {n} tells how it ended");
        }
        cluster.status_is(3, id, "CANCELLED").await;
    }
    let again = cluster.order(2, "o0").await;
    assert_eq!(again, ids[0], "the key of an order that was submitted at node 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_at_one_node_is_seen_at_the_others_and_no_server_joins_by_accident() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start(&[]).await else {
        return;
    };
    let owned = cluster.shared_by(&[1, 2, 3]).await;
    let busy = json!({"name": "Kitchen", "kind": "kitchen", "serves": ["diner"], "currency": "USD", "prep_ms": 1_000,
        "location": {"lat": 41.88, "lng": -87.63}, "capacity_per_slot": 77});
    let put = cluster.at(1, "PUT", "/v1/channels/kitchen").json(&busy).send().await;
    assert!(put.expect("an answer").status().is_success());
    for n in 1..=NODES {
        assert_eq!(
            cluster.read(n, "/v1/channels/kitchen/capacity").await["capacity_per_slot"],
            77,
            "node {n}"
        );
    }
    let third = cluster.name(3).await;
    for (n, name) in [(1, &third), (3, &cluster.name(1).await)] {
        let actors = cluster.read(n, &format!("/v1/actors?node={name}")).await;
        assert!(
            actors["actors"].as_array().is_some_and(|actors| !actors.is_empty()),
            "{actors}"
        );
    }

    // A server that knows of no cluster must not write beside this one.
    let alone = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .args([
            "serve",
            "--port",
            "0",
            "--time-scale",
            "1",
            "--set",
            "kafka.brokers=",
            "--set",
            "redis.url=",
        ])
        .env("DATABASE_URL", cluster.database.url())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && said.contains("--cluster"), "{said}");
    assert_eq!(cluster.shared_by(&[1, 2, 3]).await, owned, "and has taken nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_drained_gives_everything_away_and_gets_it_back() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start(&[]).await else {
        return;
    };
    let owned = cluster.shared_by(&[1, 2, 3]).await;
    let id = cluster.order(2, "before").await;
    let drained = cluster.uoop_cluster("drain", 2);
    let status: Value = serde_json::from_slice(&drained.stdout).expect("JSON");
    let second = cluster.name(2).await;
    let members = status["members"].as_array().expect("members");
    let is_second = |member: &&Value| member["name"] == *second;
    let member = members.iter().find(is_second).expect("it is still a member");
    assert_eq!(
        (&member["shards"], &member["draining"]),
        (&json!(0), &json!(true)),
        "{member}"
    );
    let moved = cluster.shared_by(&[1, 3]).await;
    assert!(
        moved[0] >= owned[0] && moved[2] >= owned[2],
        "{owned:?}, then {moved:?}"
    );
    // It goes on passing on what it is asked.
    cluster.status_is(2, &id, "CONFIRMED").await;
    let id = cluster.order(2, "meanwhile").await;
    cluster.status_is(2, &id, "CONFIRMED").await;
    cluster.uoop_cluster("rebalance", 2);
    assert_eq!(cluster.shared_by(&[1, 2, 3]).await, owned, "each has what it had");
    cluster.status_is(2, &id, "CONFIRMED").await;
    let shown = cluster.uoop_cluster("status", 3);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_finish_what_a_killed_node_had_begun() {
    let _turn = turn().await;
    // Slow enough that orders are in flight, and a client waits, when the node is killed.
    let slow = [
        "participants.simulated.latency_ms_min=1500",
        "participants.simulated.latency_ms_max=2500",
    ];
    let Some(mut cluster) = Cluster::start(&slow).await else {
        return;
    };
    let first = cluster.name(1).await;
    let shards = cluster.shards(2, &first).await;
    // Of twenty orders, the chance that none lives on the node is below one in three thousand.
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(cluster.order(2 + n % 2, &format!("o{n}")).await);
    }
    let waiting = cluster.submit(1, "interrupted").header("prefer", "wait=30");
    let waiting = tokio::spawn(async move { waiting.send().await?.bytes().await });
    sleep(Duration::from_millis(500)).await;
    let struck: Vec<&String> = ids.iter().filter(|id| shards.contains(&shard_of(id))).collect();
    assert!(!struck.is_empty(), "NV-1: none of the orders lives on the node");
    for id in &struck {
        let status = cluster.read(2, &format!("/v1/orders/{id}/status")).await;
        assert_eq!(status["status"], "PENDING", "NV-1: it is in flight");
    }
    cluster.nodes[0].kill().await.expect("it ran until now");
    assert!(
        waiting.await.expect("it goes on").is_err(),
        "NV-1: the client's request was interrupted"
    );

    let retried = cluster.order(2, "interrupted").await;
    assert_eq!(
        cluster.order(3, "interrupted").await,
        retried,
        "one order for one key (SG-2)"
    );
    ids.push(retried);
    let owned = cluster.shared_by(&[2, 3]).await;
    assert_eq!(owned[0], 0, "the killed node owns nothing");
    for (n, id) in ids.iter().enumerate() {
        cluster.status_is(2 + n % 2, id, "CONFIRMED").await;
    }
    let end = Instant::now() + PATIENCE;
    let listed = loop {
        let listed = cluster.read(3, "/v1/orders?limit=200").await;
        let listed = listed["orders"].as_array().expect("orders").clone();
        if listed.len() >= ids.len() {
            break listed;
        }
        assert!(Instant::now() < end, "{} orders are never listed", ids.len());
        sleep(LOOK).await;
    };
    let found: BTreeSet<String> = listed.iter().map(|order| text(&order["id"])).collect();
    assert_eq!(
        found,
        ids.into_iter().collect(),
        "SG-1 and SG-2: these orders and no others"
    );

    // Back under its name, it gets the same shards again.
    cluster.nodes[0].start().await.expect("it starts again");
    cluster.shared_by(&[1, 2, 3]).await;
    let again = cluster.name(1).await;
    assert_ne!(again, first, "another incarnation");
    assert_eq!(cluster.shards(1, &again).await, shards);
}

/// A light load on all nodes.
struct Load {
    http: Client,
    urls: Vec<String>,
    /// Whether the first node has said that it stops.
    stops: AtomicBool,
    is_over: AtomicBool,
}

/// Orders until it is over, each of which must be taken at the first attempt. Half of the clients stay with the first
/// node until it says that it stops, which they ask it before each order, as a load balancer would.
async fn client(load: Arc<Load>, n: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for i in 0.. {
        if load.is_over.load(Ordering::Acquire) {
            break;
        }
        let looked = load.http.get(format!("{}/readyz", load.urls[0])).send().await;
        let to = if !looked.is_ok_and(|answer| answer.status().is_success()) {
            load.stops.store(true, Ordering::Release);
            1 + (n + i) % 2
        } else if n.is_multiple_of(2) {
            0
        } else {
            (n + i) % NODES
        };
        let answer = submit(&load.http, &load.urls[to], &format!("client-{n}-{i}"))
            .send()
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("node {} does not answer: {error:?}", to + 1));
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(status, 201, "node {}: {body}", to + 1);
        ids.push(text(&body["id"]));
        sleep(Duration::from_millis(20)).await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_when_a_node_is_stopped() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start(&[]).await else {
        return;
    };
    let load = Arc::new(Load {
        http: cluster.http.clone(),
        urls: cluster.nodes.iter().map(|node| node.url().to_owned()).collect(),
        stops: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..6).map(|n| tokio::spawn(client(Arc::clone(&load), n))).collect();
    sleep(Duration::from_secs(1)).await;
    let first = cluster.name(1).await;
    assert!(
        !cluster.shards(2, &first).await.is_empty(),
        "NV-1: the node has something to give away"
    );
    cluster.nodes[0].signal(Signal::Terminate).await.expect("it runs");
    let ended = cluster.nodes[0].ended(PATIENCE).await.expect("it ends");
    assert!(ended.success(), "{ended}");
    sleep(Duration::from_secs(1)).await;
    load.is_over.store(true, Ordering::Release);
    let mut ids = BTreeSet::new();
    for client in clients {
        ids.extend(client.await.expect("no request failed"));
    }
    assert!(load.stops.load(Ordering::Acquire), "NV-1: somebody was sent elsewhere");
    assert_eq!(cluster.shared_by(&[2, 3]).await[0], 0);
    assert!(ids.len() >= 6, "orders came all the time");
    for id in &ids {
        cluster.status_is(3, id, "CONFIRMED").await;
    }
}
