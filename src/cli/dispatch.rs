//! `uoop dispatch DIR…`: days of orders through the dispatcher, in simulated time.

use super::{answer, chain, warn};
use crate::dispatch::{
    DispatchError, Named, Options, Plot, Progress, Report, Run, Setting, SettingError, dispatch, read, tuned,
    write_solution,
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use routing::dispatch::{Knowledge, Policy};
use std::error::Error;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  uoop dispatch data/0o100t100s1p100                    one day under the three policies, side by side
  uoop dispatch data --policy anneal --moves 1000       every instance in a directory, with more thought
  uoop dispatch data --prep estimated                   preparation times are guessed until the food is ready
  uoop dispatch data --policy anneal --set objective.per_work_s=4 --set warm_s=30
  uoop dispatch data/0o50t100s1p100 --plot day.svg --at 1110
  uoop dispatch data --out solutions --json | tail -n 1 > figures.json
  routing/benches/evaluate compute_performance_summary.py data solutions figures.json

DIR holds orders.txt, restaurants.txt, couriers.txt and instance_parameters.txt of a Meal Delivery Routing Problem
instance (github.com/grubhub/mdrplib), or directories that do. No order is known before it is placed.

Exit codes: 0 every solution keeps the rules; 1 one does not, or something could not be read or written.";

const NS_PER_MS: u64 = 1_000_000;

/// Play days of orders through the dispatcher in simulated time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DispatchArgs {
    /// Directories of instances, or directories that hold some
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Write solutions as the library's evaluator reads them, into OUT/POLICY/INSTANCE
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// The policies to compare, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_values = ["nearest", "rolling", "anneal"]
    )]
    policy: Vec<PolicyArg>,
    /// What the optimiser's draws start from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Most ruin-and-recreate moves of a re-plan
    #[arg(long, value_name = "N", default_value_t = Options::MOVES_MAX)]
    moves: u64,
    /// Longest improvement of a plan, in milliseconds, instead of a number of moves; a seed no longer gives the same day
    #[arg(long, value_name = "MS", conflicts_with = "moves", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    budget_ms: Option<u64>,
    /// What is known of preparation times: the ready time, or until then only the restaurant's mean
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrepArg::Exact)]
    prep: PrepArg,
    /// A setting of the optimiser, such as `objective.per_work_s=4`; may be repeated, and a wrong one tells which there are
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    set: Vec<Setting>,
    /// How many days are played at once; as many as there are processors unless given
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the day (of a single instance): the map with the routes of one moment, and the day's curves
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// The minute of the map, such as 1110 for 18:30; the busiest unless given
    #[arg(long, value_name = "MINUTE", requires = "plot")]
    at: Option<i32>,
}

/// A policy as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PolicyArg {
    /// Each order at once to the nearest free courier
    Nearest,
    /// All open orders planned anew each minute, by cheapest insertion
    Rolling,
    /// A plan that lives on, improved by ruin and recreate
    Anneal,
}

/// What is known of preparation times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrepArg {
    /// The ready time, from the placement on
    Exact,
    /// The restaurant's mean, until the food is ready
    Estimated,
}

impl From<PolicyArg> for Policy {
    fn from(arg: PolicyArg) -> Self {
        match arg {
            PolicyArg::Nearest => Self::Nearest,
            PolicyArg::Rolling => Self::Rolling,
            PolicyArg::Anneal => Self::Anneal,
        }
    }
}

/// Why a day is not drawn.
#[derive(Debug, thiserror::Error)]
enum PlotError {
    #[error("--plot draws one day, and {0} were given: name one instance")]
    Several(usize),
    #[error("minute {at} is not in the day, which lasts from {first} to {last}")]
    NotInDay { at: i32, first: i32, last: i32 },
}

impl DispatchArgs {
    /// Runs the command: exit code 1 when a solution breaks a rule.
    ///
    /// # Errors
    /// An instance cannot be read, or a file cannot be written.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let options = self.options()?;
        // Threads of its own, and nothing to wait for.
        let played = tokio::task::spawn_blocking(move || self.play(&options).map_err(|error| chain(error.as_ref())));
        let (text, feasible) = played.await??;
        answer(&(text + "\n"))?;
        Ok(if feasible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What there is to tell, and whether every solution keeps the rules.
    fn play(&self, options: &Options) -> Result<(String, bool), Box<dyn Error>> {
        let days = read(&self.directories)?;
        self.check_plot(&days)?;
        let ticker = Ticker::new(&days, options, self.out.as_deref());
        let runs = dispatch(&days, options, &ticker)?;
        ticker.bar.finish_and_clear();
        for run in runs.iter().filter(|run| !run.violations.is_empty()) {
            let (name, policy) = (&days[run.instance].name, run.policy_name());
            warn(&format!(
                "{name}, {policy}: {} rules broken, first: {}",
                run.violations.len(),
                run.violations[0]
            ));
        }
        if let (Some(path), [named]) = (&self.plot, &days[..]) {
            let text = Plot::new(named, &runs, self.at).to_string();
            std::fs::write(path, text).map_err(|source| DispatchError::Write {
                path: path.clone(),
                source,
            })?;
        }
        let report = Report::new(&days, options, &runs);
        let text = if self.json {
            serde_json::to_string(&report)?
        } else {
            report.to_string()
        };
        Ok((text, report.is_feasible()))
    }

    fn options(&self) -> Result<Options, SettingError> {
        let mut policies: Vec<Policy> = Vec::new();
        for policy in self.policy.iter().copied().map(Policy::from) {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok());
        Ok(Options {
            policies,
            knowledge: match self.prep {
                PrepArg::Exact => Knowledge::Exact,
                PrepArg::Estimated => Knowledge::Estimated,
            },
            seed: self.seed,
            moves_max: self.budget_ms.map_or(self.moves, |_| u64::MAX),
            budget_ns: self.budget_ms.map(|ms| ms * NS_PER_MS),
            tuning: tuned(&self.set)?,
            threads: threads.map_or(1, NonZeroUsize::get),
        })
    }

    /// Before the work, so that it is not in vain.
    fn check_plot(&self, days: &[Named]) -> Result<(), PlotError> {
        match (&self.plot, days) {
            (None, _) => Ok(()),
            (Some(_), [named]) => {
                let (first, last) = Plot::minutes(&named.day);
                match self.at {
                    Some(at) if at < first || at > last => Err(PlotError::NotInDay { at, first, last }),
                    _ => Ok(()),
                }
            }
            (Some(_), days) => Err(PlotError::Several(days.len())),
        }
    }
}

/// Shows how far it is, and writes solutions as they come.
struct Ticker<'a> {
    days: &'a [Named],
    out: Option<&'a Path>,
    bar: ProgressBar,
}

impl<'a> Ticker<'a> {
    fn new(days: &'a [Named], options: &Options, out: Option<&'a Path>) -> Self {
        let orders: usize = days.iter().map(|named| named.day.orders.len()).sum();
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} {wide_bar} {human_pos}/{human_len} orders, eta {eta}  {msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new((orders * options.policies.len()) as u64).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Self { days, out, bar }
    }
}

impl Progress for Ticker<'_> {
    fn done(&self, run: &Run) -> Result<(), DispatchError> {
        let named = &self.days[run.instance];
        self.bar.inc(named.day.orders.len() as u64);
        self.bar.set_message(format!("{}, {}", named.name, run.policy_name()));
        self.out.map_or(Ok(()), |out| write_solution(out, named, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use routing::dispatch::Tuning;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: DispatchArgs,
    }

    fn parse(words: &[&str]) -> Result<DispatchArgs, String> {
        let line = Line::try_parse_from(std::iter::once("dispatch").chain(words.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn all_policies_are_compared_unless_some_are_named() {
        let options = |words: &[&str]| parse(words).expect("fine").options().expect("they go together");
        let all = options(&["day"]);
        assert_eq!(all.policies, [Policy::Nearest, Policy::Rolling, Policy::Anneal]);
        assert!(all.threads >= 1 && all.knowledge == Knowledge::Exact);
        assert_eq!(all.tuning, Tuning::default());
        let words = [
            "day",
            "--policy",
            "anneal,nearest,anneal",
            "--prep",
            "estimated",
            "--threads",
            "3",
            "--moves",
            "7",
            "--set",
            "warm_s=30",
        ];
        let wanted = Options {
            policies: vec![Policy::Anneal, Policy::Nearest],
            knowledge: Knowledge::Estimated,
            seed: 1,
            moves_max: 7,
            budget_ns: None,
            tuning: Tuning {
                warm_s: 30.0,
                ..Tuning::default()
            },
            threads: 3,
        };
        assert_eq!(options(&words), wanted);
        let timed = options(&["day", "--budget-ms", "20"]);
        assert_eq!((timed.moves_max, timed.budget_ns), (u64::MAX, Some(20_000_000)));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &[][..],
            &["day", "--policy", "best"],
            &["day", "--policy", ""],
            &["day", "--threads", "0"],
            &["day", "--prep", "known"],
            &["day", "--at", "600"],
            &["day", "--moves", "5", "--budget-ms", "5"],
            &["day", "--set", "warm=5"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
