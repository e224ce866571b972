//! The status cache: what `GET /v1/orders/{id}/status` answers, ready to be sent.
//!
//! Two tiers. In the process, an entry that its order's owner keeps current: it is filled by the first read and replaced
//! at every commit. In Redis, when there is one, a copy under `order:{id}:status` for nodes that do not own the order and
//! for other services: written by the owner alone, replaced only by a newer version, gone [`TTL`] after it was last known
//! to be current, so that its age can be told from the time it has left.
//!
//! Nodes share the orders, and an order can become another node's at any moment. *Architecture invariant*: an entry that was
//! made under one ownership is never served under another. What a node loses it [forgets](StatusCache::forget); and a read
//! that found its order owned when it began, and ends after something was lost, leaves no entry behind.
//!
//! *Architecture invariant*: an answer never depends on Redis. It is asked within [`RedisOptions::timeout`], not at all
//! for a moment after it failed, and whatever it does not say is read from the actor or the store.

mod circuit;
mod entry;
mod memory;
mod publisher;
mod redis;
#[cfg(test)]
mod tests;
mod tls;

pub use entry::StatusEntry;
pub use redis::{Away, InvalidAddress, Redis, RedisOptions};

use domain::ids::OrderId;
use memory::{Memory, Slot};
use metrics::Counter;
use publisher::Publisher;
use redis::Found;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long an entry is kept, as the brief has it.
pub const TTL: Duration = Duration::from_mins(5);

/// How old an entry of an order that may still change can be for a node that does not own it.
pub const AGE_MAX: Duration = Duration::from_secs(1);

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The node that owns the order: every change of it passes through here.
    Owner,
    /// Any other node.
    Other,
}

/// The status cache of a node.
pub struct StatusCache {
    memory: Arc<Memory>,
    /// How often orders were lost to other nodes.
    losses: AtomicU64,
    shared: Option<Shared>,
    figures: Figures,
}

/// The tier that other nodes see.
struct Shared {
    redis: Arc<Redis>,
    publisher: Arc<Publisher>,
    task: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StatusCache {
    /// A cache of at most so many entries, and its copy in Redis if there is one. Needs a runtime.
    pub fn start(entries_max: u64, redis: Option<Arc<Redis>>) -> Self {
        let memory = Arc::new(Memory::new(entries_max, TTL));
        let shared = redis.map(|redis| {
            let publisher = Arc::new(Publisher::new(entries_max));
            let publishing = Arc::clone(&publisher).run(Arc::clone(&memory), Arc::clone(&redis));
            Shared {
                redis,
                publisher,
                task: tokio::spawn(publishing).abort_handle(),
            }
        });
        Self {
            memory,
            losses: AtomicU64::new(0),
            shared,
            figures: Figures::new(),
        }
    }

    /// The owner has committed a change of an order. Does nothing, and makes no entry, unless its status is being read.
    pub fn changed(&self, id: OrderId, entry: impl FnOnce() -> StatusEntry) {
        if let Some(slot) = self.memory.tracked(id)
            && slot.offer(entry())
        {
            self.publish(id);
        }
    }

    /// These orders are another node's now: what is kept of them is no longer told when they change. To be called as soon as
    /// [`StatusCache::read`] is told so of their standing, and before this node can own any of them again. Looks at every
    /// entry, so that one call for many shards is better than many.
    pub fn forget(&self, is_lost: impl Fn(OrderId) -> bool) {
        // First: a read that does not see this yet has its place already, which is found below.
        self.losses.fetch_add(1, Ordering::SeqCst);
        self.memory.forget(is_lost);
    }

    /// An order's status: from an entry, else from its actor (`live`), else from the store (`load`). `load` begins only
    /// when nothing else answers. Never older than what was committed before the call when the owner asks, and than
    /// [`AGE_MAX`] when another node does. `standing` is asked once, at the beginning: losing the order later does no harm,
    /// since what is read then was current at a moment of this call, and is not kept.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn read<E>(
        &self,
        id: OrderId,
        standing: impl FnOnce() -> Standing,
        live: impl FnOnce() -> Option<StatusEntry>,
        load: impl Future<Output = Result<StatusEntry, E>>,
    ) -> Result<StatusEntry, E> {
        let tiers = &self.figures;
        // Before the standing, so that whatever is lost after it was asked for makes this number another.
        let losses = self.losses.load(Ordering::SeqCst);
        let standing = standing();
        if standing == Standing::Other {
            if let Some(found) = self.find(id).await
                && is_acceptable(&found, standing)
            {
                tiers.redis.increment(1);
                return Ok(found.entry);
            }
            tiers.store.increment(1);
            return load.await;
        }
        if let Some(entry) = self.memory.entry(id) {
            tiers.memory.increment(1);
            return Ok(entry);
        }
        // From here on changes reach the slot, so that what is read below cannot be left behind by one that falls between.
        let slot = self.memory.track(id);
        let read = if let Some(entry) = live() {
            tiers.actor.increment(1);
            Ok((entry, true))
        } else if let Some(found) = self.find(id).await
            && is_acceptable(&found, standing)
        {
            tiers.redis.increment(1);
            Ok((found.entry, false))
        } else {
            tiers.store.increment(1);
            load.await.map(|entry| (entry, true))
        };
        match read {
            // Nothing was lost so far. What is lost from here on finds the place above, and takes it away.
            Ok((entry, is_news)) if self.losses.load(Ordering::SeqCst) == losses => {
                Ok(self.fill(id, &slot, entry, is_news))
            }
            other => {
                self.memory.forget_empty(id);
                other.map(|(entry, _)| entry)
            }
        }
    }

    /// Puts what was read into the slot, and gives what is in it then: a change may have come first.
    /// `is_news`: Redis does not have it yet.
    fn fill(&self, id: OrderId, slot: &Slot, entry: StatusEntry, is_news: bool) -> StatusEntry {
        let (entry, is_new) = slot.fill(entry);
        if is_new && is_news {
            self.publish(id);
        }
        entry
    }

    fn publish(&self, id: OrderId) {
        if let Some(shared) = &self.shared {
            shared.publisher.mark(id);
        }
    }

    async fn find(&self, id: OrderId) -> Option<Found> {
        self.shared.as_ref()?.redis.find(id).await
    }
}

/// Whether an entry from Redis may be served. What is settled never changes. Anything else may have changed since it was
/// last known to be current: another node bears that for [`AGE_MAX`], and the owner, which knows better, not at all.
fn is_acceptable(found: &Found, standing: Standing) -> bool {
    found.entry.settled || (standing == Standing::Other && found.age <= AGE_MAX)
}

/// Which tier answered how often.
struct Figures {
    memory: Counter,
    actor: Counter,
    redis: Counter,
    store: Counter,
}

impl Figures {
    fn new() -> Self {
        metrics::describe_counter!(
            "uoop_status_cache_total",
            "reads of an order's status, by what answered them; a miss went to the store"
        );
        let counter = |outcome: &'static str, tier: &'static str| metrics::counter!("uoop_status_cache_total", "outcome" => outcome, "tier" => tier);
        Self {
            memory: counter("hit", "memory"),
            actor: counter("hit", "actor"),
            redis: counter("hit", "redis"),
            store: counter("miss", "store"),
        }
    }
}
