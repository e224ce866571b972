//! What is written to SQLite: batches, epochs and settings.

use super::shard_list;
use super::write::{Work, claim_failed, failed, row_failed};
use crate::record::{self, shard_code, signed};
use domain::ports::{Append, CommitError, KeyClaim, RowOutcome, Snapshot};
use domain::shard::ShardId;
use fail::fail_point;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};
use std::collections::HashMap;

/// Creates the shards that are not there yet.
pub(super) struct CreateShards(pub(super) u16);

impl Work for CreateShards {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), CommitError> {
        let create = "
            WITH RECURSIVE n (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM n WHERE shard + 1 < $1)
            INSERT INTO shards (shard) SELECT shard FROM n WHERE true ON CONFLICT DO NOTHING";
        sqlx::query(create)
            .bind(self.0)
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(failed)
    }
}

/// Keeps a setting unless it has a value; answers the value it has then.
pub(super) struct KeepSetting<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

impl Work for KeepSetting<'_> {
    type Output = String;

    async fn run(self, connection: &mut SqliteConnection) -> Result<String, CommitError> {
        let keep = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(keep)
            .bind(self.name)
            .bind(self.value)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        let read = "SELECT value FROM settings WHERE name = $1";
        sqlx::query_scalar(read)
            .bind(self.name)
            .fetch_one(connection)
            .await
            .map_err(failed)
    }
}

/// Takes shards for a node: their new epochs and their highest positions.
pub(super) struct Acquire<'a> {
    pub(super) shards: &'a [ShardId],
    pub(super) node: &'a str,
}

impl Work for Acquire<'_> {
    type Output = Vec<(u16, i64, i64)>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Self::Output, CommitError> {
        let list = shard_list(self.shards);
        let take = "UPDATE shards SET epoch = epoch + 1, owner = $2 WHERE shard IN (SELECT value FROM json_each($1))";
        sqlx::query(take)
            .bind(&list)
            .bind(self.node)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        fail_point!("store::step");
        let read = "
            SELECT shard, epoch, coalesce((SELECT max(position) FROM event_rows r WHERE r.shard = s.shard), 0)
            FROM shards s WHERE shard IN (SELECT value FROM json_each($1))";
        sqlx::query_as(read)
            .bind(&list)
            .fetch_all(connection)
            .await
            .map_err(failed)
    }
}

/// A batch: the fence first, then the rows, keys and snapshots that it admits, many to a statement.
pub(super) struct Commit<'a>(pub(super) &'a [Append]);

/// Rows in one statement. Each statement is a hop to the connection's thread and back, which costs more than the row.
const STATEMENT_ROWS: usize = 32;

impl Work for Commit<'_> {
    type Output = Vec<RowOutcome>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<RowOutcome>, CommitError> {
        let batch = self.0;
        let fence = "SELECT shard, epoch FROM shards WHERE shard IN (SELECT value FROM json_each($1))";
        let query = sqlx::query_as(fence).bind(shard_list(&record::shards_of(batch)));
        let epochs: Vec<(u16, i64)> = query.fetch_all(&mut *connection).await.map_err(failed)?;
        let epochs: HashMap<_, _> = epochs
            .into_iter()
            .map(|(shard, epoch)| (ShardId(shard), epoch.unsigned_abs()))
            .collect();
        let outcomes = record::outcomes(batch, &epochs);
        let is_admitted = |n: usize| outcomes.get(n) == Some(&RowOutcome::Committed);

        let mut rows = Vec::with_capacity(batch.len());
        let mut claims = Vec::new();
        for (_, append) in batch.iter().enumerate().filter(|(n, _)| is_admitted(*n)) {
            let seq = signed("version", append.seq.0)?;
            rows.push((append, seq, signed("position", append.position.0)?));
            claims.extend(append.claim.as_ref().map(|claim| (append, seq, claim)));
        }
        let mut snapshots = Vec::new();
        for (n, snapshot) in record::newest_snapshots(batch) {
            if let Some(append) = batch.get(n).filter(|_| is_admitted(n)) {
                snapshots.push((append, signed("version", snapshot.seq.0)?, snapshot));
            }
        }
        insert_rows(connection, &rows).await?;
        insert_claims(connection, &claims).await?;
        upsert_snapshots(connection, &snapshots).await?;
        Ok(outcomes)
    }
}

async fn insert_rows(connection: &mut SqliteConnection, rows: &[(&Append, i64, i64)]) -> Result<(), CommitError> {
    for rows in rows.chunks(STATEMENT_ROWS) {
        fail_point!("store::step");
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO event_rows (stream, seq, position, at, shard, kind, events) ");
        insert.push_values(rows, |mut values, (append, seq, position)| {
            values
                .push_bind(append.stream.0)
                .push_bind(seq)
                .push_bind(position)
                .push_bind(append.at.0);
            values.push_bind(shard_code(append.shard)).push_bind(append.kind.code());
            values.push_bind(append.events.as_bytes());
        });
        insert.build().execute(&mut *connection).await.map_err(row_failed)?;
    }
    Ok(())
}

async fn insert_claims(
    connection: &mut SqliteConnection,
    claims: &[(&Append, i64, &KeyClaim)],
) -> Result<(), CommitError> {
    for claims in claims.chunks(STATEMENT_ROWS) {
        fail_point!("store::step");
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO idempotency_keys (shard, key, stream, seq, at, fingerprint) ");
        insert.push_values(claims, |mut values, (append, seq, claim)| {
            values
                .push_bind(shard_code(append.shard))
                .push_bind(claim.key.as_str())
                .push_bind(append.stream.0);
            values
                .push_bind(seq)
                .push_bind(append.at.0)
                .push_bind(claim.fingerprint.as_str());
        });
        insert.build().execute(&mut *connection).await.map_err(claim_failed)?;
    }
    Ok(())
}

async fn upsert_snapshots(
    connection: &mut SqliteConnection,
    snapshots: &[(&Append, i64, &Snapshot)],
) -> Result<(), CommitError> {
    for snapshots in snapshots.chunks(STATEMENT_ROWS) {
        fail_point!("store::step");
        let mut upsert = QueryBuilder::<Sqlite>::new("INSERT INTO snapshots (stream, seq, shard, kind, live, state) ");
        upsert.push_values(snapshots, |mut values, (append, seq, snapshot)| {
            values
                .push_bind(append.stream.0)
                .push_bind(seq)
                .push_bind(shard_code(append.shard));
            values
                .push_bind(append.kind.code())
                .push_bind(snapshot.live)
                .push_bind(snapshot.state.as_bytes());
        });
        upsert.push(
            " ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq, live = excluded.live, state = excluded.state
            WHERE snapshots.seq < excluded.seq",
        );
        upsert.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}
