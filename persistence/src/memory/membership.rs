//! The members of a cluster over the memory store: several handles in one process.

use super::{Contents, MemoryStore};
use crate::record::{check_node_name, name_taken};
use async_trait::async_trait;
use domain::ids::Epoch;
use domain::ports::{ClusterView, Member, Membership, ShardOwner, StoreError};
use domain::shard::{OwnedShard, ShardId};

/// A member.
pub(super) struct Node {
    address: String,
    lease_until_ms: i64,
    draining: bool,
}

impl MemoryStore {
    /// Ends a node's lifeline as the loss of its connection does, until the node renews it.
    pub fn cut_lifeline(&self, name: &str) {
        self.contents().lifelines.remove(name);
    }

    fn lease_until_ms(&self, lease_ms: u64) -> i64 {
        self.now_ms().saturating_add_unsigned(lease_ms)
    }
}

impl Contents {
    fn free(&mut self, name: &str, concerned: impl Fn(ShardId) -> bool) {
        self.owners.retain(|shard, owner| owner != name || !concerned(*shard));
    }
}

#[async_trait]
impl Membership for MemoryStore {
    async fn join(&self, name: &str, address: &str, lease_ms: u64) -> Result<(), StoreError> {
        check_node_name(name)?;
        let lease_until_ms = self.lease_until_ms(lease_ms);
        let mut contents = self.contents();
        if contents.nodes.contains_key(name) {
            return Err(name_taken(name));
        }
        let node = Node {
            address: address.to_owned(),
            lease_until_ms,
            draining: false,
        };
        contents.nodes.insert(name.to_owned(), node);
        contents.hold_lifeline(name, self.handle);
        Ok(())
    }

    async fn renew(&self, name: &str, lease_ms: u64, draining: bool) -> Result<bool, StoreError> {
        let lease_until_ms = self.lease_until_ms(lease_ms);
        let mut contents = self.contents();
        let mut lines = contents.lifelines.iter();
        if let Some((other, _)) = lines.find(|(other, handle)| **handle == self.handle && *other != name) {
            let problem = format!("this is the store's handle of the node '{other}', not of '{name}'");
            return Err(StoreError::Mismatch(problem));
        }
        let Some(node) = contents.nodes.get_mut(name) else {
            contents.lifelines.remove(name);
            return Ok(false);
        };
        node.lease_until_ms = lease_until_ms;
        node.draining = draining;
        contents.hold_lifeline(name, self.handle);
        Ok(true)
    }

    async fn view(&self) -> Result<ClusterView, StoreError> {
        let now_ms = self.now_ms();
        let contents = self.contents();
        let member = |(name, node): (&String, &Node)| Member {
            name: name.clone(),
            address: node.address.clone(),
            lease_left_ms: node.lease_until_ms.saturating_sub(now_ms),
            draining: node.draining,
        };
        let owner = |shard| ShardOwner {
            shard,
            epoch: Epoch(contents.epochs.get(&shard).copied().unwrap_or_default()),
            owner: contents.owners.get(&shard).cloned().unwrap_or_default(),
        };
        Ok(ClusterView {
            members: contents.nodes.iter().map(member).collect(),
            shards: self.shards.all().map(owner).collect(),
            now_ms,
        })
    }

    async fn take(&self, name: &str, shards: &[(ShardId, Epoch)]) -> Result<Vec<OwnedShard>, StoreError> {
        let mut contents = self.contents();
        if !contents.nodes.contains_key(name) {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for (shard, epoch) in shards {
            if contents.epochs.get(shard) == Some(&epoch.0) {
                taken.push(contents.take(name, *shard));
            }
        }
        Ok(taken)
    }

    async fn release(&self, name: &str, shards: &[ShardId]) -> Result<(), StoreError> {
        self.contents().free(name, |shard| shards.contains(&shard));
        Ok(())
    }

    async fn is_alive(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.contents().lifelines.contains_key(name))
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let mut contents = self.contents();
        contents.nodes.remove(name);
        contents.free(name, |_| true);
        contents
            .lifelines
            .retain(|other, handle| other != name || *handle != self.handle);
        Ok(())
    }
}
