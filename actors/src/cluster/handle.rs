//! The platform's handle on its cluster.

use super::coordinator::{Coordinator, renew};
use super::peer_service::PeerService;
use super::{Cluster, ClusterError, ClusterOptions, ClusterStatus, Request, Response, Word, outlines};
use crate::error::CallError;
use crate::introspect::ActorView;
use crate::node::Node;
use crate::options::{ActorOptions, Ports};
use crate::platform::Platform;
use crate::transport::Transport;
use domain::ids::StreamId;
use domain::ports::{Membership, StoreError};
use domain::shard::ShardId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long another node may take to show its actors.
const INTROSPECT_MAX: Duration = Duration::from_secs(5);
/// The pause before a store that is away is asked again to let this node in.
const JOIN_AGAIN: Duration = Duration::from_millis(500);

impl Platform {
    /// Starts the actors as a node of a cluster, over a journal that owns nothing yet. Its shards come in the background:
    /// see [`Platform::readiness`].
    ///
    /// # Errors
    /// The gateway cannot listen, or the store refuses the node's name. A store that is away is waited for.
    pub async fn join(
        ports: Ports,
        options: ActorOptions,
        membership: Arc<dyn Membership>,
        cluster: ClusterOptions,
    ) -> Result<Self, ClusterError> {
        let node = Arc::new(Node::new(ports, options));
        let shards = node.map.len();
        let (cluster, words_rx) = Cluster::new(cluster, Arc::clone(&membership), shards);
        let cluster = Arc::new(cluster);
        let _ = node.cluster.set(Arc::clone(&cluster));
        let service = Arc::new(PeerService(Arc::clone(&node)));
        let transport = Transport::start(cluster.options.transport.clone(), service).await?;
        let address = cluster.options.address.clone();
        let address = address.unwrap_or_else(|| transport.address().to_string());
        cluster.connect(transport);
        loop {
            match membership
                .join(&cluster.name, &address, cluster.lease.length_ms())
                .await
            {
                Ok(()) => break,
                Err(StoreError::Unavailable(why)) => {
                    tracing::warn!(why, "the store is away; waiting to join the cluster");
                    sleep(JOIN_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let platform = Self::spawn(Arc::clone(&node)).await?;
        tokio::spawn(renew(Arc::clone(&node), Arc::clone(&cluster)));
        let telling = tokio::spawn(outlines::tell(Arc::clone(&node), Arc::clone(&cluster)));
        let coordinator = Coordinator::new(Arc::clone(&node), cluster, platform.region.clone(), words_rx);
        let coordinating = tokio::spawn(coordinator.run());
        let watched = platform.clone();
        tokio::spawn(async move {
            // How it ended is in the log of whoever panicked. Without the one shards neither come nor go, without the other
            // nobody hears of this node's channels.
            let ended = tokio::select! {
                _ = coordinating => "coordinator",
                _ = telling => "teller",
            };
            if !watched.node.is_stopped() {
                watched.fail(format!("the cluster's {ended} has ended"));
            }
        });
        Ok(platform)
    }

    /// Whether a stream lives on this node, so that its changes pass through here.
    pub fn owns(&self, stream: StreamId) -> bool {
        self.node.speaks_for(stream)
    }

    /// The journal found that a shard is another node's.
    pub fn fenced(&self, shard: ShardId) {
        match self.node.cluster.get() {
            Some(cluster) => cluster.word(Word::Fenced(shard)),
            None => self.fail(format!("another node took over shard {shard}")),
        }
    }

    /// Gives all shards to other nodes, and goes on answering meanwhile. Returns once nothing is left, or nobody would
    /// have it. At once for a node by itself.
    pub async fn leave(&self) {
        let Some(cluster) = self.node.cluster.get() else { return };
        let (done_tx, done_rx) = oneshot::channel();
        self.node.leave();
        cluster.word(Word::Drain(done_tx));
        // An error means that the coordinator has ended: nothing will move any more.
        let _ = done_rx.await;
    }

    /// Takes shards again after [`Platform::leave`]. Idempotent.
    pub fn stay(&self) {
        if let Some(cluster) = self.node.cluster.get() {
            self.node.stay();
            cluster.word(Word::Look);
        }
    }

    /// Leaves the cluster for good: what it still owned is free at once.
    pub(crate) async fn part(&self) {
        let Some(cluster) = self.node.cluster.get() else { return };
        let parted = timeout(INTROSPECT_MAX, cluster.membership.remove(&cluster.name)).await;
        if !matches!(parted, Ok(Ok(()))) {
            tracing::warn!("the cluster does not know yet that this node is gone");
        }
        if let Some(transport) = cluster.transport() {
            transport.stop().await;
        }
    }

    /// Resolves when the node can no longer take part in its cluster: it was removed, and must be started anew.
    pub async fn expelled(&self) {
        match self.node.cluster.get() {
            Some(cluster) => cluster.expelled.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Whether it is a node of a cluster.
    pub fn is_clustered(&self) -> bool {
        self.node.cluster.get().is_some()
    }

    /// The cluster as this node sees it; `None` for a node by itself.
    ///
    /// # Errors
    /// The store is away.
    pub async fn cluster(&self) -> Result<Option<ClusterStatus>, CallError> {
        let Some(cluster) = self.node.cluster.get() else {
            return Ok(None);
        };
        let status = self.node.cluster_status(cluster).await;
        status
            .map(Some)
            .map_err(|error| CallError::Unavailable(error.to_string()))
    }

    /// The actors of a node of the cluster, or the one at a path.
    ///
    /// # Errors
    /// There is no such node, or it does not answer.
    pub async fn introspect_on(&self, name: &str, path: Option<&str>) -> Result<Vec<ActorView>, CallError> {
        let cluster = self.node.cluster.get();
        if cluster.is_none_or(|cluster| *cluster.name == *name) {
            return Ok(self.node.actors(path));
        }
        let unreachable = || CallError::Unavailable(format!("node '{name}' cannot be reached"));
        let cluster = cluster.ok_or_else(unreachable)?;
        let request = Request::Introspect {
            path: path.map(str::to_owned),
        };
        match cluster.ask(name, request, INTROSPECT_MAX).await {
            Ok(Response::Actors(actors)) => Ok(actors),
            _ => Err(unreachable()),
        }
    }
}
