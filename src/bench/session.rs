//! A run against one server: everything before, around and after a load.

use super::arrivals::{Arrivals, Spacing};
use super::connection::Target;
use super::disk::sync_latencies;
use super::latency::Quantiles;
use super::load;
use super::orders::{Http, channel, channel_id, menu};
use super::process::{memory_bytes, open_files_max};
use super::reading::{Reading, figures};
use super::server::OwnServer;
use super::tally::{Outcome, Tally, Window};
use super::{Against, BenchError, Load, Options, Store};
use crate::client::{Client, ClientError, RetryPolicy};
use futures::{StreamExt, TryStreamExt, stream};
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

/// A server, ready to be put under load.
pub(super) struct Session {
    http: Arc<Http>,
    client: Client,
    server: Option<OwnServer>,
    pid: Option<u32>,
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
    /// The most memory that the server held within the window, in bytes.
    pub(super) memory_peak_bytes: Option<u64>,
    /// The memory that it held when everything was done.
    pub(super) memory_end_bytes: Option<u64>,
    /// How long after the load's end every accepted order was confirmed or over; `None` when some were not in time.
    pub(super) drain: Option<Duration>,
}

impl Session {
    /// Starts or finds the server and creates the channels.
    pub(super) async fn start(options: &Options) -> Result<Self, BenchError> {
        warn_of_open_files(options);
        let server = match &options.against {
            Against::Own { store, data_dir, set } => Some(OwnServer::start(store, data_dir.as_deref(), set).await?),
            Against::Running { .. } => None,
        };
        let (url, pid, location) = match (&server, &options.against) {
            (Some(server), Against::Own { store, .. }) => {
                let location = match store {
                    Store::Embedded => server.data().join("uoop.db").display().to_string(),
                    Store::At(url) => url.clone(),
                };
                (server.url().to_owned(), server.pid(), Some(location))
            }
            (_, Against::Running { url, pid, location }) => (url.clone(), *pid, location.clone()),
            (None, Against::Own { .. }) => (String::new(), None, None),
        };
        let directory = server.as_ref().map_or_else(std::env::temp_dir, OwnServer::directory);
        let client = Client::new(&url, RetryPolicy::PATIENT).map_err(BenchError::server("talk to the server"))?;
        let target = Target::resolve(&url).await.ok_or(BenchError::Address { url })?;
        let now = prepare(&client, options.channels)
            .await
            .map_err(BenchError::server("create the channels"))?;
        let run = format!("bench-{now:x}-{:x}", std::process::id());
        let sync = sync(directory).await;
        Ok(Self {
            http: Arc::new(Http::new(target, run, options.channels)),
            client,
            server,
            pid,
            store: store_name(location.as_deref()),
            location,
            sync,
        })
    }

    pub(super) fn target(&self) -> &Target {
        self.http.target()
    }

    pub(super) const fn http(&self) -> &Arc<Http> {
        &self.http
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The memory that the server holds, in bytes; `None` when its process is not known.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.pid.and_then(memory_bytes)
    }

    /// Puts a load on the server for `warmup` and then `length`, of which only the latter counts, and waits until the
    /// accepted orders are confirmed or over.
    pub(super) async fn measure(&self, load: &Load, options: &Options, warmup: Duration, length: Duration) -> Measured {
        let base = figures(self.target()).await;
        let begin = Instant::now() + LEAD;
        let window = Window {
            begin: begin + warmup,
            end: begin + warmup + length,
        };
        let tally = Arc::new(Tally::new(window));
        let progress = tokio::spawn(tell(Arc::clone(&tally), begin));
        let (memory_peak_bytes, before, after, ()) = tokio::join!(
            memory_peak(self.pid, window),
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
            memory_end_bytes: self.memory_bytes(),
            drain: drained.then(|| ended.elapsed()),
        }
    }

    async fn read_at(&self, at: Instant) -> Reading {
        sleep_until(at).await;
        Reading::take(self.target(), self.pid, self.location.as_deref()).await
    }

    async fn put(&self, load: &Load, options: &Options, tally: &Arc<Tally>, time: (Instant, Instant)) {
        match *load {
            Load::Open { rate_per_s, spacing } => {
                let arrivals = Arrivals::new(rate_per_s, spacing, options.confirm_share, options.seed);
                load::open(&self.http, tally, arrivals, options.connections_max, time).await;
            }
            Load::Closed { customers } => {
                let waits = |n: usize| {
                    let seed = options.seed.wrapping_add(u64::try_from(n).unwrap_or(0));
                    Arrivals::new(1.0, Spacing::Even, options.confirm_share, seed)
                };
                load::closed(&self.http, tally, customers, waits, time).await;
            }
        }
    }

    /// Waits until so many orders are confirmed or over, for a while.
    async fn drained(&self, settled: f64) -> bool {
        let deadline = Instant::now() + DRAIN_MAX;
        loop {
            if figures(self.target())
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

    /// Stops a server of the run's own; see [`OwnServer::stop`].
    pub(super) async fn stop(self, keep: bool) -> Option<PathBuf> {
        match self.server {
            Some(server) => server.stop(keep).await,
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

/// Creates the channels and says what time the server has, in milliseconds since the Unix epoch.
async fn prepare(client: &Client, channels: usize) -> Result<i64, ClientError> {
    // A server that is not there at the beginning is a mistake.
    let brief = RetryPolicy {
        give_up: Duration::from_secs(10),
        ..RetryPolicy::PATIENT
    };
    client.with_retry(brief).ready().await?;
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
    Ok(client.clock().await?.now)
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

/// The most memory that a process held within the window, in bytes.
async fn memory_peak(pid: Option<u32>, window: Window) -> Option<u64> {
    let pid = pid?;
    sleep_until(window.begin).await;
    let mut glances = interval(GLANCE);
    let mut peak = None;
    while Instant::now() < window.end {
        glances.tick().await;
        peak = peak.max(memory_bytes(pid));
    }
    peak
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
