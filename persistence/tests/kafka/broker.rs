//! The relay on a real Kafka, checked by reading the topic (EV-2).

use crate::fixture::{PATIENCE, ROWS_PER_ORDER, Rig, eventually};
use domain::ports::Store;
use domain::shard::ShardMap;
use persistence::{SqliteOptions, SqliteStore};
use std::sync::Arc;

/// The brokers to test with, if there are any.
fn brokers() -> Option<String> {
    let brokers = std::env::var("UOOP_TEST_KAFKA_BROKERS").ok();
    if brokers.is_none() {
        eprintln!("skipped: UOOP_TEST_KAFKA_BROKERS is not set");
    }
    brokers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_holds_every_event_across_crashes_and_restarts() {
    let Some(brokers) = brokers() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let map = ShardMap::new(64).expect("a power of two");
    let path = directory.path().join("uoop.db");
    let store = SqliteStore::open(&path, map, &SqliteOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
    let mut rig = Rig::over(store, &brokers).await;

    // Half is there before the relay, and must be read back from the store or the tail; it crashes mid-way.
    rig.write(2_000).await;
    let relay = rig.relay();
    eventually("something is delivered", async || relay.status().events > 0).await;
    let crashed = relay.status();
    drop(relay);
    assert!(rig.saved().await < rig.rows(), "it was not through: {crashed:?}");

    let relay = rig.relay();
    rig.write(1_000).await;
    // A stop in order, which leaves nothing to repeat.
    assert!(relay.stop(PATIENCE).await, "all delivered");
    assert_eq!(rig.saved().await, 3_000 * ROWS_PER_ORDER);

    let relay = rig.relay();
    rig.write(1_000).await;
    eventually("all delivered", async || rig.saved().await == rig.rows()).await;
    assert_eq!(relay.status().events, 1_000 * 5, "nothing of what was saved came again");
    assert_eq!(relay.status().errors, 0);
    assert!(relay.stop(PATIENCE).await);
    let twice = rig.assert_all_relayed().await;
    assert!(twice <= 2_000 * 5, "only what the crash left open comes again: {twice}");
}
