//! Retention over the memory store.

use super::{Contents, MemoryStore};
use crate::retention::{BEFORE_ALL_ORDERS, ExpiredKeys, ExpiredOrders, Expiry, RetentionStore, bounds};
use async_trait::async_trait;
use domain::ids::{OrderId, Position, Seq, StreamId};
use domain::ports::{Row, StoreError, StreamKind};
use domain::shard::ShardId;
use domain::time::Timestamp;
use std::collections::HashMap;
use std::ops::Bound;

/// What is to be known of a settled order's rows.
struct Ended {
    at: Timestamp,
    position: Position,
}

impl Contents {
    fn all_rows(&self, stream: StreamId) -> impl Iterator<Item = &Row> {
        self.rows
            .range((stream, Seq(0))..=(stream, Seq(u64::MAX)))
            .map(|(_, row)| row)
    }

    /// The end of a stream that is a settled order's, with nothing after the snapshot that says so.
    fn ended(&self, stream: StreamId) -> Option<Ended> {
        let kept = self.snapshots.get(&stream)?;
        if kept.kind != StreamKind::Order || kept.snapshot.live {
            return None;
        }
        let last = self.all_rows(stream).last()?;
        let at = self.all_rows(stream).map(|row| row.at).max()?;
        let position = self.all_rows(stream).map(|row| row.position).max()?;
        (last.seq == kept.snapshot.seq).then_some(Ended { at, position })
    }

    /// Deletes a stream; says how many rows it had.
    fn forget(&mut self, stream: StreamId, shard: ShardId) -> u64 {
        let rows: Vec<(Seq, Position)> = self.all_rows(stream).map(|row| (row.seq, row.position)).collect();
        for (seq, position) in &rows {
            self.rows.remove(&(stream, *seq));
            self.positions.remove(&(shard, *position));
        }
        self.snapshots.remove(&stream);
        rows.len() as u64
    }
}

#[async_trait]
impl RetentionStore for MemoryStore {
    async fn expire_orders(
        &self,
        expiry: &Expiry,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<ExpiredOrders, StoreError> {
        let mut contents = self.contents();
        let (first, end) = bounds(expiry.before, after);
        let passed: HashMap<ShardId, Position> = expiry.lines.iter().copied().collect();
        let between = (Bound::Excluded(StreamId(first)), Bound::Excluded(StreamId(end)));
        let looked: Vec<(StreamId, ShardId)> = if first < end {
            let snapshots = contents.snapshots.range(between).take(limit);
            snapshots.map(|(stream, kept)| (*stream, kept.shard)).collect()
        } else {
            Vec::new()
        };
        let mut expired = ExpiredOrders::default();
        for (stream, shard) in &looked {
            let (Some(passed), Some(ended)) = (passed.get(shard), contents.ended(*stream)) else {
                continue;
            };
            if ended.at >= expiry.before {
                continue;
            }
            if ended.position < *passed && ended.position < contents.end_of(*shard) {
                expired.rows += contents.forget(*stream, *shard);
                expired.orders.push(OrderId(*stream));
            } else {
                expired.held_back += 1;
            }
        }
        expired.next = looked
            .last()
            .filter(|_| looked.len() == limit)
            .map(|(stream, _)| *stream);
        Ok(expired)
    }

    async fn expire_keys(
        &self,
        shard: ShardId,
        before: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ExpiredKeys, StoreError> {
        let mut contents = self.contents();
        let of_shard = contents.claims.iter().filter(|((of, _), _)| *of == shard);
        let mut looked: Vec<(String, Timestamp)> = of_shard
            .map(|((_, key), claim)| (key.clone(), claim.at))
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .collect();
        looked.sort_unstable();
        looked.truncate(limit);
        let next = looked
            .last()
            .filter(|_| looked.len() == limit)
            .map(|(key, _)| key.clone());
        let mut keys = 0;
        for (key, _) in looked.into_iter().filter(|(_, at)| *at < before) {
            contents.claims.remove(&(shard, key));
            keys += 1;
        }
        Ok(ExpiredKeys { keys, next })
    }

    async fn missing(&self, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
        let contents = self.contents();
        let is_missing = |order: &&OrderId| !contents.snapshots.contains_key(&order.stream());
        Ok(orders.iter().filter(is_missing).copied().collect())
    }

    async fn oldest(&self) -> Result<Option<OrderId>, StoreError> {
        let contents = self.contents();
        let orders = (Bound::Excluded(StreamId(BEFORE_ALL_ORDERS)), Bound::Unbounded);
        let first = contents.snapshots.range(orders).next();
        Ok(first.map(|(stream, _)| OrderId(*stream)))
    }
}
