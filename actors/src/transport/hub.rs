//! What the parts of a node's transport share.

use super::Serve;
use super::figures::Figures;
use super::gateway::GatewayMessage;
use super::link::{Link, lock};
use super::options::TransportOptions;
use super::tls::Tls;
use super::wire::Versions;
use dashmap::DashMap;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The two actors of a transport. One is of no use without the other, so they start and end together.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) gateway: ActorRef<GatewayMessage>,
    pub(super) node_server: ActorRef<NodeServerMessage>,
}

pub(super) struct Hub {
    pub(super) options: TransportOptions,
    pub(super) versions: Versions,
    pub(super) serve: Arc<dyn Serve>,
    pub(super) tls: Option<Tls>,
    /// The links that are up.
    pub(super) links: DashMap<String, Arc<Link>>,
    /// Of the members, whether they can be reached or not.
    pub(super) figures: Mutex<BTreeMap<String, Arc<Figures>>>,
    /// The nodes to keep links with, by name, and where to dial them.
    pub(super) members: Mutex<BTreeMap<String, String>>,
    pub(super) links_made: AtomicU64,
    pub(super) asks_made: AtomicU64,
    pub(super) connections_made: AtomicU64,
    pub(super) stopping: AtomicBool,
    pair: Mutex<Option<Pair>>,
}

impl Hub {
    pub(super) fn new(options: TransportOptions, versions: Versions, tls: Option<Tls>, serve: Arc<dyn Serve>) -> Self {
        Self {
            options,
            versions,
            serve,
            tls,
            links: DashMap::new(),
            figures: Mutex::default(),
            members: Mutex::default(),
            links_made: AtomicU64::new(0),
            asks_made: AtomicU64::new(0),
            connections_made: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            pair: Mutex::default(),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn pair(&self) -> Option<Pair> {
        lock(&self.pair).clone()
    }

    pub(super) fn set_pair(&self, pair: Option<Pair>) {
        *lock(&self.pair) = pair;
    }

    /// Tells this node's own gateway something. While there is none there is nothing that it could matter to.
    pub(super) fn tell_gateway(&self, message: GatewayMessage) {
        if let Some(pair) = self.pair() {
            let _ = pair.gateway.cast(message);
        }
    }

    /// The figures of a member.
    pub(super) fn figures(&self, node: &str) -> Arc<Figures> {
        let mut figures = lock(&self.figures);
        Arc::clone(
            figures
                .entry(node.to_owned())
                .or_insert_with(|| Arc::new(Figures::new())),
        )
    }

    /// A link is up: it can be asked over from here on.
    pub(super) fn link_up(&self, link: &Arc<Link>, wire_version: u16) {
        let node = &*link.node;
        tracing::info!(node, wire_version, "linked");
        link.speak(wire_version);
        self.links.insert(node.to_owned(), Arc::clone(link));
        link.figures.link(Some(wire_version));
        self.count_links();
        guarded("link", || self.serve.link(node, true));
    }

    /// A link is at its end. Whoever waits for it is told; if it was up, so is everybody else.
    pub(super) fn link_ended(&self, link: &Link, reason: &'static str) {
        let node = &*link.node;
        let was_up = self.links.remove(node).is_some();
        link.close();
        if was_up {
            tracing::warn!(node, reason, "link lost");
            metrics::counter!("uoop_peer_lost_total", "reason" => reason).increment(1);
            link.figures.link(None);
            self.count_links();
            guarded("link", || self.serve.link(node, false));
        }
    }

    fn count_links(&self) {
        metrics::gauge!("uoop_peer_links").set(u32::try_from(self.links.len()).unwrap_or(u32::MAX));
    }
}

/// Calls what others wrote, on the gateway's own task: a panic in it must not cost the node its links.
pub(super) fn guarded(what: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(what, "a panic in what serves the peers");
        metrics::counter!("uoop_peer_panics_total").increment(1);
    }
}
