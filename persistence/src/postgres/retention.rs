//! Retention over Postgres: one statement a batch, on a connection for reads, so that no batch of orders waits for it.

use super::PostgresStore;
use crate::record::{bound, limit, shard_code, unsigned};
use crate::retention::{BEFORE_ALL_ORDERS, ExpiredKeys, ExpiredOrders, Expiry, RetentionStore, bounds};
use async_trait::async_trait;
use domain::ids::{OrderId, StreamId};
use domain::ports::{StoreError, StreamKind};
use domain::shard::ShardId;
use domain::time::Timestamp;
use uuid::Uuid;

/// The arrays make both deletions look-ups by key, whatever the planner expects of the tables.
const EXPIRE_ORDERS: &str = "
    WITH looked AS MATERIALIZED (
        SELECT stream, seq, shard, kind, live FROM snapshots
        WHERE stream > $1 AND stream < $2 ORDER BY stream LIMIT $3
    ), due AS MATERIALIZED (
        SELECT l.stream, e.position < least(
            w.passed, (SELECT max(position) FROM event_rows n WHERE n.shard = l.shard)
        ) AS passed
        FROM looked l
        JOIN UNNEST($4::smallint[], $5::bigint[]) AS w (shard, passed) ON w.shard = l.shard
        CROSS JOIN LATERAL (
            SELECT max(seq) AS seq, max(at) AS at, max(position) AS position FROM event_rows r
            WHERE r.stream = l.stream
        ) e
        WHERE l.kind = $6 AND NOT l.live AND e.seq = l.seq AND e.at < $7
    ), folded AS (
        DELETE FROM snapshots WHERE stream = ANY (ARRAY(SELECT stream FROM due WHERE passed)) RETURNING stream
    ), appended AS (
        DELETE FROM event_rows WHERE stream = ANY (ARRAY(SELECT stream FROM due WHERE passed)) RETURNING 1
    )
    SELECT (SELECT count(*) FROM looked), (SELECT stream FROM looked ORDER BY stream DESC LIMIT 1),
        ARRAY(SELECT stream FROM folded ORDER BY stream), (SELECT count(*) FROM appended),
        (SELECT count(*) FROM due WHERE NOT passed)";

const EXPIRE_KEYS: &str = "
    WITH looked AS MATERIALIZED (
        SELECT key, at FROM idempotency_keys WHERE shard = $1 AND key > $2 ORDER BY key LIMIT $3
    ), used AS (
        DELETE FROM idempotency_keys
        WHERE shard = $1 AND key = ANY (ARRAY(SELECT key FROM looked WHERE at < $4)) AND at < $4 RETURNING 1
    )
    SELECT (SELECT count(*) FROM looked), (SELECT max(key) FROM looked), (SELECT count(*) FROM used)";

type Line = (i64, Option<Uuid>, Vec<Uuid>, i64, i64);

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn expire_orders(
        &self,
        expiry: &Expiry,
        after: Option<StreamId>,
        count: usize,
    ) -> Result<ExpiredOrders, StoreError> {
        let (first, end) = bounds(expiry.before, after);
        let (shards, passed): (Vec<i16>, Vec<i64>) = expiry
            .lines
            .iter()
            .map(|(shard, position)| (shard_code(*shard), bound(position.0)))
            .unzip();
        let query = sqlx::query_as(EXPIRE_ORDERS)
            .bind(first)
            .bind(end)
            .bind(limit(count))
            .bind(shards)
            .bind(passed)
            .bind(StreamKind::Order.code())
            .bind(expiry.before.0);
        let (looked, last, orders, rows, held_back): Line = self.read(query.fetch_one(&self.readers)).await?;
        Ok(ExpiredOrders {
            orders: orders.into_iter().map(|stream| OrderId(StreamId(stream))).collect(),
            rows: unsigned(rows)?,
            held_back: unsigned(held_back)?,
            next: last.map(StreamId).filter(|_| looked == limit(count)),
        })
    }

    async fn expire_keys(
        &self,
        shard: ShardId,
        before: Timestamp,
        after: Option<&str>,
        count: usize,
    ) -> Result<ExpiredKeys, StoreError> {
        let query = sqlx::query_as(EXPIRE_KEYS)
            .bind(shard_code(shard))
            .bind(after.unwrap_or(""))
            .bind(limit(count))
            .bind(before.0);
        let (looked, last, used): (i64, Option<String>, i64) = self.read(query.fetch_one(&self.readers)).await?;
        Ok(ExpiredKeys {
            keys: unsigned(used)?,
            next: last.filter(|_| looked == limit(count)),
        })
    }

    async fn missing(&self, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
        let missing = "
            SELECT stream FROM UNNEST($1::uuid[]) AS o (stream)
            WHERE NOT EXISTS (SELECT FROM snapshots s WHERE s.stream = o.stream)";
        let streams: Vec<Uuid> = orders.iter().map(|order| order.0.0).collect();
        let query = sqlx::query_scalar(missing).bind(streams);
        let found: Vec<Uuid> = self.read(query.fetch_all(&self.readers)).await?;
        Ok(found.into_iter().map(|stream| OrderId(StreamId(stream))).collect())
    }

    async fn oldest(&self) -> Result<Option<OrderId>, StoreError> {
        let oldest = "SELECT stream FROM snapshots WHERE stream > $1 ORDER BY stream LIMIT 1";
        let query = sqlx::query_scalar(oldest).bind(BEFORE_ALL_ORDERS);
        let found: Option<Uuid> = self.read(query.fetch_optional(&self.readers)).await?;
        Ok(found.map(|stream| OrderId(StreamId(stream))))
    }
}
