//! The embedded store: one SQLite file in WAL mode, every commit synced to disk.
//!
//! One thread of its own writes, see [`writer`]; reads have a pool of connections beside it, which in WAL mode neither
//! wait for the writer nor make it wait.

mod errors;
mod retention;
mod work;
mod writer;

use crate::record::{self, Piece, SHARDS_SETTING, in_order, migration_error, read_error, shard_code};
use crate::sharding::Sharding;
use async_trait::async_trait;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{Append, ClaimRecord, CommitError, Recorded, Row, RowOutcome, Store, StoreError, StreamKind};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use writer::Writer;

/// The schema's migrations. A database may have seen later ones: while a cluster is upgraded, a node of the version
/// before must still be able to start.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("../migrations/sqlite");
    migrations.set_ignore_missing(true);
    migrations
}

/// How a SQLite file is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Connections for reading; at least 1.
    pub readers: u32,
    /// How long to wait for another process that holds the write lock.
    pub busy_timeout: Duration,
    /// Pages of the write-ahead log (4 KiB each) after which it is copied into the file. A checkpoint is a stall of
    /// 10 to 40 ms.
    pub checkpoint_pages: u32,
    /// The most pages (4 KiB each) that the file may have; a write beyond is refused like one on a full disk.
    /// `None`: as many as the disk holds.
    pub pages_max: Option<u32>,
    /// Pages that the writer keeps in memory, in KiB: the ends of the indexes.
    pub cache_kib: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            checkpoint_pages: 8_000,
            pages_max: None,
            cache_kib: 32 << 10,
        }
    }
}

impl SqliteOptions {
    fn base(&self, path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(self.busy_timeout)
            .foreign_keys(false)
            .disable_statement_logging()
    }

    /// The connection that migrates the schema, before there is a writer.
    fn creating(&self, path: &Path) -> SqliteConnectOptions {
        self.base(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
    }
}

/// The embedded store. One process at a time may write to a file; a second one is fenced, shard by shard.
pub struct SqliteStore {
    shards: ShardMap,
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creating it when it is missing, and migrates its schema.
    ///
    /// # Errors
    /// The file cannot be opened or written, or was created with another number of shards.
    pub async fn open(path: &Path, sharding: impl Into<Sharding>, options: &SqliteOptions) -> Result<Self, StoreError> {
        let sharding = sharding.into();
        migrate(path, options).await?;
        let writer = Writer::start(path.to_owned(), options.clone())?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .test_before_acquire(false)
            .connect_lazy_with(options.base(path).read_only(true));
        let mut store = Self {
            shards: sharding.of_a_new_store(),
            writer,
            readers,
        };
        store.create_shards(sharding).await?;
        Ok(store)
    }

    /// Brings the schema up to date, creating the file when it is missing. Idempotent.
    ///
    /// # Errors
    /// The file cannot be opened or written, or a migration that it has seen was changed since.
    pub async fn migrate(path: &Path) -> Result<(), StoreError> {
        migrate(path, &SqliteOptions::default()).await
    }

    async fn create_shards(&mut self, sharding: Sharding) -> Result<(), StoreError> {
        let kept = self
            .keep_setting(SHARDS_SETTING, &self.shards.len().to_string())
            .await?;
        self.shards = sharding.of(&kept)?;
        self.writer
            .write(work::CreateShards(self.shards.len()))
            .await
            .map_err(away)
    }

    /// Takes shards for a node, whoever has them, or only its own.
    async fn take(
        &self,
        node: &str,
        shards: &[ShardId],
        own: bool,
    ) -> Result<HashMap<ShardId, OwnedShard>, StoreError> {
        let acquire = work::Acquire {
            shards: shards.to_vec(),
            node: node.to_owned(),
            own,
        };
        let acquired = self.writer.write(acquire).await.map_err(away)?;
        let owned = |(shard, epoch, position)| {
            let owned = OwnedShard {
                shard,
                epoch: Epoch(record::unsigned(epoch)?),
                position: Position(record::unsigned(position)?),
            };
            Ok((shard, owned))
        };
        acquired.into_iter().map(owned).collect()
    }

    async fn read(&self, query: ReadQuery<'_>) -> Result<Vec<Piece>, StoreError> {
        query.fetch_all(&self.readers).await.map_err(|error| read_error(&error))
    }
}

type ReadQuery<'q> = sqlx::query::QueryAs<'q, sqlx::Sqlite, Piece, sqlx::sqlite::SqliteArguments>;

async fn migrate(path: &Path, options: &SqliteOptions) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        let problem = |error| StoreError::Unavailable(format!("cannot create {}: {error}", folder.display()));
        tokio::fs::create_dir_all(folder).await.map_err(problem)?;
    }
    let problem = |error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display()));
    let mut connection = options.creating(path).connect().await.map_err(problem)?;
    migrations()
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| migration_error(&error))?;
    connection.close().await.map_err(|error| read_error(&error))
}

/// A write that is not a commit: whatever happened to it, the caller may try again.
fn away(error: CommitError) -> StoreError {
    match error {
        CommitError::Unavailable(problem) | CommitError::Unknown(problem) => StoreError::Unavailable(problem),
        CommitError::Refused(refusal) => StoreError::Unavailable(refusal.to_string()),
    }
}

/// A list of numbers as SQLite takes it: one JSON array, unfolded by `json_each`.
fn number_list(numbers: impl Iterator<Item = i16>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn shard_map(&self) -> ShardMap {
        self.shards
    }

    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        if let Some(unknown) = shards.iter().find(|shard| shard.0 >= self.shards.len()) {
            return Err(record::no_such_shard(*unknown));
        }
        let owned = self.take(node, shards, false).await?;
        in_order(shards, &owned)
    }

    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        let owned = self.take(node, shards, true).await?;
        Ok(record::those_owned(shards.iter().copied(), owned))
    }

    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        self.writer.write(work::Commit(batch.to_vec())).await
    }

    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError> {
        let pieces = self.read(sqlx::query_as(record::LOAD).bind(stream.0)).await?;
        Ok(record::streams(pieces)?.pop())
    }

    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError> {
        let query = sqlx::query_as(record::ROWS).bind(stream.0).bind(record::bound(after.0));
        record::rows(self.read(query.bind(record::limit(limit))).await?)
    }

    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError> {
        let recover = "
            WITH s AS MATERIALIZED (
                SELECT stream, kind, seq, live, state FROM snapshots
                WHERE live = 1 AND shard IN (SELECT value FROM json_each($1))
                    AND kind IN (SELECT value FROM json_each($2))
            )
            SELECT stream, kind, seq, 0 AS position, 0 AS at, live, state AS payload FROM s
            UNION ALL
            SELECT r.stream, r.kind, r.seq, r.position, r.at, NULL, r.events
            FROM s CROSS JOIN event_rows r ON r.stream = s.stream AND r.seq > s.seq
            ORDER BY 1, 3";
        let query = sqlx::query_as(recover)
            .bind(number_list(shards.iter().map(|shard| shard_code(*shard))))
            .bind(number_list(kinds.iter().map(|kind| kind.code())));
        record::streams(self.read(query).await?)
    }

    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError> {
        let claim = "SELECT stream, seq, fingerprint, at FROM idempotency_keys WHERE shard = $1 AND key = $2";
        let mut claims = Vec::with_capacity(keys.len());
        for (shard, key) in keys {
            let query = sqlx::query_as(claim).bind(shard_code(*shard)).bind(*key);
            let found: Option<record::StoredClaim> = query
                .fetch_optional(&self.readers)
                .await
                .map_err(|error| read_error(&error))?;
            claims.push(found.map(record::claim).transpose()?);
        }
        Ok(claims)
    }

    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError> {
        let query = sqlx::query_as(record::POSITIONS)
            .bind(shard_code(shard))
            .bind(record::bound(after.0));
        record::rows(self.read(query.bind(record::limit(limit))).await?)
    }

    async fn cursors(&self, follower: &str) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let query = sqlx::query_as("SELECT shard, position FROM cursors WHERE follower = $1 ORDER BY shard");
        let found: Vec<(u16, i64)> = query
            .bind(follower)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| read_error(&error))?;
        let cursor = |(shard, position)| Ok((ShardId(shard), Position(record::unsigned(position)?)));
        found.into_iter().map(cursor).collect()
    }

    async fn advance(&self, follower: &str, to: &[(ShardId, Position)]) -> Result<(), StoreError> {
        let advance = work::Advance {
            follower: follower.to_owned(),
            to: to.to_vec(),
        };
        self.writer.write(advance).await.map_err(away)
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1").bind(name);
        query
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| read_error(&error))
    }

    async fn keep_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let keep = work::KeepSetting {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        self.writer.write(keep).await.map_err(away)
    }

    async fn clock_ms(&self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}
