//! Two nodes over one Postgres: each owns half of the shards, and both have the same subscriptions.

use super::endpoint::{Endpoint, status};
use super::rig::{Rig, Wall, draft, eventually, id, options, soon};
use crate::database::Database;
use crate::webhooks::WebhookOptions;
use domain::ports::Store;
use domain::shard::{ShardId, ShardMap};
use persistence::{PostgresOptions, PostgresStore, PostgresWebhooks, WebhookStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a kept delivery waits for.
const HOUR_MS: u64 = 3_600_000;

fn hourly() -> WebhookOptions {
    WebhookOptions {
        retry_schedule_ms: vec![HOUR_MS, HOUR_MS],
        ..options()
    }
}

fn halves() -> [Vec<ShardId>; 2] {
    let map = ShardMap::new(4).expect("a power of two");
    let (even, odd) = map.all().partition(|shard| shard.0 % 2 == 0);
    [even, odd]
}

/// A node over the database.
async fn node(database: &Database, wall: &Wall, shards: &[ShardId]) -> Rig {
    let map = ShardMap::new(4).expect("a power of two");
    let store = PostgresStore::connect(database.url(), map, &PostgresOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(store.expect("a database"));
    let kept: Arc<dyn WebhookStore> = Arc::new(PostgresWebhooks::connect(database.url()).expect("an address"));
    Rig::node(store, kept, hourly(), wall.clone(), shards).await
}

/// Where the endpoints of a node lead.
fn urls(node: &Rig) -> Vec<String> {
    let endpoints = node.webhooks.0.endpoints();
    let url = |target: &crate::webhooks::subscription::Target| target.subscription.settings.url.clone();
    endpoints.iter().map(|endpoint| url(&endpoint.target())).collect()
}

async fn leads(node: &Rig, expected: &[&Endpoint]) {
    let expected: Vec<String> = expected.iter().map(|endpoint| endpoint.url.clone()).collect();
    eventually("the other node's change is in force", || async {
        urls(node) == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_changes_is_in_force_at_the_other() {
    let Some(database) = Database::create() else { return };
    let (wall, [ours, theirs]) = (Wall::default(), halves());
    let one = node(&database, &wall, &ours).await;
    let two = node(&database, &wall, &theirs).await;
    let (first, second) = (Endpoint::answering(200).await, Endpoint::answering(200).await);
    let numbers = two.numbers(&theirs, 4);
    two.prepare(numbers[0]).await;

    one.subscribe("a", draft(&first.url)).await;
    leads(&two, &[&first]).await;
    let order = two.prepare(numbers[1]).await;
    assert_eq!(first.next().await.order(), order, "and not what was before");

    // Made anew, it is at the same version as before.
    one.webhooks.remove(&id("a"), None).await.expect("removed");
    one.subscribe("a", draft(&second.url)).await;
    leads(&two, &[&second]).await;
    let order = two.prepare(numbers[2]).await;
    assert_eq!(second.next().await.order(), order);

    one.webhooks.remove(&id("a"), None).await.expect("removed");
    leads(&two, &[]).await;
    two.prepare(numbers[3]).await;
    eventually("the line moves on", || async { two.cursor().await == 4 }).await;
    assert_eq!((first.count(), second.count()), (1, 1));
    soon(one.stop()).await;
    soon(two.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_attempted_once_by_whichever_node() {
    const EACH: usize = 20;
    let Some(database) = Database::create() else { return };
    let (wall, [ours, theirs]) = (Wall::default(), halves());
    let one = node(&database, &wall, &ours).await;
    let two = node(&database, &wall, &theirs).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let endpoint = Endpoint::start(move |_| {
        let code = if mended.load(Ordering::SeqCst) { 200 } else { 500 };
        async move { status(code) }
    })
    .await;
    one.subscribe("a", draft(&endpoint.url)).await;
    leads(&two, &[&endpoint]).await;
    for (node, shards) in [(&one, &ours), (&two, &theirs)] {
        for n in node.numbers(shards, EACH) {
            node.prepare(n).await;
        }
    }
    eventually("all of them wait", || async {
        let kept = one.kept("a").await;
        kept.waiting == u64::try_from(2 * EACH).expect("few") && endpoint.is_calm().await
    })
    .await;
    let before = endpoint.count();
    is_mended.store(true, Ordering::SeqCst);
    // Past the delay and its jitter: all are due at both nodes, which both look.
    wall.advance_ms(2 * i64::try_from(HOUR_MS).expect("it fits"));
    eventually("all are delivered", || async { one.kept("a").await.waiting == 0 }).await;
    assert_eq!(endpoint.count() - before, 2 * EACH, "each once");
    let mut ids = BTreeMap::new();
    for _ in 0..endpoint.count() {
        *ids.entry(endpoint.next().await.id().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(ids.len(), 2 * EACH);
    soon(one.stop()).await;
    soon(two.stop()).await;
}

#[test]
fn a_node_that_dies_leaves_its_claims_and_its_lines_to_the_other() {
    let process = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads")
    };
    let Some(database) = Database::create() else { return };
    let (world, wall, [ours, theirs]) = (process(), Wall::default(), halves());
    // The first answer is no, the next ones never come while the first node lives, and then everything is fine.
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let endpoint = world.block_on(Endpoint::start(move |n| {
        let hangs = n > 0 && !dead.load(Ordering::SeqCst);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            status(if n == 0 { 500 } else { 200 })
        }
    }));
    let first = process();
    let orders = first.block_on(async {
        let one = node(&database, &wall, &ours).await;
        one.subscribe("a", draft(&endpoint.url)).await;
        let numbers = one.numbers(&ours, 2);
        let claimed = one.prepare(numbers[0]).await;
        eventually("it waits", || async { one.kept("a").await.waiting == 1 }).await;
        wall.advance_ms(2 * i64::try_from(HOUR_MS).expect("it fits"));
        // The next row wakes the endpoint, which then sees the time.
        let under_way = one.prepare(numbers[1]).await;
        eventually("both hang", || async { endpoint.count() == 3 }).await;
        for _ in 0..3 {
            endpoint.next().await;
        }
        BTreeSet::from([claimed, under_way])
    });
    drop(first);
    is_dead.store(true, Ordering::SeqCst);
    let second = process();
    second.block_on(async {
        let all: Vec<ShardId> = ours.iter().chain(&theirs).copied().collect();
        let two = node(&database, &wall, &all).await;
        let is_settled = || async { two.cursor().await == 2 };
        eventually("what was under way is told by the next owner", is_settled).await;
        assert_eq!(two.kept("a").await.waiting, 1, "what is claimed is left alone");
        wall.advance_ms(60_000);
        eventually("and taken when the claim has passed", || async {
            two.kept("a").await.waiting == 0
        })
        .await;
        let mut told = BTreeSet::new();
        while told != orders {
            told.insert(endpoint.next().await.order());
        }
        soon(two.stop()).await;
    });
}
