//! A batch as one statement: the fence, the rows, the snapshots and the keys.

use super::connections::Work;
use crate::record::{bound, newest_snapshots, shard_code, shards_of, signed};
use domain::ports::{Append, CommitError};
use domain::shard::ShardId;
use fail::fail_point;
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection};
use std::collections::HashMap;
use uuid::Uuid;

/// The statement is its own transaction: one round trip, and no moment between check and write.
///
/// - `FOR SHARE` makes whoever wants to take a shard wait for the batches under way, and makes this batch see the epoch
///   of whoever took it before. A plain `SELECT` would see the epoch of its snapshot and let old owners in.
/// - Keys belong to shards of their own, so two nodes may insert the same ones at the same time: the second waits until the
///   first is done, and is refused. All insert them in one order, so that no two wait for each other.
/// - Nothing is passed over: each insert either inserts every row or fails the statement. The division is the belt to
///   these braces: a row less than admitted (a trigger, a rule) is a division by zero, and nothing is written.
const COMMIT: &str = "
    WITH fence AS MATERIALIZED (
        SELECT shard, epoch FROM shards WHERE shard = ANY($1::smallint[]) ORDER BY shard FOR SHARE
    ), admitted AS MATERIALIZED (
        SELECT b.* FROM UNNEST(
            $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::smallint[], $8::bigint[], $9::bytea[]
        ) WITH ORDINALITY AS b (stream, seq, position, at, shard, kind, epoch, events, n)
        JOIN fence ON fence.shard = b.shard AND fence.epoch = b.epoch
    ), appended AS (
        INSERT INTO event_rows (stream, seq, position, at, shard, kind, events)
        SELECT stream, seq, position, at, shard, kind, events FROM admitted ORDER BY n
        RETURNING 1
    ), folded AS (
        INSERT INTO snapshots AS kept (stream, seq, shard, kind, live, state)
        SELECT a.stream, s.seq, a.shard, a.kind, s.live, s.state
        FROM UNNEST($10::bigint[], $11::bigint[], $12::boolean[], $13::bytea[]) AS s (n, seq, live, state)
        JOIN admitted a ON a.n = s.n
        ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq, live = excluded.live, state = excluded.state
        WHERE kept.seq < excluded.seq
    ), claims AS MATERIALIZED (
        SELECT c.home, c.key, a.stream, a.seq, a.at, c.fingerprint
        FROM UNNEST($14::bigint[], $15::smallint[], $16::text[], $17::text[]) AS c (n, home, key, fingerprint)
        JOIN admitted a ON a.n = c.n
    ), claimed AS (
        INSERT INTO idempotency_keys (shard, key, stream, seq, at, fingerprint)
        SELECT home, key, stream, seq, at, fingerprint FROM claims ORDER BY home, key
        RETURNING 1
    )
    SELECT shard, epoch, 1 / (
        (SELECT count(*) FROM appended) = (SELECT count(*) FROM admitted)
        AND (SELECT count(*) FROM claimed) = (SELECT count(*) FROM claims)
    )::int FROM fence";

/// What a row's columns take beside its events: their values, each with its length.
const ROW_BYTES: usize = 20 + 5 * 12 + 2 * 6 + 4;
/// The same of a snapshot.
const SNAPSHOT_BYTES: usize = 2 * 12 + 5 + 4;
/// The same of a key.
const KEY_BYTES: usize = 12 + 6 + 2 * 4;
/// What the arrays themselves take, and the shards of the fence.
const HEADER_BYTES: usize = 17 * 24 + 6 * 4_096;

/// A batch turned on its side: one array per column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    fence: Vec<i16>,
    streams: Vec<Uuid>,
    seqs: Vec<i64>,
    positions: Vec<i64>,
    ats: Vec<i64>,
    shards: Vec<i16>,
    kinds: Vec<i16>,
    epochs: Vec<i64>,
    events: Vec<&'a [u8]>,
    snapshot_rows: Vec<i64>,
    snapshot_seqs: Vec<i64>,
    lives: Vec<bool>,
    states: Vec<&'a [u8]>,
    claim_rows: Vec<i64>,
    homes: Vec<i16>,
    keys: Vec<&'a str>,
    fingerprints: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a [Append]) -> Result<Self, CommitError> {
        let mut columns = Self {
            fence: shards_of(batch).into_iter().map(shard_code).collect(),
            ..Self::default()
        };
        for (n, append) in batch.iter().enumerate() {
            columns.streams.push(append.stream.0);
            columns.seqs.push(signed("version", append.seq.0)?);
            columns.positions.push(signed("position", append.position.0)?);
            columns.ats.push(append.at.0);
            columns.shards.push(shard_code(append.shard));
            columns.kinds.push(append.kind.code());
            columns.epochs.push(bound(append.epoch.0));
            columns.events.push(append.events.as_bytes());
            if let Some((home, claim)) = append.claimed() {
                columns.claim_rows.push(ordinal(n)?);
                columns.homes.push(shard_code(home));
                columns.keys.push(&claim.key);
                columns.fingerprints.push(&claim.fingerprint);
            }
        }
        for (n, snapshot) in newest_snapshots(batch) {
            columns.snapshot_rows.push(ordinal(n)?);
            columns.snapshot_seqs.push(signed("version", snapshot.seq.0)?);
            columns.lives.push(snapshot.live);
            columns.states.push(snapshot.state.as_bytes());
        }
        Ok(columns)
    }

    /// The statement's arguments, in a buffer that need not grow: growing it copies, and touches fresh memory each time.
    fn arguments(self) -> Result<PgArguments, BoxDynError> {
        let texts: usize = self.events.iter().chain(&self.states).map(|text| text.len()).sum();
        let keys: usize = self.keys.iter().chain(&self.fingerprints).map(|text| text.len()).sum();
        let values = ROW_BYTES * self.streams.len() + SNAPSHOT_BYTES * self.states.len() + KEY_BYTES * self.keys.len();
        let mut arguments = PgArguments::default();
        arguments.reserve(17, texts + keys + values + HEADER_BYTES);
        arguments.add(self.fence)?;
        arguments.add(self.streams)?;
        arguments.add(self.seqs)?;
        arguments.add(self.positions)?;
        arguments.add(self.ats)?;
        arguments.add(self.shards)?;
        arguments.add(self.kinds)?;
        arguments.add(self.epochs)?;
        arguments.add(self.events)?;
        arguments.add(self.snapshot_rows)?;
        arguments.add(self.snapshot_seqs)?;
        arguments.add(self.lives)?;
        arguments.add(self.states)?;
        arguments.add(self.claim_rows)?;
        arguments.add(self.homes)?;
        arguments.add(self.keys)?;
        arguments.add(self.fingerprints)?;
        Ok(arguments)
    }
}

/// A row's number as `WITH ORDINALITY` counts, from 1.
fn ordinal(n: usize) -> Result<i64, CommitError> {
    signed("row", u64::try_from(n).unwrap_or(u64::MAX).saturating_add(1))
}

impl Work for Columns<'_> {
    type Output = HashMap<ShardId, u64>;

    /// Executes the batch; the epochs that its shards have. Rows under these epochs are committed, others are fenced.
    ///
    /// All rows of the answer are read, up to the server's word that it is ready again: the commit comes after them.
    async fn run(self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        fail_point!("store::step");
        let arguments = self.arguments().map_err(sqlx::Error::Encode)?;
        let query = sqlx::query_as_with(COMMIT, arguments);
        let fence: Vec<(i16, i64, i32)> = query.fetch_all(connection).await?;
        fail_point!("store::step");
        let epochs = fence
            .into_iter()
            .map(|(shard, epoch, _)| (ShardId(shard.unsigned_abs()), epoch.unsigned_abs()));
        Ok(epochs.collect())
    }
}
