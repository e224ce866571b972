//! What a run found, for people and for programs.

use super::{Kill, Options, Store};
use crate::checker::Verdict;
use crate::faults::Faults;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, to_value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How many lines of the server's log are shown.
const LOG_LINES_SHOWN: usize = 5;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// What every draw followed from.
    pub seed: u64,
    /// Orders that were acknowledged.
    pub acknowledged: usize,
    /// Those of them that do not exist.
    pub lost: usize,
    /// By how often too much effects were carried out or undone.
    pub duplicated_effects: u64,
    /// Effects in force at a participant and in no order.
    pub leftover_effects: u64,
    /// Rows that the journal had refused as those of another owner.
    pub fenced_writes: u64,
    /// How often each fault happened.
    pub faults: Faults,
    /// From the start of a killed server until everything in flight moved again.
    pub recovery_ms: RecoveryMs,
    /// How many orders were in flight at the fullest recovery.
    pub recovered_orders_max: u64,
    /// How many orders were in flight in each status at each kill.
    pub in_flight: Vec<BTreeMap<String, usize>>,
    /// Everything that does not hold.
    pub violations: Vec<String>,
    /// What the replay says of the day.
    pub replay: Value,
    /// Lines of errors, and of panics, in the server's log.
    pub log_errors: usize,
    /// The command that runs it again.
    pub run_again: String,
    /// Where the run's files are left, if they are.
    pub kept: Option<PathBuf>,
    /// The first of those lines.
    #[serde(skip)]
    pub log_lines: Vec<String>,
}

/// How long recoveries took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecoveryMs {
    /// The median; null without a recovery.
    pub p50: Option<u64>,
    /// What 99 of a hundred do not exceed.
    pub p99: Option<u64>,
}

impl RecoveryMs {
    pub(super) fn of(lengths: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<u64> = lengths
            .map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
            .collect();
        sorted.sort_unstable();
        // The smallest that so many of a hundred do not exceed (nearest rank).
        let rank = |percent: usize| {
            sorted
                .get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
                .copied()
        };
        Self {
            p50: rank(50),
            p99: rank(99),
        }
    }
}

impl RunReport {
    pub(super) fn new(options: &Options, verdict: &Verdict, kills: &[Kill], faults: Faults, replay: Value) -> Self {
        let count =
            |of: &dyn Fn(&Kill) -> bool| u64::try_from(kills.iter().filter(|kill| of(kill)).count()).unwrap_or(0);
        let faults = Faults {
            kills: count(&|_| true),
            kills_with_work: count(&|kill| !kill.in_flight.is_empty()),
            kills_while_starting: count(&|kill| kill.while_starting),
            ..faults
        };
        let mut violations: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
        if kills.len() < options.kills || faults.kills_with_work < faults.kills {
            violations.push(format!(
                "NV-1: {} kills were asked for, {} happened, {} with orders in flight",
                options.kills, faults.kills, faults.kills_with_work
            ));
        }
        Self {
            seed: options.seed,
            acknowledged: verdict.acknowledged,
            lost: verdict.lost,
            duplicated_effects: verdict.duplicated_effects,
            leftover_effects: verdict.leftover_effects,
            fenced_writes: kills.iter().map(|kill| kill.fenced_rows).sum(),
            faults,
            recovery_ms: RecoveryMs::of(kills.iter().map(|kill| kill.recovery.elapsed)),
            recovered_orders_max: kills.iter().map(|kill| kill.recovery.orders).max().unwrap_or(0),
            in_flight: kills.iter().map(|kill| kill.in_flight.clone()).collect(),
            violations,
            replay,
            log_errors: 0,
            run_again: command(options),
            kept: None,
            log_lines: Vec::new(),
        }
    }

    /// Looks for errors and panics in the server's log.
    pub(super) fn read_log(&mut self, log: &str) {
        let bad = |line: &&str| line.contains("ERROR") || line.contains("panicked at");
        let lines: Vec<&str> = log.lines().filter(bad).collect();
        self.log_errors = lines.len();
        self.log_lines = lines.into_iter().take(LOG_LINES_SHOWN).map(str::to_owned).collect();
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
        row("acknowledged", self.acknowledged.to_string());
        row("lost", self.lost.to_string());
        for end in ["delivered", "failed", "cancelled", "missing"] {
            row(&format!("  {end}"), self.replay[end].to_string());
        }
        row("duplicated effects", self.duplicated_effects.to_string());
        row("leftover effects", self.leftover_effects.to_string());
        row("fenced writes", self.fenced_writes.to_string());
        if let Ok(Value::Object(faults)) = to_value(self.faults) {
            row("faults", String::new());
            for (fault, count) in faults {
                row(&format!("  {}", fault.replace('_', " ")), count.to_string());
            }
        }
        let ms = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| ms.to_string());
        let RecoveryMs { p50, p99 } = self.recovery_ms;
        row("recovery, p50 / p99", format!("{} / {} ms", ms(p50), ms(p99)));
        row(
            "orders in flight at a recovery, at most",
            self.recovered_orders_max.to_string(),
        );
        row("errors in the server's log", self.log_errors.to_string());
        row("violations", self.violations.len().to_string());
        rows
    }
}

impl fmt::Display for RunReport {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([format!("seed {}", self.seed), String::new()]);
        table.add_rows(self.rows());
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        for line in self.violations.iter().chain(&self.log_lines) {
            writeln!(f, "{line}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "files: {}", kept.display())?;
        }
        write!(f, "again: {}", self.run_again)
    }
}

/// The command that runs it again. A database's URL may hold a password, so it is left out.
fn command(options: &Options) -> String {
    let mut words = vec!["cargo run -p chaos -- run".to_owned()];
    let mut flag = |name: &str, value: String| words.push(format!("--{name} {value}"));
    flag("seed", options.seed.to_string());
    flag("speed", options.speed.to_string());
    flag("kills", options.kills.to_string());
    if let Some(day) = &options.day {
        flag("day", day.display().to_string());
    }
    if let Some(orders) = options.orders {
        flag("orders", orders.to_string());
    }
    if let Store::Postgres(_) = options.store {
        flag("store", "URL".to_owned());
    }
    for (name, share) in options.faults.flags() {
        flag(name, share.to_string());
    }
    words.join(" ")
}
