//! What the transport is built from, and what can be wrong with it.

use super::wire::{PAYLOAD_BYTES_MAX, VERSIONS, Versions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The shortest cookie that is taken.
const COOKIE_BYTES_MIN: usize = 16;
/// The longest name: its length is one byte of every frame.
const NAME_BYTES_MAX: usize = 255;

/// How a node talks to its peers. All durations are wall time.
#[derive(Clone)]
pub struct TransportOptions {
    /// This node's name, with its incarnation: a restarted node has another one. At most 255 bytes, without `@`.
    pub name: String,
    /// Where to listen; with port 0 the system chooses one.
    pub listen: SocketAddr,
    /// The secret that all nodes of a cluster share, at least 16 bytes. It tells clusters apart; who may join is what
    /// the certificates say.
    pub cookie: String,
    /// Certificates. Without them the transport listens on loopback addresses only.
    pub tls: Option<TlsFiles>,
    /// How often a node says that it is there.
    pub heartbeat: Duration,
    /// After so many heartbeats in a row without a word, a link counts as lost.
    pub misses_max: u32,
    /// Requests to one peer that may be outstanding. Of what a peer asks, twice as many are answered at a time.
    pub requests_max: usize,
    /// The most items of one frame.
    pub batch_items_max: usize,
    /// The most bytes of one frame with more than one item; at most 8 MiB.
    pub batch_bytes_max: usize,
    /// The highest version of the wire to speak, for a node that is to pass for an older one; at least 1.
    pub wire_version_max: u16,
    /// The pause before a node that could not be reached, or was lost, is dialled again. It does not grow.
    pub redial: Duration,
}

// Not derived: the cookie is a secret.
impl std::fmt::Debug for TransportOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportOptions")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The files that make links between nodes private. All nodes have certificates of one authority, each with the DNS name
/// `uoop` among its subject alternative names, for the server's and the client's use: every node is both.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// This node's certificate, with those between it and the authority if there are any (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The authority's certificate (PEM). What it has not signed is not talked to.
    pub authority: PathBuf,
}

/// Why the transport does not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// An option cannot be as it is.
    #[error("{option}: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {reason}", file.display())]
    Tls {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The actors of the transport do not start.
    #[error("the actors of the transport do not start: {0}")]
    Actor(String),
}

impl TransportOptions {
    /// The versions of the wire that are spoken.
    pub(super) fn versions(&self) -> Versions {
        Versions {
            max: VERSIONS.max.min(self.wire_version_max),
            ..VERSIONS
        }
    }

    /// Says what cannot be as it is, the first of it.
    pub(super) fn check(&self) -> Result<(), TransportError> {
        let wrong = |option, reason: &str| {
            Err(TransportError::Option {
                option,
                reason: reason.to_owned(),
            })
        };
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.contains('@') {
            return wrong("name", "a node's name has 1 to 255 bytes and no @");
        }
        if self.cookie.len() < COOKIE_BYTES_MIN {
            return wrong(
                "cookie",
                "it needs at least 16 bytes, the same on all nodes of a cluster",
            );
        }
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            let listen = self.listen;
            let reason = format!(
                "{listen} can be reached from other hosts, so links need certificates (tls); without them listen on a \
                 loopback address, such as 127.0.0.1:{}",
                listen.port()
            );
            return wrong("listen", &reason);
        }
        if self.wire_version_max < VERSIONS.min {
            return wrong("wire_version_max", &format!("this program speaks {VERSIONS}"));
        }
        if self.heartbeat.is_zero() || self.redial.is_zero() {
            return wrong("heartbeat, redial", "they need to be longer than nothing");
        }
        if self.misses_max == 0 || self.requests_max == 0 || self.batch_items_max == 0 {
            return wrong(
                "misses_max, requests_max, batch_items_max",
                "they need to be at least 1",
            );
        }
        if self.batch_bytes_max > PAYLOAD_BYTES_MAX {
            return wrong("batch_bytes_max", "a frame with more than one item has at most 8 MiB");
        }
        Ok(())
    }
}
