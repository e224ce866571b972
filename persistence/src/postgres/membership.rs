//! The nodes of a cluster, and which shards are whose.
//!
//! Rows are locked in one order, the node's before the shards' and those by number, so nobody waits in a circle.

use super::PostgresStore;
use super::acquire::{self, Acquire};
use super::connections::Work;
use super::errors::Failure;
use super::lifeline::lock_key;
use crate::record::{self, check_node_name, shard_code};
use async_trait::async_trait;
use domain::ids::Epoch;
use domain::ports::{ClusterView, Member, Membership, ShardOwner, StoreError};
use domain::shard::{OwnedShard, ShardId};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

#[async_trait]
impl Membership for PostgresStore {
    async fn join(&self, name: &str, address: &str, lease_ms: u64) -> Result<(), StoreError> {
        check_node_name(name)?;
        self.lifeline.join(name, address, lease_ms).await
    }

    async fn renew(&self, name: &str, lease_ms: u64, draining: bool) -> Result<bool, StoreError> {
        self.lifeline.renew(name, lease_ms, draining).await
    }

    async fn view(&self) -> Result<ClusterView, StoreError> {
        let lines = self.control(View).await?;
        let mut view = ClusterView::default();
        for (shard, name, address, draining, number) in lines {
            match (shard, name) {
                (Some(shard), owner) => view.shards.push(ShardOwner {
                    shard: ShardId(shard.unsigned_abs()),
                    epoch: Epoch(record::unsigned(number)?),
                    owner: owner.unwrap_or_default(),
                }),
                (None, Some(name)) => view.members.push(Member {
                    name,
                    address,
                    lease_left_ms: number,
                    draining,
                }),
                (None, None) => view.now_ms = number,
            }
        }
        view.members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        view.shards.sort_unstable_by_key(|owned| owned.shard);
        Ok(view)
    }

    async fn take(&self, name: &str, shards: &[(ShardId, Epoch)]) -> Result<Vec<OwnedShard>, StoreError> {
        let taken = self.control(Acquire::unchanged(name, shards)).await?;
        let asked = shards.iter().map(|(shard, _)| *shard);
        Ok(record::those_owned(asked, acquire::owned(taken)?))
    }

    async fn release(&self, name: &str, shards: &[ShardId]) -> Result<(), StoreError> {
        let shards = shards.iter().copied().map(shard_code).collect();
        self.control(Release { name, shards }).await
    }

    async fn is_alive(&self, name: &str) -> Result<bool, StoreError> {
        self.control(IsAlive(lock_key(name))).await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.control(Remove(name)).await?;
        self.lifeline.end(name).await;
        Ok(())
    }
}

impl PostgresStore {
    /// Does something that concerns the cluster.
    async fn control<W: Work>(&self, work: W) -> Result<W::Output, StoreError> {
        self.control.run(work).await.map_err(Failure::into_store_error)
    }
}

/// One statement, and so of one moment: a line for each member (what is left of its lease), one for each shard (its
/// epoch), and one for the time.
struct View;

type ViewLine = (Option<i16>, Option<String>, String, bool, i64);

impl Work for View {
    type Output = Vec<ViewLine>;

    async fn run(self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let view = r#"
            SELECT NULL::smallint, name, address, draining,
                floor(extract(epoch FROM lease_until - now()) * 1000)::bigint FROM nodes
            UNION ALL SELECT shard, owner COLLATE "C", '', false, epoch FROM shards
            UNION ALL SELECT NULL, NULL, '', false, floor(extract(epoch FROM now()) * 1000)::bigint"#;
        sqlx::query_as(view).fetch_all(connection).await
    }
}

/// Makes these shards of a node nobody's.
struct Release<'a> {
    name: &'a str,
    shards: Vec<i16>,
}

impl Work for Release<'_> {
    type Output = ();

    async fn run(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let release = "
            WITH held AS MATERIALIZED (
                SELECT shard FROM shards WHERE owner = $1 AND shard = ANY($2) ORDER BY shard FOR UPDATE
            )
            UPDATE shards s SET owner = '' FROM held WHERE s.shard = held.shard AND s.owner = $1";
        let query = sqlx::query(release).bind(self.name).bind(self.shards);
        query.execute(connection).await.map(|_| ())
    }
}

/// Tries for a node's lock. The statement is its own transaction, whose end gives the lock back.
struct IsAlive(i64);

impl Work for IsAlive {
    type Output = bool;

    async fn run(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(self.0);
        // Read to the end: before, the lock may still be held.
        let got: Vec<bool> = query.fetch_all(connection).await?;
        Ok(got != [true])
    }
}

/// Removes a node, after whatever it takes at this moment.
struct Remove<'a>(&'a str);

impl Work for Remove<'_> {
    type Output = ();

    async fn run(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let remove = sqlx::query("DELETE FROM nodes WHERE name = $1").bind(self.0);
        remove.execute(&mut *transaction).await?;
        let lock = "SELECT shard FROM shards WHERE owner = $1 ORDER BY shard FOR UPDATE";
        sqlx::query(lock).bind(self.0).execute(&mut *transaction).await?;
        let free = sqlx::query("UPDATE shards SET owner = '' WHERE owner = $1").bind(self.0);
        free.execute(&mut *transaction).await?;
        transaction.commit().await
    }
}
