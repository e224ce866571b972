//! What is written to SQLite: batches, epochs, cursors and settings.

use super::errors::{claim_failed, failed, row_failed};
use super::writer::Work;
use crate::record::{self, shard_code, signed};
use domain::ids::Position;
use domain::ports::{Append, CommitError, KeyClaim, RowOutcome, Snapshot};
use domain::shard::ShardId;
use fail::fail_point;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use std::collections::HashMap;

/// Creates the shards that are not there yet.
pub(super) struct CreateShards(pub(super) u16);

impl Work for CreateShards {
    type Output = ();

    fn run(self, connection: &Connection) -> Result<(), CommitError> {
        let create = "
            WITH RECURSIVE n (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM n WHERE shard + 1 < ?1)
            INSERT INTO shards (shard) SELECT shard FROM n WHERE true ON CONFLICT DO NOTHING";
        connection.execute(create, [self.0]).map(|_| ()).map_err(failed)
    }
}

/// Keeps a setting unless it has a value; answers the value it has then.
pub(super) struct KeepSetting {
    pub(super) name: String,
    pub(super) value: String,
}

impl Work for KeepSetting {
    type Output = String;

    fn run(self, connection: &Connection) -> Result<String, CommitError> {
        let keep = "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        connection.execute(keep, [&self.name, &self.value]).map_err(failed)?;
        let read = "SELECT value FROM settings WHERE name = ?1";
        connection
            .query_row(read, [&self.name], |row| row.get(0))
            .map_err(failed)
    }
}

/// Moves a follower's cursors forward.
pub(super) struct Advance {
    pub(super) follower: String,
    pub(super) to: Vec<(ShardId, Position)>,
}

impl Work for Advance {
    type Output = ();

    fn run(self, connection: &Connection) -> Result<(), CommitError> {
        let advance = "
            INSERT INTO cursors (follower, shard, position) VALUES (?1, ?2, ?3)
            ON CONFLICT (follower, shard) DO UPDATE SET position = excluded.position
            WHERE cursors.position < excluded.position";
        let mut advance = connection.prepare_cached(advance).map_err(failed)?;
        for (shard, position) in self.to {
            let values = params![self.follower, shard_code(shard), record::bound(position.0)];
            advance.execute(values).map_err(failed)?;
        }
        Ok(())
    }
}

/// Takes shards for a node: their new epochs and their highest positions, as the table has them.
pub(super) struct Acquire {
    pub(super) shards: Vec<ShardId>,
    pub(super) node: String,
    /// Only those that the node has already. Nobody's are then not taken, but their epochs are incremented too.
    pub(super) own: bool,
}

impl Work for Acquire {
    type Output = Vec<(ShardId, i64, i64)>;

    fn run(mut self, connection: &Connection) -> Result<Self::Output, CommitError> {
        self.shards.sort_unstable();
        self.shards.dedup();
        let take = "
            UPDATE shards SET epoch = epoch + 1, owner = iif(?3, owner, ?2)
            WHERE shard = ?1 AND (NOT ?3 OR owner IN (?2, ''))
            RETURNING epoch, coalesce((SELECT max(position) FROM event_rows r WHERE r.shard = ?1), 0), owner = ?2";
        let mut take = connection.prepare_cached(take).map_err(failed)?;
        let mut acquired = Vec::with_capacity(self.shards.len());
        for shard in self.shards {
            fail_point!("store::step");
            let found = take
                .query_row(params![shard_code(shard), self.node, self.own], |row| {
                    Ok(((shard, row.get(0)?, row.get(1)?), row.get::<_, bool>(2)?))
                })
                .optional();
            let taken = found.map_err(failed)?.filter(|(_, taken)| *taken);
            acquired.extend(taken.map(|(owned, _)| owned));
        }
        Ok(acquired)
    }
}

/// A batch: the fence first, then the rows, keys and snapshots that it admits.
pub(super) struct Commit(pub(super) Vec<Append>);

impl Work for Commit {
    type Output = Vec<RowOutcome>;

    fn run(self, connection: &Connection) -> Result<Vec<RowOutcome>, CommitError> {
        let batch = &self.0;
        let outcomes = record::outcomes(batch, &epochs(connection, &record::shards_of(batch))?);
        let is_admitted = |n: usize| outcomes.get(n) == Some(&RowOutcome::Committed);
        let mut rows = Vec::with_capacity(batch.len());
        let mut claims = Vec::new();
        for (_, append) in batch.iter().enumerate().filter(|(n, _)| is_admitted(*n)) {
            let seq = signed("version", append.seq.0)?;
            rows.push((append, seq, signed("position", append.position.0)?));
            claims.extend(append.claimed().map(|(home, claim)| (append, seq, home, claim)));
        }
        let mut snapshots = Vec::new();
        for (n, snapshot) in record::newest_snapshots(batch) {
            if let Some(append) = batch.get(n).filter(|_| is_admitted(n)) {
                snapshots.push((append, signed("version", snapshot.seq.0)?, snapshot));
            }
        }
        insert_rows(connection, &rows)?;
        insert_claims(connection, &claims)?;
        upsert_snapshots(connection, &snapshots)?;
        Ok(outcomes)
    }
}

/// The shards' epochs as they are within the transaction.
fn epochs(connection: &Connection, shards: &[ShardId]) -> Result<HashMap<ShardId, u64>, CommitError> {
    let fence = "SELECT epoch FROM shards WHERE shard = ?1";
    let mut fence = connection.prepare_cached(fence).map_err(failed)?;
    let mut epochs = HashMap::with_capacity(shards.len());
    for shard in shards {
        let epoch: Option<i64> = fence
            .query_row([shard_code(*shard)], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        epochs.extend(epoch.map(|epoch| (*shard, epoch.unsigned_abs())));
    }
    Ok(epochs)
}

/// An insert of several rows by one statement, which SQLite starts once for all of them.
///
/// A refused row ends the whole transaction (`OR ROLLBACK`), as it would anyway; otherwise SQLite would keep a copy of
/// each page that the statement changes, in order to undo the statement alone.
struct Insert {
    into: &'static str,
    columns: usize,
    then: &'static str,
}

/// The most rows in one statement.
const STATEMENT_ROWS: usize = 16;

impl Insert {
    fn text(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        format!(
            "INSERT OR ROLLBACK INTO {} VALUES {} {}",
            self.into,
            vec![row; rows].join(","),
            self.then
        )
    }

    /// Inserts the rows. `bind` is given the statement, the number of the row's first parameter, and the row.
    fn run<R>(
        &self,
        connection: &Connection,
        rows: &[R],
        bind: impl Fn(&mut CachedStatement<'_>, usize, &R) -> rusqlite::Result<()>,
        failed: fn(rusqlite::Error) -> CommitError,
    ) -> Result<(), CommitError> {
        let mut many = None;
        for rows in rows.chunks(STATEMENT_ROWS) {
            fail_point!("store::step");
            let mut last = None;
            let statement = if rows.len() == STATEMENT_ROWS {
                &mut many
            } else {
                &mut last
            };
            let statement = match statement {
                Some(statement) => statement,
                None => statement.insert(connection.prepare_cached(&self.text(rows.len())).map_err(failed)?),
            };
            for (n, row) in rows.iter().enumerate() {
                bind(statement, 1 + n * self.columns, row).map_err(failed)?;
            }
            statement.raw_execute().map_err(failed)?;
        }
        Ok(())
    }
}

fn insert_rows(connection: &Connection, rows: &[(&Append, i64, i64)]) -> Result<(), CommitError> {
    let insert = Insert {
        into: "event_rows (stream, seq, position, at, shard, kind, events)",
        columns: 7,
        then: "",
    };
    let bind = |statement: &mut CachedStatement<'_>, first: usize, (append, seq, position): &(&Append, i64, i64)| {
        statement.raw_bind_parameter(first, append.stream.0.as_bytes().as_slice())?;
        statement.raw_bind_parameter(first + 1, seq)?;
        statement.raw_bind_parameter(first + 2, position)?;
        statement.raw_bind_parameter(first + 3, append.at.0)?;
        statement.raw_bind_parameter(first + 4, shard_code(append.shard))?;
        statement.raw_bind_parameter(first + 5, append.kind.code())?;
        statement.raw_bind_parameter(first + 6, append.events.as_bytes())
    };
    insert.run(connection, rows, bind, row_failed)
}

/// A row's idempotency key: the row, its version, the shard that the key belongs to, and the key.
type Claim<'a> = (&'a Append, i64, ShardId, &'a KeyClaim);

fn insert_claims(connection: &Connection, claims: &[Claim<'_>]) -> Result<(), CommitError> {
    let insert = Insert {
        into: "idempotency_keys (shard, key, stream, seq, at, fingerprint)",
        columns: 6,
        then: "",
    };
    let bind = |statement: &mut CachedStatement<'_>, first: usize, (append, seq, home, claim): &Claim<'_>| {
        statement.raw_bind_parameter(first, shard_code(*home))?;
        statement.raw_bind_parameter(first + 1, claim.key.as_str())?;
        statement.raw_bind_parameter(first + 2, append.stream.0.as_bytes().as_slice())?;
        statement.raw_bind_parameter(first + 3, seq)?;
        statement.raw_bind_parameter(first + 4, append.at.0)?;
        statement.raw_bind_parameter(first + 5, claim.fingerprint.as_str())
    };
    insert.run(connection, claims, bind, claim_failed)
}

fn upsert_snapshots(connection: &Connection, snapshots: &[(&Append, i64, &Snapshot)]) -> Result<(), CommitError> {
    let upsert = Insert {
        into: "snapshots (stream, seq, shard, kind, live, state)",
        columns: 6,
        then: "ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq, live = excluded.live, state = excluded.state
            WHERE snapshots.seq < excluded.seq",
    };
    let bind =
        |statement: &mut CachedStatement<'_>, first: usize, (append, seq, snapshot): &(&Append, i64, &Snapshot)| {
            statement.raw_bind_parameter(first, append.stream.0.as_bytes().as_slice())?;
            statement.raw_bind_parameter(first + 1, seq)?;
            statement.raw_bind_parameter(first + 2, shard_code(append.shard))?;
            statement.raw_bind_parameter(first + 3, append.kind.code())?;
            statement.raw_bind_parameter(first + 4, snapshot.live)?;
            statement.raw_bind_parameter(first + 5, snapshot.state.as_bytes())
        };
    upsert.run(connection, snapshots, bind, failed)
}
