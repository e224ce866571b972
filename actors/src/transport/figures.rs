//! What a node knows about its links, for operators.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How the link with a node stands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LinkView {
    /// The node.
    pub node: String,
    /// Where it is dialled.
    pub address: String,
    /// Whether requests can be sent to it.
    pub up: bool,
    /// For how long this has been so, in milliseconds.
    pub since_ms: u64,
    /// Requests that wait for its answer.
    pub outstanding: usize,
    /// Requests sent to it since it became a member.
    pub requests: u64,
    /// Frames with items sent to it since it became a member.
    pub batches: u64,
    /// How long ago it was last heard of, in milliseconds.
    pub last_heard_ms_ago: Option<u64>,
    /// The version of the wire that both speak, while the link is up.
    pub wire_version: Option<u16>,
}

/// The figures of one peer, over all its links.
pub(super) struct Figures {
    pub(super) requests: AtomicU64,
    pub(super) batches: AtomicU64,
    state: Mutex<State>,
}

struct State {
    address: String,
    wire_version: Option<u16>,
    since: Instant,
    heard: Option<Instant>,
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            state: Mutex::new(State {
                address: String::new(),
                wire_version: None,
                since: Instant::now(),
                heard: None,
            }),
        }
    }

    /// Where the peer is dialled from now on.
    pub(super) fn dialled_at(&self, address: &str) {
        address.clone_into(&mut self.lock().address);
    }

    /// The peer was heard of.
    pub(super) fn heard(&self) {
        self.lock().heard = Some(Instant::now());
    }

    /// The link is up in this version, or (`None`) lost.
    pub(super) fn link(&self, wire_version: Option<u16>) {
        let mut state = self.lock();
        state.wire_version = wire_version;
        state.since = Instant::now();
    }

    pub(super) fn view(&self, node: &str, outstanding: usize) -> LinkView {
        let state = self.lock();
        LinkView {
            node: node.to_owned(),
            address: state.address.clone(),
            up: state.wire_version.is_some(),
            since_ms: millis(state.since.elapsed()),
            outstanding,
            requests: self.requests.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            last_heard_ms_ago: state.heard.map(|at| millis(at.elapsed())),
            wire_version: state.wire_version,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many bytes of a frame went out, or came in.
pub(super) fn count_bytes(direction: &'static str, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    metrics::counter!("uoop_peer_bytes_total", "direction" => direction).increment(bytes);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
