//! `uoop bench`: load on a server, and what it takes.

use super::{answer, warn};
use crate::bench::{Against, Load, Measurement, Options, Running, Spacing, Store, bench, ramp, streams};
use crate::settings::key_and_value;
use clap::Args;
use serde::Serialize;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  uoop bench --rate 5000                                   on the embedded store, in a temporary directory
  uoop bench --rate 5000 --database-url postgres://user@localhost/uoop
  uoop bench --closed 256 --seconds 30                     256 customers, each one order after the other
  uoop bench --ramp --database-url postgres://user@localhost/uoop
                                                           the highest rates with a submit p99 of 2 s and of 100 ms
  uoop bench --sse 2000 --set participants.simulated.latency_ms_min=500 --set participants.simulated.latency_ms_max=500
                                                           subscribers who wait for their orders to be CONFIRMED
  uoop bench --closed 256 --nodes 3 --database-url postgres://user@localhost/uoop
                                                           a cluster of three servers, each with a third of the customers
  uoop bench --rate 500 --url http://127.0.0.1:8080 --pid 4711
  uoop bench --rate 5000 --json | tail -n 1 | jq .submit_ms.p99

An open load counts every latency from the moment at which the order was to arrive. Postgres, Kafka and Redis on this
machine are measured with the servers. Each connection is a file to both processes: see `ulimit -n`.

Every order has an Idempotency-Key, as a careful client's has.

Exit codes: 0 every acknowledged order is there, over or moving (with --sse: every subscriber heard of its order's
confirmation); 1 one is not, or nothing could be measured.";

/// Put load on a server and measure what it takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Orders that arrive each second, whatever the server does; with --ramp, in its first step
    #[arg(long, value_name = "N", default_value_t = 1_000.0, value_parser = positive)]
    rate: f64,
    /// Let arrivals be independent of each other (a Poisson process) instead of evenly spaced
    #[arg(long)]
    poisson: bool,
    /// Let N customers place one order after the other instead, each waiting until it is CONFIRMED
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "poisson"], value_parser = count)]
    closed: Option<usize>,
    /// Search the highest rates at which 99 of 100 submissions take at most 2 s, and at most 100 ms
    #[arg(long, conflicts_with = "closed")]
    ramp: bool,
    /// Let N subscribers follow the streams of N new orders instead, all at the same time
    #[arg(long, value_name = "N", conflicts_with_all = ["closed", "ramp", "rate", "seconds", "warmup"], value_parser = count)]
    sse: Option<usize>,
    /// How long to measure, in seconds [default: 60; with --ramp 10 a step]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// How long to run before measuring, in seconds [default: 5; with --ramp 2 a step]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warmup: Option<u64>,
    /// The most connections for submissions, and as many for those that wait for their outcome; fewer than the server takes
    /// requests at a time, and it is never overloaded
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = count)]
    connections: usize,
    /// The share of orders that wait for their outcome, from 0 to 1 [default: 0.1; with --closed 1]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    confirm_share: Option<f64>,
    /// The share of acknowledged orders that are looked for at the end, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    verify_share: f64,
    /// How many channels take the orders
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count)]
    channels: usize,
    /// What draws start from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A server that runs already; without it, the bench starts one of its own and stops it at the end. Repeatable for all
    /// nodes of a cluster, which then get equal shares
    #[arg(long, value_name = "URL", conflicts_with = "set")]
    url: Vec<String>,
    /// The process of that server, to be measured; of several, one for each --url in their order
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Vec<u32>,
    /// Start N servers of the bench's own as nodes of one cluster over the Postgres of --database-url
    #[arg(long, value_name = "N", requires = "database_url", conflicts_with = "url", value_parser = nodes)]
    nodes: Option<usize>,
    /// The own server's store (`postgres://…` or `memory:`; without it, the embedded one), or where that of --url is
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The own server's data directory, which is kept (with --nodes, each node has one in it); without it, a temporary one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Any key of the own server's configuration, for example `store.journal_writers=4`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum Nothing {
    #[error("interrupted: the bench's orders are left as they are")]
    Interrupted,
    #[error("--pid must be given once for each --url, or not at all: {pids} for {urls}")]
    Pids { pids: usize, urls: usize },
}

impl BenchArgs {
    /// Runs the command: exit code 1 when an acknowledged order is missing, or a subscriber heard nothing.
    ///
    /// # Errors
    /// The server cannot be started or is not there.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let (pids, urls) = (self.pid.len(), self.url.len());
        if pids != 0 && pids != urls {
            return Err(Nothing::Pids { pids, urls }.into());
        }
        let options = self.options();
        tokio::select! {
            code = self.measure(&options) => code,
            () = interrupted()? => Err(Nothing::Interrupted.into()),
        }
    }

    async fn measure(&self, options: &Options) -> Result<ExitCode, Box<dyn Error>> {
        if self.ramp {
            let found = ramp(options, self.rate, self.spacing(), |step| eprintln!("{step}")).await?;
            return self.tell(&found, found.report.is_complete());
        }
        if let Some(subscribers) = self.sse {
            let followed = streams(options, subscribers).await?;
            return self.tell(&followed, followed.report.is_complete());
        }
        let measured = bench(options).await?;
        self.tell(&measured, measured.report.is_complete())
    }

    fn tell<T: Serialize + fmt::Display>(
        &self,
        measured: &Measurement<T>,
        is_complete: bool,
    ) -> Result<ExitCode, Box<dyn Error>> {
        if let Some(path) = &measured.kept {
            warn(&format!(
                "not everything is as it should be: the server's data and log are kept in {}",
                path.display()
            ));
        }
        let report = &measured.report;
        let text = if self.json {
            serde_json::to_string(report)?
        } else {
            report.to_string()
        };
        answer(&(text + "\n"))?;
        Ok(if is_complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    const fn spacing(&self) -> Spacing {
        if self.poisson { Spacing::Poisson } else { Spacing::Even }
    }

    fn options(&self) -> Options {
        let load = match self.closed {
            Some(customers) => Load::Closed { customers },
            None => Load::Open {
                rate_per_s: self.rate,
                spacing: self.spacing(),
            },
        };
        let by_default = if self.closed.is_some() { 1.0 } else { 0.1 };
        let (length_s, warmup_s) = if self.ramp { (10, 2) } else { (60, 5) };
        Options {
            against: self.against(),
            load,
            warmup: Duration::from_secs(self.warmup.unwrap_or(warmup_s)),
            length: Duration::from_secs(self.seconds.unwrap_or(length_s)),
            connections_max: self.connections,
            channels: self.channels,
            confirm_share: self.confirm_share.unwrap_or(by_default),
            verify_share: self.verify_share,
            seed: self.seed,
        }
    }

    fn against(&self) -> Against {
        let database = self.database_url.clone().filter(|url| !url.is_empty());
        if self.url.is_empty() {
            return Against::Own {
                store: database.map_or(Store::Embedded, Store::At),
                nodes: self.nodes,
                data_dir: self.data_dir.clone(),
                set: self.set.clone(),
            };
        }
        let running = |(n, url): (usize, &String)| Running {
            url: url.clone(),
            pid: self.pid.get(n).copied(),
        };
        Against::Running {
            servers: self.url.iter().enumerate().map(running).collect(),
            location: database.or_else(|| {
                let directory = self.data_dir.as_ref()?;
                Some(directory.join("uoop.db").display().to_string())
            }),
        }
    }
}

/// Ends at the first SIGINT or SIGTERM, so that the bench's own server is stopped and its directory removed.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
    })
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=1e6).contains(number));
    number.ok_or_else(|| "must be a number from 0.001 to 1000000".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().ok().filter(|count| (1..=100_000).contains(count));
    count.ok_or_else(|| "must be a whole number from 1 to 100000".to_owned())
}

fn nodes(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().ok().filter(|count| (1..=16).contains(count));
    count.ok_or_else(|| "must be a whole number from 1 to 16".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, String> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(words.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    fn options(words: &[&str]) -> Options {
        parse(words).expect("fine").options()
    }

    #[test]
    fn loads_differ_in_what_they_do_unless_told() {
        let seconds = |options: &Options| (options.warmup.as_secs(), options.length.as_secs());
        let plain = options(&[]);
        let even = |rate_per_s| Load::Open {
            rate_per_s,
            spacing: Spacing::Even,
        };
        assert_eq!(
            (plain.load, seconds(&plain), plain.confirm_share),
            (even(1_000.0), (5, 60), 0.1)
        );
        let closed = options(&["--closed", "64"]);
        assert_eq!(
            (closed.load, closed.confirm_share),
            (Load::Closed { customers: 64 }, 1.0)
        );
        assert_eq!(seconds(&options(&["--ramp"])), (2, 10));
        let told = options(&[
            "--rate",
            "5000",
            "--seconds",
            "7",
            "--warmup",
            "0",
            "--confirm-share",
            "0",
        ]);
        assert_eq!(
            (told.load, seconds(&told), told.confirm_share),
            (even(5_000.0), (0, 7), 0.0)
        );
    }

    #[test]
    fn the_server_is_the_runs_own_unless_one_is_named() {
        let own = |store, set: &[(&str, &str)]| Against::Own {
            store,
            nodes: None,
            data_dir: None,
            set: set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        assert_eq!(options(&["--database-url", ""]).against, own(Store::Embedded, &[]));
        assert_eq!(
            options(&["--database-url", "memory:", "--set", "store.shards=16"]).against,
            own(Store::At("memory:".into()), &[("store.shards", "16")])
        );
        let running = options(&["--url", "http://x", "--pid", "7", "--data-dir", "d"]).against;
        let server = |url: &str, pid| Running { url: url.into(), pid };
        let expected = Against::Running {
            servers: vec![server("http://x", Some(7))],
            location: Some("d/uoop.db".into()),
        };
        assert_eq!(running, expected);
        let cluster = options(&["--nodes", "3", "--database-url", "postgres://x/y"]).against;
        let expected = Against::Own {
            store: Store::At("postgres://x/y".into()),
            nodes: Some(3),
            data_dir: None,
            set: Vec::new(),
        };
        assert_eq!(cluster, expected);
        let running = options(&["--url", "http://x", "--url", "http://y", "--pid", "7", "--pid", "8"]).against;
        let expected = Against::Running {
            servers: vec![server("http://x", Some(7)), server("http://y", Some(8))],
            location: None,
        };
        assert_eq!(running, expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &["--rate", "0"][..],
            &["--rate", "NaN"],
            &["--closed", "0"],
            &["--closed", "8", "--rate", "5"],
            &["--closed", "8", "--ramp"],
            &["--sse", "8", "--ramp"],
            &["--confirm-share", "1.1"],
            &["--pid", "7"],
            &["--nodes", "2"],
            &["--nodes", "0", "--database-url", "postgres://x/y"],
            &["--nodes", "2", "--database-url", "postgres://x/y", "--url", "http://x"],
            &["--url", "http://x", "--set", "log.filter=info"],
            &["--set", "log.filter"],
            &["--seconds", "0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
