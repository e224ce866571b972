//! Faults of nodes and of the database: which, when, and the proof that they happened (NV-1).

use super::super::client::Reader;
use super::super::sandbox::Sandbox;
use super::super::{RunError, Signal};
use super::failpoints::Points;
use super::figures::{self, FENCED_BY_STORE, LOST, TAKEN};
use super::front::Front;
use super::load::Crowd;
use super::network::Network;
use super::nodes::Nodes;
use super::proxy::Proxy;
use super::service::Service;
use super::watch::{View, Watch};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a cluster may take to be level again: every shard where it should be, every node ready.
const LEVEL_MAX: Duration = Duration::from_mins(1);
/// How long shards may stand still before that counts as for ever.
const MOVED_MAX: Duration = Duration::from_mins(1);
/// How long a node may take to end in good order.
const END_MAX: Duration = Duration::from_mins(1);
/// How much longer than its lease a node is paused.
pub(super) const PAUSE_BEYOND: Duration = Duration::from_secs(2);
/// How long the database is away.
const AWAY: std::ops::Range<u64> = 1_000..4_000;
/// The least time between the end of a fault and the next one.
const BREATH: Duration = Duration::from_secs(1);
/// How long a fault waits until something is in flight at its node.
const WORK_MAX: Duration = Duration::from_secs(10);

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A node is killed, and started again at once under its name.
    Kill,
    /// A node stands still for longer than its lease, and then goes on.
    Pause,
    /// All nodes are stopped in good order and started again, one after the other.
    Rolling,
    /// The database is killed, or stands still for a while.
    Postgres,
    /// The nodes' clocks are five minutes wrong.
    Skew,
    /// A node cannot reach the other nodes, the database or anybody, or is not heard by them, for longer than its lease.
    Partition,
    /// A node is killed at a named point of the protocol, each in its turn, and started again at once.
    Failpoints,
    /// A node stands still for longer than its lease while a writer of it has a batch that the store has not, and then
    /// sends it.
    Zombie,
    /// All links between nodes are slow for a while.
    Slow,
    /// Redis is gone, or does not answer, for a while.
    Redis,
    /// All participants are slow, hang or do not say what they did, for a while.
    Partner,
    /// Hundreds order from one kitchen at once.
    Flood,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Pause,
        Self::Rolling,
        Self::Postgres,
        Self::Skew,
        Self::Partition,
        Self::Failpoints,
        Self::Zombie,
        Self::Slow,
        Self::Redis,
        Self::Partner,
        Self::Flood,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Rolling => "rolling",
            Self::Postgres => "postgres",
            Self::Skew => "skew",
            Self::Partition => "partition",
            Self::Failpoints => "failpoints",
            Self::Zombie => "zombie",
            Self::Slow => "slow",
            Self::Redis => "redis",
            Self::Partner => "partner",
            Self::Flood => "flood",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        found.ok_or_else(|| format!("'{text}' is none of {}", names()))
    }
}

/// A fault that happened.
#[derive(Clone, Debug)]
pub(super) struct Struck {
    pub(super) fault: Fault,
    /// Whom it struck.
    pub(super) whom: String,
    pub(super) at: Instant,
    /// When everything was back.
    pub(super) until: Instant,
    /// What the node owned.
    pub(super) shards: BTreeSet<u16>,
    /// Whether all of that had to become another's.
    pub(super) must_move: bool,
    /// How long it took until all of that was another's (or another incarnation's), brought to life.
    pub(super) moved: Option<Duration>,
    /// How long it stood still with a batch in its hands.
    pub(super) stood: Option<Duration>,
    /// Rows that it sent once it went on and that the store refused, and shards that it found lost.
    pub(super) fenced_by_store: u64,
    pub(super) lost: u64,
}

impl Struck {
    pub(super) fn new(fault: Fault, whom: impl Into<String>) -> Self {
        Self {
            whom: whom.into(),
            ..Self::at(fault, Instant::now())
        }
    }

    /// A fault of nobody in particular.
    pub(super) const fn at(fault: Fault, at: Instant) -> Self {
        Self {
            fault,
            whom: String::new(),
            at,
            until: at,
            shards: BTreeSet::new(),
            must_move: matches!(fault, Fault::Kill | Fault::Pause | Fault::Failpoints | Fault::Zombie),
            moved: None,
            stood: None,
            fenced_by_store: 0,
            lost: 0,
        }
    }
}

impl Struck {
    /// What the node found out once it went on, from what it had counted before and after.
    pub(super) fn found_out(&mut self, before: &figures::Counts, after: &figures::Counts) {
        let more = |name: &'static str| {
            let count = |counts: &figures::Counts| counts.get(name).copied().unwrap_or(0);
            count(after).saturating_sub(count(before))
        };
        (self.fenced_by_store, self.lost) = (more(FENCED_BY_STORE), more(LOST));
    }
}

/// Who breaks things.
pub(super) struct Driver {
    pub(super) nodes: Nodes,
    pub(super) front: Arc<Front>,
    pub(super) watch: Watch,
    pub(super) random: StdRng,
    pub(super) lease: Duration,
    pub(super) service: Option<Service>,
    /// Where partitions are made.
    pub(super) network: Option<Network>,
    /// Where fail points are armed.
    pub(super) points: Option<Points>,
    pub(super) sandbox: Sandbox,
    /// The ways to the nodes, for the other nodes.
    pub(super) links: Vec<Proxy>,
    /// The way to Redis.
    pub(super) redis: Option<Proxy>,
    /// Who may come at once.
    pub(super) crowd: Option<Crowd>,
    pub(super) http: reqwest::Client,
    /// What must not be.
    pub(super) wrong: Vec<String>,
}

impl Driver {
    /// Breaks one thing after the other until `end`, at least each of them once. The first comes after `every`. The load has
    /// to last until this returns: what is broken shortly before `end`, or after it, must meet work as well.
    pub(super) async fn run(
        &mut self,
        faults: &[Fault],
        every: Duration,
        end: Instant,
    ) -> Result<Vec<Struck>, RunError> {
        let mut order: Vec<Fault> = faults.iter().copied().filter(|fault| *fault != Fault::Skew).collect();
        order.shuffle(&mut self.random);
        let (mut struck, mut next) = (Vec::new(), Instant::now() + every);
        let (mut partitions, mut moods) = (0, 0);
        let mut todo: BTreeSet<Fault> = order.iter().copied().collect();
        for fault in order.iter().copied().cycle() {
            if next >= end && todo.is_empty() {
                break;
            }
            sleep_until(next).await;
            self.revive().await?;
            if next >= end && !todo.contains(&fault) {
                continue;
            }
            let began = Instant::now();
            struck.extend(match fault {
                Fault::Kill | Fault::Skew => vec![self.kill().await?],
                Fault::Pause => vec![self.pause().await?],
                Fault::Rolling => vec![self.rolling().await?],
                Fault::Postgres => vec![self.postgres().await?],
                Fault::Partition => vec![self.partition(partitions).await?],
                Fault::Failpoints => self.kill_at_point().await?,
                Fault::Zombie => self.zombie().await?.into_iter().collect(),
                Fault::Slow => vec![self.slow_links().await?],
                Fault::Redis => vec![self.redis().await?],
                Fault::Partner => vec![self.moody(moods).await?],
                Fault::Flood => vec![self.crowd().await?],
            });
            partitions += usize::from(fault == Fault::Partition);
            moods += usize::from(fault == Fault::Partner);
            todo.remove(&fault);
            next = (began + every).max(Instant::now() + BREATH);
        }
        sleep_until(end).await;
        self.revive().await?;
        Ok(struck)
    }

    /// A node that ended by itself is started again, as whatever runs it in life would; that it ended is wrong.
    async fn revive(&mut self) -> Result<(), RunError> {
        for n in 0..self.nodes.all.len() {
            if !self.nodes.all[n].server.is_running() {
                self.wrong
                    .push(format!("node {} ended by itself", self.nodes.all[n].name));
                self.nodes.start_one(n, &mut self.random).await?;
            }
        }
        Ok(())
    }

    /// A node with something in flight, if one has within a while.
    pub(super) async fn busy_node(&mut self) -> usize {
        let n = self.random.random_range(0..self.nodes.all.len());
        let Ok(reader) = Reader::new(self.front.node(n)) else {
            return n;
        };
        let busy = async {
            while reader.in_flight().await.is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        // The checker finds out whether something was.
        let _ = timeout(WORK_MAX, busy).await;
        n
    }

    async fn kill(&mut self) -> Result<Struck, RunError> {
        let (n, mut struck) = self.fell(Fault::Kill).await?;
        struck.moved = self.start_again(n, &struck).await?;
        struck.until = Instant::now();
        Ok(struck)
    }

    /// Kills a node, which somebody is to start again.
    pub(super) async fn fell(&mut self, fault: Fault) -> Result<(usize, Struck), RunError> {
        let n = self.busy_node().await;
        let name = self.nodes.all[n].name.clone();
        let shards = self.watch.view().of(&name);
        let struck = Struck::new(fault, &name);
        self.nodes.all[n].server.kill().await?;
        Ok((n, Struck { shards, ..struck }))
    }

    /// Starts a node again that is gone. How long its shards took to come to life elsewhere.
    pub(super) async fn start_again(&mut self, n: usize, struck: &Struck) -> Result<Option<Duration>, RunError> {
        let name = self.nodes.all[n].name.clone();
        let Self {
            nodes,
            watch,
            front,
            http,
            random,
            ..
        } = self;
        let moving = moved(watch, front, http, &struck.shards, &name, struck.at);
        let (moved, started) = tokio::join!(moving, nodes.start_one(n, random));
        started?;
        Ok(moved)
    }

    async fn pause(&mut self) -> Result<Struck, RunError> {
        self.be_level("a pause").await;
        let n = self.busy_node().await;
        let name = self.nodes.all[n].name.clone();
        let counted = figures::read(&self.http, self.front.node(n)).await.unwrap_or_default();
        let shards = self.watch.view().of(&name);
        let mut struck = Struck::new(Fault::Pause, &name);
        self.nodes.all[n].server.signal(Signal::Stop).await?;
        let moving = moved(&self.watch, &self.front, &self.http, &shards, &name, struck.at);
        let (moved, ()) = tokio::join!(moving, sleep(self.lease + PAUSE_BEYOND));
        self.nodes.all[n].server.signal(Signal::Continue).await?;
        self.be_back(n).await?;
        self.be_level("the end of a pause").await;
        struck.found_out(
            &counted,
            &figures::read(&self.http, self.front.node(n)).await.unwrap_or_default(),
        );
        (struck.shards, struck.moved, struck.until) = (shards, moved, Instant::now());
        Ok(struck)
    }

    /// Waits until a node that others may have taken for gone is ready; if it ended, as it must when it was removed, it is
    /// started again.
    pub(super) async fn be_back(&mut self, n: usize) -> Result<(), RunError> {
        let begun = Instant::now();
        while begun.elapsed() < LEVEL_MAX && self.nodes.all[n].server.is_running() && !self.front.is_ready(n) {
            sleep(Duration::from_millis(50)).await;
        }
        if !self.nodes.all[n].server.is_running() {
            self.nodes.start_one(n, &mut self.random).await?;
        }
        Ok(())
    }

    async fn rolling(&mut self) -> Result<Struck, RunError> {
        self.be_level("a rolling restart").await;
        let mut struck = Struck::new(Fault::Rolling, "all");
        for n in 0..self.nodes.all.len() {
            let name = self.nodes.all[n].name.clone();
            self.nodes.all[n].server.signal(Signal::Terminate).await?;
            let ended = self.nodes.all[n].server.ended(END_MAX).await?;
            if !ended.success() {
                self.wrong
                    .push(format!("node {name} was stopped in good order and ended with {ended}"));
            }
            let left = self.watch.view().of(&name).len();
            if left > 0 {
                self.wrong.push(format!(
                    "node {name} ended in good order with {left} shards still its own"
                ));
            }
            self.nodes.start_one(n, &mut self.random).await?;
            self.be_level("the next restart").await;
        }
        struck.until = Instant::now();
        Ok(struck)
    }

    async fn postgres(&mut self) -> Result<Struck, RunError> {
        let Some(service) = &self.service else {
            return Err(RunError::Impossible {
                fault: "postgres",
                why: "no service was given".to_owned(),
            });
        };
        let away = Duration::from_millis(self.random.random_range(AWAY));
        let is_killed = self.random.random_range(0..2) == 0;
        let mut struck = Struck::new(Fault::Postgres, if is_killed { "killed" } else { "paused" });
        service.run(if is_killed { "kill" } else { "pause" }).await?;
        // NV-1: nobody is answered.
        sleep(Duration::from_millis(100)).await;
        let is_away = self.watch.view();
        sleep(away).await;
        let still = self.watch.view();
        if !Arc::ptr_eq(&is_away, &still) {
            self.wrong
                .push("NV-1: the database was to be away and answered".to_owned());
        }
        service.run(if is_killed { "up" } else { "resume" }).await?;
        self.front.all_ready(LEVEL_MAX).await;
        struck.until = Instant::now();
        Ok(struck)
    }

    /// Waits until the cluster is level. What keeps it from that is wrong.
    pub(super) async fn be_level(&mut self, before: &str) {
        let names = self.nodes.names();
        let ready = self.front.all_ready(LEVEL_MAX).await;
        if !ready || !self.watch.level(&names, LEVEL_MAX).await {
            let view: Arc<View> = self.watch.view();
            let owned: Vec<String> = names
                .iter()
                .map(|name| format!("{name} {}", view.of(name).len()))
                .collect();
            let nobodys = view.of("").len();
            self.wrong.push(format!(
                "the cluster was not level before {before} after {} s: ready {ready}, shards {owned:?}, nobody's {nobodys}",
                LEVEL_MAX.as_secs()
            ));
        }
    }
}

/// How long after `since` all these shards were owned by somebody else, and brought to life there: whoever took them has
/// counted them, which happens once their timers are armed and what was pending is asked for.
pub(super) async fn moved(
    watch: &Watch,
    front: &Front,
    http: &reqwest::Client,
    shards: &BTreeSet<u16>,
    from: &str,
    since: Instant,
) -> Option<Duration> {
    let moving = async {
        loop {
            // Who has just taken them may be struck as well: then they move once more.
            let view = watch.moved(shards, from, MOVED_MAX).await?;
            let owners: BTreeSet<&str> = shards
                .iter()
                .filter_map(|shard| view.shards.get(usize::from(*shard)))
                .map(|seen| seen.owner.as_str())
                .collect();
            let alive = owners.into_iter().map(|owner| async {
                let n = front.position(owner)?;
                let counted = figures::read(http, front.node(n)).await?.get(TAKEN).copied()?;
                (counted >= view.taken.get(owner).copied().unwrap_or(0)).then_some(())
            });
            if futures::future::join_all(alive).await.iter().all(Option::is_some) {
                return Some(since.elapsed());
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MOVED_MAX, moving).await.ok().flatten()
}
