//! `chaos`: runs UOOP under faults and says whether it kept its promises.

mod run_arguments;

use chaos::{run, run_cluster, simulator};
use clap::{Parser, Subcommand};
use run_arguments::{Run, RunArgs};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  cargo run -p chaos -- run                              a small generated day, three kills
  cargo run -p chaos -- run --day DIR --kills 10 --seed 7
  cargo run -p chaos -- run --day DIR --store postgres://user@localhost/empty
  cargo run -p chaos -- run --nodes 3                    a cluster, a node killed every 10 s for a minute
  cargo run -p chaos -- run --nodes 3 --rate 300 --minutes 2 --faults kill,pause,rolling --seed 7
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
    Run(Box<RunArgs>),
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

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => try_run(*args).await,
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
    let (text, object, is_well) = match args.options()? {
        Run::Server(options) => {
            let report = run(&options).await?;
            (
                report.to_string(),
                serde_json::to_string(&report)?,
                report.violations.is_empty(),
            )
        }
        Run::Cluster(options) => {
            let report = run_cluster(&options).await?;
            (
                report.to_string(),
                serde_json::to_string(&report)?,
                report.violations.is_empty(),
            )
        }
    };
    writeln!(io::stdout().lock(), "{}", if json { object } else { text })?;
    Ok(is_well)
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
