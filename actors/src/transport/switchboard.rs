//! Which peers there are, and how the link with each stands.
//!
//! A link is up when there is a session with a member, its gateway was found, and it was heard on it in a version of the
//! wire that both speak. It is lost with the session, or when nothing is heard for [`TransportOptions::misses_max`]
//! heartbeats; then the session is ended and the peer dialled again.
//!
//! *Who dials.* Of two nodes the one with the greater name, at once; the other only after four pauses in which it was
//! not reached itself. So there are as a rule no two connections between which `ractor_cluster` has to elect (it cuts the
//! one that loses, with all that is under way on it, even if that one has been in use for long), and a node that can
//! reach the other, but not be reached, is linked all the same.
//!
//! [`TransportOptions::misses_max`]: super::TransportOptions::misses_max

use super::AskError;
use super::answering;
use super::connections::{self, HANDSHAKE, count_refused};
use super::figures::count_bytes;
use super::gateway::{GatewayMessage, gateway_of};
use super::hub::{self, Hub};
use super::link::{Intake, Link, lock};
use super::wire::{self, Item, Versions};
use ractor::{ActorId, ActorRef};
use ractor_cluster::NodeSessionMessage;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The pauses that the node with the lesser name leaves to the other, before it dials itself.
const LESSER_PAUSES: u32 = 4;
/// Sessions that are not (yet) those of a link.
const UNLINKED_MAX: usize = 256;

/// A peer: a member, or one that is not a member as far as this node knows yet.
struct Peer {
    /// Where it is dialled; a member has one.
    address: Option<String>,
    session: Option<ActorRef<NodeSessionMessage>>,
    link: Option<Arc<Link>>,
    is_up: bool,
    /// What it speaks, once it was heard on the session.
    versions: Option<Versions>,
    /// It speaks no version that this node speaks. That stays so: a node that is upgraded comes back under another name.
    is_refused: bool,
    intake: Arc<Mutex<Intake>>,
    misses: u32,
    dial: Dial,
    since: Instant,
}

enum Dial {
    Idle,
    /// It will be dialled after a pause.
    Due,
    /// The connection of this label is being made, or waits to become a session that is ready.
    UnderWay {
        label: String,
        since: Instant,
    },
}

impl Peer {
    fn new() -> Self {
        Self {
            address: None,
            session: None,
            link: None,
            is_up: false,
            versions: None,
            is_refused: false,
            intake: Arc::default(),
            misses: 0,
            dial: Dial::Idle,
            since: Instant::now(),
        }
    }
}

struct Unlinked {
    actor: ActorRef<NodeSessionMessage>,
    since: Instant,
}

pub(super) struct Switchboard {
    hub: Arc<Hub>,
    myself: ActorRef<GatewayMessage>,
    peers: HashMap<String, Peer>,
    /// Sessions that have yet to become a link. There is a time limit on that: `ractor_cluster` has none on authentication.
    unlinked: HashMap<ActorId, Unlinked>,
}

impl Switchboard {
    pub(super) fn new(hub: Arc<Hub>, myself: ActorRef<GatewayMessage>) -> Self {
        Self {
            hub,
            myself,
            peers: HashMap::new(),
            unlinked: HashMap::new(),
        }
    }

    /// The members changed: those who left are dropped, those who came are dialled.
    pub(super) fn members(&mut self) {
        let members = lock(&self.hub.members).clone();
        let mut left = Vec::new();
        for (node, peer) in &mut self.peers {
            if !members.contains_key(node) && peer.address.take().is_some() {
                left.push(node.clone());
            }
        }
        for node in left {
            self.lose(&node, "left");
            self.peers.remove(&node);
        }
        lock(&self.hub.figures).retain(|node, _| members.contains_key(node));
        for (node, address) in members {
            self.hub.figures(&node).dialled_at(&address);
            let peer = self.peers.entry(node.clone()).or_insert_with(Peer::new);
            if peer.address.replace(address).is_none() {
                self.settle(&node);
                let pause = if self.hub.options.name > node {
                    Duration::ZERO
                } else {
                    self.pause(&node)
                };
                self.dial_after(&node, pause);
            }
        }
    }

    pub(super) fn opened(&mut self, actor: ActorRef<NodeSessionMessage>) {
        if self.unlinked.len() >= UNLINKED_MAX {
            count_refused("sessions");
            actor.stop(Some("too many sessions".to_owned()));
            return;
        }
        let since = Instant::now();
        self.unlinked.insert(actor.get_id(), Unlinked { actor, since });
    }

    pub(super) fn ready(&mut self, node: &str, session: &ActorRef<NodeSessionMessage>) {
        if self.peers.get(node).is_some_and(|peer| peer.session.is_some()) {
            // An election was won by another session than before.
            let versions = self.peers.get(node).and_then(|peer| peer.versions);
            self.lose(node, "replaced");
            // It may have been on the new session that it was heard.
            self.peers.entry(node.to_owned()).or_insert_with(Peer::new).versions = versions;
        }
        let peer = self.peers.entry(node.to_owned()).or_insert_with(Peer::new);
        peer.session = Some(session.clone());
        if matches!(peer.dial, Dial::UnderWay { .. }) {
            peer.dial = Dial::Idle;
        }
        self.settle(node);
    }

    pub(super) fn ended(&mut self, session: &ActorRef<NodeSessionMessage>, label: &str) {
        let id = session.get_id();
        self.unlinked.remove(&id);
        let mut over = Vec::new();
        let mut again = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.session.as_ref().is_some_and(|session| session.get_id() == id) {
                over.push(node.clone());
            }
            if matches!(&peer.dial, Dial::UnderWay { label: dialled, .. } if dialled == label) {
                peer.dial = Dial::Idle;
                again.push(node.clone());
            }
        }
        for node in over {
            self.lose(&node, "ended");
        }
        for node in again {
            self.dial_again(&node);
        }
    }

    /// The far end's gateway is gone, though its session is not.
    pub(super) fn broken(&mut self, node: &str, number: u64) {
        let link = self.peers.get(node).and_then(|peer| peer.link.as_ref());
        if link.is_some_and(|link| link.number == number) {
            self.lose(node, "gateway");
        }
    }

    /// Dials a member, unless it was reached meanwhile.
    pub(super) fn dial(&mut self, node: &str) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        peer.dial = Dial::Idle;
        let Some(address) = &peer.address else { return };
        if peer.session.is_none() && !peer.is_refused && !self.hub.is_stopping() {
            let label = connections::label(&self.hub, node);
            connections::dial(&self.hub, node.to_owned(), address.clone(), label.clone());
            let since = Instant::now();
            peer.dial = Dial::UnderWay { label, since };
        }
    }

    pub(super) fn dial_failed(&mut self, node: &str) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.dial = Dial::Idle;
            self.dial_again(node);
        }
    }

    /// A heartbeat's time has passed. The next one is counted from here: when this node itself was held up, what its
    /// peers said meanwhile waits in the mailbox, and is heard before the next tick.
    pub(super) fn tick(&mut self) {
        let _detached = self
            .myself
            .send_after(self.hub.options.heartbeat, || GatewayMessage::Tick);
        let now = Instant::now();
        let misses_max = self.hub.options.misses_max;
        let mut silent = Vec::new();
        let mut stuck = Vec::new();
        for (node, peer) in &mut self.peers {
            peer.misses = peer.misses.saturating_add(1);
            if peer.is_up && peer.misses > misses_max {
                silent.push(node.clone());
            }
            if matches!(peer.dial, Dial::UnderWay { since, .. } if now - since > 3 * HANDSHAKE) {
                peer.dial = Dial::Idle;
                stuck.push(node.clone());
            }
        }
        for node in silent {
            self.lose(&node, "silent");
        }
        for node in stuck {
            self.dial_again(&node);
        }
        for session in self.unlinked.values() {
            if now - session.since > HANDSHAKE {
                session.actor.stop(Some("it did not become a link in time".to_owned()));
            }
        }
        // Strangers who said something once.
        self.peers
            .retain(|_, peer| peer.address.is_some() || peer.session.is_some() || now - peer.since < HANDSHAKE);
    }

    /// A peer says something.
    pub(super) fn frame(&mut self, frame: &[u8]) {
        let (head, items) = match wire::decode_head(frame) {
            Ok(read) => read,
            Err(error) => return malformed("a peer", error),
        };
        let node = head.from;
        let peer = self.peers.entry(node.clone()).or_insert_with(Peer::new);
        if !lock(&peer.intake).take(head.link) {
            return;
        }
        peer.versions = Some(head.versions);
        peer.misses = 0;
        if !peer.is_up {
            self.settle(&node);
        }
        let Some(link) = self
            .peers
            .get(&node)
            .filter(|peer| peer.is_up)
            .and_then(|peer| peer.link.clone())
        else {
            return;
        };
        link.figures.heard();
        count_bytes("in", frame.len());
        link.acknowledged(head.taken);
        if lock(&link.intake).is_due() {
            link.acknowledgement_due.notify_one();
        }
        if items.is_empty() {
            return;
        }
        match wire::decode_items(items) {
            Ok(items) => self.items(&link, items),
            Err(error) => {
                malformed(&node, error);
                self.lose(&node, "malformed");
            }
        }
    }

    fn items(&self, link: &Arc<Link>, items: Vec<Item>) {
        let mut requests = 0;
        for item in items {
            match item {
                Item::Notice(notice) => {
                    hub::guarded("hear", || self.hub.serve.hear(&link.node, link.version(), &notice));
                }
                Item::Request { id, body } => {
                    requests += 1;
                    answering::begin(&self.hub, link, id, body);
                }
                Item::Answer { id, body } => link.settle(id, Ok(body)),
                Item::Overloaded { id } => link.settle(id, Err(AskError::Overloaded)),
                Item::Failed { id } => link.settle(id, Err(AskError::Lost)),
            }
        }
        metrics::counter!("uoop_peer_requests_total", "direction" => "in").increment(requests);
        metrics::counter!("uoop_peer_batches_total", "direction" => "in").increment(1);
    }

    /// Takes the link with a peer as far as what is known of it allows: greets it, and once it was heard, opens the link.
    fn settle(&mut self, node: &str) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let (Some(session), true) = (&peer.session, peer.address.is_some()) else {
            return;
        };
        if peer.link.is_none() {
            let Some(gateway) = gateway_of(session, node) else {
                tracing::warn!(node, "a peer without a gateway");
                session.stop(Some("it has no gateway".to_owned()));
                return;
            };
            let figures = self.hub.figures(node);
            peer.link = Some(Link::start(&self.hub, node, figures, Arc::clone(&peer.intake), gateway));
        }
        let (Some(link), Some(theirs), false) = (&peer.link, peer.versions, peer.is_up || peer.is_refused) else {
            return;
        };
        let ours = self.hub.versions;
        if let Some(version) = ours.common(theirs) {
            peer.is_up = true;
            peer.misses = 0;
            self.unlinked.remove(&session.get_id());
            self.hub.link_up(link, version);
        } else {
            // The session is left to its time limit, so that the greeting is heard and the peer knows, too.
            peer.is_refused = true;
            count_refused("version");
            tracing::error!(node, %ours, %theirs, "a peer speaks no version of the wire that this node speaks: no link");
        }
    }

    /// Ends the link with a peer, and its session. A member is dialled again.
    fn lose(&mut self, node: &str, reason: &'static str) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        peer.is_up = false;
        peer.versions = None;
        let (session, link) = (peer.session.take(), peer.link.take());
        if let Some(session) = session {
            session.stop(Some(format!("link lost: {reason}")));
        }
        if let Some(link) = link {
            self.hub.link_ended(&link, reason);
        }
        self.dial_again(node);
    }

    fn dial_again(&mut self, node: &str) {
        self.dial_after(node, self.pause(node));
    }

    fn dial_after(&mut self, node: &str, pause: Duration) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        if peer.address.is_none() || !matches!(peer.dial, Dial::Idle) {
            return;
        }
        peer.dial = Dial::Due;
        let node = node.to_owned();
        let _detached = self.myself.send_after(pause, || GatewayMessage::Dial { node });
    }

    /// The pause before a peer is dialled again: up to half longer than configured, so that the nodes that lost one
    /// peer do not come back to it all at once.
    fn pause(&self, node: &str) -> Duration {
        let options = &self.hub.options;
        let pauses = if options.name.as_str() > node { 1 } else { LESSER_PAUSES };
        let mut hasher = SipHasher13::new();
        let turn = self.hub.connections_made.load(Ordering::Relaxed);
        (&options.name, node, turn).hash(&mut hasher);
        let jitter = u32::try_from(hasher.finish() % 128).unwrap_or(0);
        pauses * options.redial + options.redial * jitter / 256
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        for link in self.peers.values().filter_map(|peer| peer.link.as_ref()) {
            link.close();
        }
    }
}

fn malformed(node: &str, error: wire::Malformed) {
    count_refused("malformed");
    tracing::error!(node, %error, "a frame that cannot be read");
}
