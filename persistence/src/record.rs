//! What the stores share: checks before a write, and rows as they are read back.

use domain::ids::{Position, Seq, StreamId};
use domain::ports::{
    Append, ClaimRecord, CommitError, Recorded, Refusal, Row, RowOutcome, Snapshot, StoreError, StreamKind,
};
use domain::shard::{OwnedShard, ShardId};
use domain::time::Timestamp;
use sqlx::migrate::MigrateError;
use std::collections::HashMap;
use uuid::Uuid;

/// Longest idempotency key in bytes, with its scope. Both schemas check it.
pub const KEY_BYTES_MAX: usize = 300;

/// The setting under which the number of shards is kept.
pub(crate) const SHARDS_SETTING: &str = "shards";

/// A stream's snapshot and the rows after it, in one statement and so of one moment. Both databases take this text.
pub(crate) const LOAD: &str = "
    WITH s AS MATERIALIZED (SELECT stream, kind, seq, live, state FROM snapshots WHERE stream = $1)
    SELECT stream, kind, seq, 0 AS position, 0 AS at, live, state AS payload FROM s
    UNION ALL
    SELECT stream, kind, seq, position, at, CAST(NULL AS boolean), events FROM event_rows
    WHERE stream = $1 AND seq > coalesce((SELECT seq FROM s), 0)
    ORDER BY 1, 3";

/// Rows of a stream after a version.
pub(crate) const ROWS: &str = "
    SELECT stream, kind, seq, position, at, CAST(NULL AS boolean) AS live, events AS payload FROM event_rows
    WHERE stream = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// Rows of a shard after a position.
pub(crate) const POSITIONS: &str = "
    SELECT stream, kind, seq, position, at, CAST(NULL AS boolean) AS live, events AS payload FROM event_rows
    WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3";

/// A used key as it is stored: stream, version, fingerprint, time.
pub(crate) type StoredClaim = (Uuid, i64, String, i64);

/// Reads a used key back.
pub(crate) fn claim((stream, seq, fingerprint, at): StoredClaim) -> Result<ClaimRecord, StoreError> {
    Ok(ClaimRecord {
        stream: StreamId(stream),
        seq: Seq(unsigned(seq)?),
        fingerprint,
        at: Timestamp(at),
    })
}

/// A number as both databases keep it.
pub(crate) fn signed(what: &str, value: u64) -> Result<i64, CommitError> {
    i64::try_from(value).map_err(|_| poison(format!("{what} {value} does not fit into 63 bits")))
}

/// A number read from where [`signed`] wrote it.
pub(crate) fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("a number below zero: {value}")))
}

/// A number as a bound of a search: nothing is stored beyond the largest that fits.
pub(crate) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many rows at most, as a database takes it.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A shard's number as both databases keep it: a shard count is at most 4,096.
pub(crate) fn shard_code(shard: ShardId) -> i16 {
    i16::try_from(shard.0).unwrap_or(i16::MAX)
}

/// A refusal that lies in the data.
pub(crate) fn poison(problem: String) -> CommitError {
    CommitError::Refused(Refusal::Poison(problem))
}

/// A row's place on its shard's line is taken, so the writer's view of the line is old. What it wrote last may have been
/// committed after all: it must find out as after a lost answer, although of this batch nothing was written.
pub(crate) fn position_taken() -> CommitError {
    CommitError::Unknown("a position is taken already: the line has moved on".into())
}

/// The distinct shards of a batch, in ascending order: the order in which all of them are locked.
pub(crate) fn shards_of(batch: &[Append]) -> Vec<ShardId> {
    let mut shards: Vec<ShardId> = batch.iter().map(|append| append.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// What becomes of each row under the epochs that the shards have now.
pub(crate) fn outcomes(batch: &[Append], epochs: &HashMap<ShardId, u64>) -> Vec<RowOutcome> {
    let current = |append: &Append| epochs.get(&append.shard) == Some(&append.epoch.0);
    batch
        .iter()
        .map(|append| {
            if current(append) {
                RowOutcome::Committed
            } else {
                RowOutcome::Fenced
            }
        })
        .collect()
}

/// The newest snapshot of each stream in a batch, as indexes into it. An upsert may touch a stream only once; rows
/// under different epochs are kept apart because at most one of the epochs will be admitted.
pub(crate) fn newest_snapshots(batch: &[Append]) -> Vec<(usize, &Snapshot)> {
    let mut newest: HashMap<(StreamId, ShardId, u64), (usize, &Snapshot)> = HashMap::new();
    for (n, append) in batch.iter().enumerate() {
        let Some(snapshot) = &append.snapshot else { continue };
        let entry = newest
            .entry((append.stream, append.shard, append.epoch.0))
            .or_insert((n, snapshot));
        if snapshot.seq > entry.1.seq {
            *entry = (n, snapshot);
        }
    }
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_unstable_by_key(|(n, _)| *n);
    newest
}

/// Puts the owned shards into the order in which they were asked for.
pub(crate) fn in_order(asked: &[ShardId], owned: &HashMap<ShardId, OwnedShard>) -> Result<Vec<OwnedShard>, StoreError> {
    let find = |shard: &ShardId| owned.get(shard).copied().ok_or_else(|| no_such_shard(*shard));
    asked.iter().map(find).collect()
}

/// The owned ones of the shards asked for, in the order asked.
pub(crate) fn those_owned(
    asked: impl IntoIterator<Item = ShardId>,
    mut owned: HashMap<ShardId, OwnedShard>,
) -> Vec<OwnedShard> {
    asked.into_iter().filter_map(|shard| owned.remove(&shard)).collect()
}

/// Whether a node can be called so: in every store the same.
pub(crate) fn check_node_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() || name.contains('\0') {
        return Err(StoreError::Mismatch(format!("a node cannot be called {name:?}")));
    }
    Ok(())
}

/// A name that a node of the cluster has already.
pub(crate) fn name_taken(name: &str) -> StoreError {
    StoreError::Mismatch(format!("the cluster has a node '{name}' already"))
}

pub(crate) fn no_such_shard(shard: ShardId) -> StoreError {
    StoreError::Mismatch(format!("the store has no shard {shard}"))
}

/// A failed migration: the store is away, or its schema is of another program.
pub(crate) fn migration_error(error: &MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            StoreError::Unavailable(format!("the migration failed: {cause}"))
        }
        other => StoreError::Mismatch(format!("the schema cannot be migrated: {other}")),
    }
}

/// A failed read: the store is away, or what it holds is not what it should be.
pub(crate) fn read_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// One line of a read: a snapshot when `live` is set, else an event row.
#[derive(sqlx::FromRow)]
pub(crate) struct Piece {
    stream: Uuid,
    kind: i16,
    seq: i64,
    position: i64,
    at: i64,
    live: Option<bool>,
    payload: Vec<u8>,
}

impl Piece {
    fn kind(&self) -> Result<StreamKind, StoreError> {
        StreamKind::from_code(self.kind).ok_or_else(|| self.corrupt(&format!("unknown kind {}", self.kind)))
    }

    fn corrupt(&self, problem: &str) -> StoreError {
        StoreError::Corrupt(format!("stream {}, version {}: {problem}", self.stream, self.seq))
    }

    fn text(payload: Vec<u8>) -> Result<String, StoreError> {
        String::from_utf8(payload).map_err(|error| StoreError::Corrupt(format!("a payload is not text: {error}")))
    }

    pub(crate) fn into_row(self) -> Result<Row, StoreError> {
        Ok(Row {
            stream: StreamId(self.stream),
            kind: self.kind()?,
            seq: Seq(unsigned(self.seq)?),
            position: Position(unsigned(self.position)?),
            at: Timestamp(self.at),
            events: Self::text(self.payload)?,
        })
    }
}

/// Event rows from what a query read.
pub(crate) fn rows(pieces: Vec<Piece>) -> Result<Vec<Row>, StoreError> {
    pieces.into_iter().map(Piece::into_row).collect()
}

/// Streams from what a query read: by stream, then by version, so that a snapshot precedes the rows after it.
pub(crate) fn streams(pieces: Vec<Piece>) -> Result<Vec<Recorded>, StoreError> {
    let mut streams: Vec<Recorded> = Vec::new();
    for piece in pieces {
        let stream = StreamId(piece.stream);
        if streams.last().is_none_or(|last| last.stream != stream) {
            streams.push(Recorded {
                stream,
                kind: piece.kind()?,
                snapshot: None,
                rows: Vec::new(),
            });
        }
        let Some(last) = streams.last_mut() else { continue };
        match piece.live {
            Some(live) => {
                let seq = Seq(unsigned(piece.seq)?);
                let state = Piece::text(piece.payload)?;
                last.snapshot = Snapshot { seq, state, live }.of_state();
            }
            None => last.rows.push(piece.into_row()?),
        }
    }
    Ok(streams)
}
