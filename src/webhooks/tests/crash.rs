//! What a process that dies leaves behind, and what the next one makes of it.

use super::endpoint::{Endpoint, status};
use super::rig::{Rig, Wall, draft, eventually, options, soon};
use crate::webhooks::WebhookOptions;
use domain::ports::Store;
use domain::shard::ShardMap;
use persistence::{MemoryStore, SqliteWebhooks, WebhookStore};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;

/// A process, as far as its tasks go: dropped, all of them end wherever they are.
fn process() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads")
}

fn orders() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(ShardMap::new(2).expect("a power of two")))
}

async fn open(path: &Path) -> Arc<dyn WebhookStore> {
    Arc::new(SqliteWebhooks::open(path).await.expect("a file"))
}

#[test]
fn what_waits_for_an_attempt_is_delivered_by_the_next_process() {
    let world = process();
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let answer = move |_| {
        let mended = mended.load(Ordering::SeqCst);
        async move { status(if mended { 200 } else { 500 }) }
    };
    let endpoint = world.block_on(Endpoint::start(answer));
    let folder = tempfile::tempdir().expect("a folder");
    let (path, orders, wall) = (folder.path().join("webhooks.db"), orders(), Wall::default());
    let hourly = WebhookOptions {
        retry_schedule_ms: vec![3_600_000],
        ..options()
    };

    let first = process();
    first.block_on(async {
        let rig = Rig::over(Arc::clone(&orders), open(&path).await, hourly.clone(), wall.clone()).await;
        rig.subscribe("a", draft(&endpoint.url)).await;
        rig.prepare(1).await;
        eventually("it waits", || async {
            rig.kept("a").await.waiting == 1 && rig.cursor().await == 1
        })
        .await;
    });
    drop(first);
    is_mended.store(true, Ordering::SeqCst);
    let second = process();
    second.block_on(async {
        let rig = Rig::over(Arc::clone(&orders), open(&path).await, hourly.clone(), wall.clone()).await;
        rig.prepare(2).await;
        eventually("what is new is delivered", || async { rig.cursor().await == 2 }).await;
        assert_eq!(
            (endpoint.count(), rig.kept("a").await.waiting),
            (2, 1),
            "what waits is not due"
        );
        rig.stop().await;
    });
    // The schedule counts wall time, also while nobody runs.
    wall.advance_ms(4_000_000);
    let third = process();
    third.block_on(async {
        let rig = Rig::over(orders, open(&path).await, hourly, wall).await;
        eventually("it is delivered", || async { rig.kept("a").await.waiting == 0 }).await;
    });
    world.block_on(async {
        let (first, _, third) = (endpoint.next().await, endpoint.next().await, endpoint.next().await);
        assert_eq!(
            (first.id(), &first.body),
            (third.id(), &third.body),
            "as the same message"
        );
    });
}

#[test]
fn what_was_under_way_is_attempted_again_by_the_next_process() {
    let world = process();
    let answer = |n| async move {
        if n == 0 {
            std::future::pending::<()>().await;
        }
        status(200)
    };
    let endpoint = world.block_on(Endpoint::start(answer));
    let folder = tempfile::tempdir().expect("a folder");
    let (path, orders) = (folder.path().join("webhooks.db"), orders());

    let first = process();
    let (under_way, id) = first.block_on(async {
        let rig = Rig::over(Arc::clone(&orders), open(&path).await, options(), Wall::default()).await;
        rig.subscribe("a", draft(&endpoint.url)).await;
        let order = rig.prepare(1).await;
        let message = endpoint.next().await;
        assert_eq!(rig.kept("a").await.waiting, 0, "it is nowhere but on its way");
        assert_eq!(rig.cursor().await, 0);
        (order, message.id().to_owned())
    });
    drop(first);
    let second = process();
    second.block_on(async {
        let rig = Rig::over(orders, open(&path).await, options(), Wall::default()).await;
        let message = endpoint.next().await;
        assert_eq!((message.order(), message.id()), (under_way, id.as_str()));
        eventually("it is settled", || async { rig.cursor().await == 1 }).await;
    });
}

#[tokio::test]
async fn what_was_under_way_on_a_line_that_was_lost_comes_again_and_nothing_is_passed_over() {
    let rig = Rig::start(options()).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let endpoint = Endpoint::start(move |n| {
        let gate = Arc::clone(&opened);
        async move {
            if n == 0 {
                let _passed = gate.acquire().await;
            }
            status(200)
        }
    })
    .await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    let order = rig.prepare(1).await;
    let first = endpoint.next().await;
    rig.lose_and_regain().await;
    let again = endpoint.next().await;
    assert_eq!((first.order(), first.id()), (order, again.id()), "the same message");
    let later = rig.commit(1, 2, r#"[{"type":"OrderReady"}]"#).await;
    assert_eq!(endpoint.next().await.order(), later);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(
        rig.cursor().await,
        0,
        "the first attempt may still fail, and then it would be lost"
    );
    gate.add_permits(1);
    eventually("all is settled", || async { rig.cursor().await == 2 }).await;
    assert_eq!(endpoint.count(), 3);
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_finish_and_remembers_how_far_it_came() {
    let rig = Rig::start(options()).await;
    let endpoint = Endpoint::answering(200).await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    for n in 0..10 {
        rig.prepare(n).await;
    }
    for _ in 0..10 {
        endpoint.next().await;
    }
    let (orders, kept, wall) = soon(rig.stop()).await;
    let rig = Rig::over(orders, kept, options(), wall).await;
    assert_eq!(rig.cursor().await, 10, "written at the stop");
    let order = rig.prepare(99).await;
    assert_eq!(endpoint.next().await.order(), order, "nothing comes twice");
}
