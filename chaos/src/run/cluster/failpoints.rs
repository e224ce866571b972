//! Faults at named points of the protocol: a node is killed there, or held there past its lease and let go again.
//!
//! The nodes look into a directory of the run for what is armed (`src/failpoints.rs` has the points and the language). All
//! of them look into the same one, and the first that gets there is struck, so that a point is reached as soon as any node
//! gets there.

use super::ClusterOptions;
use super::faults::{Driver, Fault, PAUSE_BEYOND, Struck, moved};
use super::figures;
use super::nodes::Nodes;
use super::reached::Reached;
use crate::run::{RunError, Signal};
use domain::saga::Step;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The variable that tells the nodes where to look.
pub(super) const VARIABLE: &str = "UOOP_FAILPOINTS";
/// How long a point may take to be reached. Some are rare: a refund, say.
const REACHED_MAX: Duration = Duration::from_secs(8);
/// How often is looked whether one was.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a node that has claimed a point may take to say so.
const SAID_MAX: Duration = Duration::from_secs(5);
/// How long a node that serves may take to say that it looks.
const WATCHING_MAX: Duration = Duration::from_secs(5);

/// Between the hand-over of a batch to its writer and its commit.
const COMMIT: &str = "journal::commit";
/// Between the end of what lives of a shard and the end of its ownership.
const RELEASE: &str = "shard::release";

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

    /// Shards are released to whoever comes back when others have them. If it comes back sooner, it has them again itself.
    fn is_of_release(&self) -> bool {
        self.name == RELEASE
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
            point(RELEASE, true),
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
    /// The number of what was armed last.
    armed: u64,
    reached: Reached,
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
            reached: Reached::of(&directory),
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

    /// Whoever is held goes on, and nobody is struck any more. The process that was, if one was.
    async fn disarm(&self) -> Result<Option<u32>, RunError> {
        match std::fs::remove_file(self.directory.join("armed")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(RunError::Directory(error)),
            _ => {}
        }
        // A node may have looked just before and be there any moment. Only who makes this file is struck: so nobody is if it
        // is made here, and somebody is about to say so if it cannot be.
        let claim = self.directory.join(format!("claimed-{}", self.armed));
        let within = match OpenOptions::new().write(true).create_new(true).open(claim) {
            Ok(_) => Duration::ZERO,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => SAID_MAX,
            Err(error) => return Err(RunError::Directory(error)),
        };
        Ok(self.struck(within).await)
    }

    /// Waits for the process that is struck at what was armed last.
    async fn struck(&self, within: Duration) -> Option<u32> {
        let begun = Instant::now();
        loop {
            let struck = self.reached.struck_at(self.armed);
            if struck.is_some() || begun.elapsed() >= within {
                return struck;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Notes what came of a point that was armed: NV-1.
    fn note(&mut self, point: Point, is_struck: bool) {
        *self.struck.entry(point.name.clone()).or_default() += u64::from(is_struck);
        if point.is_common && !is_struck {
            self.missed.push(point.name);
        }
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
        while begun.elapsed() < WATCHING_MAX {
            if self.reached.is_watched_by(pid) {
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

    /// The node of a process, which may have been replaced since.
    fn node_of(&self, pid: u32) -> Option<usize> {
        self.nodes.all.iter().position(|node| node.is_of(pid))
    }

    /// Kills the first node that comes to the next point, and starts it again at once. So that shards come and go, where
    /// the point is one of theirs, another node is killed first.
    pub(super) async fn kill_at_point(&mut self) -> Result<Vec<Struck>, RunError> {
        let mut random = self.random.clone();
        let point = self.points(Fault::Failpoints)?.draw(&mut random);
        self.random = random;
        let owned: Vec<_> = self.nodes.names();
        let view = self.watch.view();
        // Whose shards move while somebody else is struck.
        let mut all = Vec::new();
        if point.is_of_shards() {
            all.push(self.move_shards(&point).await?);
        } else {
            let nth = if point.is_common {
                self.random.random_range(1..=5)
            } else {
                1
            };
            self.points(Fault::Failpoints)?.arm(&point.name, "kill", nth)?;
        }
        let points = self.points(Fault::Failpoints)?;
        points.struck(REACHED_MAX).await;
        let pid = points.disarm().await?;
        let struck = pid.and_then(|pid| Some((pid, self.node_of(pid)?)));
        if let Some((pid, n)) = struck {
            let mut struck = Struck::new(Fault::Failpoints, format!("{} at {}", owned[n], point.name));
            struck.shards = view.of(&owned[n]);
            // It was struck while the other one's shards moved, and how long that took is known from there.
            struck.must_move = !point.is_of_shards();
            if !self.nodes.all[n].was_killed_early(pid) {
                self.nodes.all[n].gone().await?;
                let moved = self.start_again(n, &struck).await?;
                struck.moved = moved.filter(|_| struck.must_move);
            }
            struck.until = Instant::now();
            all.push(struck);
        }
        self.points(Fault::Failpoints)?.note(point, struck.is_some());
        Ok(all)
    }

    /// Kills a node and starts it again, so that its shards go to others and come back, with a point of shards armed
    /// meanwhile. Whoever comes there is struck, this node as it starts again, too.
    async fn move_shards(&mut self, point: &Point) -> Result<Struck, RunError> {
        let (n, mut struck) = self.fell(Fault::Failpoints).await?;
        // Shards come and go many at a time. And not sooner: who is killed here must not have been struck there.
        self.points(Fault::Failpoints)?.arm(&point.name, "kill", 1)?;
        if point.is_of_release() {
            let name = self.nodes.all[n].name.clone();
            struck.moved = moved(&self.watch, &self.front, &self.http, &struck.shards, &name, struck.at).await;
            self.nodes.start_one(n, &mut self.random).await?;
        } else {
            struck.moved = self.start_again(n, &struck).await?;
        }
        struck.until = Instant::now();
        Ok(struck)
    }

    /// Holds a batch that a writer has and the store has not, stops the node, waits until others have its shards, and lets
    /// both go: the batch must be refused. `None`: no writer had a batch.
    pub(super) async fn zombie(&mut self) -> Result<Option<Struck>, RunError> {
        self.be_level("a zombie").await;
        let points = self.points(Fault::Zombie)?;
        points.arm(COMMIT, "hold", 1)?;
        let held = points.struck(REACHED_MAX).await;
        let Some(n) = held.and_then(|pid| self.node_of(pid)) else {
            self.points(Fault::Zombie)?.disarm().await?;
            self.wrong.push("NV-1: no writer had a batch to be held".to_owned());
            return Ok(None);
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
        self.points(Fault::Zombie)?.disarm().await?;
        self.nodes.all[n].server.signal(Signal::Continue).await?;
        self.be_back(n).await?;
        self.be_level("the end of a zombie").await;
        struck.found_out(
            &counted,
            &figures::read(&self.http, self.front.node(n)).await.unwrap_or_default(),
        );
        struck.until = Instant::now();
        Ok(Some(struck))
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

    fn points(files: &tempfile::TempDir) -> Points {
        Points::new(files.path()).expect("made")
    }

    #[test]
    fn what_is_common_and_was_armed_is_missed_if_nobody_came() {
        let files = tempfile::tempdir().expect("a directory");
        let mut points = points(&files);
        let rare = Point {
            name: "effect::send:dispatch:backward".to_owned(),
            is_common: false,
        };
        let common = Point {
            name: COMMIT.to_owned(),
            is_common: true,
        };
        assert!(
            points.struck.is_empty() && points.missed.is_empty(),
            "what was not armed is neither"
        );
        points.note(rare.clone(), false);
        points.note(common.clone(), true);
        points.note(common.clone(), true);
        assert_eq!(points.missed, [""; 0]);
        points.note(common, false);
        assert_eq!(points.missed, [COMMIT]);
        assert_eq!(points.struck, BTreeMap::from([(rare.name, 0), (COMMIT.to_owned(), 2)]));
    }

    #[tokio::test]
    async fn nobody_is_struck_any_more_or_it_is_known_who_was() {
        let files = tempfile::tempdir().expect("a directory");
        let mut points = points(&files);
        let claim = |number: u64| {
            let claimed = points_directory(&files).join(format!("claimed-{number}"));
            OpenOptions::new().write(true).create_new(true).open(claimed)
        };
        points.arm(COMMIT, "kill", 1).expect("armed");
        assert_eq!(points.disarm().await.expect("disarmed"), None);
        assert!(claim(1).is_err(), "who had looked before comes too late");

        points.arm(COMMIT, "kill", 1).expect("armed");
        claim(2).expect("a node is there");
        let said = points_directory(&files).join("reached");
        let saying = async {
            tokio::task::yield_now().await;
            std::fs::write(said, "watching 77\n2 journal::commit 77\n").expect("written");
        };
        let (struck, ()) = tokio::join!(points.disarm(), saying);
        assert_eq!(struck.expect("disarmed"), Some(77));
        assert!(!points_directory(&files).join("armed").exists());
    }

    fn points_directory(files: &tempfile::TempDir) -> PathBuf {
        files.path().join("failpoints")
    }
}
