//! How the nodes of a cluster talk to each other: requests with answers, and notices, as opaque bytes.
//!
//! Each node has one actor that others can send to, its gateway, over `ractor_cluster`'s sessions. What waits for a peer
//! travels in batches, both ways; an answer comes when it is ready, whatever was asked before it. Who the peers are is
//! for others to say ([`Transport::set_members`]); the transport keeps a link with each, and tells when it is up or lost.
//!
//! *Architecture invariant*: everything is bounded. ractor queues without limit, so requests outstanding, notices
//! waiting, requests being answered, and frames under way are counted here, and what does not fit is refused.

mod answering;
mod batcher;
mod connections;
mod figures;
mod gateway;
mod hub;
mod link;
mod options;
mod pair;
mod streams;
mod switchboard;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

pub use figures::LinkView;
pub use options::{TlsFiles, TransportError, TransportOptions};

use async_trait::async_trait;
use gateway::GatewayMessage;
use hub::Hub;
use link::{Link, lock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::{PAYLOAD_BYTES_MAX, Versions};

/// How long what was already said may take to be taken in by the peers, when the transport is stopped.
const DRAIN: Duration = Duration::from_millis(500);

/// What this node does with what other nodes say, each in the version of the wire that both speak. Nothing of it may block.
#[async_trait]
pub(crate) trait Serve: Send + Sync + 'static {
    /// Answers a request, in its version. Each is answered in a task of its own; a panic is an answer that got lost.
    async fn answer(&self, from: &str, version: u16, request: Vec<u8>) -> Vec<u8>;

    /// A one-way word. Those of one peer come in the order in which it said them.
    fn hear(&self, from: &str, version: u16, notice: &[u8]);

    /// The link with a node is up, or lost. Requests and notices of a node come only while it is up.
    fn link(&self, node: &str, up: bool);
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no link: it was certainly not sent.
    #[error("the node cannot be reached")]
    Unreachable,
    /// A bound is reached, here or there: it was certainly not carried out.
    #[error("the node has more to do than it can take")]
    Overloaded,
    /// The link broke, or time ran out: it may or may not have been carried out.
    #[error("no answer: it may or may not have been carried out")]
    Lost,
}

/// A node's links with its peers. To be stopped when done with: dropping it ends nothing.
pub(crate) struct Transport {
    hub: Arc<Hub>,
    address: SocketAddr,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Transport {
    /// Listens, and is there for the peers that [`Transport::set_members`] names.
    ///
    /// # Errors
    ///
    /// An option that cannot be as it is, files that cannot be used, or an address that cannot be listened on.
    pub(crate) async fn start(options: TransportOptions, serve: Arc<dyn Serve>) -> Result<Arc<Self>, TransportError> {
        let versions = options.versions();
        Self::start_speaking(options, versions, serve).await
    }

    async fn start_speaking(
        options: TransportOptions,
        versions: Versions,
        serve: Arc<dyn Serve>,
    ) -> Result<Arc<Self>, TransportError> {
        options.check()?;
        let tls = options.tls.as_ref().map(tls::Tls::load).transpose()?;
        let listen = |source| TransportError::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let hub = Arc::new(Hub::new(options, versions, tls, serve));
        let started = pair::start(&hub).await?;
        let keeper = tokio::spawn(pair::keep(Arc::clone(&hub), started));
        let acceptor = tokio::spawn(connections::accept(Arc::clone(&hub), listener));
        Ok(Arc::new(Self {
            hub,
            address,
            tasks: Mutex::new(vec![acceptor, keeper]),
        }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The nodes to keep links with, by name, and where to dial them (`host:port`). Links with others are dropped; this
    /// node itself may be among them. Idempotent, and cheap when nothing changed.
    pub(crate) fn set_members(&self, members: &[(String, String)]) {
        let own = &self.hub.options.name;
        let members: BTreeMap<_, _> = members.iter().filter(|(node, _)| node != own).cloned().collect();
        let changed = {
            let mut current = lock(&self.hub.members);
            let changed = *current != members;
            *current = members;
            changed
        };
        if changed {
            self.hub.tell_gateway(GatewayMessage::Members);
        }
    }

    /// The names of all other members, whether they can be reached or not.
    pub(crate) fn members(&self) -> Vec<String> {
        lock(&self.hub.members).keys().cloned().collect()
    }

    /// Whether all links are of this version of the wire, or a later one.
    pub(crate) fn all_speak(&self, version: u16) -> bool {
        self.hub.links.iter().all(|link| link.version() >= version)
    }

    /// The version of the wire that both speak, while there is a link. Of a node under one name it is always the same: what
    /// a process speaks is settled at its start, and another process has another name.
    pub(crate) fn version(&self, node: &str) -> Option<u16> {
        self.link(node).map(|link| link.version())
    }

    /// Asks a node, and waits for its answer for at most `timeout`. Dropping the future forgets the request, which may
    /// be carried out all the same. A request of more than 8 MiB counts as `Overloaded`.
    pub(crate) async fn ask(&self, node: &str, request: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, AskError> {
        let link = self.link(node).ok_or(AskError::Unreachable)?;
        if is_too_long(node, &request) {
            return Err(AskError::Overloaded);
        }
        let id = self.hub.asks_made.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let outcome = link.ask(id, request, timeout).await;
        if outcome.is_ok() {
            metrics::histogram!("uoop_peer_round_trip_seconds").record(began.elapsed().as_secs_f64());
        }
        outcome
    }

    /// Tells all nodes with which there is a link; what finds no room is dropped and counted.
    pub(crate) fn tell_all(&self, notice: &[u8]) {
        let links: Vec<_> = self.hub.links.iter().map(|link| Arc::clone(link.value())).collect();
        for link in links {
            let told = !is_too_long(&link.node, notice) && link.tell(notice.to_vec());
            count_dropped(u64::from(!told));
        }
    }

    /// How the links with the members stand, by name.
    pub(crate) fn links(&self) -> Vec<LinkView> {
        let figures = lock(&self.hub.figures).clone();
        let view = |(node, figures): (String, Arc<figures::Figures>)| {
            let outstanding = self.link(&node).map_or(0, |link| link.outstanding());
            figures.view(&node, outstanding)
        };
        figures.into_iter().map(view).collect()
    }

    /// Says what it was already told to say, for a moment, and ends all links: asks that wait are told. Idempotent.
    pub(crate) async fn stop(&self) {
        let until = Instant::now() + DRAIN;
        while Instant::now() < until && self.hub.links.iter().any(|link| !link.is_drained()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.hub.stopping.store(true, Ordering::Release);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        let mut tasks = tasks.into_iter();
        if let Some(acceptor) = tasks.next() {
            acceptor.abort();
            // Its port is free when it has gone.
            let _ = acceptor.await;
        }
        pair::stop(&self.hub).await;
        for keeper in tasks {
            let _ = keeper.await;
        }
    }

    fn link(&self, node: &str) -> Option<Arc<Link>> {
        self.hub.links.get(node).map(|link| Arc::clone(link.value()))
    }
}

fn is_too_long(node: &str, payload: &[u8]) -> bool {
    let is = payload.len() > PAYLOAD_BYTES_MAX;
    if is {
        tracing::error!(node, bytes = payload.len(), "too long to be sent to a peer");
    }
    is
}

fn count_dropped(notices: u64) {
    if notices > 0 {
        metrics::counter!("uoop_peer_notices_dropped_total").increment(notices);
    }
}
