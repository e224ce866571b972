//! The Postgres store: one fenced statement per batch, committed by itself.
//!
//! Reads go through sqlx's pool. Writes have a few connections of their own ([`connections`]), because what a lost
//! connection means for a write must be known exactly, and because the pool's check of every returned connection would
//! be a second round trip per batch.

mod acquire;
mod commit;
mod connections;
mod errors;
mod lifeline;
mod membership;
mod retention;

use crate::record::{self, Piece, SHARDS_SETTING, in_order, migration_error, read_error, shard_code};
use crate::sharding::Sharding;
use async_trait::async_trait;
use connections::Writers;
use domain::ids::{Position, Seq, StreamId};
use domain::ports::{Append, ClaimRecord, CommitError, Recorded, Row, RowOutcome, Store, StoreError, StreamKind};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use lifeline::Lifeline;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use std::collections::HashMap;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// The schema's migrations. A database may have seen later ones: while a cluster is upgraded, a node of the version
/// before must still be able to start.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("../migrations/postgres");
    migrations.set_ignore_missing(true);
    migrations
}

/// How long after a server-side limit the client gives up on its own.
const GRACE: Duration = Duration::from_secs(2);

/// Connections for what concerns the cluster: two that take shards and wait for batches leave some for the others.
const CONTROL: u32 = 4;

/// How a Postgres database is used.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Connections for writing; the journal needs one per writer, and one more while shards are acquired.
    pub writers: u32,
    /// Connections for reading; at least 1.
    pub readers: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// The longest that a write may take on the server, waits for locks included.
    pub write_timeout: Duration,
    /// The longest that a read may take on the server.
    pub read_timeout: Duration,
    /// How the connections call themselves in `pg_stat_activity`.
    pub application_name: String,
    /// Whether to migrate the schema when connecting; without, it must have been done (`uoop migrate`).
    pub migrate: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            writers: 4,
            readers: 8,
            acquire_timeout: Duration::from_secs(3),
            write_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            application_name: "uoop".into(),
            migrate: true,
        }
    }
}

impl PostgresOptions {
    /// Connections that survive neither a silent peer nor a forgotten transaction, and on which a commit is durable
    /// whatever the server's default.
    fn base(&self, url: &str, statement_timeout: Duration) -> Result<PgConnectOptions, StoreError> {
        let unreadable = |error| StoreError::Mismatch(format!("the database address cannot be read: {error}"));
        let millis = |length: Duration| length.as_millis().to_string();
        Ok(PgConnectOptions::from_str(url)
            .map_err(unreadable)?
            .application_name(&self.application_name)
            .options([
                ("statement_timeout", millis(statement_timeout)),
                ("idle_in_transaction_session_timeout", millis(self.write_timeout)),
                ("synchronous_commit", "on".into()),
                ("tcp_keepalives_idle", "5".into()),
                ("tcp_keepalives_interval", "1".into()),
                ("tcp_keepalives_count", "5".into()),
                ("tcp_user_timeout", "10000".into()),
            ])
            .disable_statement_logging())
    }
}

/// A store that many nodes share: each writes to the shards that it owns, and is fenced from the others. It also keeps
/// who the nodes are ([`Membership`](domain::ports::Membership)); each node has a handle of its own, which holds its lifeline.
pub struct PostgresStore {
    shards: ShardMap,
    writers: Writers,
    readers: PgPool,
    read_limit: Duration,
    /// For what concerns the cluster, so that it neither waits for batches and reads nor makes them wait.
    control: Writers,
    lifeline: Lifeline,
}

impl PostgresStore {
    /// Connects, migrates the schema if the options say so, and creates the shards when there are none yet.
    ///
    /// # Errors
    /// The server is away, the schema is missing, or the store was created with another number of shards.
    pub async fn connect(
        url: &str,
        sharding: impl Into<Sharding>,
        options: &PostgresOptions,
    ) -> Result<Self, StoreError> {
        let sharding = sharding.into();
        if options.migrate {
            Self::migrate(url).await?;
        }
        // The batch statement's plan does not depend on its arguments; planning it again each time would cost more
        // than the fence.
        let for_writes = options
            .base(url, options.write_timeout)?
            .options([("plan_cache_mode", "force_generic_plan")]);
        let readers = PgPoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(options.base(url, options.read_timeout)?);
        let limit = options.write_timeout + GRACE;
        let control = Writers::new(for_writes.clone(), CONTROL, options.acquire_timeout, limit);
        let writers = Writers::new(for_writes, options.writers, options.acquire_timeout, limit);
        let mut store = Self {
            shards: sharding.of_a_new_store(),
            writers,
            readers,
            read_limit: options.read_timeout + GRACE,
            control,
            lifeline: Lifeline::new(
                options.base(url, options.acquire_timeout)?,
                options.acquire_timeout + GRACE,
            ),
        };
        store.create_shards(sharding).await?;
        Ok(store)
    }

    /// Brings the schema up to date. Idempotent; concurrent calls wait for each other.
    ///
    /// # Errors
    /// The server is away, or a migration that it has seen was changed since.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        // No statement timeout: a migration takes what it takes.
        let options = PostgresOptions::default()
            .base(url, Duration::ZERO)?
            .application_name("uoop-migrate");
        let mut connection = options.connect().await.map_err(|error| read_error(&error))?;
        migrations()
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| migration_error(&error))?;
        connection.close().await.map_err(|error| read_error(&error))
    }

    async fn create_shards(&mut self, sharding: Sharding) -> Result<(), StoreError> {
        let kept = self
            .keep_setting(SHARDS_SETTING, &self.shards.len().to_string())
            .await?;
        self.shards = sharding.of(&kept)?;
        let create = "INSERT INTO shards (shard) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING";
        let query = sqlx::query(create).bind(i32::from(self.shards.len()));
        self.read(query.execute(&self.readers)).await.map(|_| ())
    }

    /// A read that a silent peer cannot keep waiting for ever.
    async fn read<T>(&self, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.read_limit, query).await {
            Ok(result) => result.map_err(|error| errors::reading(&error)),
            Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
        }
    }

    async fn pieces(&self, query: ReadQuery<'_>) -> Result<Vec<Piece>, StoreError> {
        self.read(query.fetch_all(&self.readers)).await
    }
}

type ReadQuery<'q> = sqlx::query::QueryAs<'q, sqlx::Postgres, Piece, sqlx::postgres::PgArguments>;

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn shard_map(&self) -> ShardMap {
        self.shards
    }

    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        if let Some(unknown) = shards.iter().find(|shard| shard.0 >= self.shards.len()) {
            return Err(record::no_such_shard(*unknown));
        }
        let acquire = self.writers.run(acquire::Acquire::all(node, shards)).await;
        let owned = acquire::owned(acquire.map_err(errors::Failure::into_store_error)?)?;
        in_order(shards, &owned)
    }

    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        let acquire = self.writers.run(acquire::Acquire::own(node, shards)).await;
        let owned = acquire::owned(acquire.map_err(errors::Failure::into_store_error)?)?;
        Ok(record::those_owned(shards.iter().copied(), owned))
    }

    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        let columns = commit::Columns::of(batch)?;
        let committed = self.writers.run(columns).await;
        let epochs = committed.map_err(errors::Failure::into_commit_error)?;
        Ok(record::outcomes(batch, &epochs))
    }

    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError> {
        let pieces = self.pieces(sqlx::query_as(record::LOAD).bind(stream.0)).await?;
        Ok(record::streams(pieces)?.pop())
    }

    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError> {
        let query = sqlx::query_as(record::ROWS).bind(stream.0).bind(record::bound(after.0));
        record::rows(self.pieces(query.bind(record::limit(limit))).await?)
    }

    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError> {
        // `OFFSET 0` keeps the planner from joining by a scan of the whole table, however many streams it expects.
        let recover = "
            WITH s AS MATERIALIZED (
                SELECT stream, kind, seq, live, state FROM snapshots
                WHERE live AND shard = ANY($1) AND kind = ANY($2)
            )
            SELECT stream, kind, seq, 0 AS position, 0 AS at, live, state AS payload FROM s
            UNION ALL
            SELECT s.stream, r.kind, r.seq, r.position, r.at, NULL, r.events
            FROM s CROSS JOIN LATERAL (
                SELECT kind, seq, position, at, events FROM event_rows e
                WHERE e.stream = s.stream AND e.seq > s.seq OFFSET 0
            ) r
            ORDER BY 1, 3";
        let codes: Vec<i16> = shards.iter().copied().map(shard_code).collect();
        let kinds: Vec<i16> = kinds.iter().map(|kind| kind.code()).collect();
        record::streams(self.pieces(sqlx::query_as(recover).bind(codes).bind(kinds)).await?)
    }

    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError> {
        let claims = "
            SELECT k.shard, k.key, i.stream, i.seq, i.fingerprint, i.at
            FROM UNNEST($1::smallint[], $2::text[]) AS k (shard, key)
            JOIN idempotency_keys i ON i.shard = k.shard AND i.key = k.key";
        // Postgres has no text with a NUL, so nobody used such a key.
        let wanted = keys.iter().filter(|(_, key)| !key.contains('\0'));
        let (shards, names): (Vec<i16>, Vec<&str>) = wanted.map(|(shard, key)| (shard_code(*shard), *key)).unzip();
        let query = sqlx::query_as(claims).bind(shards).bind(names);
        let found: Vec<(i16, String, Uuid, i64, String, i64)> = self.read(query.fetch_all(&self.readers)).await?;
        let mut used = HashMap::with_capacity(found.len());
        for (shard, key, stream, seq, fingerprint, at) in found {
            used.insert((shard, key), record::claim((stream, seq, fingerprint, at))?);
        }
        let claim = |(shard, key): &(ShardId, &str)| used.get(&(shard_code(*shard), (*key).to_owned())).cloned();
        Ok(keys.iter().map(claim).collect())
    }

    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError> {
        let query = sqlx::query_as(record::POSITIONS)
            .bind(shard_code(shard))
            .bind(record::bound(after.0));
        record::rows(self.pieces(query.bind(record::limit(limit))).await?)
    }

    async fn cursors(&self, follower: &str) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let query = sqlx::query_as("SELECT shard, position FROM cursors WHERE follower = $1 ORDER BY shard");
        let found: Vec<(i16, i64)> = self.read(query.bind(follower).fetch_all(&self.readers)).await?;
        let cursor =
            |(shard, position): (i16, i64)| Ok((ShardId(shard.unsigned_abs()), Position(record::unsigned(position)?)));
        found.into_iter().map(cursor).collect()
    }

    async fn advance(&self, follower: &str, to: &[(ShardId, Position)]) -> Result<(), StoreError> {
        let advance = "
            INSERT INTO cursors (follower, shard, position)
            SELECT $1, * FROM UNNEST($2::smallint[], $3::bigint[]) AS t (shard, position) ORDER BY shard
            ON CONFLICT (follower, shard) DO UPDATE SET position = excluded.position
            WHERE cursors.position < excluded.position";
        let shards: Vec<i16> = to.iter().map(|(shard, _)| shard_code(*shard)).collect();
        let positions: Vec<i64> = to.iter().map(|(_, position)| record::bound(position.0)).collect();
        let query = sqlx::query(advance).bind(follower).bind(shards).bind(positions);
        self.read(query.execute(&self.readers)).await.map(|_| ())
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1").bind(name);
        self.read(query.fetch_optional(&self.readers)).await
    }

    async fn keep_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let keep = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.read(sqlx::query(keep).bind(name).bind(value).execute(&self.readers))
            .await?;
        let gone = || StoreError::Corrupt(format!("the setting '{name}' vanished"));
        self.setting(name).await?.ok_or_else(gone)
    }

    async fn clock_ms(&self) -> Result<Option<i64>, StoreError> {
        let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let now: i64 = self.read(sqlx::query_scalar(clock).fetch_one(&self.readers)).await?;
        Ok(Some(now))
    }
}
