//! A run against one server or several: everything before, around and after a load.

use super::arrivals::{Arrivals, Spacing};
use super::cluster;
use super::connection::Target;
use super::disk::sync_latencies;
use super::latency::Quantiles;
use super::load;
use super::orders::{Http, Orders, channel, channel_id, menu};
use super::process::{memory_bytes, open_files_max};
use super::reading::{Reading, figures};
use super::server::OwnServers;
use super::tally::{Outcome, Tally, Window};
use super::{Against, BenchError, Load, Options, Store};
use crate::client::{Client, ClientError, RetryPolicy};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// Channels created at a time.
const CONCURRENCY: usize = 16;
/// Between the end of the preparations and the load's begin.
const LEAD: Duration = Duration::from_millis(100);
/// How often the server's memory is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long accepted orders get to be confirmed after the load.
const DRAIN_MAX: Duration = Duration::from_mins(1);
/// How often the server is asked how many are.
const DRAIN_GLANCE: Duration = Duration::from_millis(200);

/// How often a server is asked whether it knows all channels.
const COPY_GLANCE: Duration = Duration::from_millis(50);
/// How long it gets for that.
const COPY_MAX: Duration = Duration::from_secs(30);

/// One that is put under load.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) target: Target,
    /// Its process, when it is known.
    pub(super) pid: Option<u32>,
}

/// Servers, ready to be put under load.
pub(super) struct Session {
    servers: Vec<Server>,
    /// For each of them.
    https: Vec<Arc<Http>>,
    /// Of the first of them.
    client: Client,
    own: Option<OwnServers>,
    /// Whether they are nodes of a cluster.
    pub(super) is_cluster: bool,
    /// Where the store is, when its size can be asked for.
    location: Option<String>,
    /// What kind of store, as far as that is known.
    pub(super) store: &'static str,
    /// How long the disk takes to keep something; `None` when it could not be measured.
    pub(super) sync: Option<Quantiles>,
}

/// One load, measured.
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    pub(super) before: Reading,
    pub(super) after: Reading,
    /// The most memory that the servers together held within the window, in bytes.
    pub(super) memory_peak_bytes: Option<u64>,
    /// The most that each of them held.
    pub(super) node_peaks_bytes: Vec<Option<u64>>,
    /// The memory that they together held when everything was done.
    pub(super) memory_end_bytes: Option<u64>,
    /// How long after the load's end every accepted order was confirmed or over; `None` when some were not in time.
    pub(super) drain: Option<Duration>,
}

impl Session {
    /// Starts or finds the servers and creates the channels.
    pub(super) async fn start(options: &Options) -> Result<Self, BenchError> {
        warn_of_open_files(options);
        let (own, found, location) = find(&options.against).await?;
        let directory = own.as_ref().map_or_else(std::env::temp_dir, OwnServers::directory);
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for Found { name, url, pid } in found {
            clients.push(Client::new(&url, RetryPolicy::PATIENT).map_err(BenchError::server("talk to the server"))?);
            let target = Target::resolve(&url).await.ok_or(BenchError::Address { url })?;
            servers.push(Server { name, target, pid });
        }
        let client = clients.first().ok_or(BenchError::NoServer)?.clone();
        try_join_all(clients.iter().map(ready))
            .await
            .map_err(BenchError::server("put load on the server"))?;
        let is_cluster = is_cluster(&options.against, &clients).await?;
        let now = prepare(&clients, options.channels)
            .await
            .map_err(BenchError::server("create the channels"))?;
        let run = format!("bench-{now:x}-{:x}", std::process::id());
        let orders = Arc::new(Orders::new(run, options.channels));
        let http = |server: &Server| Arc::new(Http::new(server.target.clone(), Arc::clone(&orders)));
        let sync = sync(directory).await;
        Ok(Self {
            https: servers.iter().map(http).collect(),
            servers,
            client,
            own,
            is_cluster,
            store: store_name(location.as_deref()),
            location,
            sync,
        })
    }

    /// The servers' addresses.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.servers.iter().map(|server| server.target.clone()).collect()
    }

    /// The servers' names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.servers.iter().map(|server| server.name.as_str()).collect()
    }

    /// A way for orders to each of the servers.
    pub(super) fn https(&self) -> &[Arc<Http>] {
        &self.https
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The memory that the servers together hold, in bytes; `None` unless all their processes are known.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.servers.iter().map(|server| memory_bytes(server.pid?)).sum()
    }

    /// Puts a load on the servers for `warmup` and then `length`, of which only the latter counts, and waits until the
    /// accepted orders are confirmed or over.
    pub(super) async fn measure(&self, load: &Load, options: &Options, warmup: Duration, length: Duration) -> Measured {
        let base = figures(&self.servers).await;
        let begin = Instant::now() + LEAD;
        let window = Window {
            begin: begin + warmup,
            end: begin + warmup + length,
        };
        let tally = Arc::new(Tally::new(window));
        let progress = tokio::spawn(tell(Arc::clone(&tally), begin));
        let ((memory_peak_bytes, node_peaks_bytes), before, after, ()) = tokio::join!(
            memory_peaks(&self.servers, window),
            self.read_at(window.begin),
            self.read_at(window.end),
            self.put(load, options, &tally, (begin, window.end)),
        );
        progress.abort();
        let outcome = tally.outcome();
        let ended = Instant::now();
        let drained = match &base {
            Some(base) => {
                self.drained(base.settled() + super::numbers::float_of(outcome.acknowledged.len()))
                    .await
            }
            None => false,
        };
        Measured {
            seconds: length.as_secs_f64(),
            outcome,
            before,
            after,
            memory_peak_bytes,
            node_peaks_bytes,
            memory_end_bytes: self.memory_bytes(),
            drain: drained.then(|| ended.elapsed()),
        }
    }

    async fn read_at(&self, at: Instant) -> Reading {
        sleep_until(at).await;
        Reading::take(&self.servers, self.location.as_deref()).await
    }

    async fn put(&self, load: &Load, options: &Options, tally: &Arc<Tally>, time: (Instant, Instant)) {
        match *load {
            Load::Open { rate_per_s, spacing } => {
                let arrivals = Arrivals::new(rate_per_s, spacing, options.confirm_share, options.seed);
                load::open(&self.https, tally, arrivals, options.connections_max, time).await;
            }
            Load::Closed { customers } => {
                let waits = |n: usize| {
                    let seed = options.seed.wrapping_add(u64::try_from(n).unwrap_or(0));
                    Arrivals::new(1.0, Spacing::Even, options.confirm_share, seed)
                };
                load::closed(&self.https, tally, customers, waits, time).await;
            }
        }
    }

    /// Waits until so many orders are confirmed or over, for a while.
    async fn drained(&self, settled: f64) -> bool {
        let deadline = Instant::now() + DRAIN_MAX;
        loop {
            if figures(&self.servers)
                .await
                .is_some_and(|figures| figures.settled() >= settled)
            {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            sleep(DRAIN_GLANCE).await;
        }
    }

    /// Stops servers of the run's own; see [`OwnServers::stop`].
    pub(super) async fn stop(self, keep: bool) -> Option<PathBuf> {
        match self.own {
            Some(servers) => servers.stop(keep).await,
            None => None,
        }
    }
}

fn store_name(location: Option<&str>) -> &'static str {
    match location {
        None => "unknown",
        Some("memory:") => "memory",
        Some(url) if url.starts_with("postgres") => "postgres",
        Some(_) => "sqlite",
    }
}

/// A server that was found.
struct Found {
    name: String,
    url: String,
    pid: Option<u32>,
}

/// The servers, started if they are the run's own, and where their store is.
async fn find(against: &Against) -> Result<(Option<OwnServers>, Vec<Found>, Option<String>), BenchError> {
    match against {
        Against::Own {
            store,
            nodes,
            data_dir,
            set,
        } => {
            let own = OwnServers::start(store, *nodes, data_dir.as_deref(), set).await?;
            let location = match store {
                Store::Embedded => own.data().join("uoop.db").display().to_string(),
                Store::At(url) => url.clone(),
            };
            let found = own.all().iter().map(|server| Found {
                name: server.name().to_owned(),
                url: server.url().to_owned(),
                pid: server.pid(),
            });
            let found = found.collect();
            Ok((Some(own), found, Some(location)))
        }
        Against::Running { servers, location } => {
            let found = servers.iter().map(|server| Found {
                name: server.url.clone(),
                url: server.url.clone(),
                pid: server.pid,
            });
            Ok((None, found.collect(), location.clone()))
        }
    }
}

/// Waits until the server is ready. One that is not there at the beginning is a mistake.
async fn ready(client: &Client) -> Result<(), ClientError> {
    let brief = RetryPolicy {
        give_up: Duration::from_secs(10),
        ..RetryPolicy::PATIENT
    };
    client.with_retry(brief).ready().await
}

/// Whether the servers are nodes of a cluster; one of the run's own is waited for until it has settled.
async fn is_cluster(against: &Against, clients: &[Client]) -> Result<bool, BenchError> {
    if let Against::Own { nodes, .. } = against {
        if nodes.is_some() {
            cluster::settled(clients).await?;
        }
        return Ok(nodes.is_some());
    }
    for client in clients {
        let Ok(status) = client.cluster().await else {
            return Ok(false);
        };
        if status.members.len() > clients.len() {
            tracing::warn!(
                members = status.members.len(),
                "what only the other nodes count is missing: name all nodes of the cluster"
            );
        }
    }
    Ok(true)
}

/// Creates the channels, waits until all servers know them, and says what time the first has, in milliseconds since the
/// Unix epoch.
async fn prepare(clients: &[Client], channels: usize) -> Result<i64, ClientError> {
    let [client, others @ ..] = clients else { return Ok(0) };
    let menu = menu();
    let created = (0..channels).map(|n| {
        let menu = &menu;
        async move {
            let id = channel_id(n);
            client.put_channel(&id, &channel(n)).await?;
            client.put_menu(&id, menu).await
        }
    });
    stream::iter(created)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    try_join_all(others.iter().map(|client| copied(client, channels))).await?;
    Ok(client.clock().await?.now)
}

/// Waits, for a while, until a node's copies of the channels have come with their menus: orders are routed by them.
async fn copied(client: &Client, channels: usize) -> Result<(), ClientError> {
    let (deadline, menu) = (Instant::now() + COPY_MAX, menu());
    while Instant::now() < deadline {
        let known = client.channels().await?;
        let known: HashSet<&str> = known
            .iter()
            .filter(|channel| channel.menu == menu.items)
            .map(|channel| channel.id.as_str())
            .collect();
        if (0..channels).all(|n| known.contains(channel_id(n).as_str())) {
            return Ok(());
        }
        sleep(COPY_GLANCE).await;
    }
    tracing::warn!(
        url = client.url(),
        "a server does not know all channels: its orders may be refused"
    );
    Ok(())
}

/// Measures the disk of a directory.
async fn sync(directory: PathBuf) -> Option<Quantiles> {
    let measured = tokio::task::spawn_blocking(move || sync_latencies(&directory)).await;
    match measured {
        Ok(Ok(quantiles)) => Some(quantiles),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the disk cannot be measured");
            None
        }
        Err(_) => None,
    }
}

/// The most memory that the servers held within the window, in bytes: all together, and each.
async fn memory_peaks(servers: &[Server], window: Window) -> (Option<u64>, Vec<Option<u64>>) {
    sleep_until(window.begin).await;
    let mut glances = interval(GLANCE);
    let (mut together, mut peaks) = (None, vec![None; servers.len()]);
    while Instant::now() < window.end {
        glances.tick().await;
        let held: Vec<Option<u64>> = servers.iter().map(|server| memory_bytes(server.pid?)).collect();
        together = together.max(held.iter().copied().sum());
        for (peak, held) in peaks.iter_mut().zip(held) {
            *peak = held.max(*peak);
        }
    }
    (together, peaks)
}

/// Tells now and then how far a load is.
async fn tell(tally: Arc<Tally>, begin: Instant) {
    let mut ticks = interval(TELL_EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let counts = tally.counts();
        eprintln!(
            "{:>4} s: {} answered, {} of {} accepted within the window",
            begin.elapsed().as_secs(),
            counts.ended,
            counts.accepted,
            counts.offered
        );
    }
}

/// Connections are files: too few of them look like a server that does not answer.
fn warn_of_open_files(options: &Options) {
    let wanted = match options.load {
        Load::Open { .. } => options.connections_max.saturating_mul(2),
        Load::Closed { customers } => customers,
    };
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(64);
    if let Some(limit) = open_files_max().filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "this process and the server may open too few files for so many connections: see `ulimit -n`"
        );
    }
}
