//! Taking shards.

use super::connections::Work;
use fail::fail_point;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// Takes shards for a node: their new epochs and their highest positions.
///
/// Locks them in order (so that two nodes cannot block each other), which waits out every batch that holds them;
/// increments their epochs; and only then, in a statement that sees what those batches committed, reads the positions.
pub(super) struct Acquire<'a> {
    pub(super) shards: Vec<i16>,
    pub(super) node: &'a str,
}

impl Work for Acquire<'_> {
    type Output = Vec<(i16, i64, i64)>;

    async fn run(self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let lock = "SELECT shard FROM shards WHERE shard = ANY($1) ORDER BY shard FOR UPDATE";
        sqlx::query(lock).bind(&self.shards).execute(&mut *transaction).await?;
        fail_point!("store::step");
        let take = "UPDATE shards SET epoch = epoch + 1, owner = $2 WHERE shard = ANY($1)";
        sqlx::query(take)
            .bind(&self.shards)
            .bind(self.node)
            .execute(&mut *transaction)
            .await?;
        fail_point!("store::step");
        let read = "
            SELECT shard, epoch, coalesce((SELECT max(position) FROM event_rows r WHERE r.shard = s.shard), 0)
            FROM shards s WHERE shard = ANY($1)";
        let acquired = sqlx::query_as(read)
            .bind(&self.shards)
            .fetch_all(&mut *transaction)
            .await?;
        fail_point!("store::step");
        transaction.commit().await?;
        fail_point!("store::step");
        Ok(acquired)
    }
}
