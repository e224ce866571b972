//! Random batches: whatever is thrown at a store, it must do the same as the memory store.

use crate::fixture::{Fixture, row, shard_map, stream_in, with_key};
use domain::ids::{Position, Seq};
use domain::ports::{Append, Snapshot, Store, StreamKind};
use domain::shard::{OwnedShard, ShardId};
use persistence::MemoryStore;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

const SHARDS: u16 = 3;
const STREAMS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Draft>),
    Acquire(u16),
    Reacquire(u16, bool),
}

#[derive(Clone, Debug)]
struct Draft {
    shard: u16,
    stream: u64,
    seq: u64,
    stale_epoch: bool,
    reuse_position: bool,
    snapshot: Option<(u64, bool)>,
    key: Option<String>,
}

fn draft() -> impl Strategy<Value = Draft> {
    let key = prop_oneof![6 => Just(None), 3 => (0..12_u8).prop_map(|n| Some(format!("key {n}"))),
        1 => Just(Some("k".repeat(301)))];
    let snapshot = proptest::option::of((1..6_u64, any::<bool>()));
    (
        0..SHARDS,
        0..STREAMS,
        1..12_u64,
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.05),
        snapshot,
        key,
    )
        .prop_map(
            |(shard, stream, seq, stale_epoch, reuse_position, snapshot, key)| Draft {
                shard,
                stream,
                seq,
                stale_epoch,
                reuse_position,
                snapshot,
                key,
            },
        )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = vec(draft(), 1..4).prop_map(Step::Commit);
    vec(
        prop_oneof![
            8 => commit,
            1 => (0..SHARDS).prop_map(Step::Acquire),
            1 => (0..SHARDS, any::<bool>()).prop_map(|(shard, first)| Step::Reacquire(shard, first)),
        ],
        1..60,
    )
}

pub(crate) async fn random_batches_do_the_same_as_in_memory(fixture: Arc<Fixture>) {
    // Each case needs an empty store: a new one for SQLite and Postgres, where creating it dominates.
    let (kind, cases) = match fixture.store.name() {
        "postgres" => (crate::fixture::Kind::Postgres, 6),
        "sqlite" => (crate::fixture::Kind::Sqlite, 24),
        _ => (crate::fixture::Kind::Memory, 64),
    };
    let runtime = tokio::runtime::Handle::current();
    let cases = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 64,
            ..Config::default()
        };
        TestRunner::new(config).run(&steps(), |steps| {
            runtime.block_on(async {
                let fixture = Fixture::create(kind).await.expect("a store");
                let same = tokio::spawn({
                    let store = fixture.store.clone();
                    async move { compare(&*store, steps).await }
                });
                let same = same.await;
                fixture.remove().await;
                same.map_err(|panic| proptest::test_runner::TestCaseError::fail(panic.to_string()))
            })
        })
    });
    cases
        .await
        .expect("the cases")
        .expect("the store does as the memory store");
}

async fn compare(store: &dyn Store, steps: Vec<Step>) {
    let model = MemoryStore::new(shard_map());
    let shards: Vec<ShardId> = (0..SHARDS).map(ShardId).collect();
    let mut owned = store.acquire("a", &shards).await.expect("acquire");
    assert_eq!(model.acquire("a", &shards).await.as_ref(), Ok(&owned));
    for step in steps {
        match step {
            Step::Acquire(shard) => {
                let again = store.acquire("b", &[ShardId(shard)]).await.expect("acquire");
                assert_eq!(model.acquire("b", &[ShardId(shard)]).await.as_ref(), Ok(&again));
                owned[usize::from(shard)] = again[0];
            }
            Step::Reacquire(shard, first) => {
                let (node, shards) = (if first { "a" } else { "b" }, [ShardId(shard)]);
                let again = store.reacquire(node, &shards).await.expect("reacquire");
                assert_eq!(model.reacquire(node, &shards).await.as_ref(), Ok(&again));
                if let [again] = again[..] {
                    owned[usize::from(shard)] = again;
                }
            }
            Step::Commit(drafts) => commit(store, &model, &mut owned, &drafts).await,
        }
    }
    assert_same(store, &model).await;
}

async fn commit(store: &dyn Store, model: &MemoryStore, owned: &mut [OwnedShard], drafts: &[Draft]) {
    let mut after = owned.to_vec();
    let batch: Vec<Append> = drafts.iter().map(|draft| place(&mut after, draft)).collect();
    let (real, expected) = (store.commit(&batch).await, model.commit(&batch).await);
    match (&real, &expected) {
        (Ok(real), Ok(expected)) => assert_eq!(real, expected, "{batch:?}"),
        // A batch may be wrong in several ways, and each store names the one that it meets first.
        (Err(_), Err(_)) => {}
        _ => panic!("the store said {real:?}, the model {expected:?} to {batch:?}"),
    }
    for owned in owned {
        let line = model
            .positions(owned.shard, Position(0), usize::MAX)
            .await
            .expect("the line");
        owned.position = line.last().map_or(Position(0), |last| last.position);
    }
}

fn place(owned: &mut [OwnedShard], draft: &Draft) -> Append {
    let owned = &mut owned[usize::from(draft.shard)];
    if draft.reuse_position {
        owned.position.0 = owned.position.0.saturating_sub(1);
    }
    let mut append = row(owned, draft.stream, draft.seq);
    append.epoch.0 -= u64::from(draft.stale_epoch);
    append.snapshot = draft.snapshot.map(|(seq, live)| Snapshot {
        seq: Seq(seq),
        state: format!("{{{seq}}}"),
        live,
    });
    match &draft.key {
        Some(key) => with_key(append, key),
        None => append,
    }
}

async fn assert_same(store: &dyn Store, model: &MemoryStore) {
    let all: Vec<ShardId> = shard_map().all().collect();
    let kinds = [StreamKind::Order, StreamKind::Channel, StreamKind::Zone];
    assert_eq!(store.recover(&all, &kinds).await, model.recover(&all, &kinds).await);
    for shard in (0..SHARDS).map(ShardId) {
        let everything = (Position(0), usize::MAX);
        let (real, expected) = (
            store.positions(shard, everything.0, everything.1).await,
            model.positions(shard, everything.0, everything.1).await,
        );
        assert_eq!(real, expected);
        for stream in (0..STREAMS).map(|n| stream_in(shard, n)) {
            assert_eq!(store.load(stream).await, model.load(stream).await);
        }
        for key in (0..12).map(|n| format!("key {n}")) {
            assert_eq!(store.claim(shard, &key).await, model.claim(shard, &key).await);
        }
    }
}
