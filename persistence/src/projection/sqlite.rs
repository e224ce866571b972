//! The projection of an embedded store: a file of its own beside the store's, which has one writer and no time to spare.
//!
//! It may lag behind the store's file, or be missing, but must not be ahead of it, nor belong to another: that is looked
//! at when it is opened, and such a file is emptied. So a store that is restored from a backup needs no care.

use super::query::{self, Line, STUCK, Statement, Value, channel_of, is_live, status_change_code, stuck_of};
use super::{Applied, Batch, LineMove, OrderChange, OrderSummary, Projection, Search, StuckOrders};
use crate::record::{poison, read_error, shard_code, signed, unsigned};
use async_trait::async_trait;
use domain::ids::{OrderId, Position, Seq, StreamId};
use domain::ports::{CommitError, Store, StoreError};
use domain::shard::ShardId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, SqlitePool};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The number of the schema. There are no migrations: a file with another is thrown away and filled again.
const SCHEMA: i32 = 2;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a search may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of the write-ahead log (4 KiB each) after which it is copied into the file.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The file `search.db`, or whatever it is called.
pub struct SqliteProjection {
    writer: Arc<Mutex<Desk>>,
    readers: SqlitePool,
}

/// The connection that writes, opened anew after an error.
struct Desk {
    path: PathBuf,
    connection: Option<Connection>,
}

/// How far a line is applied, and which row is the last one.
type Cursor = (ShardId, Position, StreamId, Seq);

impl SqliteProjection {
    /// Opens the file, creates it when it is missing, and empties it when it is not a projection of this store as the
    /// store is now.
    ///
    /// # Errors
    /// The file cannot be opened or written, or the store cannot be read.
    pub async fn open(path: &Path, store: &dyn Store) -> Result<Self, StoreError> {
        let for_reads = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .read_only(true)
            .disable_statement_logging();
        let projection = Self {
            writer: Arc::new(Mutex::new(Desk {
                path: path.to_owned(),
                connection: None,
            })),
            readers: SqlitePoolOptions::new()
                .max_connections(2)
                .test_before_acquire(false)
                .connect_lazy_with(for_reads),
        };
        projection
            .write(|connection| Ok(prepare(connection)?))
            .await
            .map_err(away)?;
        if let Some(shard) = projection.strays_from(store).await? {
            tracing::warn!(
                %shard,
                path = %path.display(),
                "the projection is not of the store as it is now, and is built again"
            );
            projection.reset().await?;
        }
        Ok(projection)
    }

    /// The first line whose last applied row is not the one that the store has there.
    async fn strays_from(&self, store: &dyn Store) -> Result<Option<ShardId>, StoreError> {
        for (shard, position, stream, seq) in self.read_cursors().await? {
            let before = Position(position.0.saturating_sub(1));
            let found = store.positions(shard, before, 1).await?;
            let is_same = |row: &domain::ports::Row| (row.position, row.stream, row.seq) == (position, stream, seq);
            if !found.first().is_some_and(is_same) {
                return Ok(Some(shard));
            }
        }
        Ok(None)
    }

    async fn read_cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        let read = |connection: &mut Connection| {
            let mut statement =
                connection.prepare("SELECT shard, position, stream, seq FROM cursors ORDER BY shard")?;
            let cursor = |row: &rusqlite::Row<'_>| {
                let stream: [u8; 16] = row.get(2)?;
                Ok((
                    row.get::<_, u16>(0)?,
                    row.get::<_, i64>(1)?,
                    stream,
                    row.get::<_, i64>(3)?,
                ))
            };
            Ok(statement.query_map([], cursor)?.collect::<rusqlite::Result<Vec<_>>>()?)
        };
        let found = self.write(read).await.map_err(away)?;
        let cursor = |(shard, position, stream, seq)| {
            let stream = StreamId(Uuid::from_bytes(stream));
            Ok((
                ShardId(shard),
                Position(unsigned(position)?),
                stream,
                Seq(unsigned(seq)?),
            ))
        };
        found.into_iter().map(cursor).collect()
    }

    /// Does some work on the connection that writes, on a thread where it may wait for the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, CommitError> {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || {
            // A panic leaves no connection behind, and so no half of a transaction.
            let mut desk = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut connection = match desk.connection.take() {
                Some(connection) => connection,
                None => open(&desk.path)?,
            };
            let done = work(&mut connection)?;
            desk.connection = Some(connection);
            Ok(done)
        });
        match done.await {
            Ok(done) => done.map_err(Failure::into_commit_error),
            Err(panic) => Err(CommitError::Unknown(panic.to_string())),
        }
    }
}

/// Why something was not written.
enum Failure {
    Database(rusqlite::Error),
    Refused(CommitError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    fn into_commit_error(self) -> CommitError {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                    poison(error.to_string())
                }
                // Also after a failed commit: if it counts after all, the cursors say so to the next try.
                _ => CommitError::Unavailable(error.to_string()),
            },
        }
    }
}

fn away(error: CommitError) -> StoreError {
    match error {
        CommitError::Unavailable(problem) | CommitError::Unknown(problem) => StoreError::Unavailable(problem),
        CommitError::Refused(refusal) => StoreError::Unavailable(refusal.to_string()),
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // What the last moments wrote may be lost with the machine: the cursors are lost with it, and it is fed again.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        PRAGMA temp_store = MEMORY;
        PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    Ok(connection)
}

/// Makes the tables, unless they are there as this program knows them.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let schema: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if schema != SCHEMA {
        create(&transaction)?;
    }
    transaction.commit()
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS order_search; DROP TABLE IF EXISTS cursors;")?;
    connection.execute_batch(include_str!("sqlite/schema.sql"))?;
    connection.pragma_update(None, "user_version", SCHEMA)
}

/// Writes a batch in a transaction of its own.
fn apply(connection: &mut Connection, batch: &Batch) -> Result<Applied, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for line in &batch.lines {
        if !advance(&transaction, line)? {
            // Dropped, and with it what was moved.
            return Ok(Applied::Stale);
        }
    }
    for change in &batch.orders {
        write(&transaction, change)?;
    }
    transaction.commit()?;
    Ok(Applied::Done)
}

/// Moves a cursor, if it is where the line's part of the batch begins.
fn advance(connection: &Connection, line: &LineMove) -> Result<bool, Failure> {
    let shard = shard_code(line.shard);
    let (from, to) = (signed("position", line.from.0)?, signed("position", line.to.0)?);
    let mut read = connection.prepare_cached("SELECT position FROM cursors WHERE shard = ?1")?;
    let at: Option<i64> = read.query_row([shard], |row| row.get(0)).optional()?;
    if at.unwrap_or(0) != from {
        return Ok(false);
    }
    if from == to {
        return Ok(true); // only to be where it is
    }
    let mut set = connection.prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3, ?4)")?;
    set.execute(params![
        shard,
        to,
        line.stream.0.as_bytes().as_slice(),
        signed("version", line.seq.0)?
    ])?;
    Ok(true)
}

/// -1 and -2 stand for a status that is kept and for one that a re-routing may set back.
fn write(connection: &Connection, change: &OrderChange) -> Result<(), Failure> {
    let place = "
        INSERT INTO order_search AS o (stream, placed_at, updated_at, total_minor, seq, status, live, currency,
            customer_id, restaurant_id, channel_id, stuck)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
        ON CONFLICT (stream) DO UPDATE SET updated_at = excluded.updated_at, seq = excluded.seq,
            status = excluded.status, live = excluded.live, channel_id = excluded.channel_id,
            stuck = excluded.stuck
        WHERE o.seq < excluded.seq";
    let update = "
        UPDATE order_search SET updated_at = ?2, seq = ?3,
            status = CASE WHEN ?4 >= 0 THEN ?4 WHEN ?4 = -2 AND status IN (2, 3) THEN 1 ELSE status END,
            live = CASE WHEN ?4 >= 0 THEN ?5 ELSE live END,
            channel_id = CASE WHEN ?6 THEN ?7 ELSE channel_id END,
            stuck = CASE WHEN ?8 THEN ?9 ELSE stuck END
        WHERE stream = ?1 AND seq < ?3";
    let (stream, seq) = (change.order.0.0, signed("version", change.seq.0)?);
    let stream = stream.as_bytes().as_slice();
    let (status, live, channel) = (
        status_change_code(change.status),
        is_live(change.status),
        channel_of(change),
    );
    let stuck = stuck_of(change);
    if let Some(placed) = &change.placed {
        connection.prepare_cached(place)?.execute(params![
            stream,
            placed.at.0,
            change.at.0,
            placed.total.minor,
            seq,
            status,
            live,
            placed.total.currency.as_str(),
            placed.customer.as_str(),
            placed.restaurant.as_str(),
            channel,
            stuck,
        ])?;
    } else {
        let (rechannelled, restuck) = (change.channel.is_some(), change.stuck.is_some());
        let values = params![
            stream,
            change.at.0,
            seq,
            status,
            live,
            rechannelled,
            channel,
            restuck,
            stuck
        ];
        connection.prepare_cached(update)?.execute(values)?;
    }
    Ok(())
}

#[async_trait]
impl Projection for SqliteProjection {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn cursors(&self) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let cursors = self.read_cursors().await?;
        Ok(cursors.into_iter().map(|(shard, at, _, _)| (shard, at)).collect())
    }

    async fn stuck(&self) -> Result<StuckOrders, StoreError> {
        let found = sqlx::query_as(STUCK).fetch_all(&self.readers).await;
        query::stuck_orders(found.map_err(|error| read_error(&error))?)
    }

    async fn apply(&self, batch: &Arc<Batch>) -> Result<Applied, CommitError> {
        let batch = Arc::clone(batch);
        self.write(move |connection| apply(connection, &batch)).await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let forget = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            create(&transaction)?;
            Ok(transaction.commit()?)
        };
        self.write(forget).await.map_err(away)
    }

    async fn forget(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        let orders = orders.to_vec();
        let forget = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for order in &orders {
                let mut forget = transaction.prepare_cached("DELETE FROM order_search WHERE stream = ?1")?;
                forget.execute([order.0.0.as_bytes().as_slice()])?;
            }
            Ok(transaction.commit()?)
        };
        self.write(forget).await.map_err(away)
    }

    async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError> {
        let Statement { text, values } = Statement::of(search);
        // The text holds names and numbers of our own; what somebody asked for is in the values.
        let mut query = sqlx::query_as(AssertSqlSafe(text));
        for value in values {
            query = match value {
                Value::Id(id) => query.bind(id),
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        let late = |_| StoreError::Unavailable("it took too long: bound it further, by time for instance".into());
        let found = tokio::time::timeout(READ_TIMEOUT, query.fetch_all(&self.readers)).await;
        let lines: Vec<Line> = found.map_err(late)?.map_err(|error| read_error(&error))?;
        query::summaries(lines)
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar("SELECT count(*) FROM order_search");
        let found: Result<i64, _> = count.fetch_one(&self.readers).await;
        unsigned(found.map_err(|error| read_error(&error))?)
    }
}
