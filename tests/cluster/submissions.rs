//! Submissions at nodes that do not own them: what the owner would answer, wherever it is asked for.

use crate::rig::{Cluster, LOOK, NODES, PATIENCE, SHARDS, text, turn};
use crate::shard_of;
use chaos::run::Signal;
use domain::ids::{ChannelId, HashSlot};
use domain::shard::ShardMap;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// An answer, but for what is each one's own: its date and the id of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.expect("an answer")).await
    }

    async fn read(response: Response) -> Self {
        let own = ["date", "x-request-id"];
        let headers = response.headers().iter();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().expect("text").to_owned();
        let headers = headers.filter(|(name, _)| !own.contains(&name.as_str()));
        let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        headers.sort();
        Self {
            status: response.status().as_u16(),
            headers,
            body: response.bytes().await.expect("a body").to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| &**value)
    }

    fn shown(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn kind(&self) -> String {
        text(&self.shown()["type"]).replace("urn:uoop:problem:", "")
    }
}

/// Submits an order at one node, and again at all of them.
pub(crate) async fn comes_again_everywhere(cluster: &Cluster, n: usize, key: &str) {
    let first = Answer::of(cluster.submit(n, key)).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (201, None),
        "{key}"
    );
    let shown = first.shown();
    let location = format!("/v1/orders/{}", text(&shown["id"]));
    assert_eq!(first.header("location"), Some(&*location));
    assert_eq!(first.header("etag"), Some(&*format!("\"{}\"", shown["version"])));
    assert_eq!(first.header("content-type"), Some("application/json"));
    let mut again = first.clone();
    again.headers.push(("idempotent-replayed".into(), "true".into()));
    again.headers.sort();
    for n in 1..=NODES {
        assert_eq!(Answer::of(cluster.submit(n, key)).await, again, "{key} at node {n}");
    }
}

/// Asks all nodes for the same; they must say the same.
async fn one_answer(requests: impl Fn(usize) -> RequestBuilder) -> Answer {
    let first = Answer::of(requests(1)).await;
    for n in 2..=NODES {
        assert_eq!(Answer::of(requests(n)).await, first, "node {n}");
    }
    first
}

async fn what_is_wrong_is_said_the_same(cluster: &Cluster) {
    let order = |quantity: Value, price: u64| {
        let item = json!({"sku": "soup", "name": "Soup", "quantity": quantity, "unit_price_minor": price});
        let order = json!({"customer_id": "c", "restaurant_id": "diner", "currency": "USD", "payment_token": "tok",
            "items": [item], "delivery_location": {"lat": 41.886, "lng": -87.63}});
        order.to_string()
    };
    for (key, body, status, kind, pointer) in [
        ("wrong", "{".to_owned(), 400, "malformed-request", Value::Null),
        (
            "wrong",
            order(json!("two"), 950),
            422,
            "invalid-request",
            json!("/items/0/quantity"),
        ),
        (
            "wrong",
            order(json!(0), 950),
            422,
            "invalid-request",
            json!("/items/0/quantity"),
        ),
        (
            "wrong",
            order(json!(1), 951),
            422,
            "invalid-request",
            json!("/items/0/unit_price_minor"),
        ),
        ("o0", order(json!(2), 950), 422, "idempotency-key-reused", Value::Null),
    ] {
        let submit = |n| {
            let request = cluster.at(n, "POST", "/v1/orders").header("idempotency-key", key);
            request.header("content-type", "application/json").body(body.clone())
        };
        let refused = one_answer(submit).await;
        let problem = refused.shown();
        assert_eq!((refused.status, refused.kind()), (status, kind.to_owned()), "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert_eq!(problem["instance"], "/v1/orders");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_as_the_owner_does() {
    let _turn = turn().await;
    // An outcome takes longer than an owner holds its answer back.
    let slow = [
        "participants.simulated.latency_ms_min=1500",
        "participants.simulated.latency_ms_max=2500",
    ];
    let Some(cluster) = Cluster::start(&slow).await else {
        return;
    };
    // The first one has nothing of its own any more, and passes on what it is asked.
    cluster.uoop_cluster("drain", 1);
    for i in 0..6 {
        comes_again_everywhere(&cluster, i % NODES + 1, &format!("o{i}")).await;
    }
    what_is_wrong_is_said_the_same(&cluster).await;
    let waits = (0..6).map(|i| {
        let request = cluster.submit(i % NODES + 1, &format!("w{i}"));
        Answer::of(request.header("prefer", "wait=30"))
    });
    for (i, first) in futures::future::join_all(waits).await.into_iter().enumerate() {
        let shown = first.shown();
        assert_eq!((first.status, &shown["status"]), (201, &json!("CONFIRMED")), "{shown}");
        assert_eq!(first.header("preference-applied"), Some("wait=30"));
        assert_eq!(first.header("etag"), Some(&*format!("\"{}\"", shown["version"])));
        let again = one_answer(|n| cluster.submit(n, &format!("w{i}")).header("prefer", "wait=30")).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.shown()["id"], shown["id"]);
        assert_eq!(again.shown()["status"], "CONFIRMED", "as it is when the wait is over");
        let atonce = one_answer(|n| cluster.submit(n, &format!("w{i}"))).await;
        assert_eq!(atonce.shown()["status"], "PENDING", "as it was accepted");
    }
}

/// A key whose order belongs to the second node.
async fn key_of_the_second(cluster: &Cluster, name: &str) -> String {
    let owned = cluster.shards(1, &cluster.name(2).await).await;
    let map = ShardMap::new(u16::try_from(SHARDS).expect("few")).expect("a power of two");
    let is_there = |key: &String| {
        let slot = HashSlot::of(&[b"default", key.as_bytes()]);
        owned.contains(&map.shard_of_slot(slot).0.into())
    };
    let mut keys = (0..1_000).map(|i| format!("{name}{i}"));
    keys.find(is_there).expect("it owns a third of them")
}

/// The store takes so long over the first row of any stream, from now on.
fn slow_down(cluster: &Cluster, seconds: u64) {
    let slow = format!(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_sleep({seconds}); RETURN NEW;
        END $$;
        DROP TRIGGER IF EXISTS slow ON event_rows;
        CREATE TRIGGER slow BEFORE INSERT ON event_rows FOR EACH ROW WHEN (NEW.seq = 1) EXECUTE FUNCTION slow()"
    );
    assert!(cluster.database.execute(&slow), "a slow store");
}

/// Submits an order at a node; its row is on its way to the slow store when this returns.
async fn under_way(cluster: &Cluster, n: usize, key: &str) -> JoinHandle<Answer> {
    let first = tokio::spawn(Answer::of(cluster.submit(n, key)));
    sleep(Duration::from_millis(500)).await;
    assert!(!first.is_finished(), "NV-1: it is under way");
    first
}

/// Waits until the first node's link with the second is up, or is not.
async fn link_is(cluster: &Cluster, up: bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = cluster.read(1, "/v1/cluster").await;
        let links = status["links"].as_array().expect("links");
        let mut to_second = links.iter().filter(|link| text(&link["node"]).starts_with("n2-"));
        if to_second.any(|link| link["up"] == true) == up {
            return;
        }
        assert!(Instant::now() < end, "{links:?}");
        sleep(LOOK).await;
    }
}

/// What came of an order that was under way while its owner was struck: the client was answered as if nothing had been.
async fn came_through(cluster: &Cluster, nodes: &[usize], key: &str, first: JoinHandle<Answer>) {
    let first = first.await.expect("no panic");
    let shown = first.shown();
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (201, None),
        "{shown}"
    );
    for &n in nodes {
        let again = Answer::of(cluster.submit(n, key)).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.shown());
        assert_eq!(again.shown()["id"], shown["id"], "one order for one key (SG-2)");
    }
}

/// The first attempt is carried out by a node that nobody hears of for a while, or ever again. The next one finds its key
/// taken by the first, or the shard at another node, and the client hears of neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_whose_answer_was_lost_is_repeated_and_others_with_its_key_are_not_let_in() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start(&["cluster.lease_ms=10000"]).await else {
        return;
    };
    // What the first one is asked is passed on to the second.
    cluster.uoop_cluster("drain", 1);
    let (paused, killed) = (
        key_of_the_second(&cluster, "paused").await,
        key_of_the_second(&cluster, "killed").await,
    );
    slow_down(&cluster, 6);
    let first = under_way(&cluster, 1, &paused).await;
    for n in [1, 2] {
        let refused = Answer::of(cluster.submit(n, &paused)).await;
        assert_eq!((refused.status, &*refused.kind()), (409, "in-progress"), "node {n}");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    // The third places the order itself, which the store decides.
    let third = tokio::spawn(Answer::of(cluster.submit(3, &paused)));
    cluster.nodes[1].signal(Signal::Stop).await.expect("it runs");
    link_is(&cluster, false).await;
    cluster.nodes[1].signal(Signal::Continue).await.expect("it is there");
    link_is(&cluster, true).await;
    assert!(!first.is_finished(), "NV-1: its key is still taken");
    came_through(&cluster, &[1, 2, 3], &paused, first).await;
    let third = third.await.expect("no panic");
    let again = Answer::of(cluster.submit(3, &paused)).await;
    assert_eq!(
        (third.status, third.shown()["id"].clone()),
        (201, again.shown()["id"].clone())
    );

    slow_down(&cluster, 2);
    let first = under_way(&cluster, 1, &killed).await;
    cluster.nodes[1].kill().await.expect("it ran until now");
    came_through(&cluster, &[1, 3], &killed, first).await;
}

/// The order is accepted and its outcome far; then the store is gone for good, and nobody can say any more what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_answered_so_though_the_store_is_gone_when_its_outcome_is_looked_for() {
    let _turn = turn().await;
    let slow = [
        "participants.simulated.latency_ms_min=2500",
        "participants.simulated.latency_ms_max=2500",
    ];
    let Some(cluster) = Cluster::start(&slow).await else {
        return;
    };
    cluster.uoop_cluster("drain", 1);
    let key = key_of_the_second(&cluster, "accepted").await;
    let waiting = cluster.submit(1, &key).header("prefer", "wait=4");
    let answer = tokio::spawn(Answer::of(waiting));
    // The owner holds its answer back for a second at most.
    sleep(Duration::from_secs(2)).await;
    assert!(!answer.is_finished(), "NV-1: it waits for the outcome");
    assert!(cluster.database.vanish(), "the store is gone");
    let other = Answer::of(cluster.submit(1, "another")).await;
    assert_eq!(other.status, 503, "NV-1: nothing is accepted any more");
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status, 201, "{}", answer.shown());
}

/// An order lives where it was submitted, whatever its key: neither a node that hangs nor one that is lost is in its way. What
/// the lost one had accepted comes again at the others, from the store.
#[tokio::test(flavor = "multi_thread")]
async fn orders_are_accepted_without_the_node_that_has_their_keys() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start(&["cluster.lease_ms=30000"]).await else {
        return;
    };
    cluster.shared_by(&[1, 2, 3]).await;
    let before = key_of_the_second(&cluster, "before").await;
    let accepted = Answer::of(cluster.submit(2, &before)).await;
    for n in [1, 3] {
        let name = cluster.name(n).await;
        let owned = cluster.shards(n, &name).await;
        for i in 0..4 {
            let key = key_of_the_second(&cluster, &format!("lives-{n}-{i}-")).await;
            let id = text(&Answer::of(cluster.submit(n, &key)).await.shown()["id"]);
            assert!(owned.contains(&shard_of(&id)), "{id} was submitted at node {n}");
        }
    }
    let keys = [
        key_of_the_second(&cluster, "paused").await,
        key_of_the_second(&cluster, "both").await,
    ];
    cluster.nodes[1].signal(Signal::Stop).await.expect("it runs");
    let one = Answer::of(cluster.submit(1, &keys[0])).await;
    assert_eq!(
        (one.status, one.header("idempotent-replayed")),
        (201, None),
        "{}",
        one.shown()
    );
    // What does not pass may be on its way to the store at the node that hangs.
    let dear = json!({"customer_id": "c", "restaurant_id": "diner", "currency": "USD", "payment_token": "tok",
        "items": [{"sku": "soup", "name": "Soup", "quantity": 1, "unit_price_minor": 951}],
        "delivery_location": {"lat": 41.886, "lng": -87.63}});
    let refused = cluster
        .at(1, "POST", "/v1/orders")
        .header("idempotency-key", "dear")
        .json(&dear);
    let refused = Answer::of(refused).await;
    assert_eq!(
        (refused.status, &*refused.kind()),
        (503, "unavailable"),
        "{}",
        refused.shown()
    );
    let (first, third) = tokio::join!(
        Answer::of(cluster.submit(1, &keys[1])),
        Answer::of(cluster.submit(3, &keys[1]))
    );
    let replayed = [&first, &third].map(|answer| answer.header("idempotent-replayed").is_some());
    assert_eq!((first.status, third.status), (201, 201));
    assert_ne!(replayed[0], replayed[1], "one of them was the first");
    assert_eq!(first.shown()["id"], third.shown()["id"], "one order for one key (SG-2)");
    let again = Answer::of(cluster.submit(3, &before)).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.shown()["id"], accepted.shown()["id"]);
    cluster.nodes[1].kill().await.expect("it ran until now");
}

/// What no longer passes at one node may be on its way to the store at another, which does not know yet that it would not.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_refuses_what_another_node_is_accepting() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start(&[]).await else {
        return;
    };
    cluster.shared_by(&[1, 2, 3]).await;
    // The price changes at the node that has the kitchen, whose journal must not wait for the slow row.
    let kitchen: ChannelId = "kitchen".parse().expect("a name");
    let map = ShardMap::new(u16::try_from(SHARDS).expect("few")).expect("a power of two");
    let shard = u64::from(map.shard_of(kitchen.stream()).0);
    let first_shards = cluster.shards(1, &cluster.name(1).await).await;
    let (n, other) = if first_shards.contains(&shard) { (2, 3) } else { (1, 3) };
    slow_down(&cluster, 8);
    let first = under_way(&cluster, n, "first").await;
    let dearer = json!({"items": [{"sku": "soup", "name": "Soup", "price_minor": 960}]});
    let put = cluster
        .at(n, "PUT", "/v1/channels/kitchen/menu")
        .json(&dearer)
        .send()
        .await;
    assert!(put.expect("an answer").status().is_success());
    cluster.knows_the_kitchen(other).await;
    let refused = Answer::of(cluster.submit(other, "first")).await;
    let unknown = Answer::of(cluster.submit(other, "another")).await;
    assert!(!first.is_finished(), "NV-1: it is under way");
    assert_eq!(
        (refused.status, &*refused.kind()),
        (409, "in-progress"),
        "{}",
        refused.shown()
    );
    assert_eq!(unknown.status, 422, "NV-1: node {other} knows the price");
    came_through(&cluster, &[1, 2, 3], "first", first).await;
}

/// A node that has as many orders as it takes passes on what comes, to whoever has the key's shard.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_node_has_no_room_for_goes_to_others() {
    let _turn = turn().await;
    let settings = [
        "actors.orders_under_way_max=2",
        "participants.simulated.latency_ms_min=8000",
        "participants.simulated.latency_ms_max=8000",
    ];
    let Some(cluster) = Cluster::start(&settings).await else {
        return;
    };
    cluster.shared_by(&[1, 2, 3]).await;
    let mut owned = Vec::new();
    for n in 1..=NODES {
        owned.push(cluster.shards(n, &cluster.name(n).await).await);
    }
    let mut lives_at = Vec::new();
    let mut statuses = Vec::new();
    for i in 0..5 {
        let key = key_of_the_second(&cluster, &format!("full-{i}-")).await;
        let answer = Answer::of(cluster.submit(1, &key)).await;
        statuses.push(answer.status);
        if answer.status == 201 {
            let shard = shard_of(&text(&answer.shown()["id"]));
            lives_at.extend(owned.iter().position(|shards| shards.contains(&shard)));
        }
    }
    assert_eq!(statuses, [201, 201, 201, 201, 503]);
    assert_eq!(
        lives_at,
        [0, 0, 1, 1],
        "two here, and two at the node that has the keys"
    );
}
