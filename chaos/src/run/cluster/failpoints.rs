//! Faults at named points of the protocol: a node is killed there, or held there past its lease and let go again.
//!
//! The nodes look into a directory of the run for what is armed (`src/failpoints.rs` has the points and the language). All
//! of them look into the same one, and the first that gets there is struck, so that a point is reached as soon as any node
//! gets there.

use super::ClusterOptions;
use super::faults::{Driver, Fault, PAUSE_BEYOND, Struck, moved};
use super::figures;
use super::nodes::Nodes;
use crate::run::{RunError, Signal};
use domain::saga::Step;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The variable that tells the nodes where to look.
pub(super) const VARIABLE: &str = "UOOP_FAILPOINTS";
/// How long a point may take to be reached. Some are rare: a refund, say.
const REACHED_MAX: Duration = Duration::from_secs(8);
/// How often is looked whether one was.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a node that was killed at a point may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// How long a node that serves may take to say that it looks.
const WATCHING_MAX: Duration = Duration::from_secs(5);

/// Between the hand-over of a batch to its writer and its commit.
const COMMIT: &str = "journal::commit";

/// The steps that have an effect, which is to say that somebody is asked, and whether their compensation has one.
const STEPS: [(Step, bool); 8] = [
    (Step::HoldCapacity, true),
    (Step::Authorize, true),
    (Step::PlaceTicket, true),
    (Step::ConfirmCapacity, false),
    (Step::Dispatch, true),
    // A refund takes a courier who fails with the food in hand, and the simulated ones do not.
    (Step::Capture, false),
    (Step::CloseCapacity, false),
    (Step::CompleteDelivery, false),
];

/// A point at which a node is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    name: String,
    /// Whether every load comes there soon, and not only once.
    is_common: bool,
}

impl Point {
    /// Shards move when a node is lost, and when it comes back.
    fn is_of_shards(&self) -> bool {
        self.name.starts_with("shard::")
    }

    /// All of them.
    fn all() -> Vec<Self> {
        let point = |name: &str, is_common| Self {
            name: name.to_owned(),
            is_common,
        };
        let mut all = vec![
            point(COMMIT, true),
            point("journal::committed", true),
            point("shard::taken", true),
            point("shard::release", true),
        ];
        for (step, has_compensation) in STEPS {
            for place in ["send", "answered"] {
                let name = |direction| format!("effect::{place}:{}:{direction}", step.as_str());
                // The ways of all orders, up to the kitchen.
                all.push(point(&name("forward"), step <= Step::ConfirmCapacity));
                if has_compensation {
                    all.push(point(&name("backward"), false));
                }
            }
        }
        all
    }
}

/// Where points are armed, and what came of it.
pub(super) struct Points {
    directory: PathBuf,
    armed: u64,
    /// Those to come, the next at the end.
    next: Vec<Point>,
    /// How often a node was struck at each point that was armed.
    pub(super) struck: BTreeMap<String, u64>,
    /// Common ones at which nobody arrived.
    pub(super) missed: Vec<String>,
}

impl Points {
    /// Those of a run, if any are to be armed.
    pub(super) fn wanted(options: &ClusterOptions, directory: &Path) -> Result<Option<Self>, RunError> {
        let is_wanted = |fault: &Fault| matches!(fault, Fault::Failpoints | Fault::Zombie);
        let wanted = options.faults.iter().any(is_wanted);
        wanted.then(|| Self::new(directory)).transpose()
    }

    /// In a directory that is made for it.
    fn new(directory: &Path) -> Result<Self, RunError> {
        let directory = std::path::absolute(directory.join("failpoints")).map_err(RunError::Directory)?;
        std::fs::create_dir_all(&directory).map_err(RunError::Directory)?;
        Ok(Self {
            directory,
            armed: 0,
            next: Vec::new(),
            struck: BTreeMap::new(),
            missed: Vec::new(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Each in its turn, in an order that follows from the seed: the common ones first.
    fn draw(&mut self, random: &mut StdRng) -> Point {
        loop {
            if let Some(point) = self.next.pop() {
                return point;
            }
            self.next = Point::all();
            self.next.shuffle(random);
            self.next.sort_by_key(|point| point.is_common);
        }
    }

    /// Arms a point: who is there for the nth time is killed, or held.
    fn arm(&mut self, point: &str, act: &str, nth: u64) -> Result<(), RunError> {
        self.armed += 1;
        let (whole, place) = (self.directory.join("arming"), self.directory.join("armed"));
        let line = format!("{number} {point} {act} {nth}\n", number = self.armed);
        let written = std::fs::write(&whole, line);
        written
            .and_then(|()| std::fs::rename(whole, place))
            .map_err(RunError::Directory)
    }

    /// Whoever is held goes on, and nobody else is struck.
    fn disarm(&self) -> Result<(), RunError> {
        match std::fs::remove_file(self.directory.join("armed")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::Directory(error)),
            _ => Ok(()),
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("reached")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The process that was struck at what was armed last.
    fn who(&self) -> Option<u32> {
        let number = format!("{} ", self.armed);
        let lines = self.lines();
        let line = lines.iter().find(|line| line.starts_with(&number))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// Waits for it.
    async fn reached(&self) -> Option<u32> {
        let begun = Instant::now();
        while begun.elapsed() < REACHED_MAX && self.who().is_none() {
            sleep(LOOK_EVERY).await;
        }
        self.who()
    }

    /// Waits until all nodes say that they look.
    pub(super) async fn are_watched_by(&self, nodes: &Nodes) -> Result<(), RunError> {
        for node in &nodes.all {
            let pid = node.server.pid().ok_or(RunError::NotRunning)?;
            if !self.is_watched_by(pid).await {
                return Err(none(Fault::Failpoints));
            }
        }
        Ok(())
    }

    /// Waits until a process says that it looks.
    async fn is_watched_by(&self, pid: u32) -> bool {
        let begun = Instant::now();
        let line = format!("watching {pid}");
        while begun.elapsed() < WATCHING_MAX {
            if self.lines().contains(&line) {
                return true;
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }
}

/// The nodes do not look.
fn none(fault: Fault) -> RunError {
    RunError::Impossible {
        fault: fault.as_str(),
        why: "the binary was built without fail points: build it with --features failpoints".to_owned(),
    }
}

impl Driver {
    fn points(&mut self, fault: Fault) -> Result<&mut Points, RunError> {
        self.points.as_mut().ok_or_else(|| none(fault))
    }

    /// The node of a process.
    fn node_of(&self, pid: u32) -> Option<usize> {
        self.nodes.all.iter().position(|node| node.server.pid() == Some(pid))
    }

    /// Kills the first node that comes to the next point, and starts it again at once. So that shards come and go, where
    /// the point is one of theirs, another node is killed first.
    pub(super) async fn kill_at_point(&mut self) -> Result<Vec<Struck>, RunError> {
        let mut random = self.random.clone();
        let points = self.points(Fault::Failpoints)?;
        let point = points.draw(&mut random);
        // Shards come and go many at a time.
        let nth = if point.is_common && !point.is_of_shards() {
            random.random_range(1..=5)
        } else {
            1
        };
        points.arm(&point.name, "kill", nth)?;
        self.random = random;
        let owned: Vec<_> = self.nodes.names();
        let view = self.watch.view();
        // Whose shards move while somebody else is struck.
        let mut all = Vec::new();
        if point.is_of_shards() {
            let fault = Fault::Failpoints;
            all.push(Struck {
                fault,
                ..self.kill().await?
            });
        }
        let points = self.points(Fault::Failpoints)?;
        points.reached().await;
        points.disarm()?;
        // Whoever had looked just before may have got there meanwhile.
        sleep(2 * LOOK_EVERY).await;
        let reached = self.points(Fault::Failpoints)?.who();
        let Some(n) = reached.and_then(|pid| self.node_of(pid)) else {
            let points = self.points(Fault::Failpoints)?;
            points.struck.entry(point.name.clone()).or_default();
            if point.is_common {
                points.missed.push(point.name);
            }
            return Ok(all);
        };
        let mut struck = Struck::new(Fault::Failpoints, format!("{} at {}", owned[n], point.name));
        struck.shards = view.of(&owned[n]);
        // It was struck while the other one's shards moved, and how long that took is known from there.
        struck.must_move = !point.is_of_shards();
        self.nodes.all[n].server.ended(GONE_MAX).await?;
        let moved = self.start_again(n, &struck).await?;
        struck.moved = moved.filter(|_| struck.must_move);
        struck.until = Instant::now();
        *self.points(Fault::Failpoints)?.struck.entry(point.name).or_default() += 1;
        all.push(struck);
        Ok(all)
    }

    /// Holds a batch that a writer has and the store has not, stops the node, waits until others have its shards, and lets
    /// both go: the batch must be refused.
    pub(super) async fn zombie(&mut self) -> Result<Struck, RunError> {
        self.be_level("a zombie").await;
        let points = self.points(Fault::Zombie)?;
        points.arm(COMMIT, "hold", 1)?;
        let reached = points.reached().await;
        let Some(n) = reached.and_then(|pid| self.node_of(pid)) else {
            self.points(Fault::Zombie)?.disarm()?;
            self.wrong.push("NV-1: no writer had a batch to be held".to_owned());
            return Ok(Struck::new(Fault::Zombie, "nobody"));
        };
        let name = self.nodes.all[n].name.clone();
        let mut struck = Struck::new(Fault::Zombie, &name);
        let counted = figures::read(&self.http, self.front.node(n)).await.unwrap_or_default();
        self.nodes.all[n].server.signal(Signal::Stop).await?;
        struck.shards = self.watch.view().of(&name);
        let moving = moved(&self.watch, &self.front, &self.http, &struck.shards, &name, struck.at);
        let (moved, ()) = tokio::join!(moving, sleep(self.lease + PAUSE_BEYOND));
        struck.moved = moved;
        struck.stood = Some(struck.at.elapsed());
        self.points(Fault::Zombie)?.disarm()?;
        self.nodes.all[n].server.signal(Signal::Continue).await?;
        self.be_back(n).await?;
        self.be_level("the end of a zombie").await;
        struck.found_out(
            &counted,
            &figures::read(&self.http, self.front.node(n)).await.unwrap_or_default(),
        );
        struck.until = Instant::now();
        Ok(struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_point_comes_once_before_any_comes_again() {
        let files = tempfile::tempdir().expect("a directory");
        let mut points = Points::new(files.path()).expect("made");
        let mut random = StdRng::seed_from_u64(1);
        let all = Point::all().len();
        let mut names = || (0..all).map(|_| points.draw(&mut random).name).collect::<Vec<_>>();
        let (first, second) = (names(), names());
        assert_ne!(first, second, "in another order");
        for names in [first, second] {
            assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), all);
        }
    }
}
