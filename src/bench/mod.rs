//! Load on a server or on the nodes of a cluster, and what it takes: `uoop bench`.
//!
//! [`Arrivals`](arrivals) says when orders come, `load` places them over connections of its own, `tally` counts what came
//! of them, `reading` what the server and the machine counted meanwhile, and [`Report`] puts it together. Kitchens and
//! the payment provider answer at once in a server of the run's own (profile `bench`); everything else is as in life.

mod arrivals;
mod cluster;
mod connection;
mod coordination;
mod disk;
mod figures;
mod latency;
mod load;
mod numbers;
mod orders;
mod process;
mod ramp;
mod reading;
mod report;
mod server;
mod session;
mod subscribers;
mod tally;
mod verify;

pub use arrivals::Spacing;
pub use coordination::{Coordination, NodeShare};
pub use latency::Quantiles;
pub use ramp::{RampReport, Step};
pub use report::Report;
pub use subscribers::StreamReport;

use crate::client::ClientError;
use ramp::{LIMITS_MS, Next};
use report::Frame;
use session::Session;
use std::path::PathBuf;
use std::time::Duration;

/// Where a server of the run's own keeps its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In the embedded store in its data directory.
    Embedded,
    /// At this address: `postgres://…` or `memory:`.
    At(String),
}

/// Which servers get the load, in equal shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// One of the run's own.
    Own {
        /// Where it keeps its orders.
        store: Store,
        /// How many of them, as nodes of a cluster over a Postgres; one by itself when absent.
        nodes: Option<usize>,
        /// Its data directory, which stays; a temporary one when absent.
        data_dir: Option<PathBuf>,
        /// Keys of its configuration, over the profile `bench`.
        set: Vec<(String, String)>,
    },
    /// Such as run already.
    Running {
        /// One, or the nodes of a cluster.
        servers: Vec<Running>,
        /// Where their store is, when that is to be measured: see [`persistence::usage`].
        location: Option<String>,
    },
}

/// A server that runs already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its address.
    pub url: String,
    /// Its process, when it runs on this machine and is to be measured.
    pub pid: Option<u32>,
}

/// How orders come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At their own pace, whatever the server does.
    Open {
        /// How many a second.
        rate_per_s: f64,
        /// How they follow each other.
        spacing: Spacing,
    },
    /// From customers who each place one after the other.
    Closed {
        /// How many customers.
        customers: usize,
    },
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which servers get the load.
    pub against: Against,
    /// How orders come.
    pub load: Load,
    /// How long the load runs before anything is measured.
    pub warmup: Duration,
    /// How long it is measured.
    pub length: Duration,
    /// Most connections of an open load for orders that wait for their outcome, and as many for the others.
    pub connections_max: usize,
    /// How many channels take the orders.
    pub channels: usize,
    /// The share of orders, from 0 to 1, that wait for their outcome, so that the time to CONFIRMED is known.
    pub confirm_share: f64,
    /// The share of acknowledged orders, from 0 to 1, that are looked for at the end.
    pub verify_share: f64,
    /// What draws start from.
    pub seed: u64,
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Measurement<T> {
    /// What was measured.
    pub report: T,
    /// Where the own server's data and log were kept because orders are missing.
    pub kept: Option<PathBuf>,
}

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server cannot be asked, or says no.
    #[error("cannot {what}")]
    Server {
        /// What was to be done.
        what: String,
        /// Why it cannot.
        #[source]
        source: ClientError,
    },
    /// The address is not one that load can be put on.
    #[error("{url} is no address of plain HTTP that leads to a server: it looks like http://127.0.0.1:8080")]
    Address {
        /// Which.
        url: String,
    },
    /// There is no server to put load on.
    #[error("no server was named")]
    NoServer,
    /// The own cluster's nodes do not come to share the shards.
    #[error("the cluster does not settle: {problem}")]
    Unsettled {
        /// What is not as it should be.
        problem: String,
    },
    /// The own server cannot be started.
    #[error("cannot start a server: {problem}")]
    Start {
        /// Why, with the end of its log.
        problem: String,
    },
}

impl BenchError {
    fn server(what: impl Into<String>) -> impl FnOnce(ClientError) -> Self {
        let what = what.into();
        |source| Self::Server { what, source }
    }
}

/// Puts one load on the servers, measures it, and looks for every acknowledged order at the end.
///
/// # Errors
/// [`BenchError`] when the load cannot begin. What happens to single orders is told by the report.
pub async fn bench(options: &Options) -> Result<Measurement<Report>, BenchError> {
    let session = Session::start(options).await?;
    let measured = session
        .measure(&options.load, options, options.warmup, options.length)
        .await;
    let acknowledged = &measured.outcome.acknowledged;
    let found = verify::verify(&session.targets(), acknowledged, options.verify_share, options.seed).await;
    let frame = Frame {
        options,
        store: session.store,
        servers: session.names(),
        is_cluster: session.is_cluster,
        sync: session.sync,
    };
    let report = Report::new(&measured, &found, &frame);
    let kept = session.stop(!report.is_complete()).await;
    Ok(Measurement { report, kept })
}

/// Searches the highest rates that a server keeps up with, one load after the other from `start` orders a second on, each
/// as long as the options say, and looks for every acknowledged order at the end. `tell` gets every step.
///
/// # Errors
/// [`BenchError`] when the first load cannot begin.
pub async fn ramp(
    options: &Options,
    start: f64,
    spacing: Spacing,
    tell: impl Fn(&Step),
) -> Result<Measurement<RampReport>, BenchError> {
    let session = Session::start(options).await?;
    let (mut steps, mut acknowledged, mut found) = (Vec::new(), Vec::new(), [None; LIMITS_MS.len()]);
    for (limit_ms, found) in LIMITS_MS.into_iter().zip(&mut found) {
        *found = loop {
            let rate_per_s = match ramp::next(&steps, limit_ms, start) {
                Next::Found(rate) => break rate,
                Next::Try(rate) => rate,
            };
            let load = Load::Open { rate_per_s, spacing };
            let mut measured = session.measure(&load, options, options.warmup, options.length).await;
            acknowledged.append(&mut measured.outcome.acknowledged);
            let step = Step::new(rate_per_s, &measured);
            tell(&step);
            steps.push(step);
        };
    }
    let orders = verify::verify(&session.targets(), &acknowledged, options.verify_share, options.seed).await;
    let report = RampReport::new(
        (session.store, session.https().len()),
        found,
        steps,
        acknowledged.len(),
        &orders,
        session.sync,
    );
    let kept = session.stop(!report.is_complete()).await;
    Ok(Measurement { report, kept })
}

/// Lets so many subscribers follow the streams of as many new orders, all at the same time, and tells how long after an
/// order's confirmation its subscriber heard of it. The load of `options` is not put on.
///
/// # Errors
/// [`BenchError`] when it cannot begin. What happens to single subscribers is told by the report.
pub async fn streams(options: &Options, subscribers: usize) -> Result<Measurement<StreamReport>, BenchError> {
    let session = Session::start(options).await?;
    let report = subscribers::follow(&session, subscribers)
        .await
        .map_err(BenchError::server("read the server's clock"))?;
    let kept = session.stop(!report.is_complete()).await;
    Ok(Measurement { report, kept })
}
