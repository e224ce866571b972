//! `chaos`: runs UOOP under faults and says whether it kept its promises.

use chaos::run::{Shares, Store};
use chaos::{Options, run, simulator};
use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  cargo run -p chaos -- run                              a small generated day, three kills
  cargo run -p chaos -- run --day DIR --kills 10 --seed 7
  cargo run -p chaos -- run --day DIR --store postgres://user@localhost/empty
  cargo run -p chaos -- run --json | tail -n 1 | jq .violations

Exit codes: 0 everything holds; 1 something does not; 2 the run could not be carried out.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  cargo run --release -p chaos -- simulate               a hundred fresh seeds
  cargo run --release -p chaos -- simulate --seeds 10000 --nodes 5
  cargo run -p chaos -- simulate --seed 4711 --seeds 1   one seed again

Exit codes: 0 everything holds; 1 something does not.";

/// Runs UOOP under faults and checks that it kept its promises.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a day against a server that is killed and participants that fail, then compare everybody's books
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Simulate a cluster in virtual time, from seeds, and check the invariants at every commit
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
}

/// Seeds follow each other. Without a first one it is drawn, and printed.
#[derive(Debug, clap::Args)]
struct SimulateArgs {
    /// How many seeds are run
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many nodes the cluster has
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// For how many virtual hours orders come and faults happen
    #[arg(long, value_name = "H", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    hours: u64,
    /// How many orders are placed in each run
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    orders: u16,
    /// Leave failing scenarios as large as they are
    #[arg(long)]
    no_shrink: bool,
    /// Print the result as one JSON object, the last line
    #[arg(long)]
    json: bool,
}

impl SimulateArgs {
    fn options(&self) -> simulator::Options {
        let first = self.seed.unwrap_or_else(simulator::fresh_seed);
        simulator::Options {
            seeds: (0..self.seeds).map(|n| first.wrapping_add(n)).collect(),
            size: simulator::Size {
                nodes: usize::from(self.nodes),
                hours: self.hours,
                orders: usize::from(self.orders),
            },
            shrink: !self.no_shrink,
            broken: None,
        }
    }
}

/// Shares are in percent of all cases.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The directory of a day (a Meal Delivery Routing Problem instance); a small one is generated when absent
    #[arg(long, value_name = "DIR")]
    day: Option<PathBuf>,
    /// How many orders are played; all of the day's, or 40 of a generated one, when absent
    #[arg(long, value_name = "N")]
    orders: Option<u32>,
    /// How many times as fast as the wall clock business time runs
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    speed: u64,
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 3)]
    kills: usize,
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
    json: bool,
}

impl RunArgs {
    fn options(self) -> io::Result<Options> {
        let binary = match self.binary {
            Some(binary) => binary,
            None => std::env::current_exe()?.with_file_name("uoop"),
        };
        Ok(Options {
            binary,
            day: self.day,
            orders: self.orders,
            speed: self.speed,
            kills: self.kills,
            seed: self.seed,
            store: self.store,
            keep: self.keep,
            faults: Shares {
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
            },
        })
    }
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

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => try_run(args).await,
        Command::Simulate(args) => try_simulate(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody may be reading.
            let _ = writeln!(io::stderr(), "chaos: {}", chain(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Whether everything holds.
async fn try_run(args: RunArgs) -> Result<bool, Box<dyn Error>> {
    let json = args.json;
    let report = run(&args.options()?).await?;
    let mut output = io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(output, "{report}")?;
    }
    Ok(report.violations.is_empty())
}

/// Whether everything holds.
fn try_simulate(args: &SimulateArgs) -> Result<bool, Box<dyn Error>> {
    let report = simulator::simulate(&args.options());
    let mut output = io::stdout().lock();
    if args.json {
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(output, "{report}")?;
    }
    Ok(report.failures.is_empty())
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
