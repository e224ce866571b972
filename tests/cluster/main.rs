//! A cluster from outside: three real nodes over one Postgres. They share the shards, any of them serves any request, one
//! that is killed is replaced by the others, and one that is stopped or drained is not missed by anybody.
//!
//! Needs `UOOP_TEST_POSTGRES_URL`; without it, the tests say that they are skipped.

#[path = "../load_faults/database.rs"]
mod database;
mod rig;
mod submissions;

use chaos::run::Signal;
use domain::ids::{HashSlot, OrderId};
use domain::shard::ShardMap;
use reqwest::{Client, Response};
use rig::{Cluster, LOOK, NODES, PATIENCE, SHARDS, submit, text, turn};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The shard that an order lives in.
pub(crate) fn shard_of(id: &str) -> u64 {
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

    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(cluster.order(n % NODES + 1, &format!("o{n}")).await);
    }
    for n in 1..=NODES {
        let shards = cluster.shards(n, &cluster.name(n).await).await;
        let lives_there = |id: &&String| shards.contains(&shard_of(id));
        let submitted_there = ids.iter().skip(n - 1).step_by(NODES);
        assert_eq!(submitted_there.filter(|id| !lives_there(id)).count(), 0, "node {n}");
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
        cluster.knows_the_kitchen(n).await;
    }
    for n in 1..=NODES {
        cluster.order(n, &format!("o{n}")).await;
    }
    for n in 1..=NODES {
        cluster.knows_the_kitchen(n).await;
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

/// How a node's links stand: with which node (its number) in which version of the wire.
async fn spoken(cluster: &Cluster, n: usize) -> Vec<(usize, u64)> {
    let status = cluster.read(n, "/v1/cluster").await;
    let links = status["links"].as_array().expect("links").iter();
    let spoken = links.map(|link| {
        let node = text(&link["node"]);
        let number = (1..=NODES).find(|n| node.starts_with(&format!("n{n}-")));
        (
            number.expect("one of three"),
            link["wire_version"].as_u64().unwrap_or(0),
        )
    });
    spoken.collect()
}

/// Starts the first node again, as one that speaks no higher version of the wire than this.
async fn first_speaks(cluster: &mut Cluster, version: u16) {
    let first = &mut cluster.nodes[0];
    first.signal(Signal::Terminate).await.expect("it runs");
    let ended = first.ended(PATIENCE).await.expect("it ends");
    assert!(ended.success(), "{ended}");
    first.set("cluster.wire_version_max", version.to_string());
    first.start().await.expect("it starts again");
    for n in 1..=NODES {
        let others: Vec<usize> = (n..NODES).chain(0..n - 1).map(|other| other + 1).collect();
        cluster.shared_by(&[&[n], &*others].concat()).await;
    }
}

/// A rolling upgrade, held in the middle: one node still speaks version 3 of the wire, the others know version 4.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_two_versions_serve_each_other() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start(&[]).await else {
        return;
    };
    assert_eq!(spoken(&cluster, 1).await, [(2, 4), (3, 4)]);
    first_speaks(&mut cluster, 3).await;
    assert_eq!(spoken(&cluster, 1).await, [(2, 3), (3, 3)]);
    assert_eq!(spoken(&cluster, 2).await, [(1, 3), (3, 4)]);
    assert_eq!(spoken(&cluster, 3).await, [(1, 3), (2, 4)]);

    for n in 1..=NODES {
        for i in 0..3 {
            submissions::comes_again_everywhere(&cluster, n, &format!("again-{n}-{i}")).await;
        }
    }
    // Orders live where their keys belong as long as one node looks for keys there: of thirty, each pair gets some to pass on.
    let mut ids = Vec::new();
    for i in 0..30 {
        let n = i % NODES + 1;
        let answer = cluster.submit(n, &format!("o{i}")).header("prefer", "wait=30");
        let body: Value = answer.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(
            body["status"], "CONFIRMED",
            "node {n} hears the outcome, wherever it comes about"
        );
        ids.push(text(&body["id"]));
    }
    for (i, id) in ids.iter().enumerate() {
        let slot = HashSlot::of(&[b"default", format!("o{i}").as_bytes()]);
        assert_eq!(slot, id.parse::<OrderId>().expect("an id").stream().slot(), "order {i}");
        let n = (i + 1) % NODES + 1;
        cluster.status_is(n, id, "CONFIRMED").await;
        let again = cluster.order(n, &format!("o{i}")).await;
        assert_eq!(again, *id, "the same key at another node");
    }
    // The copies that all nodes keep of the channel are of the same version in the end, and its owner knows who holds what.
    let end = Instant::now() + PATIENCE;
    for n in 1..=NODES {
        cluster.knows_the_kitchen(n).await;
        loop {
            let capacity = cluster.read(n, "/v1/channels/kitchen/capacity").await;
            let claims = capacity["claims"].as_object().map_or(0, serde_json::Map::len);
            if claims == ids.len() + 9 {
                break;
            }
            assert!(Instant::now() < end, "node {n} knows {claims} claims: {capacity}");
            sleep(LOOK).await;
        }
    }
    for (at, of) in [(1, 3), (3, 1), (2, 3)] {
        let name = cluster.name(of).await;
        let actors = cluster.read(at, &format!("/v1/actors?node={name}")).await;
        assert!(actors["actors"].as_array().is_some_and(|actors| !actors.is_empty()));
    }
    for id in &ids[..3] {
        let cancelled = cluster.at(1, "POST", &format!("/v1/orders/{id}/cancel")).send().await;
        assert!(cancelled.expect("an answer").status().is_success());
        cluster.status_is(3, id, "CANCELLED").await;
    }
    for n in 1..=NODES {
        let figures = cluster.at(n, "GET", "/metrics").send().await.expect("an answer");
        let figures = figures.text().await.expect("a text");
        assert!(
            !figures.contains("uoop_peer_words_unreadable_total"),
            "node {n} understood all that it was told"
        );
    }
    first_speaks(&mut cluster, 4).await;
    assert_eq!(spoken(&cluster, 1).await, [(2, 4), (3, 4)]);
    cluster.status_is(1, &ids[3], "CONFIRMED").await;
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
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(cluster.order(1 + n % NODES, &format!("o{n}")).await);
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

/// The database says what Postgres says when it cannot make a file larger; what fits into the pages that are there, such as
/// the leases, it still takes.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_not_ready_while_the_stores_disk_is_full_and_say_so() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start(&[]).await else {
        return;
    };
    cluster.order(1, "before").await;
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON event_rows EXECUTE FUNCTION full_disk()";
    assert!(cluster.database.execute(full), "a full disk");
    let end = Instant::now() + PATIENCE;
    let mut unready = BTreeSet::new();
    // Each node finds out from orders of its own.
    for number in 0.. {
        let n = number % NODES + 1;
        let refused = cluster
            .submit(n, &format!("full-{number}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(refused.status(), 503);
        let problem: Value = refused.json().await.expect("JSON");
        assert!(text(&problem["detail"]).contains("disk is full"), "{problem}");
        for n in 1..=NODES {
            let ready = cluster.at(n, "GET", "/readyz").send().await.expect("an answer");
            if ready.status() == 503 {
                let problem: Value = ready.json().await.expect("JSON");
                assert!(text(&problem["detail"]).contains("disk is full"), "{problem}");
                unready.insert(n);
            }
        }
        if unready.len() == NODES {
            break;
        }
        assert!(Instant::now() < end, "only {unready:?} are not ready");
    }
    let owned = cluster.shared_by(&[1, 2, 3]).await;
    assert!(
        owned.iter().all(|shards| *shards > 0),
        "each keeps its shards: {owned:?}"
    );
    assert!(
        cluster.database.execute("DROP TRIGGER full_disk ON event_rows"),
        "space"
    );
    for n in 1..=NODES {
        let end = Instant::now() + PATIENCE;
        while cluster
            .at(n, "GET", "/readyz")
            .send()
            .await
            .expect("an answer")
            .status()
            != 200
        {
            assert!(Instant::now() < end, "node {n} is never ready again");
            sleep(LOOK).await;
        }
        let id = cluster.order(n, &format!("after-{n}")).await;
        cluster.status_is(n, &id, "CONFIRMED").await;
    }
}
