//! A store of its own for each test, and rows to put into it.

use domain::ids::{Epoch, HashSlot, OrderId, Position, Seq, StreamId};
use domain::ports::{Append, KeyClaim, Membership, Row, Snapshot, Store, StoreError, StreamKind};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use domain::time::Timestamp;
use persistence::{MemoryStore, PostgresOptions, PostgresStore, RetentionStore, SqliteOptions, SqliteStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that names the Postgres server.
pub(crate) const POSTGRES_URL: &str = "UOOP_TEST_POSTGRES_URL";

/// How many shards the stores under test have.
pub(crate) const SHARDS: u16 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

/// A store that several nodes can share.
pub(crate) trait Node: Store + Membership {}

impl<T: Store + Membership> Node for T {}

/// A store, and where it is.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    place: Place,
}

enum Place {
    Memory(MemoryStore),
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

pub(crate) fn shard_map() -> ShardMap {
    ShardMap::new(SHARDS).expect("a power of two")
}

/// Runs a test over a store of its own, and removes the store whether or not it passes.
pub(crate) async fn run<F>(kind: Kind, test: impl FnOnce(Arc<Fixture>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(fixture) = Fixture::create(kind).await else {
        return;
    };
    let fixture = Arc::new(fixture);
    let result = tokio::spawn(test(fixture.clone())).await;
    fixture.remove().await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic.into_panic());
    }
}

impl Fixture {
    /// An empty store; `None` when there is no server for it.
    pub(crate) async fn create(kind: Kind) -> Option<Self> {
        let place = match kind {
            Kind::Memory => Place::Memory(MemoryStore::new(shard_map())),
            Kind::Sqlite => Place::Sqlite(tempfile::tempdir().expect("a folder")),
            Kind::Postgres => Place::Postgres(create_database().await?),
        };
        let store = open(&place, shard_map()).await.expect("a new store");
        Some(Self { store, place })
    }

    /// Another handle on the same database, as another node or a restarted one has it.
    pub(crate) async fn open_again(&self, shards: ShardMap) -> Result<Arc<dyn Store>, StoreError> {
        open(&self.place, shards).await
    }

    /// Another handle on the same store, as another node of a cluster has it.
    pub(crate) async fn node(&self) -> Arc<dyn Node> {
        match &self.place {
            Place::Memory(store) => Arc::new(store.another()),
            Place::Postgres(url) => {
                let options = PostgresOptions::default();
                let store = PostgresStore::connect(url, shard_map(), &options).await;
                Arc::new(store.expect("the store"))
            }
            Place::Sqlite(_) => panic!("nodes cannot share a SQLite store"),
        }
    }

    /// Another handle on the same store, to delete what is old from it.
    pub(crate) async fn kept(&self) -> Arc<dyn RetentionStore> {
        match &self.place {
            Place::Memory(store) => Arc::new(store.another()),
            Place::Sqlite(_) => {
                let store = SqliteStore::open(&self.path(), shard_map(), &SqliteOptions::default()).await;
                Arc::new(store.expect("the store"))
            }
            Place::Postgres(url) => {
                let store = PostgresStore::connect(url, shard_map(), &PostgresOptions::default()).await;
                Arc::new(store.expect("the store"))
            }
        }
    }

    /// Ends the connection that holds a node's lifeline; of the only node that has one.
    pub(crate) async fn cut_lifeline(&self, name: &str) {
        match &self.place {
            Place::Memory(store) => store.cut_lifeline(name),
            Place::Postgres(url) => {
                let mut other = PgConnection::connect(url).await.expect("a connection");
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks
                    WHERE locktype = 'advisory' AND mode = 'ShareLock'
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
                let found = sqlx::query(cut).execute(&mut other).await.expect("it is cut");
                assert_eq!(found.rows_affected(), 1, "one lifeline");
            }
            Place::Sqlite(_) => panic!("nodes cannot share a SQLite store"),
        }
    }

    /// The address of the Postgres database.
    pub(crate) fn url(&self) -> &str {
        match &self.place {
            Place::Postgres(url) => url,
            Place::Memory(_) | Place::Sqlite(_) => panic!("not a Postgres store"),
        }
    }

    /// The SQLite file.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.place {
            Place::Sqlite(folder) => folder.path().join("store.sqlite"),
            Place::Memory(_) | Place::Postgres(_) => panic!("not a SQLite store"),
        }
    }

    pub(crate) async fn remove(&self) {
        if let Place::Postgres(url) = &self.place {
            let (server, name) = url.rsplit_once('/').expect("an address with a database");
            let mut admin = PgConnection::connect(&format!("{server}/postgres"))
                .await
                .expect("the server");
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            sqlx::query(AssertSqlSafe(drop))
                .execute(&mut admin)
                .await
                .expect("the database is dropped");
        }
    }

    /// Takes all shards for a node.
    pub(crate) async fn acquire_all(&self, node: &str) -> Vec<OwnedShard> {
        let shards: Vec<ShardId> = shard_map().all().collect();
        self.store.acquire(node, &shards).await.expect("the shards")
    }
}

async fn open(place: &Place, shards: ShardMap) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match place {
        Place::Memory(store) => Arc::new(store.another()),
        Place::Sqlite(folder) => {
            let options = SqliteOptions::default();
            Arc::new(SqliteStore::open(&folder.path().join("store.sqlite"), shards, &options).await?)
        }
        Place::Postgres(url) => Arc::new(PostgresStore::connect(url, shards, &PostgresOptions::default()).await?),
    })
}

/// The server's address without a database; `None`, and a word about it, when it is not given.
pub(crate) fn postgres_server() -> Option<String> {
    let Ok(url) = std::env::var(POSTGRES_URL) else {
        println!("skipped: {POSTGRES_URL} is not set");
        return None;
    };
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?']).map_or(url.len(), |at| authority + at);
    Some(url[..end].to_owned())
}

async fn create_database() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = postgres_server()?;
    let name = format!(
        "contract_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let mut admin = PgConnection::connect(&format!("{server}/postgres"))
        .await
        .expect("the Postgres server");
    // One that an earlier process with the same number left behind.
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    sqlx::query(AssertSqlSafe(drop))
        .execute(&mut admin)
        .await
        .expect("no such database");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .expect("a database");
    Some(format!("{server}/{name}"))
}

/// The `n`th stream that lives in a shard.
pub(crate) fn stream_in(shard: ShardId, n: u64) -> StreamId {
    let mut slots = (0..100_000_u64).map(|k| HashSlot::of(&[&k.to_be_bytes()]));
    let slot = slots
        .find(|slot| shard_map().shard_of_slot(*slot) == shard)
        .expect("some slot");
    OrderId::mint(Timestamp(1_000), slot, n).stream()
}

/// A row at the next place of an owned shard's line.
pub(crate) fn row(owned: &mut OwnedShard, n: u64, seq: u64) -> Append {
    owned.position.0 += 1;
    Append {
        epoch: owned.epoch,
        position: owned.position,
        ..append(owned.shard, n, seq)
    }
}

/// A row as an actor hands it to the journal, which numbers it.
pub(crate) fn append(shard: ShardId, n: u64, seq: u64) -> Append {
    Append {
        shard,
        epoch: Epoch(0),
        position: Position(0),
        stream: stream_in(shard, n),
        kind: StreamKind::Order,
        seq: Seq(seq),
        at: Timestamp(1_000 + i64::try_from(seq).unwrap_or(0)),
        events: format!(r#"[{{"stream":{n},"seq":{seq}}}]"#),
        snapshot: None,
        claim: None,
    }
}

pub(crate) fn with_snapshot(append: Append, live: bool) -> Append {
    let state = format!(r#"{{"folded":{}}}"#, append.seq);
    Append {
        snapshot: Some(Snapshot {
            seq: append.seq,
            state,
            live,
        }),
        ..append
    }
}

pub(crate) fn with_key(append: Append, key: &str) -> Append {
    Append {
        claim: Some(KeyClaim {
            home: None,
            key: key.into(),
            fingerprint: format!("print of {key}"),
        }),
        ..append
    }
}

/// With a key that belongs to another shard than the row.
pub(crate) fn with_key_of(append: Append, home: ShardId, key: &str) -> Append {
    let mut append = with_key(append, key);
    append.claim.iter_mut().for_each(|claim| claim.home = Some(home));
    append
}

/// The row that an append becomes.
pub(crate) fn row_of(append: &Append) -> Row {
    Row {
        stream: append.stream,
        kind: append.kind,
        seq: append.seq,
        position: append.position,
        at: append.at,
        events: append.events.clone(),
    }
}

/// A shard's whole line. Fails unless it has no gap.
pub(crate) async fn line(store: &dyn Store, shard: ShardId) -> Vec<Row> {
    let rows = store.positions(shard, Position(0), usize::MAX).await.expect("the line");
    let expected: Vec<u64> = (1..).take(rows.len()).collect();
    assert_eq!(
        rows.iter().map(|row| row.position.0).collect::<Vec<_>>(),
        expected,
        "shard {shard} has a gap"
    );
    rows
}

/// All lines of a store.
pub(crate) async fn lines(store: &dyn Store) -> Vec<Row> {
    let mut rows = Vec::new();
    for shard in store.shard_map().all() {
        rows.extend(line(store, shard).await);
    }
    rows
}
