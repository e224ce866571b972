//! Many seeds, and what came of them.

use super::Broken;
use super::hub::Figures;
use super::run::{Outcome, play, play_scenario};
use super::scenario::{Scenario, Size};
use super::shrink::shrink;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// How large each run is.
    pub size: Size,
    /// Whether a failing scenario is made smaller.
    pub shrink: bool,
    /// A rule to break on purpose.
    pub broken: Option<Broken>,
}

/// A seed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// After how many events.
    pub step: u64,
    /// What does not hold.
    pub violations: Vec<String>,
    /// How many faults and orders are left of it, if it was made smaller.
    pub left: Option<(usize, usize)>,
    /// The faults that are left.
    pub faults: Vec<String>,
    /// The last lines of what happened.
    pub trace: Vec<String>,
    /// How to see it again.
    pub replay: String,
}

/// What came of all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many were run.
    pub seeds: usize,
    /// The first and the last.
    pub first_seed: u64,
    /// How many virtual hours of a cluster that was.
    pub cluster_hours: f64,
    /// How many events.
    pub events: u64,
    /// How long it took.
    pub wall_seconds: f64,
    /// Virtual hours of a cluster in a minute.
    pub cluster_hours_per_minute: f64,
    /// What happened how often.
    pub figures: Figures,
    /// Those that failed.
    pub failures: Vec<Failure>,
}

/// A seed that nobody has used before, most likely.
pub fn fresh_seed() -> u64 {
    // Short enough to be read out.
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8) % 1_000_000_000
}

/// Runs all seeds. Single-threaded; the same options always have the same outcome.
pub fn simulate(options: &Options) -> Report {
    let begun = Instant::now();
    let (mut events, mut virtual_ms) = (0, 0);
    let mut figures = Figures::default();
    let mut failures = Vec::new();
    for seed in &options.seeds {
        let outcome = play(*seed, options.size, options.broken, false);
        events += outcome.events;
        virtual_ms += outcome.virtual_ms;
        figures += outcome.figures;
        if !outcome.findings.is_empty() {
            failures.push(failure(&outcome, options));
        }
    }
    let wall_seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let cluster_hours = virtual_ms as f64 / 3_600_000.0;
    Report {
        seeds: options.seeds.len(),
        first_seed: options.seeds.first().copied().unwrap_or(0),
        cluster_hours,
        events,
        wall_seconds,
        cluster_hours_per_minute: cluster_hours / wall_seconds.max(1e-9) * 60.0,
        figures,
        failures,
    }
}

/// Plays a failing seed once more for somebody to read, smaller if that is wanted.
fn failure(outcome: &Outcome, options: &Options) -> Failure {
    let scenario = Arc::new(Scenario::new(outcome.seed, options.size));
    let (scenario, told, left) = match outcome.findings.first().filter(|_| options.shrink) {
        Some(finding) => {
            let shrunk = shrink(&scenario, finding.invariant, options.broken, outcome.events);
            let left = (shrunk.scenario.faults.len(), shrunk.scenario.orders.len());
            (shrunk.scenario, shrunk.outcome, Some(left))
        }
        None => (scenario.clone(), play_scenario(&scenario, options.broken, true), None),
    };
    let Size { nodes, hours, orders } = options.size;
    let seed = outcome.seed;
    Failure {
        seed,
        step: outcome.events,
        violations: outcome.findings.iter().map(ToString::to_string).collect(),
        left,
        faults: scenario.faults.iter().map(ToString::to_string).collect(),
        trace: told.trace,
        replay: format!(
            "cargo run -p chaos -- simulate --seed {seed} --seeds 1 --nodes {nodes} --hours {hours} --orders {orders}"
        ),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails at step {}:", self.seed, self.step)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        if let Some((faults, orders)) = self.left {
            writeln!(f, "made smaller: {faults} faults and {orders} orders are enough")?;
        }
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        writeln!(f, "the last of what happened:")?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "replay: {}", self.replay)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}\n")?;
        }
        let n = &self.figures;
        writeln!(
            f,
            "orders: {} delivered, {} cancelled, {} failed; {} rows, {} fenced; {} epochs; {} processes died; {} answers to \
             commits lost; {} keys used again; {} effects too late; {} calls found no room, {} of them after an attempt that may have been \
             carried out; {} commands too late; {} actors crashed, {} rows committed after it",
            n.delivered,
            n.cancelled,
            n.failed,
            n.rows,
            n.fenced,
            n.epochs,
            n.deaths,
            n.answers_lost,
            n.keys_used,
            n.late_effects,
            n.full,
            n.full_again,
            n.late_commands,
            n.actor_crashes,
            n.orphans
        )?;
        write!(
            f,
            "{} seeds from {}: {:.1} cluster-hours, {} events in {:.2} s ({:.0} cluster-hours a minute), {} failed",
            self.seeds,
            self.first_seed,
            self.cluster_hours,
            self.events,
            self.wall_seconds,
            self.cluster_hours_per_minute,
            self.failures.len()
        )
    }
}
