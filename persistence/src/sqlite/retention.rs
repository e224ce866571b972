//! Retention over SQLite: the writer's thread deletes between two batches of orders. The pages that become free are used
//! again; the file does not shrink.

use super::errors::failed;
use super::writer::Work;
use super::{SqliteStore, away};
use crate::record::{bound, limit, read_error, shard_code, unsigned};
use crate::retention::{BEFORE_ALL_ORDERS, ExpiredKeys, ExpiredOrders, Expiry, RetentionStore, bounds};
use async_trait::async_trait;
use domain::ids::{OrderId, StreamId};
use domain::ports::{CommitError, StoreError, StreamKind};
use domain::shard::ShardId;
use domain::time::Timestamp;
use fail::fail_point;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use uuid::Uuid;

struct ExpireOrders {
    expiry: Expiry,
    after: Option<StreamId>,
    limit: usize,
}

/// A stream that was looked at.
struct Looked {
    stream: Uuid,
    shard: u16,
    seq: i64,
    is_settled: bool,
}

impl ExpireOrders {
    fn look(&self, connection: &Connection) -> rusqlite::Result<Vec<Looked>> {
        let (first, end) = bounds(self.expiry.before, self.after);
        let look = "
            SELECT stream, shard, seq, kind = ?4 AND live = 0 FROM snapshots
            WHERE stream > ?1 AND stream < ?2 ORDER BY stream LIMIT ?3";
        let mut look = connection.prepare_cached(look)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Looked {
                stream: Uuid::from_bytes(row.get(0)?),
                shard: row.get(1)?,
                seq: row.get(2)?,
                is_settled: row.get(3)?,
            })
        };
        let kind = StreamKind::Order.code();
        let (first, end) = (first.as_bytes().as_slice(), end.as_bytes().as_slice());
        look.query_map(params![first, end, limit(self.limit), kind], read)?
            .collect()
    }
}

impl Work for ExpireOrders {
    type Output = ExpiredOrders;

    fn run(self, connection: &Connection) -> Result<ExpiredOrders, CommitError> {
        self.expire(connection).map_err(failed)
    }
}

impl ExpireOrders {
    fn expire(&self, connection: &Connection) -> rusqlite::Result<ExpiredOrders> {
        let passed: HashMap<u16, i64> = self
            .expiry
            .lines
            .iter()
            .map(|(shard, at)| (shard.0, bound(at.0)))
            .collect();
        let looked = self.look(connection)?;
        let mut ended = connection.prepare_cached(
            "SELECT max(position) < (SELECT max(position) FROM event_rows WHERE shard = ?2), max(position)
            FROM event_rows WHERE stream = ?1 HAVING max(seq) = ?3 AND max(at) < ?4",
        )?;
        let mut forget = connection.prepare_cached("DELETE FROM snapshots WHERE stream = ?1")?;
        let mut forget_rows = connection.prepare_cached("DELETE FROM event_rows WHERE stream = ?1")?;
        let mut expired = ExpiredOrders::default();
        for order in looked.iter().filter(|order| order.is_settled) {
            let Some(passed) = passed.get(&order.shard) else {
                continue;
            };
            let stream = order.stream.as_bytes().as_slice();
            let values = params![stream, order.shard, order.seq, self.expiry.before.0];
            let end: Option<(bool, i64)> = ended
                .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match end {
                Some((true, position)) if position < *passed => {
                    fail_point!("store::step");
                    forget.execute([stream])?;
                    expired.rows += forget_rows.execute([stream])? as u64;
                    expired.orders.push(OrderId(StreamId(order.stream)));
                }
                Some(_) => expired.held_back += 1,
                None => {}
            }
        }
        let is_full = looked.len() == self.limit;
        expired.next = looked.last().filter(|_| is_full).map(|last| StreamId(last.stream));
        Ok(expired)
    }
}

struct ExpireKeys {
    shard: ShardId,
    before: Timestamp,
    after: String,
    limit: usize,
}

impl Work for ExpireKeys {
    type Output = ExpiredKeys;

    fn run(self, connection: &Connection) -> Result<ExpiredKeys, CommitError> {
        self.expire(connection).map_err(failed)
    }
}

impl ExpireKeys {
    fn expire(&self, connection: &Connection) -> rusqlite::Result<ExpiredKeys> {
        let look = "SELECT key, at FROM idempotency_keys WHERE shard = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let mut look = connection.prepare_cached(look)?;
        let values = params![shard_code(self.shard), self.after, limit(self.limit)];
        let looked = look.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let looked: Vec<(String, i64)> = looked.collect::<rusqlite::Result<_>>()?;
        let mut forget = connection.prepare_cached("DELETE FROM idempotency_keys WHERE shard = ?1 AND key = ?2")?;
        let mut expired = ExpiredKeys::default();
        for (key, _) in looked.iter().filter(|(_, at)| *at < self.before.0) {
            fail_point!("store::step");
            expired.keys += forget.execute(params![shard_code(self.shard), key])? as u64;
        }
        let is_full = looked.len() == self.limit;
        expired.next = looked.into_iter().next_back().filter(|_| is_full).map(|(key, _)| key);
        Ok(expired)
    }
}

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn expire_orders(
        &self,
        expiry: &Expiry,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<ExpiredOrders, StoreError> {
        let work = ExpireOrders {
            expiry: expiry.clone(),
            after,
            limit,
        };
        self.writer.write(work).await.map_err(away)
    }

    async fn expire_keys(
        &self,
        shard: ShardId,
        before: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ExpiredKeys, StoreError> {
        let work = ExpireKeys {
            shard,
            before,
            after: after.unwrap_or_default().to_owned(),
            limit,
        };
        self.writer.write(work).await.map_err(away)
    }

    async fn missing(&self, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
        let mut missing = Vec::new();
        for order in orders {
            let find = sqlx::query_scalar("SELECT count(*) FROM snapshots WHERE stream = $1").bind(order.0.0);
            let found: i64 = find
                .fetch_one(&self.readers)
                .await
                .map_err(|error| read_error(&error))?;
            if unsigned(found)? == 0 {
                missing.push(*order);
            }
        }
        Ok(missing)
    }

    async fn oldest(&self) -> Result<Option<OrderId>, StoreError> {
        let oldest = "SELECT stream FROM snapshots WHERE stream > $1 ORDER BY stream LIMIT 1";
        let found: Option<Uuid> = sqlx::query_scalar(oldest)
            .bind(BEFORE_ALL_ORDERS)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| read_error(&error))?;
        Ok(found.map(|stream| OrderId(StreamId(stream))))
    }
}
