//! Partitions: which nodes cannot reach whom, and the proof of it.

use super::faults::{Driver, Fault, PAUSE_BEYOND, Struck, moved};
use super::figures;
use super::network::Place;
use crate::run::RunError;
use rand::Rng as _;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a link may take to be noticed as broken.
const NOTICED_MAX: Duration = Duration::from_secs(20);

/// Who does not reach whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The node and the other nodes, either way.
    Nodes,
    /// The others hear nothing from the node, but it hears them.
    ToNodes,
    /// The database hears nothing from the node.
    ToDatabase,
    /// The node hears nothing from the database.
    FromDatabase,
    /// The node and everybody else.
    Everybody,
}

impl Cut {
    const ALL: [Self; 5] = [
        Self::ToDatabase,
        Self::Nodes,
        Self::Everybody,
        Self::FromDatabase,
        Self::ToNodes,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "from the other nodes",
            Self::ToNodes => "from the other nodes' ears",
            Self::ToDatabase => "from the database's ear",
            Self::FromDatabase => "from hearing the database",
            Self::Everybody => "from everybody",
        }
    }

    /// Whether the node cannot renew its lease, so that the others take its shards over.
    const fn takes_the_lease(self) -> bool {
        matches!(self, Self::ToDatabase | Self::FromDatabase | Self::Everybody)
    }

    /// The pairs that it cuts.
    fn pairs(self, n: usize, nodes: usize) -> Vec<(Place, Place)> {
        let node = Place::Node(n);
        let others = || (1..=nodes).filter(|other| *other != n).map(Place::Node);
        let both = |other: Place| [(node, other), (other, node)];
        match self {
            Self::Nodes => others().flat_map(both).collect(),
            Self::ToNodes => others().map(|other| (node, other)).collect(),
            Self::ToDatabase => vec![(node, Place::Database)],
            Self::FromDatabase => vec![(Place::Database, node)],
            Self::Everybody => others().chain([Place::Database, Place::Front]).flat_map(both).collect(),
        }
    }
}

impl Driver {
    /// Cuts a node off for longer than its lease.
    pub(super) async fn partition(&mut self, nth: usize) -> Result<Struck, RunError> {
        self.be_level("a partition").await;
        // Each kind in its turn.
        let cut = Cut::ALL[nth % Cut::ALL.len()];
        let n = self.busy_node().await;
        let beyond = Duration::from_millis(self.random.random_range(0..2_000));
        let nodes = self.nodes.all.len();
        let name = self.nodes.all[n].name.clone();
        let shards = self.watch.view().of(&name);
        let counted = figures::read(&self.http, self.front.node(n)).await.unwrap_or_default();
        let Some(network) = &self.network else {
            return Err(RunError::NotRunning);
        };
        let mut struck = Struck::new(Fault::Partition, format!("{name} {}", cut.name()));
        for (from, to) in cut.pairs(n + 1, nodes) {
            network.cut(from, to)?;
        }
        if cut.takes_the_lease() {
            let moving = moved(&self.watch, &self.front, &self.http, &shards, &name, struck.at);
            let (moved, ()) = tokio::join!(moving, sleep(self.lease + PAUSE_BEYOND + beyond));
            struck.must_move = true;
            struck.moved = moved;
        } else {
            // NV-1: the node notices.
            let (noticed, ()) = tokio::join!(self.has_no_links(n), sleep(self.lease + PAUSE_BEYOND + beyond));
            if !noticed {
                self.wrong
                    .push(format!("NV-1: {name} was to be cut off and its links did not break"));
            }
        }
        if let Some(network) = &self.network {
            for (from, to) in cut.pairs(n + 1, nodes) {
                network.mend(from, to)?;
            }
        }
        self.be_back(n).await?;
        self.be_level("the end of a partition").await;
        struck.found_out(
            &counted,
            &figures::read(&self.http, self.front.node(n)).await.unwrap_or_default(),
        );
        struck.shards = shards;
        struck.until = Instant::now();
        Ok(struck)
    }

    /// Whether a node says, in time, that no link of it is up.
    async fn has_no_links(&self, n: usize) -> bool {
        let begun = Instant::now();
        let url = format!("{}/v1/cluster", self.front.node(n));
        while begun.elapsed() < NOTICED_MAX {
            let asked = async { self.http.get(&url).send().await?.json::<Value>().await };
            let status = asked.await.unwrap_or_default();
            let links = status["links"].as_array();
            if links.is_some_and(|links| !links.is_empty() && links.iter().all(|link| link["up"] == false)) {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }
}
