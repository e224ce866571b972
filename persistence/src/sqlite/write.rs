//! Writing to SQLite: every write is one `BEGIN IMMEDIATE` transaction on the one writing connection.

use super::{SqliteStore, shard_list};
use crate::record::{self, poison, shard_code, signed};
use domain::ports::{Append, CommitError, KeyClaim, Refusal, RowOutcome, Snapshot};
use domain::shard::ShardId;
use fail::fail_point;
use futures::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use std::collections::HashMap;

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>) as far as they are told apart here.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const TOO_BIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const CONSTRAINT_PRIMARY_KEY: i32 = 1_555;
    pub(super) const CONSTRAINT_UNIQUE: i32 = 2_067;

    /// The kind of error without its refinement.
    pub(super) const fn primary(extended: i32) -> i32 {
        extended & 0xff
    }
}

/// The extended result code of an error, if it came from SQLite.
fn code_of(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error().and_then(DatabaseError::code)?.parse().ok()
}

/// A statement before the commit failed. The transaction will be rolled back, so nothing of it can have been written.
pub(super) fn failed(error: sqlx::Error) -> CommitError {
    match code_of(&error).map(code::primary) {
        Some(code::CONSTRAINT | code::TOO_BIG | code::MISMATCH) => poison(error.to_string()),
        _ => CommitError::Unavailable(error.to_string()),
    }
}

fn row_failed(error: sqlx::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY) => CommitError::Refused(Refusal::DuplicateSeq),
        Some(code::CONSTRAINT_UNIQUE) => record::position_taken(),
        _ => failed(error),
    }
}

fn claim_failed(error: sqlx::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY | code::CONSTRAINT_UNIQUE) => CommitError::Refused(Refusal::DuplicateKey),
        _ => failed(error),
    }
}

/// `COMMIT` itself failed. Busy leaves the transaction open, and it is rolled back. After an I/O error the last frame
/// may be in the log: it counts only if the process dies before the next transaction overwrites it, so the outcome is
/// settled by the next write that succeeds.
fn commit_failed(error: &sqlx::Error) -> CommitError {
    match code_of(error).map(code::primary) {
        Some(code::BUSY) => CommitError::Unavailable(error.to_string()),
        _ => CommitError::Unknown(error.to_string()),
    }
}

impl SqliteStore {
    /// Does some work in a transaction and commits it.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, CommitError>
    where
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, CommitError>>,
    {
        let mut place = self.writer.lock().await;
        let unavailable = |error: sqlx::Error| CommitError::Unavailable(error.to_string());
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(unavailable)?,
        };
        let (result, clean) = transact(&mut connection, work).await;
        if clean {
            *place = Some(connection);
        } else if let Err(error) = connection.close().await {
            tracing::warn!(%error, "closing a connection after a failed write");
        }
        result
    }
}

/// The work's result, and whether the connection is certainly outside of a transaction.
async fn transact<T, W>(connection: &mut SqliteConnection, work: W) -> (Result<T, CommitError>, bool)
where
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, CommitError>>,
{
    fail_point!("store::step");
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) => return (Err(CommitError::Unavailable(error.to_string())), false),
    };
    match work(&mut transaction).await {
        Ok(value) => {
            fail_point!("store::step");
            let committed = transaction.commit().await;
            fail_point!("store::step");
            let clean = committed.is_ok();
            (committed.map(|()| value).map_err(|error| commit_failed(&error)), clean)
        }
        // SQLite may have rolled back by itself (disk full, I/O error); only after a refused row it certainly has not.
        Err(error) => {
            let rolled_back = transaction.rollback().await.is_ok();
            let clean = rolled_back && !matches!(error, CommitError::Unavailable(_));
            (Err(error), clean)
        }
    }
}

/// Increments the epochs; the shards with their epochs and highest positions.
pub(super) async fn acquire(
    connection: &mut SqliteConnection,
    shards: String,
    node: String,
) -> Result<Vec<(u16, i64, i64)>, CommitError> {
    let take = "UPDATE shards SET epoch = epoch + 1, owner = $2 WHERE shard IN (SELECT value FROM json_each($1))";
    sqlx::query(take)
        .bind(&shards)
        .bind(node)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    fail_point!("store::step");
    let read = "
        SELECT shard, epoch, coalesce((SELECT max(position) FROM event_rows r WHERE r.shard = s.shard), 0)
        FROM shards s WHERE shard IN (SELECT value FROM json_each($1))";
    sqlx::query_as(read)
        .bind(&shards)
        .fetch_all(connection)
        .await
        .map_err(failed)
}

/// Keeps a setting unless it has a value; the value it has then.
pub(super) async fn keep_setting(
    connection: &mut SqliteConnection,
    name: &str,
    value: &str,
) -> Result<String, CommitError> {
    let keep = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(keep)
        .bind(name)
        .bind(value)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let read = "SELECT value FROM settings WHERE name = $1";
    sqlx::query_scalar(read)
        .bind(name)
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// The batch: the fence first, then row by row with cached statements.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    batch: &[Append],
) -> Result<Vec<RowOutcome>, CommitError> {
    let fence = "SELECT shard, epoch FROM shards WHERE shard IN (SELECT value FROM json_each($1))";
    let list = shard_list(&record::shards_of(batch));
    let epochs: Vec<(u16, i64)> = sqlx::query_as(fence)
        .bind(list)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let epochs: HashMap<_, _> = epochs
        .into_iter()
        .map(|(shard, epoch)| (ShardId(shard), epoch.unsigned_abs()))
        .collect();
    let outcomes = record::outcomes(batch, &epochs);
    let admitted = |n: usize| outcomes.get(n) == Some(&RowOutcome::Committed);

    for (_, append) in batch.iter().enumerate().filter(|(n, _)| admitted(*n)) {
        fail_point!("store::step");
        insert_row(connection, append).await?;
        if let Some(claim) = &append.claim {
            fail_point!("store::step");
            insert_claim(connection, append, claim).await?;
        }
    }
    for (n, snapshot) in record::newest_snapshots(batch) {
        if let Some(append) = batch.get(n).filter(|_| admitted(n)) {
            fail_point!("store::step");
            upsert_snapshot(connection, append, snapshot).await?;
        }
    }
    Ok(outcomes)
}

async fn insert_row(connection: &mut SqliteConnection, append: &Append) -> Result<(), CommitError> {
    let insert = "INSERT INTO event_rows (stream, seq, position, at, shard, kind, events)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let query = sqlx::query(insert)
        .bind(append.stream.0)
        .bind(signed("version", append.seq.0)?)
        .bind(signed("position", append.position.0)?)
        .bind(append.at.0)
        .bind(shard_code(append.shard))
        .bind(append.kind.code())
        .bind(append.events.as_bytes());
    query.execute(connection).await.map(|_| ()).map_err(row_failed)
}

async fn insert_claim(connection: &mut SqliteConnection, append: &Append, claim: &KeyClaim) -> Result<(), CommitError> {
    let insert = "INSERT INTO idempotency_keys (shard, key, stream, seq, at, fingerprint)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let query = sqlx::query(insert)
        .bind(shard_code(append.shard))
        .bind(claim.key.as_str())
        .bind(append.stream.0)
        .bind(signed("version", append.seq.0)?)
        .bind(append.at.0)
        .bind(claim.fingerprint.as_str());
    query.execute(connection).await.map(|_| ()).map_err(claim_failed)
}

async fn upsert_snapshot(
    connection: &mut SqliteConnection,
    append: &Append,
    snapshot: &Snapshot,
) -> Result<(), CommitError> {
    let upsert = "INSERT INTO snapshots (stream, seq, shard, kind, live, state) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq, live = excluded.live, state = excluded.state
        WHERE snapshots.seq < excluded.seq";
    let query = sqlx::query(upsert)
        .bind(append.stream.0)
        .bind(signed("version", snapshot.seq.0)?)
        .bind(shard_code(append.shard))
        .bind(append.kind.code())
        .bind(snapshot.live)
        .bind(snapshot.state.as_bytes());
    query.execute(connection).await.map(|_| ()).map_err(failed)
}
