//! The tier in the process: the orders whose status is being read, each with its newest entry.

use super::StatusEntry;
use domain::ids::OrderId;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The place of one order's entry. A place without one says that somebody is about to read the order.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<StatusEntry>>);

impl Slot {
    /// Puts an entry there unless one as new is there already; says whether it did.
    pub(super) fn offer(&self, entry: StatusEntry) -> bool {
        self.fill(entry).1
    }

    /// As [`Slot::offer`], and gives what is there then.
    pub(super) fn fill(&self, entry: StatusEntry) -> (StatusEntry, bool) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some(held) if held.version >= entry.version => (held.clone(), false),
            _ => (held.insert(entry).clone(), true),
        }
    }

    pub(super) fn entry(&self) -> Option<StatusEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The places, at most so many. Who was read longest ago goes first, and everybody after the time to live.
pub(super) struct Memory(Cache<OrderId, Arc<Slot>>);

impl Memory {
    pub(super) fn new(entries_max: u64, ttl: Duration) -> Self {
        let cache = Cache::builder()
            .max_capacity(entries_max)
            .time_to_live(ttl)
            // The newest read is the one that is repeated next: how often it came before says nothing.
            .eviction_policy(EvictionPolicy::lru());
        Self(cache.build())
    }

    /// An order's entry.
    pub(super) fn entry(&self, id: OrderId) -> Option<StatusEntry> {
        self.0.get(&id)?.entry()
    }

    /// An order's place, if it has one. Cheap when it has none, as most have: every commit of every order asks.
    pub(super) fn tracked(&self, id: OrderId) -> Option<Arc<Slot>> {
        // Unlike `get`, this keeps no record of who was asked for.
        if !self.0.contains_key(&id) {
            return None;
        }
        self.0.get(&id)
    }

    /// An order's place, made if it has none.
    pub(super) fn track(&self, id: OrderId) -> Arc<Slot> {
        self.0.get_with(id, Arc::default)
    }

    /// Takes the places of these orders away. Those made meanwhile may stay.
    pub(super) fn forget(&self, is_lost: impl Fn(OrderId) -> bool) {
        for (id, _) in &self.0 {
            if is_lost(*id) {
                self.0.invalidate(id.as_ref());
            }
        }
    }

    /// Takes an order's place away if nothing is there: the order does not exist, or could not be read.
    pub(super) fn forget_empty(&self, id: OrderId) {
        if self.0.get(&id).is_some_and(|slot| slot.entry().is_none()) {
            // One that is filled at this very moment goes too, and the next read makes another.
            self.0.invalidate(&id);
        }
    }
}
