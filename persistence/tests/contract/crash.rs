//! Crashes between any two statements: a process of its own dies at every step of a write in turn, and what it leaves
//! is all of the write or nothing.

use crate::fixture::{Fixture, Kind, line, row, run, shard_map, stream_in, with_key, with_snapshot};
use domain::ids::{Position, Seq};
use domain::ports::{Append, CommitError, Store};
use domain::shard::{OwnedShard, ShardId};
use domain::time::Timestamp;
use persistence::{Expiry, RetentionStore, SqliteOptions, SqliteStore};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const LOCATION: &str = "UOOP_CRASH_LOCATION";
const WORK: &str = "UOOP_CRASH_WORK";
const STEP: &str = "UOOP_CRASH_STEP";

const SHARDS: [ShardId; 2] = [ShardId(0), ShardId(1)];

/// The write under test: rows in two shards, keys and snapshots.
fn batch(owned: &mut [OwnedShard], n: u64) -> [Append; 3] {
    [
        with_key(with_snapshot(row(&mut owned[0], n, 1), true), &format!("key {n}")),
        with_key(with_snapshot(row(&mut owned[1], n, 1), true), &format!("key {n}")),
        row(&mut owned[0], n, 2),
    ]
}

/// Not a test of its own: what the other process runs. It dies at the step that it is told.
#[tokio::test]
#[ignore = "run by the other tests of this module"]
async fn dying_child() {
    let Ok(location) = std::env::var(LOCATION) else { return };
    let step: usize = std::env::var(STEP).expect("a step").parse().expect("a number");
    let store = persistence::open(&location, shard_map()).await.expect("the store");
    let mut owned = store.acquire("child", &SHARDS).await.expect("the shards");
    let passed = AtomicUsize::new(0);
    let die = move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == step {
            std::process::abort();
        }
    };
    fail::cfg_callback("store::step", die).expect("the fail points are on");
    let batch = batch(&mut owned, u64::try_from(step).expect("few steps"));
    match std::env::var(WORK).as_deref() {
        Ok("commit") => store.commit(&batch).await.map(|_| ()).expect("committed"),
        Ok("expire") => expire(&location, step).await,
        Ok("acquire") => store.acquire("child", &SHARDS).await.map(|_| ()).expect("acquired"),
        other => panic!("what is {other:?}?"),
    }
}

/// Deletes the orders of the steps before: all that are settled.
async fn expire(location: &str, step: usize) {
    let path = std::path::Path::new(location);
    let kept = SqliteStore::open(path, shard_map(), &SqliteOptions::default())
        .await
        .expect("the store");
    let expiry = Expiry {
        before: Timestamp(5_000),
        lines: SHARDS.iter().map(|shard| (*shard, Position(u64::MAX))).collect(),
    };
    let expired = kept.expire_orders(&expiry, None, 100).await.expect("expired");
    assert_eq!(expired.orders.len(), 2, "step {step}: {expired:?}");
}

/// Not a test of its own either: a write panics at each of its steps in turn, and the store goes on in the same process.
#[tokio::test]
#[ignore = "run by another test of this module"]
async fn panicking_child() {
    let Ok(location) = std::env::var(LOCATION) else { return };
    let store = persistence::open(&location, shard_map()).await.expect("the store");
    let mut there = Vec::new();
    for step in 1..100 {
        let n = u64::try_from(step).expect("few steps");
        let mut owned = store.acquire("child", &SHARDS).await.expect("the shards");
        let passed = AtomicUsize::new(0);
        let panic = move || assert!(passed.fetch_add(1, Ordering::SeqCst) + 1 != step, "as the test demands");
        fail::cfg_callback("store::step", panic).expect("the fail points are on");
        let result = store.commit(&batch(&mut owned, n)).await;
        fail::remove("store::step");
        there.push(is_there(&*store, n).await);
        match result {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, CommitError::Unknown(_)), "{error}"),
        }
        let mut owned = store.acquire("child", &SHARDS).await.expect("the store goes on");
        store
            .commit(&batch(&mut owned, 1_000 + n))
            .await
            .expect("the store goes on");
        assert!(is_there(&*store, 1_000 + n).await);
    }
    let before = there.iter().take_while(|there| !**there).count();
    assert!(before >= 5, "it did not panic before each statement: {there:?}");
    assert_eq!(
        there[before..],
        [true, true],
        "the last panic was after the commit, and then there was none"
    );
}

/// Runs a test of this module in a process of its own.
async fn child(test: &'static str, environment: Vec<(&'static str, String)>) -> Output {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", test, "--ignored", "--nocapture"]);
    child.envs(environment);
    let output = tokio::task::spawn_blocking(move || child.output())
        .await
        .expect("no panic")
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "the child did not run: {said}");
    output
}

/// Runs the work in a process that dies at a step. False when the work has fewer steps, and so was done.
async fn dies(location: String, work: &'static str, step: usize) -> bool {
    let environment = vec![(LOCATION, location), (WORK, work.into()), (STEP, step.to_string())];
    let output = child("crash::dying_child", environment).await;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return false;
    }
    let aborted = std::os::unix::process::ExitStatusExt::signal(&output.status).is_some();
    assert!(
        aborted,
        "the child failed instead of dying: {said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// Whether the write of a step is there, wholly; fails when a part of it is.
async fn is_there(store: &dyn Store, n: u64) -> bool {
    let (first, second) = (stream_in(SHARDS[0], n), stream_in(SHARDS[1], n));
    let mut parts = Vec::new();
    for (stream, rows_after) in [(first, 1), (second, 0)] {
        let loaded = store.load(stream).await.expect("load");
        parts.push(loaded.is_some());
        parts.extend(loaded.map(|recorded| recorded.snapshot.is_some() && recorded.rows.len() == rows_after));
    }
    for shard in SHARDS {
        parts.push(store.claim(shard, &format!("key {n}")).await.expect("claim").is_some());
        parts.push(
            line(store, shard)
                .await
                .iter()
                .any(|row| row.stream == first || row.stream == second),
        );
    }
    assert!(
        parts.iter().all(|part| *part == parts[0]),
        "a part of the write of step {n} is there: {parts:?}"
    );
    parts[0]
}

async fn commit_at_every_step(fixture: Arc<Fixture>, location: String, steps_min: usize) {
    let mut there = Vec::new();
    for step in 1.. {
        let died = dies(location.clone(), "commit", step).await;
        let store = fixture
            .open_again(shard_map())
            .await
            .expect("the store opens after a crash");
        there.push(is_there(&*store, u64::try_from(step).expect("few steps")).await);
        let mut owned = store.acquire("after", &SHARDS).await.expect("the shards");
        let next = 1_000 + u64::try_from(step).expect("few steps");
        store
            .commit(&batch(&mut owned, next))
            .await
            .expect("the store goes on after a crash");
        assert!(is_there(&*store, next).await);
        if !died {
            break;
        }
    }
    let before = there.iter().take_while(|there| !**there).count();
    assert!(before >= steps_min, "it did not die before each statement: {there:?}");
    assert!(there.len() >= before + 2, "it did not die after the commit: {there:?}");
    assert!(
        there[before..].iter().all(|there| *there),
        "what was committed stays: {there:?}"
    );
}

async fn acquire_at_every_step(fixture: Arc<Fixture>, location: String) {
    let mut epoch = 0;
    let mut steps = 0;
    for step in 1.. {
        let died = dies(location.clone(), "acquire", step).await;
        let store = fixture
            .open_again(shard_map())
            .await
            .expect("the store opens after a crash");
        let owned = store.acquire("after", &SHARDS).await.expect("the shards");
        assert_eq!(owned[0].epoch, owned[1].epoch, "one was taken without the other");
        // The child took them once before the step, perhaps once more; and now they were taken again.
        let taken = owned[0].epoch.0 - epoch;
        assert!((2..=3).contains(&taken), "the epoch grew by {taken}");
        epoch = owned[0].epoch.0;
        steps = step;
        if !died {
            assert_eq!(taken, 3);
            break;
        }
    }
    assert!(steps >= 4, "it did not die between the statements");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_survives_a_crash_at_every_step() {
    run(Kind::Sqlite, |fixture| async move {
        let location = fixture.path().display().to_string();
        // Begin, rows, keys, snapshots, commit.
        commit_at_every_step(fixture.clone(), location.clone(), 5).await;
    })
    .await;
    run(Kind::Sqlite, |fixture| async move {
        let location = fixture.path().display().to_string();
        acquire_at_every_step(fixture, location).await;
    })
    .await;
}

/// Two orders are deleted together or not at all, and what is left goes on.
async fn expire_at_every_step(fixture: Arc<Fixture>, location: String) {
    let mut there = Vec::new();
    for step in 1.. {
        let n = u64::try_from(step).expect("few steps");
        let mut owned = fixture.store.acquire("before", &SHARDS).await.expect("the shards");
        let mut rows = Vec::new();
        for line in &mut owned {
            rows.push(with_snapshot(row(line, n, 1), true));
            rows.push(with_snapshot(row(line, n, 2), false));
            rows.push(with_snapshot(row(line, 1_000 + n, 1), true));
        }
        fixture.store.commit(&rows).await.expect("committed");
        let died = dies(location.clone(), "expire", step).await;
        let store = fixture
            .open_again(shard_map())
            .await
            .expect("the store opens after a crash");
        let mut orders = Vec::new();
        for shard in SHARDS {
            let loaded = store.load(stream_in(shard, n)).await.expect("load");
            let rows = store.rows(stream_in(shard, n), Seq(0), 9).await.expect("rows");
            assert_eq!(
                rows.len(),
                if loaded.is_some() { 2 } else { 0 },
                "half of an order is there"
            );
            assert!(
                store.load(stream_in(shard, 1_000 + n)).await.expect("load").is_some(),
                "a live one is gone"
            );
            orders.push(loaded.is_some());
        }
        assert_eq!(orders[0], orders[1], "one went without the other");
        there.push(orders[0]);
        if !died {
            break;
        }
        // What was left is deleted by the next one that comes by.
        let left = usize::from(orders[0]) * 2;
        let kept = fixture.kept().await;
        let expiry = Expiry {
            before: Timestamp(5_000),
            lines: SHARDS.iter().map(|shard| (*shard, Position(u64::MAX))).collect(),
        };
        let expired = kept.expire_orders(&expiry, None, 100).await.expect("expired");
        assert_eq!(expired.orders.len(), left);
    }
    let before = there.iter().take_while(|there| **there).count();
    assert!(before >= 3, "it did not die before each statement: {there:?}");
    assert!(
        there[before..].iter().all(|there| !there) && there.len() > before,
        "{there:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_survives_a_crash_of_retention_at_every_step() {
    run(Kind::Sqlite, |fixture| async move {
        let location = fixture.path().display().to_string();
        expire_at_every_step(fixture, location).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_survives_a_panic_at_every_step() {
    run(Kind::Sqlite, |fixture| async move {
        let location = fixture.path().display().to_string();
        let output = child("crash::panicking_child", vec![(LOCATION, location)]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_survives_a_crash_at_every_step() {
    run(Kind::Postgres, |fixture| async move {
        let location = fixture.url().to_owned();
        commit_at_every_step(fixture, location, 1).await;
    })
    .await;
    run(Kind::Postgres, |fixture| async move {
        let location = fixture.url().to_owned();
        acquire_at_every_step(fixture, location).await;
    })
    .await;
}
