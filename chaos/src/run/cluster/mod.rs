//! A run against a cluster: several real nodes over one Postgres, one sandbox of participants, a generated load beside a
//! recorded day, and faults of nodes, clocks and the database while both go on. Afterwards everybody's books are compared:
//! the clients', the store's tables, the participants' and the channels'.

mod city;
mod database;
mod failpoints;
mod faults;
mod figures;
mod front;
mod load;
mod measure;
mod network;
mod nodes;
mod outside;
mod partition;
mod proxy;
mod reached;
mod report;
mod service;
mod timeline;
mod topic;
mod watch;
mod zombie;

pub use faults::Fault;
pub use report::{ClusterReport, Rolling};
pub use zombie::Zombie;

use super::client::Reader;
use super::replay::{Played, Replay};
use super::sandbox::Sandbox;
use super::{Files, Options, RunError, Shares, Signal, Store, free_port, released, the_day, wall_ms};
use crate::evidence::{Evidence, OrderSeen, StoreSeen};
use crate::faults::TimeLine;
use city::City;
use database::Database;
use domain::ids::OrderId;
use failpoints::Points;
use faults::{Driver, Struck};
use figures::Figures;
use front::Front;
use futures::{StreamExt as _, TryStreamExt as _};
use load::{History, Load};
use measure::Line;
use network::{Network, Place};
use nodes::Nodes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use service::Service;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use watch::Watch;

/// How long orders have to settle once the faults have stopped (SG-3).
const SETTLE_MAX: Duration = Duration::from_mins(2);
/// How long orders settle by themselves before an operator looks at those that are left.
const SETTLE_ALONE: Duration = Duration::from_secs(10);
/// Most orders that an operator looks at in one round.
const LOOK_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(250);
/// How long a node may take to end.
const END_MAX: Duration = Duration::from_mins(1);
/// How long an answer to a question about a node may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Requests of the checker at a time.
const READS: usize = 32;

/// What a run against a cluster is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterOptions {
    /// The binary under test.
    pub binary: PathBuf,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many orders are submitted each second.
    pub rate: u32,
    /// For how long.
    pub length: Duration,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// How often.
    pub every: Duration,
    /// A recorded day that is played beside the load, as a directory of files.
    pub day: Option<PathBuf>,
    /// How many orders of the day are played; all of them when absent.
    pub orders: Option<u32>,
    /// How many times as fast as the wall clock business time runs.
    pub speed: u64,
    /// For how long a silent node keeps its shards.
    pub lease: Duration,
    /// What every draw follows from.
    pub seed: u64,
    /// An empty Postgres database; one is made on the server of `UOOP_TEST_POSTGRES_URL` when absent.
    pub store: Option<String>,
    /// The brokers that the nodes publish to; nothing is published when absent.
    pub kafka: Option<String>,
    /// What goes wrong at the participants, and what the customers do.
    pub shares: Shares,
    /// Where to leave the files of the run; a temporary directory, left only when something does not hold, when absent.
    pub keep: Option<PathBuf>,
    /// Where to leave the picture of the run; beside its files when absent.
    pub picture: Option<PathBuf>,
}

impl ClusterOptions {
    fn topic(&self) -> String {
        format!("uoop.chaos.{}.{}", self.seed, std::process::id())
    }

    /// The same run, as the participants and the replay know it.
    fn of_participants(&self) -> Options {
        Options {
            binary: self.binary.clone(),
            day: self.day.clone(),
            orders: self.orders,
            speed: self.speed,
            kills: 0,
            seed: self.seed,
            store: Store::Sqlite,
            faults: self.shares,
            keep: None,
        }
    }
}

/// Everything that a run has left.
struct Left {
    history: History,
    struck: Vec<Struck>,
    store: StoreSeen,
    evidence: Evidence,
    /// How often each figure was counted.
    figures: BTreeMap<&'static str, u64>,
    line: Line,
    time_line: TimeLine,
    /// When the load began.
    began: Instant,
    /// How many orders an operator had to try again.
    repaired: u64,
    /// How often a node was started with a wrong clock.
    skewed: u64,
    /// How often a node was killed at each fail point that was armed.
    failpoints: BTreeMap<String, u64>,
    /// What was found to be wrong meanwhile.
    wrong: Vec<String>,
    /// What the replay says of the day.
    replay: Option<Value>,
    /// How many messages the topic holds, if the nodes publish.
    messages: Option<usize>,
    logs: Vec<(PathBuf, String)>,
}

/// Runs, checks, and leaves the run's files and database behind when something does not hold.
///
/// # Errors
/// [`RunError`] when the run could not be carried out: then nothing is known of the invariants.
pub async fn run_cluster(options: &ClusterOptions) -> Result<ClusterReport, RunError> {
    let files = Files::create(options.keep.as_ref())?;
    let database = Arc::new(Database::open(options.store.as_deref(), options.seed).await?);
    let mut tasks = JoinSet::new();
    let left = carry_out(options, &files, &database, &mut tasks).await;
    tasks.shutdown().await;
    let left = match left {
        Ok(left) => left,
        Err(error) => {
            // Why it failed is what matters.
            if let Some(database) = Arc::into_inner(database) {
                let _ = database.drop().await;
            }
            return Err(error);
        }
    };
    let mut report = ClusterReport::new(options, &left);
    let picture = report::picture(options, &left);
    let path = options
        .picture
        .clone()
        .unwrap_or_else(|| files.path().join("timeline.svg"));
    std::fs::write(&path, picture).map_err(RunError::Directory)?;
    report.picture = (options.picture.is_some() || options.keep.is_some()).then_some(path);
    let is_well = report.violations.is_empty();
    report.kept = files.leave(is_well);
    if let Some(database) = Arc::into_inner(database) {
        match database.name() {
            Some(name) if !is_well => report.database = Some(name.to_owned()),
            _ => database.drop().await?,
        }
    }
    Ok(report)
}

/// What a run is played on.
struct Stage {
    driver: Driver,
    front: Arc<Front>,
    figures: Figures,
    city: City,
}

/// Starts everything: the participants, the nodes, and what stands before them; and builds the city.
async fn set_up(
    options: &ClusterOptions,
    files: &Files,
    database: &Arc<Database>,
    tasks: &mut JoinSet<()>,
) -> Result<Stage, RunError> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let network = network(options, files)?;
    let host = network
        .as_ref()
        .map_or("127.0.0.1".to_owned(), |network| network.address(Place::Front));
    let url = match &network {
        Some(network) => network.bring_in(database.url(), tasks).await?,
        None => database.url().to_owned(),
    };
    let points = Points::wanted(options, files.path())?;
    let armed_in = points.as_ref().map(Points::directory);
    let mut nodes = Nodes::new(options, files.path(), &url, network.as_ref(), armed_in)?;
    let front = Front::start(&host, nodes.urls(), tasks).await?;
    let address = format!("{host}:{}", free_port()?);
    let sandbox = Sandbox::start(&options.of_participants(), files.path(), &address, front.url()).await?;
    for key in ["participants.payments_url", "participants.kitchens_url"] {
        nodes.set(key, sandbox.url());
    }
    let (links, redis) = outside::ways(options, &mut nodes, tasks).await?;
    let service = if options.faults.contains(&Fault::Postgres) {
        Some(Service::given(database.url()).await?)
    } else {
        None
    };
    let watch = Watch::start(Arc::clone(database), tasks);
    nodes.start(&mut random).await?;
    if let Some(points) = &points {
        points.are_watched_by(&nodes).await?;
    }
    let figures = Figures::start(&front, tasks);
    let http = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build();
    let http = http.map_err(no_client)?;
    let city = City::new(options.seed, options.rate, options.speed);
    city.build(&http, front.url()).await?;
    let driver = Driver {
        nodes,
        front: Arc::clone(&front),
        watch,
        random,
        lease: options.lease,
        service,
        network,
        points,
        sandbox,
        links,
        redis,
        crowd: None,
        http,
        wrong: Vec::new(),
    };
    Ok(Stage {
        driver,
        front,
        figures,
        city,
    })
}

async fn carry_out(
    options: &ClusterOptions,
    files: &Files,
    database: &Arc<Database>,
    tasks: &mut JoinSet<()>,
) -> Result<Left, RunError> {
    let Stage {
        mut driver,
        front,
        figures,
        city,
    } = set_up(options, files, database, tasks).await?;
    driver.be_level("the load").await;
    let replay = replay(options, files, &front)?;
    let began = Instant::now();
    let load = Load::start(&front, city, options.rate, options.shares).map_err(no_client)?;
    driver.crowd = Some(load.crowd());
    let end = began + options.length;
    let struck = driver.run(&options.faults, options.every, end).await?;
    let mut left = Left::new(options, load.end().await, struck, began);
    if let Some(replay) = replay {
        let Played { submitted, summary } = replay.ended().await?;
        left.evidence.submitted.extend(submitted);
        left.replay = Some(summary);
    }
    driver.sandbox.calm().await?;
    gather(&mut left, database, &front).await?;
    left.figures = figures.sums();
    left.evidence.ledger = driver.sandbox.stop().await?;
    driver.be_level("the end").await;
    stop(&mut driver).await?;
    left.store = database.read().await?;
    read_orders(&mut left);
    if let Some(brokers) = &options.kafka {
        let messages = topic::read(brokers, &options.topic()).await?;
        let compared = crate::checker::topic::check(&left.store, &messages);
        left.wrong.extend(compared.iter().map(ToString::to_string));
        left.messages = Some(messages.len());
    }
    left.wrong.append(&mut driver.wrong);
    let owners = driver.watch.findings();
    left.wrong.extend(owners.iter().map(ToString::to_string));
    left.skewed = driver.nodes.skewed;
    if let Some(points) = driver.points.take() {
        left.failpoints = points.struck;
        let missed = points.missed.into_iter();
        left.wrong
            .extend(missed.map(|point| format!("NV-1: nobody came to {point} in time")));
    }
    left.logs = driver.nodes.logs();
    Ok(left)
}

impl Left {
    /// What is left once the load is over; the rest is gathered then.
    fn new(options: &ClusterOptions, history: History, struck: Vec<Struck>, began: Instant) -> Self {
        let submitted = history.orders.iter().map(|told| told.submitted.clone()).collect();
        Self {
            history,
            struck,
            store: StoreSeen::default(),
            evidence: Evidence {
                submitted,
                ..Evidence::default()
            },
            figures: BTreeMap::new(),
            line: Line {
                at: began,
                business_ms: 0,
                speed: options.speed,
            },
            time_line: TimeLine {
                wall_ms: 0,
                business_ms: 0,
                speed: options.speed,
            },
            began,
            repaired: 0,
            skewed: 0,
            failpoints: BTreeMap::new(),
            wrong: Vec::new(),
            replay: None,
            messages: None,
            logs: Vec::new(),
        }
    }
}

/// The network that partitions take.
fn network(options: &ClusterOptions, files: &Files) -> Result<Option<Network>, RunError> {
    if !options.faults.contains(&Fault::Partition) {
        return Ok(None);
    }
    if options.kafka.is_some() {
        return Err(RunError::Impossible {
            fault: "partition",
            why: "the nodes do not reach Kafka from their network: leave --kafka away".to_owned(),
        });
    }
    // The nodes work elsewhere.
    let directory = std::path::absolute(files.path()).map_err(RunError::Directory)?;
    Network::make(options.nodes, &directory).map(Some)
}

fn no_client(source: reqwest::Error) -> RunError {
    RunError::Http {
        path: String::new(),
        source,
    }
}

/// The recorded day, if there is one, through the front.
fn replay(options: &ClusterOptions, files: &Files, front: &Front) -> Result<Option<Replay>, RunError> {
    if options.day.is_none() {
        return Ok(None);
    }
    let of_participants = options.of_participants();
    let (day, minutes) = the_day(&of_participants, files.path())?;
    let minutes = minutes.last().unwrap_or(&0) - minutes.first().unwrap_or(&0);
    let length = Duration::from_secs(u64::from(minutes) * 60 / options.speed.max(1));
    Replay::start(&of_participants, &day, files.path(), front.url(), length).map(Some)
}

/// Waits until everything has come to its end, and reads what the nodes say of it.
async fn gather(left: &mut Left, database: &Database, front: &Front) -> Result<(), RunError> {
    let reader = Reader::new(front.url())?;
    left.repaired = settle(database, &reader).await?;
    let asked = Instant::now();
    let business_ms = reader.clock().await?.now;
    left.line.at = asked + asked.elapsed() / 2;
    left.line.business_ms = business_ms;
    (left.time_line.wall_ms, left.time_line.business_ms) = (wall_ms(), business_ms);
    left.evidence.channels = released(&reader).await?;
    left.evidence.couriers = reader.couriers().await?;
    // Those that the store has, and those that clients were told of: any of these may be missing from the others.
    let stored = database.orders().await?;
    let told = left
        .evidence
        .submitted
        .iter()
        .flat_map(|line| [line.id, line.duplicate_id()])
        .flatten();
    let all: BTreeSet<OrderId> = stored.into_iter().chain(told).collect();
    let views = futures::stream::iter(all).map(|id| {
        let reader = &reader;
        async move { Ok::<_, RunError>((id, reader.view(id).await?)) }
    });
    let views: Vec<_> = views.buffer_unordered(READS).try_collect().await?;
    let seen = |view| OrderSeen {
        view,
        events: Vec::new(),
    };
    left.evidence.orders = views.into_iter().map(|(id, view)| (id, view.map(seen))).collect();
    Ok(())
}

/// Gives the orders the histories that the store has of them.
fn read_orders(left: &mut Left) {
    for (id, stream) in left.store.orders() {
        match (left.evidence.orders.get_mut(&id), stream.told()) {
            (Some(Some(seen)), Ok(events)) => seen.events = events,
            (_, Err(error)) => left.wrong.push(format!("EV-1: order {id} cannot be read: {error}")),
            // That it is not shown is found by the checker.
            (_, Ok(_)) => {}
        }
    }
}

/// Waits until every order is settled, or the time for it is over: the checker says which is not. What is stuck is tried
/// again, once, as an operator would; how many orders were.
async fn settle(database: &Database, reader: &Reader) -> Result<u64, RunError> {
    let (began, mut repaired) = (Instant::now(), BTreeSet::new());
    loop {
        let open = database.open_orders().await?;
        if open.is_empty() || began.elapsed() >= SETTLE_MAX {
            return Ok(u64::try_from(repaired.len()).unwrap_or(u64::MAX));
        }
        if began.elapsed() >= SETTLE_ALONE {
            for id in open.into_iter().take(LOOK_MAX) {
                let view = reader.view(id).await?;
                if view.is_some_and(|view| view.stuck) && repaired.insert(id) {
                    reader.retry(id).await;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Stops all nodes at once, in good order.
async fn stop(driver: &mut Driver) -> Result<(), RunError> {
    for node in &driver.nodes.all {
        node.server.signal(Signal::Terminate).await?;
    }
    for n in 0..driver.nodes.all.len() {
        let ended = driver.nodes.all[n].server.ended(END_MAX).await?;
        if !ended.success() {
            let name = &driver.nodes.all[n].name;
            driver
                .wrong
                .push(format!("node {name} was stopped at the end and ended with {ended}"));
        }
    }
    Ok(())
}
