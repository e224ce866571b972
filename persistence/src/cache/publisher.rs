//! Brings Redis up to date with the tier in the process.

use super::TTL;
use super::memory::Memory;
use super::redis::{Away, Redis};
use domain::ids::OrderId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How many entries one call of Redis takes: some tens of kilobytes.
const BATCH_MAX: usize = 128;
/// How long changes gather. An order that changes several times meanwhile is written once.
const GATHER: Duration = Duration::from_millis(10);
/// The pause before what Redis did not take is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// The orders whose entries Redis has yet to get. Bounded in orders: however often one changes, it waits once, and what is
/// written is its newest entry.
pub(super) struct Publisher {
    waiting: Mutex<HashSet<OrderId>>,
    waiting_max: usize,
    wake: Notify,
}

impl Publisher {
    pub(super) fn new(waiting_max: u64) -> Self {
        metrics::describe_counter!(
            "uoop_status_cache_unpublished_total",
            "changes that Redis did not get because too many were waiting for it"
        );
        metrics::describe_gauge!("uoop_status_cache_waiting", "orders whose status Redis has yet to get");
        Self {
            waiting: Mutex::default(),
            waiting_max: usize::try_from(waiting_max).unwrap_or(usize::MAX),
            wake: Notify::new(),
        }
    }

    /// An order's entry has changed. When too many wait, this one is left out: what Redis has of it grows old, and after a
    /// second no node accepts it.
    pub(super) fn mark(&self, id: OrderId) {
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= self.waiting_max && !waiting.contains(&id) {
                metrics::counter!("uoop_status_cache_unpublished_total").increment(1);
                return;
            }
            waiting.insert(id);
            waiting.len() == 1
        };
        if first {
            self.wake.notify_one();
        }
    }

    pub(super) fn take(&self) -> Vec<OrderId> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().collect()
    }

    /// Publishes for ever.
    pub(super) async fn run(self: Arc<Self>, memory: Arc<Memory>, redis: Arc<Redis>) {
        let depth = metrics::gauge!("uoop_status_cache_waiting");
        loop {
            self.wake.notified().await;
            sleep(GATHER).await;
            let ids = self.take();
            depth.set(f64::from(u32::try_from(ids.len()).unwrap_or(u32::MAX)));
            for (n, batch) in ids.chunks(BATCH_MAX).enumerate() {
                if write(&memory, &redis, batch).await.is_err() {
                    sleep(AGAIN).await;
                    for id in &ids[n * BATCH_MAX..] {
                        self.mark(*id);
                    }
                    break;
                }
            }
        }
    }
}

/// Writes the entries that these orders have now. One that has none any more is not read any more either: its copy stays
/// until it is too old.
async fn write(memory: &Memory, redis: &Redis, ids: &[OrderId]) -> Result<(), Away> {
    // Redis tells the time before the entries are looked at: they are at least as new as that, however long the way there.
    let as_of_ms = redis.now_ms().await?;
    let entry = |id: &OrderId| memory.entry(*id).map(|entry| (*id, entry));
    let entries: Vec<_> = ids.iter().filter_map(entry).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let ttl_ms = i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX);
    redis.put(&entries, as_of_ms.saturating_add(ttl_ms)).await
}
