//! The cluster as data, as one node sees it.

use crate::cluster::Cluster;
use crate::node::Node;
use crate::transport::LinkView;
use domain::ports::StoreError;
use serde::{Deserialize, Serialize};

/// A cluster as one of its nodes sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The node that was asked.
    pub node: String,
    /// Whether its own lease runs.
    pub lease_holds: bool,
    /// The members, by name.
    pub members: Vec<MemberView>,
    /// The shards, in order.
    pub shards: Vec<ShardView>,
    /// The node's links with the others.
    pub links: Vec<LinkView>,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberView {
    /// Its name, with its incarnation.
    pub name: String,
    /// Where the other nodes reach it.
    pub address: String,
    /// How long its lease still runs, in milliseconds.
    pub lease_left_ms: i64,
    /// Whether it gives its shards away.
    pub draining: bool,
    /// How many shards it owns.
    pub shards: usize,
}

/// A shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardView {
    /// Which.
    pub shard: u16,
    /// Its fencing token.
    pub epoch: u64,
    /// Who owns it; empty: nobody.
    pub owner: String,
}

impl Node {
    pub(crate) async fn cluster_status(&self, cluster: &Cluster) -> Result<ClusterStatus, StoreError> {
        let view = cluster.membership.view().await?;
        let owned = |name: &str| view.shards.iter().filter(|shard| shard.owner == name).count();
        Ok(ClusterStatus {
            node: cluster.name.to_string(),
            lease_holds: cluster.lease.holds(),
            members: view
                .members
                .iter()
                .map(|member| MemberView {
                    name: member.name.clone(),
                    address: member.address.clone(),
                    lease_left_ms: member.lease_left_ms,
                    draining: member.draining,
                    shards: owned(&member.name),
                })
                .collect(),
            shards: view
                .shards
                .iter()
                .map(|shard| ShardView {
                    shard: shard.shard.0,
                    epoch: shard.epoch.0,
                    owner: shard.owner.clone(),
                })
                .collect(),
            links: cluster
                .transport()
                .map(|transport| transport.links())
                .unwrap_or_default(),
        })
    }
}
