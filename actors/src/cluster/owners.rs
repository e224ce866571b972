//! Who owns each shard, as far as this node knows.

use arc_swap::ArcSwapOption;
use domain::ids::Epoch;
use domain::ports::ShardOwner;
use domain::shard::ShardId;
use std::sync::Arc;
use tokio::sync::watch;

struct Owner {
    /// Empty: nobody.
    name: String,
    epoch: Epoch,
}

/// The owners by shard. Read at every call, changed seldom.
pub(crate) struct Owners {
    shards: Box<[ArcSwapOption<Owner>]>,
    changed_tx: watch::Sender<()>,
}

impl Owners {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards: (0..shards).map(|_| ArcSwapOption::empty()).collect(),
            changed_tx: watch::Sender::new(()),
        }
    }

    /// The owner of a shard, if it is another node than this one.
    pub(crate) fn elsewhere(&self, shard: ShardId, me: &str) -> Option<String> {
        let owner = self.shards.get(usize::from(shard.0))?.load();
        owner
            .as_ref()
            .filter(|owner| !owner.name.is_empty() && owner.name != me)
            .map(|owner| owner.name.clone())
    }

    /// Believes what is newer: a higher epoch, or at the same epoch that the owner gave the shard up.
    pub(crate) fn learn(&self, news: &[ShardOwner]) {
        let mut changed = false;
        for news in news {
            let Some(slot) = self.shards.get(usize::from(news.shard.0)) else {
                continue;
            };
            let is_newer = slot.load().as_ref().is_none_or(|known| {
                news.epoch > known.epoch
                    || (news.epoch == known.epoch && news.owner.is_empty() && !known.name.is_empty())
            });
            if is_newer {
                slot.store(Some(Arc::new(Owner {
                    name: news.owner.clone(),
                    epoch: news.epoch,
                })));
                changed = true;
            }
        }
        if changed {
            self.announce();
        }
    }

    /// Whoever waits for a shard looks again.
    pub(crate) fn announce(&self) {
        self.changed_tx.send_replace(());
    }

    /// Resolves when owners changed after the last look.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed_tx.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(epoch: u64, owner: &str) -> [ShardOwner; 1] {
        [ShardOwner {
            shard: ShardId(1),
            epoch: Epoch(epoch),
            owner: owner.into(),
        }]
    }

    #[test]
    fn what_is_newer_is_believed() {
        let owners = Owners::new(2);
        let mut changes = owners.changes();
        for (epoch, name, then) in [
            (1, "a-1", Some("a-1")),
            (1, "b-1", Some("a-1")),
            (3, "b-1", Some("b-1")),
            (2, "a-1", Some("b-1")),
            (3, "", None),
            (3, "b-1", None),
            (4, "me-1", None),
        ] {
            owners.learn(&owner(epoch, name));
            assert_eq!(owners.elsewhere(ShardId(1), "me-1").as_deref(), then, "{epoch} {name}");
        }
        assert!(changes.has_changed().expect("it lives"));
        changes.borrow_and_update();
        owners.learn(&owner(4, "me-1"));
        assert!(!changes.has_changed().expect("it lives"), "nothing new");
        assert!(owners.elsewhere(ShardId(9), "me-1").is_none(), "there is no such shard");
    }
}
