//! The status of orders, as customers ask for it every few seconds: from the status cache, which hears of every change.

use crate::api::StatusView;
use actors::{CallError, Platform};
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::OrderObserver;
use persistence::{Redis, Standing, StatusCache, StatusEntry};
use std::sync::Arc;

/// What status requests are answered from.
pub struct Statuses(StatusCache);

impl Statuses {
    /// Of at most so many orders at a time; copied to Redis if there is one. Needs a runtime.
    pub fn start(entries_max: u64, redis: Option<Arc<Redis>>) -> Self {
        Self(StatusCache::start(entries_max, redis))
    }

    /// An order's status.
    ///
    /// # Errors
    /// There is no such order, or it stands in the store alone and the store is away.
    pub async fn of(&self, platform: &Platform, id: OrderId) -> Result<StatusEntry, CallError> {
        let live = || platform.live_order(id).map(|order| entry(&order.state, order.seq));
        let load = async { platform.order(id).await.map(|order| entry(&order.state, order.seq)) };
        let standing = || {
            if platform.owns(id.stream()) {
                Standing::Owner
            } else {
                Standing::Other
            }
        };
        self.0.read(id, standing, live, load).await
    }
}

impl OrderObserver for Statuses {
    fn observe(&self, id: OrderId, seq: Seq, order: &Arc<Order>) {
        self.0.changed(id, || entry(order, seq));
    }

    fn forget(&self, is_lost: &dyn Fn(OrderId) -> bool) {
        self.0.forget(is_lost);
    }
}

fn entry(order: &Order, version: Seq) -> StatusEntry {
    let view = StatusView::new(order, version);
    StatusEntry {
        version,
        settled: view.settled,
        // Texts and numbers always serialize.
        body: serde_json::to_vec(&view).unwrap_or_default().into(),
    }
}
