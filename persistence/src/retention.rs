//! Retention: orders that ended long ago, and idempotency keys that nobody will use again, are deleted in small batches.
//!
//! An order goes as a whole: its rows, its snapshot, its entry in lists. Channels and zones never end and never go.
//! Positions are never used again: a line's newest row stays, whosever it is, so that the next owner of the shard reads
//! the line's end as before. What is gone leaves gaps behind the cursors of all who follow the lines, and nowhere else.
//!
//! *Architecture invariant*: each batch is one transaction in which all conditions are checked once more. So it does not
//! matter who sweeps, how often, how many at a time, or where a sweep is interrupted.

mod sweeper;

pub use sweeper::{RetentionOptions, Sweep, Sweeper, Swept};

use async_trait::async_trait;
use domain::ids::{OrderId, Position, StreamId};
use domain::ports::StoreError;
use domain::shard::ShardId;
use domain::time::Timestamp;
use uuid::Uuid;

/// Which orders may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Those whose last row was written before this moment.
    pub before: Timestamp,
    /// Those of these shards, and of each only what lies before the position given: all who follow the line have come so
    /// far, and may be asked which row they stand at.
    pub lines: Vec<(ShardId, Position)>,
}

/// What became of some orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiredOrders {
    /// Those that are gone.
    pub orders: Vec<OrderId>,
    /// The rows that went with them.
    pub rows: u64,
    /// How many are old enough, but not passed by all who follow their line, or hold its newest row.
    pub held_back: u64,
    /// Where to go on; `None`: there are no others that began before the moment given.
    pub next: Option<StreamId>,
}

/// What became of some keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiredKeys {
    /// How many are gone.
    pub keys: u64,
    /// Where to go on; `None`: the shard has no others.
    pub next: Option<String>,
}

/// A store from which what is old can be deleted. All implementations are held to one contract suite.
#[async_trait]
pub trait RetentionStore: Send + Sync + 'static {
    /// Looks at the next `limit` orders after `after`, by id and so by age, and deletes those that are settled and due.
    /// One transaction. Idempotent.
    ///
    /// # Errors
    /// The store is away; some of it was done or nothing.
    async fn expire_orders(
        &self,
        expiry: &Expiry,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<ExpiredOrders, StoreError>;

    /// Looks at the next `limit` keys of a shard after `after`, and deletes those that were used before a moment. One
    /// transaction. Idempotent.
    ///
    /// # Errors
    /// The store is away; some of it was done or nothing.
    async fn expire_keys(
        &self,
        shard: ShardId,
        before: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ExpiredKeys, StoreError>;

    /// Those of these orders that the store does not have.
    ///
    /// # Errors
    /// The store is away.
    async fn missing(&self, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError>;

    /// The order that was accepted first of those that are kept.
    ///
    /// # Errors
    /// The store is away.
    async fn oldest(&self) -> Result<Option<OrderId>, StoreError>;
}

/// The ids of orders begin with their time, those of channels and zones with 48 zeros: no order is at or before this.
pub(crate) const BEFORE_ALL_ORDERS: Uuid = Uuid::from_u128((1 << 80) - 1);

/// Behind which stream to look, and before which.
pub(crate) fn bounds(before: Timestamp, after: Option<StreamId>) -> (Uuid, Uuid) {
    let first = after.map_or(BEFORE_ALL_ORDERS, |stream| stream.0.max(BEFORE_ALL_ORDERS));
    (first, crate::projection::first_id(before).unwrap_or(Uuid::max()))
}

/// When the id of an order was made.
pub(crate) fn minted_at(order: OrderId) -> Timestamp {
    Timestamp(i64::try_from(order.0.0.as_u128() >> 80).unwrap_or(i64::MAX))
}
