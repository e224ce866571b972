//! Which shards a journal may write to; shared between those who append and the writers.

use domain::shard::{ShardId, ShardMap};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

pub(super) struct Ownership {
    /// By number: the generation of each shard's adoption, 0 for those that are not held.
    shards: Vec<AtomicU64>,
    /// What was lost and not told yet.
    fenced_tx: watch::Sender<BTreeSet<ShardId>>,
}

impl Ownership {
    /// Of nothing.
    pub(super) fn new(map: ShardMap) -> Self {
        Self {
            shards: map.all().map(|_| AtomicU64::new(0)).collect(),
            fenced_tx: watch::Sender::default(),
        }
    }

    /// Which adoption of a shard it is held under; `None` if it is not.
    pub(super) fn generation(&self, shard: ShardId) -> Option<u64> {
        let held = self.shards.get(usize::from(shard.0))?;
        Some(held.load(Ordering::Acquire)).filter(|generation| *generation > 0)
    }

    /// A shard is held. That it was lost before is no news any more.
    pub(super) fn hold(&self, shard: ShardId, generation: u64) {
        self.fenced_tx.send_if_modified(|fenced| {
            fenced.remove(&shard);
            false
        });
        if let Some(held) = self.shards.get(usize::from(shard.0)) {
            held.store(generation, Ordering::Release);
        }
    }

    /// Gives a shard up. Whether it was held.
    pub(super) fn give_up(&self, shard: ShardId) -> bool {
        let held = self.shards.get(usize::from(shard.0));
        held.is_some_and(|held| held.swap(0, Ordering::AcqRel) > 0)
    }

    /// Gives a shard up and reports it, once.
    pub(super) fn lose(&self, shard: ShardId) {
        if self.give_up(shard) {
            tracing::warn!(%shard, "fenced: another node owns the shard");
            self.report(shard);
        }
    }

    /// Reports a shard as lost.
    pub(super) fn report(&self, shard: ShardId) {
        self.fenced_tx.send_modify(|fenced| {
            fenced.insert(shard);
        });
    }

    /// The next shard that was lost, once there is one.
    pub(super) async fn next_fenced(&self) -> Option<ShardId> {
        let mut fenced_rx = self.fenced_tx.subscribe();
        loop {
            fenced_rx.wait_for(|fenced| !fenced.is_empty()).await.ok()?;
            let mut first = None;
            self.fenced_tx.send_if_modified(|fenced| {
                first = fenced.pop_first();
                false
            });
            if first.is_some() {
                return first;
            }
        }
    }
}
