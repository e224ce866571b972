//! A cluster: several nodes over one store, each of which owns some of the shards.
//!
//! What a node owns is decided in the store: a shard's row names its owner and its epoch, and every commit is checked
//! against it. All that is kept here (who owns what, who is alive) is belief, and only ever costs a detour when it is
//! wrong. See `domain::cluster` for who should own what, and `coordinator` for how a shard comes and goes.

pub(crate) mod coordinator;
mod handle;
mod lease;
mod outlines;
mod owners;
mod peer_service;
mod replica;
mod view;
pub(crate) mod watch;
mod wire;

pub use view::{ClusterStatus, MemberView, ShardView};

pub(crate) use coordinator::Word;
pub(crate) use owners::Owners;
pub(crate) use replica::{Replica, ReplicaRow};
pub(crate) use wire::{HOMES, Notice, Request, Response};

use crate::error::CallError;
use crate::transport::{AskError, Transport, TransportError, TransportOptions};
use domain::cluster::Rules;
use domain::ports::{Membership, StoreError};
use lease::Lease;
use outlines::Outlines;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Most words that wait for the coordinator.
const WORDS_MAX: usize = 1_024;

/// How a node takes part in a cluster. Durations are wall time.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How this node reaches the others, and under which name.
    pub transport: TransportOptions,
    /// The address at which the others reach this node, host and port; `None`: where it listens.
    pub address: Option<String>,
    /// For how long a node that is silent keeps its shards.
    pub lease: Duration,
    /// How often the lease is renewed, and members and owners are read.
    pub renew_every: Duration,
    /// How many shards a node gives away at a time.
    pub moves_max: usize,
}

/// Why a node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Other nodes cannot be reached, or cannot reach this one.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The actors do not start.
    #[error(transparent)]
    Actors(#[from] CallError),
    /// The store did not let it in.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// This node's part in the cluster.
pub(crate) struct Cluster {
    /// This node's name, with its incarnation.
    pub(crate) name: Arc<str>,
    pub(crate) owners: Owners,
    pub(crate) outlines: Outlines,
    pub(crate) lease: Lease,
    pub(crate) rules: Rules,
    pub(crate) options: ClusterOptions,
    /// Cancelled when this node was removed by others.
    pub(crate) expelled: CancellationToken,
    membership: Arc<dyn Membership>,
    transport: OnceLock<Arc<Transport>>,
    words_tx: mpsc::Sender<Word>,
}

impl Cluster {
    pub(crate) fn new(
        options: ClusterOptions,
        membership: Arc<dyn Membership>,
        shards: u16,
    ) -> (Self, mpsc::Receiver<Word>) {
        describe();
        let (words_tx, words_rx) = mpsc::channel(WORDS_MAX);
        let cluster = Self {
            name: options.transport.name.as_str().into(),
            owners: Owners::new(shards),
            outlines: Outlines::default(),
            lease: Lease::new(options.lease),
            rules: Rules {
                moves_max: options.moves_max,
            },
            options,
            expelled: CancellationToken::new(),
            membership,
            transport: OnceLock::new(),
            words_tx,
        };
        (cluster, words_rx)
    }

    /// Set once, before the node serves.
    pub(crate) fn connect(&self, transport: Arc<Transport>) {
        let _ = self.transport.set(transport);
    }

    pub(crate) fn transport(&self) -> Option<&Arc<Transport>> {
        self.transport.get()
    }

    /// Tells the coordinator something. What does not fit, it sees for itself at its next look.
    pub(crate) fn word(&self, word: Word) {
        let _ = self.words_tx.try_send(word);
    }

    /// Whether another node has words for what is said since this version. One with which there is no link is not told it.
    pub(crate) fn understands(&self, node: &str, since: u16) -> bool {
        let version = self.transport().and_then(|transport| transport.version(node));
        since == 0 || version.is_some_and(|version| version >= since)
    }

    /// All other members that may have a request under way whose key belongs elsewhere: older ones have not.
    pub(crate) fn others(&self) -> Vec<String> {
        let Some(transport) = self.transport() else {
            return Vec::new();
        };
        let mut others = transport.members();
        others.retain(|node| transport.version(node).is_none_or(|version| version >= HOMES));
        others
    }

    /// Whether every other node has words for what is said since this version, as far as there are links.
    pub(crate) fn all_understand(&self, since: u16) -> bool {
        self.transport().is_none_or(|transport| transport.all_speak(since))
    }

    /// Asks another node.
    pub(crate) async fn ask(&self, node: &str, request: Request, timeout: Duration) -> Result<Response, AskError> {
        let transport = self.transport().ok_or(AskError::Unreachable)?;
        let answer = transport.ask(node, wire::encode(&request), timeout).await?;
        // Whoever answers what we cannot read may have done what was asked.
        wire::decode(&answer).ok_or(AskError::Lost)
    }

    /// Tells all other nodes something, if they can be reached.
    pub(crate) fn tell_all(&self, notice: &Notice) {
        if let Some(transport) = self.transport() {
            transport.tell_all(&wire::encode(notice));
        }
    }
}

/// Gives the figures of clusters their help texts. Idempotent.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "uoop_calls_forwarded_total",
        "commands for actors that were sent to another node"
    );
    describe_counter!("uoop_shards_taken_total", "shards that this node took");
    describe_counter!("uoop_shards_given_total", "shards that this node gave away");
    describe_counter!(
        "uoop_shards_given_back_total",
        "shards that this node took and could not bring to life"
    );
    describe_counter!("uoop_shards_lost_total", "shards that another node took from this one");
    describe_counter!("uoop_nodes_removed_total", "nodes that this one found gone");
    describe_counter!(
        "uoop_replica_gaps_total",
        "copies of channels and zones that had to be read from the store"
    );
    describe_counter!(
        "uoop_peer_requests_total",
        "questions of and to other nodes, by direction"
    );
    describe_counter!("uoop_peer_batches_total", "frames of and to other nodes, by direction");
    describe_counter!(
        "uoop_peer_bytes_total",
        "bytes of frames of and to other nodes, by direction"
    );
    describe_counter!("uoop_peer_lost_total", "links with other nodes that broke, by reason");
    describe_counter!(
        "uoop_peer_refused_total",
        "questions that were not carried out because a bound was reached"
    );
    describe_counter!(
        "uoop_peer_notices_dropped_total",
        "one-way words for which there was no room"
    );
    describe_histogram!(
        "uoop_peer_round_trip_seconds",
        "from a question to another node to its answer"
    );
    describe_histogram!(
        "uoop_shards_taken_seconds",
        "from taking shards until all that is in flight in them moves"
    );
    describe_gauge!("uoop_shards_owned", "shards that this node owns");
    describe_gauge!("uoop_peer_links", "links with other nodes that are up");
}
