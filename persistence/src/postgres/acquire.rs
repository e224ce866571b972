//! Taking shards.

use super::connections::Work;
use crate::record::{self, shard_code};
use domain::ids::{Epoch, Position};
use domain::ports::StoreError;
use domain::shard::{OwnedShard, ShardId};
use fail::fail_point;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// Whose shards are taken.
enum Terms {
    /// Anybody's.
    Unconditional,
    /// The node's own.
    Own,
    /// Anybody's that have the epoch given, as long as the node is in the cluster.
    Unchanged(Vec<i64>),
}

/// Takes shards for a node: those that it may have, with their new epochs and their highest positions.
///
/// Locks them in order (so that two nodes cannot block each other), which waits out every batch that holds them;
/// increments their epochs; and only then, in a statement that sees what those batches committed, reads the positions.
pub(super) struct Acquire<'a> {
    shards: Vec<i16>,
    node: &'a str,
    terms: Terms,
}

impl<'a> Acquire<'a> {
    /// Takes them whoever has them.
    pub(super) fn all(node: &'a str, shards: &[ShardId]) -> Self {
        Self {
            shards: shards.iter().copied().map(shard_code).collect(),
            node,
            terms: Terms::Unconditional,
        }
    }

    /// Takes those that the node has already. Nobody's are not taken, but fenced: see [`Store::reacquire`].
    ///
    /// [`Store::reacquire`]: domain::ports::Store::reacquire
    pub(super) fn own(node: &'a str, shards: &[ShardId]) -> Self {
        Self {
            terms: Terms::Own,
            ..Self::all(node, shards)
        }
    }

    /// Takes those whose epoch is still as given, if the node is in the cluster.
    pub(super) fn unchanged(node: &'a str, shards: &[(ShardId, Epoch)]) -> Self {
        let (shards, epochs): (Vec<_>, Vec<_>) = shards
            .iter()
            .map(|(shard, epoch)| (shard_code(*shard), record::bound(epoch.0)))
            .unzip();
        Self {
            shards,
            node,
            terms: Terms::Unchanged(epochs),
        }
    }
}

impl Work for Acquire<'_> {
    type Output = Vec<(i16, i64, i64)>;

    async fn run(self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        if matches!(self.terms, Terms::Unchanged(_)) {
            // The node's row before the shards', as whoever removes the node locks them. `KEY SHARE` makes the removal
            // wait for this, and lets the lease be renewed meanwhile.
            let member = "SELECT name FROM nodes WHERE name = $1 FOR KEY SHARE";
            let member = sqlx::query(member).bind(self.node).fetch_optional(&mut *transaction);
            if member.await?.is_none() {
                transaction.rollback().await?;
                return Ok(Vec::new());
            }
        }
        let lock = "SELECT shard FROM shards WHERE shard = ANY($1) ORDER BY shard FOR UPDATE";
        sqlx::query(lock).bind(&self.shards).execute(&mut *transaction).await?;
        fail_point!("store::step");
        let take = match &self.terms {
            Terms::Unconditional => sqlx::query_as(
                "UPDATE shards SET epoch = epoch + 1, owner = $2 WHERE shard = ANY($1) RETURNING shard, owner = $2",
            )
            .bind(&self.shards)
            .bind(self.node),
            Terms::Own => sqlx::query_as(
                "UPDATE shards SET epoch = epoch + 1 WHERE shard = ANY($1) AND owner IN ($2, '')
                RETURNING shard, owner = $2",
            )
            .bind(&self.shards)
            .bind(self.node),
            Terms::Unchanged(epochs) => sqlx::query_as(
                "UPDATE shards s SET epoch = s.epoch + 1, owner = $2
                FROM UNNEST($1::smallint[], $3::bigint[]) AS w (shard, epoch)
                WHERE s.shard = w.shard AND s.epoch = w.epoch RETURNING s.shard, s.owner = $2",
            )
            .bind(&self.shards)
            .bind(self.node)
            .bind(epochs),
        };
        let touched: Vec<(i16, bool)> = take.fetch_all(&mut *transaction).await?;
        fail_point!("store::step");
        let taken: Vec<i16> = touched
            .into_iter()
            .filter_map(|(shard, taken)| taken.then_some(shard))
            .collect();
        let read = "
            SELECT shard, epoch, coalesce((SELECT max(position) FROM event_rows r WHERE r.shard = s.shard), 0)
            FROM shards s WHERE shard = ANY($1)";
        let acquired = sqlx::query_as(read).bind(&taken).fetch_all(&mut *transaction).await?;
        fail_point!("store::step");
        transaction.commit().await?;
        fail_point!("store::step");
        Ok(acquired)
    }
}

/// The shards that were taken, by number.
pub(super) fn owned(taken: Vec<(i16, i64, i64)>) -> Result<HashMap<ShardId, OwnedShard>, StoreError> {
    let owned = |(shard, epoch, position): (i16, i64, i64)| {
        let shard = ShardId(shard.unsigned_abs());
        let owned = OwnedShard {
            shard,
            epoch: Epoch(record::unsigned(epoch)?),
            position: Position(record::unsigned(position)?),
        };
        Ok((shard, owned))
    };
    taken.into_iter().map(owned).collect()
}
