//! What only a shared server can do to a cluster: fall silent, and let nodes meet in the middle of a statement.

use crate::fixture::{Fixture, Kind, Node, row, row_of, run, shard_map};
use crate::postgres::{blocked, connect, execute, stand_in_the_way};
use domain::ids::Epoch;
use domain::ports::{Membership, RowOutcome, Store, StoreError};
use domain::shard::ShardId;
use persistence::{PostgresOptions, PostgresStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const LONG: u64 = 3_600_000;

async fn join(fixture: &Fixture, name: &str) -> Arc<dyn Node> {
    let node = fixture.node().await;
    node.join(name, "here:4000", LONG).await.expect("joined");
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_waits_for_the_batch_under_way_and_holds_up_no_lease() {
    run(Kind::Postgres, |fixture| async move {
        let (a, b) = (join(&fixture, "a").await, join(&fixture, "b").await);
        let mut owned = a.take("a", &[(ShardId(0), Epoch(0))]).await.expect("taken")[0];
        let batch = [row(&mut owned, 1, 1), row(&mut owned, 2, 1)];
        let mut other = connect(fixture.url()).await;
        stand_in_the_way(&mut other, &batch[1]).await;
        let commit = tokio::spawn({
            let (store, batch) = (a.clone(), batch.clone());
            async move { store.commit(&batch).await }
        });
        blocked(&mut other, "WITH fence").await;
        let take = tokio::spawn({
            let store = b.clone();
            async move { store.take("b", &[(ShardId(0), Epoch(1))]).await }
        });
        blocked(&mut other, "SELECT shard FROM shards").await;
        assert_eq!(a.renew("a", LONG, false).await, Ok(true));
        assert_eq!(b.renew("b", LONG, false).await, Ok(true), "while it takes a shard");
        let remove = tokio::spawn({
            let store = a.clone();
            async move { store.remove("b").await }
        });
        blocked(&mut other, "DELETE FROM nodes").await;
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(commit.await.expect("no panic"), Ok(vec![RowOutcome::Committed; 2]));
        let taken = take.await.expect("no panic").expect("taken");
        assert_eq!(
            (taken[0].epoch.0, taken[0].position.0),
            (2, 2),
            "it sees what was committed"
        );
        remove.await.expect("no panic").expect("removed");
        let seen = a.view().await.expect("a view");
        assert_eq!(seen.shards[0].owner, "", "the removal came after it");
        let found = a.positions(ShardId(0), domain::ids::Position(0), 9).await;
        assert_eq!(found, Ok(batch.iter().map(row_of).collect()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lifeline_is_made_anew_while_the_server_still_keeps_the_old_one() {
    run(Kind::Postgres, |fixture| async move {
        let a = join(&fixture, "a").await;
        let watcher = fixture.node().await;
        // A connection that waits for this is kept by the server when it is dropped.
        let mut other = connect(fixture.url()).await;
        execute(&mut other, "BEGIN").await;
        execute(&mut other, "UPDATE nodes SET draining = true").await;
        let renewal = tokio::spawn({
            let a = a.clone();
            async move { a.renew("a", LONG, false).await }
        });
        blocked(&mut other, "UPDATE nodes").await;
        renewal.abort();
        assert!(renewal.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(watcher.is_alive("a").await, Ok(true), "the server has not noticed");
        let again = tokio::spawn({
            let a = a.clone();
            async move { a.renew("a", LONG, false).await }
        });
        let held = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND datname = current_database()";
        let both = async {
            while sqlx::query_scalar::<_, i64>(held)
                .fetch_one(&mut other)
                .await
                .expect("the locks")
                < 2
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), both)
            .await
            .expect("it is held twice");
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(again.await.expect("no panic"), Ok(true));
        assert_eq!(watcher.is_alive("a").await, Ok(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_unavailable_and_afterwards_all_is_well() {
    run(Kind::Postgres, |fixture| async move {
        let (server, name) = fixture.url().rsplit_once('/').expect("a database");
        let authority = server.rsplit_once('@').map_or(server, |(_, authority)| authority);
        let link = Link::to(authority.trim_start_matches("postgres://")).await;
        let user = server.strip_suffix(authority).unwrap_or("postgres://");
        let options = PostgresOptions {
            acquire_timeout: Duration::from_millis(300),
            write_timeout: Duration::from_millis(300),
            ..PostgresOptions::default()
        };
        let url = format!("{user}{}/{name}", link.address);
        let store = PostgresStore::connect(&url, shard_map(), &options)
            .await
            .expect("the store");
        store.join("a", "a:4000", LONG).await.expect("joined");
        let owned = store.take("a", &[(ShardId(0), Epoch(0))]).await.expect("taken");
        assert_eq!(owned.len(), 1);

        // Once over connections that are open, once over new ones.
        link.silent_tx.send_replace(true);
        for _ in 0..2 {
            let shards = [ShardId(0)];
            let takes = [(ShardId(0), Epoch(1))];
            let (join, renew, view, take, release, alive, remove, reacquire) = tokio::join!(
                store.join("b", "b:4000", LONG),
                store.renew("a", LONG, false),
                store.view(),
                store.take("a", &takes),
                store.release("a", &shards),
                store.is_alive("a"),
                store.remove("b"),
                store.reacquire("a", &shards),
            );
            let answers = [
                join.err(),
                renew.err(),
                view.err(),
                take.err(),
                release.err(),
                alive.err(),
                remove.err(),
                reacquire.err(),
            ];
            for answer in answers {
                assert!(matches!(answer, Some(StoreError::Unavailable(_))), "{answer:?}");
            }
        }
        link.silent_tx.send_replace(false);
        assert_eq!(store.renew("a", LONG, false).await, Ok(true));
        assert_eq!(store.is_alive("a").await, Ok(true));
    })
    .await;
}

/// A way to the server that can fall silent: open, and nothing comes through.
struct Link {
    address: String,
    silent_tx: watch::Sender<bool>,
}

impl Link {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (silent_tx, silent_rx) = watch::channel(false);
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, silent_rx.clone()));
                tokio::spawn(carry(from_server, to_client, silent_rx.clone()));
            }
        });
        Self { address, silent_tx }
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut silent_rx: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if silent_rx.wait_for(|silent| !silent).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
