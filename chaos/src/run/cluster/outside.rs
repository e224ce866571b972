//! Faults around the nodes: links between them that are slow, a Redis that is away, participants that are slow, hang or lie,
//! and a crowd before one kitchen.

use super::ClusterOptions;
use super::faults::{Driver, Fault, Struck};
use super::figures::{self, CROWDED};
use super::nodes::Nodes;
use super::proxy::{Proxy, Way};
use crate::run::RunError;
use crate::run::sandbox::Mood;
use rand::Rng as _;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long these faults last.
const LASTS: std::ops::Range<u64> = 3_000..6_000;
/// How long a piece takes on a slow link, in milliseconds.
const SLOW_MS: std::ops::Range<u64> = 20..150;
/// How many come at once when there is a crowd.
const CROWD: u32 = 150;
/// How many commands may wait for a channel in a run with a crowd.
pub(super) const MAILBOX_MAX: u32 = 8;
/// For how long nobody asks a participant that failed again and again, in a run in which that is often so, in milliseconds.
pub(super) const CIRCUIT_OPEN_MS: u32 = 2_000;

/// The ways to the nodes for each other, and to Redis, if they are to be broken.
pub(super) async fn ways(
    options: &ClusterOptions,
    nodes: &mut Nodes,
    tasks: &mut JoinSet<()>,
) -> Result<(Vec<Proxy>, Option<Proxy>), RunError> {
    let impossible = |fault: Fault, why: &str| RunError::Impossible {
        fault: fault.as_str(),
        why: why.to_owned(),
    };
    let broken: Vec<Fault> = [Fault::Slow, Fault::Redis]
        .into_iter()
        .filter(|fault| options.faults.contains(fault))
        .collect();
    if let (Some(fault), true) = (broken.first(), options.faults.contains(&Fault::Partition)) {
        let why = "its proxies are not in the network that partitions take: run them apart";
        return Err(impossible(*fault, why));
    }
    let (mut links, mut redis) = (Vec::new(), None);
    if broken.contains(&Fault::Slow) {
        for node in &mut nodes.all {
            let behind = node.server.url().trim_start_matches("http://").to_owned();
            let link = Proxy::start(&node.gateway, Some(behind), options.seed, tasks).await?;
            node.server.set("cluster.address", link.address());
            links.push(link);
        }
    }
    if broken.contains(&Fault::Redis) {
        let given = std::env::var("UOOP_TEST_REDIS_URL");
        let given = given.map_err(|_| impossible(Fault::Redis, "UOOP_TEST_REDIS_URL is not set"))?;
        let (before, rest) = given.split_once("://").unwrap_or(("redis", &given));
        let (place, after) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = place.rsplit_once('@').unwrap_or(("", place));
        let proxy = Proxy::start(server, None, options.seed, tasks).await?;
        let at = if user.is_empty() { "" } else { "@" };
        let url = format!("{before}://{user}{at}{}/{after}", proxy.address());
        nodes.set("redis.url", &url);
        redis = Some(proxy);
    }
    Ok((links, redis))
}

impl Driver {
    async fn last(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(LASTS))).await;
    }

    /// All links between nodes are slow for a while.
    pub(super) async fn slow_links(&mut self) -> Result<Struck, RunError> {
        let ms = self.random.random_range(SLOW_MS);
        let struck = Struck::new(Fault::Slow, format!("all links, {ms} to {} ms", 2 * ms));
        let met = |links: &[Proxy]| links.iter().map(Proxy::met).sum::<u64>();
        let before = met(&self.links);
        for link in &self.links {
            link.set(Way::Slow(Duration::from_millis(ms)));
        }
        self.last().await;
        for link in &self.links {
            link.set(Way::Open);
        }
        if met(&self.links) == before {
            self.wrong.push("NV-1: nothing crossed the slow links".to_owned());
        }
        self.over(struck).await
    }

    /// Redis is gone, or does not answer, for a while.
    pub(super) async fn redis(&mut self) -> Result<Struck, RunError> {
        let is_gone = self.random.random_range(0..2) == 0;
        let (way, name) = if is_gone {
            (Way::Gone, "gone")
        } else {
            (Way::Silent, "silent")
        };
        let Some(redis) = &self.redis else {
            return Err(RunError::NotRunning);
        };
        let (before, struck) = (redis.met(), Struck::new(Fault::Redis, name));
        redis.set(way);
        self.last().await;
        if let Some(redis) = &self.redis {
            redis.set(Way::Open);
            if redis.met() == before {
                self.wrong
                    .push(format!("NV-1: Redis was {name} and nobody asked it for anything"));
            }
        }
        self.over(struck).await
    }

    /// The participants are slow, hang, or do what they are asked and do not say so, for a while.
    pub(super) async fn moody(&mut self, nth: usize) -> Result<Struck, RunError> {
        let mood = Mood::ALL[nth % Mood::ALL.len()];
        let struck = Struck::new(Fault::Partner, mood.name());
        self.sandbox.be(Some(mood)).await?;
        self.last().await;
        self.sandbox.be(None).await?;
        self.over(struck).await
    }

    /// So many order from one restaurant at once that its kitchen's mailbox is full.
    pub(super) async fn crowd(&mut self) -> Result<Struck, RunError> {
        let kitchen = self.random.random_range(0..u32::MAX);
        let struck = Struck::new(Fault::Flood, format!("{CROWD} at once"));
        let before = self.crowded().await;
        if let Some(crowd) = &mut self.crowd {
            crowd.come(kitchen, CROWD).await;
        }
        if self.crowded().await <= before {
            self.wrong
                .push("NV-1: there was a crowd, and no mailbox was full".to_owned());
        }
        self.over(struck).await
    }

    /// How often the nodes that live found a mailbox full.
    async fn crowded(&self) -> u64 {
        let nodes = 0..self.nodes.all.len();
        let counts = nodes.map(|n| figures::read(&self.http, self.front.node(n)));
        let counts = futures::future::join_all(counts).await;
        let of = |counts: figures::Counts| counts.get(CROWDED).copied();
        counts.into_iter().flatten().filter_map(of).sum()
    }

    async fn over(&mut self, mut struck: Struck) -> Result<Struck, RunError> {
        self.be_level("the end of a fault around the nodes").await;
        struck.until = Instant::now();
        Ok(struck)
    }
}
