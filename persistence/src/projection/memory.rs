//! The memory projection: the contract in its plainest form.

use super::change::OrderChange;
use super::stuck::StuckOrders;
use super::{Applied, Batch, OrderSummary, Projection, Search};
use async_trait::async_trait;
use domain::ids::{OrderId, Position};
use domain::ports::{CommitError, StoreError};
use domain::shard::ShardId;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A projection that forgets everything when it is dropped.
#[derive(Default)]
pub struct MemoryProjection {
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    orders: BTreeMap<OrderId, OrderSummary>,
    stuck: StuckOrders,
    cursors: BTreeMap<ShardId, Position>,
}

impl Contents {
    fn change(&mut self, change: &OrderChange) {
        self.change_summary(change);
        if let (Some(stuck), Some(known)) = (&change.stuck, self.orders.get_mut(&change.order))
            && known.seq == change.seq
        {
            known.stuck = !stuck.is_empty();
            self.stuck.insert(change.order, stuck.clone());
            self.stuck.retain(|_, stuck| !stuck.is_empty());
        }
    }

    fn change_summary(&mut self, change: &OrderChange) {
        if let Some(known) = self.orders.get_mut(&change.order) {
            if known.seq < change.seq {
                (known.seq, known.updated_at) = (change.seq, change.at);
                known.status = change.status.applied_to(known.status);
                if let Some(channel) = &change.channel {
                    known.channel.clone_from(channel);
                }
            }
        } else if let Some(summary) = first(change) {
            self.orders.insert(change.order, summary);
        }
    }
}

/// The order that a change places.
fn first(change: &OrderChange) -> Option<OrderSummary> {
    let placed = change.placed.as_ref()?;
    Some(OrderSummary {
        order: change.order,
        seq: change.seq,
        status: change.status.applied_to(domain::order::OrderStatus::Pending),
        customer: placed.customer.clone(),
        restaurant: placed.restaurant.clone(),
        channel: change.channel.clone().flatten(),
        total: placed.total,
        placed_at: placed.at,
        updated_at: change.at,
        stuck: false,
    })
}

impl MemoryProjection {
    /// No change leaves the contents half done, so a panic elsewhere does not spoil them.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Search {
    /// Whether an order matches, wherever in the list it is.
    fn matches(&self, order: &OrderSummary) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&order.status))
            && self.customer.as_ref().is_none_or(|wanted| *wanted == order.customer)
            && self
                .restaurant
                .as_ref()
                .is_none_or(|wanted| *wanted == order.restaurant)
            && (self.channel.is_none() || self.channel == order.channel)
            && self.stuck.is_none_or(|stuck| stuck == order.stuck)
            && self.placed_after.is_none_or(|after| order.placed_at >= after)
            && self.placed_before.is_none_or(|before| order.placed_at < before)
    }
}

#[async_trait]
impl Projection for MemoryProjection {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn cursors(&self) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let contents = self.contents();
        Ok(contents.cursors.iter().map(|(shard, at)| (*shard, *at)).collect())
    }

    async fn stuck(&self) -> Result<StuckOrders, StoreError> {
        Ok(self.contents().stuck.clone())
    }

    async fn apply(&self, batch: &Arc<Batch>) -> Result<Applied, CommitError> {
        let mut contents = self.contents();
        let at = |shard| contents.cursors.get(shard).copied().unwrap_or_default();
        if batch.lines.iter().any(|line| at(&line.shard) != line.from) {
            return Ok(Applied::Stale);
        }
        for line in &batch.lines {
            contents.cursors.insert(line.shard, line.to);
        }
        for change in &batch.orders {
            contents.change(change);
        }
        Ok(Applied::Done)
    }

    async fn reset(&self) -> Result<(), StoreError> {
        *self.contents() = Contents::default();
        Ok(())
    }

    async fn forget(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for order in orders {
            contents.orders.remove(order);
        }
        Ok(())
    }

    async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError> {
        let contents = self.contents();
        let end = search.behind.map_or(Bound::Unbounded, Bound::Excluded);
        let newest_first = contents.orders.range((Bound::Unbounded, end)).rev();
        let matching = newest_first
            .map(|(_, order)| order)
            .filter(|order| search.matches(order));
        Ok(matching.take(search.limit).cloned().collect())
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.contents().orders.len() as u64)
    }
}
