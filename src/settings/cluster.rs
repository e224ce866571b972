//! `[cluster]`: whether this server is a node of a cluster, and how the nodes reach each other.

use super::secret::Hidden;
use actors::{ClusterOptions, TlsFiles, TransportOptions};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[cluster]`: whether this server is a node of a cluster, and how the nodes reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// Whether it is.
    pub enabled: bool,
    /// The node's name, which stays when it is started again; empty: made of the address at which others reach it.
    pub node: String,
    /// Where its gateway listens.
    #[serde(deserialize_with = "socket")]
    pub listen: SocketAddr,
    /// Where other nodes reach it; empty: where it listens.
    pub address: String,
    /// What all nodes know and nobody else.
    pub secret: Hidden,
    /// Its certificate, a PEM file; empty: links are not encrypted.
    pub certificate: PathBuf,
    /// The certificate's key, a PEM file.
    pub key: PathBuf,
    /// The certificate of who signs the nodes' certificates, a PEM file.
    pub authority: PathBuf,
    /// For how long a node that is silent keeps its shards.
    #[serde(rename = "lease_ms", deserialize_with = "super::sections::millis")]
    pub lease: Duration,
    /// How often leases are renewed and members looked at.
    #[serde(rename = "renew_ms", deserialize_with = "super::sections::millis")]
    pub renew_every: Duration,
    /// How often nodes show each other that they are there.
    #[serde(rename = "heartbeat_ms", deserialize_with = "super::sections::millis")]
    pub heartbeat: Duration,
    /// After how many of these that did not come a link counts as broken.
    pub misses_max: u32,
    /// How many shards a node gives away at a time.
    pub moves_max: usize,
    /// How many questions to one other node may be open.
    pub requests_max: usize,
    /// The highest version of what nodes say to each other that this one speaks.
    pub wire_version_max: u16,
}

fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

impl ClusterSettings {
    /// How this process takes part, under an incarnation that no process of this node had before.
    pub fn options(&self, incarnation: i64) -> ClusterOptions {
        let tls = (!self.certificate.as_os_str().is_empty()).then(|| TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
        });
        ClusterOptions {
            transport: TransportOptions {
                name: format!("{}-{incarnation}", self.node_name()),
                listen: self.listen,
                cookie: self.secret.expose().to_owned(),
                tls,
                heartbeat: self.heartbeat,
                misses_max: self.misses_max,
                requests_max: self.requests_max,
                batch_items_max: 128,
                batch_bytes_max: 256 * 1_024,
                wire_version_max: self.wire_version_max,
                redial: Duration::from_millis(200),
            },
            address: (!self.address.is_empty()).then(|| self.address.clone()),
            lease: self.lease,
            renew_every: self.renew_every,
            moves_max: self.moves_max,
        }
    }

    fn node_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        if self.address.is_empty() {
            self.listen.to_string()
        } else {
            self.address.clone()
        }
    }

    /// What does not go together, with the keys concerned.
    pub(super) fn problems(&self, has_postgres: bool) -> Vec<(&'static [&'static str], String)> {
        if !self.enabled {
            return Vec::new();
        }
        let mut problems: Vec<(&'static [&'static str], String)> = Vec::new();
        if !has_postgres {
            let why =
                "cluster.enabled is true but store.database_url is not a Postgres address: nodes share a Postgres";
            problems.push((&["cluster.enabled", "store.database_url"], why.into()));
        }
        if self.secret.expose().len() < SECRET_BYTES_MIN {
            let why = format!(
                "cluster.secret has {} bytes: must have at least {SECRET_BYTES_MIN}, the same on every node, and be known \
                 to nobody else",
                self.secret.expose().len()
            );
            problems.push((&["cluster.secret"], why));
        }
        let files = [&self.certificate, &self.key, &self.authority];
        let given = files.iter().filter(|file| !file.as_os_str().is_empty()).count();
        if given != 0 && given != files.len() {
            let why = "cluster.certificate, cluster.key and cluster.authority must all be set, or none of them";
            problems.push((&["cluster.certificate", "cluster.key", "cluster.authority"], why.into()));
        }
        if given == 0 && !self.listen.ip().is_loopback() {
            let why = format!(
                "cluster.listen is {}, which others can reach, and links are not encrypted: set cluster.certificate, \
                 cluster.key and cluster.authority, or listen on a loopback address",
                self.listen
            );
            problems.push((&["cluster.listen"], why));
        }
        if self.listen.ip().is_unspecified() && self.address.is_empty() {
            let why = "cluster.listen is every address of this machine: cluster.address must say at which one other \
                       nodes reach it";
            problems.push((&["cluster.listen", "cluster.address"], why.into()));
        }
        if self.renew_every * 2 > self.lease {
            let why = "cluster.lease_ms must be at least twice cluster.renew_ms, or a lease lapses whenever one renewal \
                       is late";
            problems.push((&["cluster.lease_ms", "cluster.renew_ms"], why.into()));
        }
        problems
    }
}

/// The shortest secret of a cluster.
const SECRET_BYTES_MIN: usize = 16;
