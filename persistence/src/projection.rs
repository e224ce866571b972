//! The search projection: orders as lists show them, fed from the position lines in coalesced batches.
//!
//! *Architecture invariant*: a batch and the cursors that it moves are one transaction, and it is refused unless the
//! cursors are where it begins. So the projection holds exactly what lies before its cursors, whoever feeds it, and
//! emptying it together with them is all that a rebuild takes.
//!
//! It is the one part of this crate that knows what an order is.

mod batch;
mod change;
mod memory;
mod postgres;
mod projector;
mod query;
mod rebuild;
mod sqlite;
mod stuck;
mod write;

pub use batch::{Batch, LineMove, Pending};
pub use change::{OrderChange, Placed, StatusChange};
pub use memory::MemoryProjection;
pub use postgres::{PostgresProjection, PostgresProjectionOptions};
pub use projector::{OrderSearch, Projector, ProjectorOptions};
pub(crate) use query::first_id;
pub use rebuild::{Rebuilt, rebuild};
pub use sqlite::SqliteProjection;
pub use stuck::{Stuck, StuckOrders};

use async_trait::async_trait;
use domain::ids::{ChannelId, CustomerId, OrderId, Position, RestaurantId, Seq};
use domain::money::Money;
use domain::order::OrderStatus;
use domain::ports::{CommitError, StoreError};
use domain::shard::ShardId;
use domain::time::{Millis, Timestamp};
use std::sync::Arc;

/// The name under which the projection follows the lines.
pub const FOLLOWER: &str = "projection";

/// An order as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSummary {
    /// Which order.
    pub order: OrderId,
    /// The version that last changed something shown here; the order itself may be at a later one.
    pub seq: Seq,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Who ordered.
    pub customer: CustomerId,
    /// From which restaurant.
    pub restaurant: RestaurantId,
    /// The channel that makes it, once one does.
    pub channel: Option<ChannelId>,
    /// What it costs the customer.
    pub total: Money,
    /// When it was accepted.
    pub placed_at: Timestamp,
    /// When something shown here changed last.
    pub updated_at: Timestamp,
    /// Whether something of it waits for an operator.
    pub stuck: bool,
}

/// Which orders, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// At one of these; empty: at any.
    pub statuses: Vec<OrderStatus>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// From this restaurant. Not indexed: bound the time as well where orders of a restaurant are rare.
    pub restaurant: Option<RestaurantId>,
    /// Made by this channel.
    pub channel: Option<ChannelId>,
    /// Only those that are stuck, or that are not.
    pub stuck: Option<bool>,
    /// Accepted at this moment or later.
    pub placed_after: Option<Timestamp>,
    /// Accepted before this moment.
    pub placed_before: Option<Timestamp>,
    /// By how much the time in an order's id and its acceptance can differ. Bounds in time are exact; this only tells
    /// how much further to look than the ids suggest.
    pub id_slack: Millis,
    /// Behind this order in the list: the last one of the page before.
    pub behind: Option<OrderId>,
    /// At most so many.
    pub limit: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in, and the cursors are moved.
    Done,
    /// Some cursor is not where the batch begins: somebody else moved it, or emptied the projection. Nothing was
    /// written; the cursors must be read again.
    Stale,
}

/// Where order summaries are kept. All implementations are held to one suite.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The implementation's name: `sqlite`, `postgres` or `memory`.
    fn name(&self) -> &'static str;

    /// How far each line is applied. Lines that are left out are at their beginning.
    ///
    /// # Errors
    /// The database is away.
    async fn cursors(&self) -> Result<Vec<(ShardId, Position)>, StoreError>;

    /// The orders that are stuck, of the lines as far as they are applied. Read after the cursors, for a batch that goes on
    /// from there: if somebody else moves them in between, that batch is refused.
    ///
    /// # Errors
    /// The database is away.
    async fn stuck(&self) -> Result<StuckOrders, StoreError>;

    /// Writes a batch and moves its lines' cursors, together or not at all. Who writes has read the cursors since the
    /// projection was made or emptied: that may be what makes them. A change that is not newer than what is
    /// there changes nothing, and neither does one of an order that is not there, unless it places it.
    ///
    /// # Errors
    /// [`CommitError::Refused`] when the database will never take some of it; otherwise the same batch may be tried
    /// again: if it was written after all, it is answered with [`Applied::Stale`].
    async fn apply(&self, batch: &Arc<Batch>) -> Result<Applied, CommitError>;

    /// Forgets everything, the cursors too.
    ///
    /// # Errors
    /// The database is away.
    async fn reset(&self) -> Result<(), StoreError>;

    /// Forgets orders that the store does not keep any more. Idempotent.
    ///
    /// # Errors
    /// The database is away.
    async fn forget(&self, orders: &[OrderId]) -> Result<(), StoreError>;

    /// The orders that match, newest first.
    ///
    /// # Errors
    /// The database is away, or needs too long.
    async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError>;

    /// How many orders there are.
    ///
    /// # Errors
    /// The database is away, or needs too long.
    async fn count(&self) -> Result<u64, StoreError>;
}
