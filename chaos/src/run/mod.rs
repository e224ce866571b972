//! One run: a day of orders against a server that is killed and participants that fail.
//!
//! Everything runs as processes of the binary under test, on loopback, with its files in one temporary directory:
//! sandbox, server and replay. The server's port is chosen once, so that customers and kitchens find it again.

mod client;
mod cluster;
mod kills;
mod process;
mod replay;
mod report;
mod sandbox;
mod server;

pub use cluster::{ClusterOptions, ClusterReport, Fault, Rolling, Zombie, run_cluster};
pub use kills::Kill;
pub use report::{RecoveryMs, RunReport};
pub use server::{Recovery, Server, Signal, free_port};

use crate::day;
use crate::evidence::Evidence;
use crate::faults::{Faults, TimeLine};
use client::Reader;
use domain::ids::OrderId;
use replay::{Played, Replay};
use sandbox::Sandbox;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long orders have to settle once the faults have stopped (SG-3): longer than the longest pause between two attempts,
/// than an open circuit, and than a call takes.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// How long claims of settled orders have to go.
const RELEASE_MAX: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);

/// What a run is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The binary under test.
    pub binary: PathBuf,
    /// The day, as a directory of files; one of [`Options::orders`] orders is generated when absent.
    pub day: Option<PathBuf>,
    /// How many orders of the day are played; all of them when absent.
    pub orders: Option<u32>,
    /// How many times as fast as the wall clock business time runs.
    pub speed: u64,
    /// How often the server is killed.
    pub kills: usize,
    /// What every draw follows from.
    pub seed: u64,
    /// Where orders are kept.
    pub store: Store,
    /// What goes wrong at the participants, and what the customers do.
    pub faults: Shares,
    /// Where to leave the files of the run; a temporary directory, left only when something does not hold, when absent.
    pub keep: Option<PathBuf>,
}

/// Where the server under test keeps its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a file of the run.
    Sqlite,
    /// In the Postgres database with this URL, which should be empty.
    Postgres(String),
}

/// How often what goes wrong, in percent of all cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Authorizations that are declined.
    pub declines: f64,
    /// Tickets that are refused.
    pub refusals: f64,
    /// Requests that are never answered, and not carried out.
    pub hangs: f64,
    /// Requests that are carried out and answered too late.
    pub late_successes: f64,
    /// Requests that are answered with 500, and not carried out.
    pub errors: f64,
    /// Tickets that are decided later, by a callback.
    pub pending: f64,
    /// Accepted tickets that the kitchen drops.
    pub drops: f64,
    /// Callbacks that are sent twice.
    pub duplicate_callbacks: f64,
    /// Orders that are cancelled.
    pub cancels: f64,
    /// Submissions that are repeated under the same key.
    pub duplicates: f64,
}

impl Shares {
    /// The flags of the command line that set them.
    fn flags(&self) -> [(&'static str, f64); 10] {
        [
            ("declines", self.declines),
            ("refusals", self.refusals),
            ("hangs", self.hangs),
            ("late-successes", self.late_successes),
            ("errors", self.errors),
            ("pending", self.pending),
            ("drops", self.drops),
            ("duplicate-callbacks", self.duplicate_callbacks),
            ("cancels", self.cancels),
            ("duplicates", self.duplicates),
        ]
    }
}

/// Why a run comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no directory for its files.
    #[error("no directory for the run's files")]
    Directory(#[source] std::io::Error),
    /// There is no free port.
    #[error("no free port")]
    Port(#[source] std::io::Error),
    /// The day cannot be read or written.
    #[error("the day cannot be used")]
    Day(#[source] std::io::Error),
    /// A process cannot be started.
    #[error("the {name} cannot be started")]
    Start {
        /// Which.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A process does not do what it should.
    #[error("the {name} failed: {problem}; the end of its log:\n{log}")]
    Process {
        /// Which.
        name: &'static str,
        /// How.
        problem: String,
        /// The end of its log.
        log: String,
    },
    /// The database cannot be used.
    #[error("the database cannot be used")]
    Database(#[source] sqlx::Error),
    /// The topic cannot be read.
    #[error("the topic cannot be read")]
    Kafka(#[source] rdkafka::error::KafkaError),
    /// No database was given.
    #[error(
        "a cluster needs a Postgres: --store postgres://… (an empty database), or UOOP_TEST_POSTGRES_URL, beside whose \
         database one is made (eval \"$(scripts/services up postgres)\")"
    )]
    NoDatabase,
    /// The server refuses what must be taken.
    #[error("the server refuses {path}: {said}")]
    Refused {
        /// What.
        path: String,
        /// Why.
        said: String,
    },
    /// A fault that was asked for cannot be made here.
    #[error("{fault} cannot be made here: {why}")]
    Impossible {
        /// Which.
        fault: &'static str,
        /// Why.
        why: String,
    },
    /// A process does not run that should.
    #[error("the server does not run")]
    NotRunning,
    /// A file of the run cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a file of the run is not what it should be.
    #[error("{file}, line {line}")]
    Line {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The server does not answer.
    #[error("the server does not answer GET {path}")]
    Http {
        /// To what.
        path: String,
        /// What it does instead.
        source: reqwest::Error,
    },
    /// The server says that something is not there which must be.
    #[error("the server has no {path}")]
    Missing {
        /// What.
        path: String,
    },
}

/// Runs, checks, and leaves the run's files behind when something does not hold.
///
/// # Errors
/// [`RunError`] when the run could not be carried out: then nothing is known of the invariants.
pub async fn run(options: &Options) -> Result<RunReport, RunError> {
    let files = Files::create(options.keep.as_ref())?;
    let (day, minutes) = the_day(options, files.path())?;
    let length = Duration::from_secs(
        u64::from(minutes.last().unwrap_or(&0) - minutes.first().unwrap_or(&0)) * 60 / options.speed.max(1),
    );
    let (port, sandbox_port) = (free_port()?, free_port()?);
    let callback_url = format!("http://127.0.0.1:{port}");
    let sandbox_address = format!("127.0.0.1:{sandbox_port}");
    let mut sandbox = Sandbox::start(options, files.path(), &sandbox_address, &callback_url).await?;
    let mut server = Server::of_run(options, files.path(), port, sandbox.url());
    server.start().await?;
    let reader = Reader::new(server.url())?;
    let mut replay = Replay::start(options, &day, files.path(), server.url(), length)?;
    let kills = kills::kill(options, &minutes, &mut server, &reader, &mut replay).await?;
    let Played { submitted, summary } = replay.ended().await?;
    sandbox.calm().await?;
    let repaired = settle(&reader, submitted.iter().filter_map(|line| line.id)).await?;
    let line = TimeLine {
        wall_ms: wall_ms(),
        business_ms: reader.clock().await?.now,
        speed: options.speed,
    };
    let fenced = reader.figure("uoop_journal_fenced_total").await;
    let mut evidence = Evidence {
        submitted,
        channels: released(&reader).await?,
        couriers: reader.couriers().await?,
        ..Evidence::default()
    };
    // What is known so far; the ledger, which is complete only now that nothing is under way, may name more.
    evidence.ledger = sandbox.stop().await?;
    for id in evidence.mentioned() {
        evidence.orders.insert(id, reader.order(id).await?);
    }
    server.kill().await?;
    let mut faults = Faults::count(&evidence, &line);
    faults.stuck = repaired;
    let log = std::fs::read_to_string(server.log()).unwrap_or_default();
    let mut report = RunReport::new(options, &crate::check(&evidence), &kills, faults, summary);
    report.fenced_writes += fenced;
    report.read_log(&log);
    report.kept = files.leave(report.violations.is_empty());
    Ok(report)
}

/// The day's directory, and when its orders are placed.
fn the_day(options: &Options, files: &Path) -> Result<(PathBuf, Vec<u32>), RunError> {
    /// Orders of a generated day, unless told otherwise.
    const ORDERS: u32 = 40;
    let day = options.day.clone().unwrap_or_else(|| files.join("day"));
    if options.day.is_none() {
        day::generate(&day, options.seed, options.orders.unwrap_or(ORDERS)).map_err(RunError::Day)?;
    }
    let limit = options
        .orders
        .map(|orders| usize::try_from(orders).unwrap_or(usize::MAX));
    let minutes = day::placement_minutes(&day, limit).map_err(RunError::Day)?;
    Ok((day, minutes))
}

/// Waits until every order is settled, or the time for it is over: the checker says which is not. What is stuck is tried
/// again, once, as an operator would; how many orders were.
async fn settle(reader: &Reader, orders: impl Iterator<Item = OrderId>) -> Result<u64, RunError> {
    let mut open: BTreeSet<OrderId> = orders.collect();
    let mut repaired = BTreeSet::new();
    let began = Instant::now();
    loop {
        let mut still = BTreeSet::new();
        for id in open {
            let view = reader.view(id).await?;
            let Some(view) = view.filter(|view| !view.settled) else {
                continue;
            };
            if view.stuck && repaired.insert(id) {
                reader.retry(id).await;
            }
            still.insert(id);
        }
        open = still;
        if open.is_empty() || began.elapsed() >= SETTLE_MAX {
            return Ok(u64::try_from(repaired.len()).unwrap_or(u64::MAX));
        }
        sleep(PAUSE).await;
    }
}

/// The channels once nothing is claimed any more, or the time for it is over.
async fn released(reader: &Reader) -> Result<Vec<crate::evidence::CapacitySeen>, RunError> {
    let began = Instant::now();
    loop {
        let channels = reader.channels().await?;
        if channels.iter().all(|channel| channel.claims.is_empty()) || began.elapsed() >= RELEASE_MAX {
            return Ok(channels);
        }
        sleep(PAUSE).await;
    }
}

/// The lines of a file, each a JSON object.
fn json_lines<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>, RunError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let wrong = |n: usize| {
        move |source| RunError::Line {
            file: path.display().to_string(),
            line: n + 1,
            source,
        }
    };
    lines
        .map(|(n, line)| serde_json::from_str(line).map_err(wrong(n)))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the sandbox dates its ledger by the wall clock: the one place to read it"
)]
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The files of a run.
enum Files {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Files {
    fn create(keep: Option<&PathBuf>) -> Result<Self, RunError> {
        match keep {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(RunError::Directory)?;
                Ok(Self::Kept(path.clone()))
            }
            None => tempfile::Builder::new()
                .prefix("chaos-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(RunError::Directory),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    /// Removes temporary files when all is well. Where they are left, otherwise.
    fn leave(self, all_is_well: bool) -> Option<PathBuf> {
        match self {
            Self::Kept(path) => Some(path),
            Self::Temporary(_) if all_is_well => None,
            Self::Temporary(directory) => Some(directory.keep()),
        }
    }
}
