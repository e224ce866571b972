//! The arguments of `chaos run`.

use chaos::Options;
use chaos::run::{ClusterOptions, Fault, Shares, Store};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Shares are in percent of all cases.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The directory of a day (a Meal Delivery Routing Problem instance); a small one is generated when absent
    #[arg(long, value_name = "DIR")]
    day: Option<PathBuf>,
    /// How many orders are played; all of the day's, or 40 of a generated one, when absent
    #[arg(long, value_name = "N")]
    orders: Option<u32>,
    /// How many times as fast as the wall clock business time runs
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    speed: u64,
    /// How often the server is killed; with --nodes, see --faults
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "nodes")]
    kills: usize,
    /// A cluster of so many nodes over a Postgres, instead of one server
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: Option<u16>,
    /// How many orders are submitted each second, beside those of the day if there is one
    #[arg(long, value_name = "N", default_value_t = 50, requires = "nodes",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For how many minutes
    #[arg(long, value_name = "M", default_value_t = 1.0, requires = "nodes", value_parser = minutes)]
    minutes: f64,
    /// What breaks, in an order that follows from the seed: kill, pause, rolling, postgres (that of scripts/services),
    /// skew, partition (takes root), failpoints and zombie (take a binary built with --features failpoints), slow (links
    /// between nodes), redis (takes `UOOP_TEST_REDIS_URL`), partner, flood; none, for nothing
    #[arg(
        long,
        value_name = "FAULT,…",
        value_delimiter = ',',
        default_value = "kill",
        requires = "nodes"
    )]
    faults: Vec<String>,
    /// How many seconds from one fault to the next
    #[arg(long, value_name = "S", default_value_t = 10.0, requires = "nodes", value_parser = seconds)]
    every: f64,
    /// For how many seconds a silent node keeps its shards
    #[arg(long, value_name = "S", default_value_t = 3.0, requires = "nodes", value_parser = seconds)]
    lease: f64,
    /// Publish to the Kafka of scripts/services, and compare the topic with the store
    #[arg(long, requires = "nodes")]
    kafka: bool,
    /// Where to leave the picture of the run, an SVG file; beside its other files when absent
    #[arg(long, value_name = "FILE", requires = "nodes")]
    picture: Option<PathBuf>,
    /// What every draw follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where orders are kept: sqlite, or the URL of an empty Postgres database
    #[arg(long, value_name = "sqlite|URL", default_value = "sqlite", value_parser = store)]
    store: Store,
    /// The binary under test; the `uoop` beside this one when absent
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where to leave the run's files; otherwise they are left only when something does not hold
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Authorizations that are declined
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percentage)]
    declines: f64,
    /// Tickets that are refused
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percentage)]
    refusals: f64,
    /// Requests that are never answered, and not carried out
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percentage)]
    hangs: f64,
    /// Requests that are carried out and answered too late
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percentage)]
    late_successes: f64,
    /// Requests that are answered with 500, and not carried out
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percentage)]
    errors: f64,
    /// Tickets that are decided later, by a callback
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0, value_parser = percentage)]
    pending: f64,
    /// Accepted tickets that the kitchen drops
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percentage)]
    drops: f64,
    /// Callbacks that are sent twice
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percentage)]
    duplicate_callbacks: f64,
    /// Orders that are cancelled
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percentage)]
    cancels: f64,
    /// Submissions that are repeated under the same key
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percentage)]
    duplicates: f64,
    /// Print the result as one JSON object, the last line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is to be run.
pub(crate) enum Run {
    /// One server.
    Server(Options),
    /// A cluster.
    Cluster(ClusterOptions),
}

impl RunArgs {
    pub(crate) fn options(self) -> io::Result<Run> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?.with_file_name("uoop"),
        };
        let shares = self.shares();
        if let Some(nodes) = self.nodes {
            return self.cluster(binary, nodes.into(), shares).map(Run::Cluster);
        }
        Ok(Run::Server(Options {
            binary,
            day: self.day,
            orders: self.orders,
            speed: self.speed,
            kills: self.kills,
            seed: self.seed,
            store: self.store,
            keep: self.keep,
            faults: shares,
        }))
    }

    fn cluster(self, binary: PathBuf, nodes: usize, shares: Shares) -> io::Result<ClusterOptions> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let named = self.faults.iter().filter(|name| *name != "none");
        let faults = named
            .map(|name| name.parse::<Fault>().map_err(wrong))
            .collect::<io::Result<_>>()?;
        let kafka = if self.kafka {
            let brokers = std::env::var("UOOP_TEST_KAFKA_BROKERS");
            Some(brokers.map_err(|_| wrong("--kafka needs UOOP_TEST_KAFKA_BROKERS".to_owned()))?)
        } else {
            None
        };
        Ok(ClusterOptions {
            binary,
            nodes,
            rate: self.rate,
            length: Duration::from_secs_f64(self.minutes * 60.0),
            faults,
            every: Duration::from_secs_f64(self.every),
            day: self.day,
            orders: self.orders,
            speed: self.speed,
            lease: Duration::from_secs_f64(self.lease),
            seed: self.seed,
            store: match self.store {
                Store::Sqlite => None,
                Store::Postgres(url) => Some(url),
            },
            kafka,
            shares,
            keep: self.keep,
            picture: self.picture,
        })
    }

    const fn shares(&self) -> Shares {
        Shares {
            declines: self.declines,
            refusals: self.refusals,
            hangs: self.hangs,
            late_successes: self.late_successes,
            errors: self.errors,
            pending: self.pending,
            drops: self.drops,
            duplicate_callbacks: self.duplicate_callbacks,
            cancels: self.cancels,
            duplicates: self.duplicates,
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    between(text, 0.1, 24.0 * 60.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.5, 3_600.0)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text
        .parse::<f64>()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be a number from {least} to {most}"))
}

fn percentage(text: &str) -> Result<f64, String> {
    let percentage = text.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share));
    percentage.ok_or_else(|| "must be a number from 0 to 100".to_owned())
}

fn store(text: &str) -> Result<Store, String> {
    match text {
        "sqlite" => Ok(Store::Sqlite),
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Store::Postgres(url.to_owned()))
        }
        _ => Err("must be sqlite, or a URL that begins with postgres://".to_owned()),
    }
}
