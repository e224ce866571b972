//! What a run against a cluster found, for people and for programs.

use super::super::RecoveryMs;
use super::faults::{Fault, Struck};
use super::figures::{FENCED, FENCED_BY_STORE};
use super::load::Attempt;
use super::measure::{self, Met};
use super::timeline::{self, millis};
use super::zombie::Zombie;
use super::{ClusterOptions, Left};
use crate::checker::{Verdict, lines};
use crate::faults::Faults;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, to_value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// How many violations, and how many lines of the logs, are shown to people.
const SHOWN: usize = 20;

/// What a run against a cluster found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterReport {
    /// What every draw followed from.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: usize,
    /// Orders that were acknowledged.
    pub acknowledged: usize,
    /// Those of them that do not exist.
    pub lost: usize,
    /// By how often too much effects were carried out or undone.
    pub duplicated_effects: u64,
    /// Effects in force at a participant and in no order.
    pub leftover_effects: u64,
    /// Rows that a journal had refused because its node did not own the shard any more.
    pub fenced_writes: u64,
    /// Those of them that had been sent: the store refused them.
    pub fenced_by_store: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<String, u64>,
    /// How often a node was killed at each fail point that was armed; 0: nobody came there in time.
    pub failpoints: BTreeMap<String, u64>,
    /// What became of each node that stood still with a batch in its hands.
    pub zombies: Vec<Zombie>,
    /// From the kill of a node until every shard that it owned was brought to life elsewhere: every timer armed, and
    /// everything pending asked for.
    pub recovery_ms: RecoveryMs,
    /// The same, from the kill of a node at a fail point; sometimes there is only one other left then.
    pub recovery_failpoints_ms: RecoveryMs,
    /// The same, from the moment at which a node stood still and kept its connections, or lost its way to the database.
    pub recovery_silent_ms: RecoveryMs,
    /// From the kill of a node until the next row of each order in flight there that waited for an answer.
    pub orders_moved_ms: RecoveryMs,
    /// From the kill of a node until the confirmation of each order placed there within the two seconds before it.
    pub orders_confirmed_ms: RecoveryMs,
    /// From a client's first attempt until its order was acknowledged.
    pub submit_ms: RecoveryMs,
    /// Orders acknowledged each second, on the average.
    pub throughput_per_s: f64,
    /// What clients were told when an attempt failed, and how often.
    pub errors: BTreeMap<String, u64>,
    /// What clients noticed of the rolling restarts.
    pub rolling: Rolling,
    /// What the nodes counted.
    pub figures: BTreeMap<String, u64>,
    /// How many orders were in flight in each status where a fault struck.
    pub in_flight: Vec<BTreeMap<String, usize>>,
    /// Everything that does not hold.
    pub violations: Vec<String>,
    /// What the replay says of the recorded day.
    pub replay: Option<Value>,
    /// How many messages the topic holds, those that came again included; null when nothing is published.
    pub messages: Option<usize>,
    /// Lines of errors, and of panics, in the nodes' logs.
    pub log_errors: usize,
    /// The command that runs it again.
    pub run_again: String,
    /// Where the picture is left, if it is.
    pub picture: Option<PathBuf>,
    /// Where the run's files are left, if they are.
    pub kept: Option<PathBuf>,
    /// The database that was made for the run, if it is left.
    pub database: Option<String>,
    /// The first of those lines.
    #[serde(skip)]
    pub log_lines: Vec<String>,
}

/// What clients noticed of the rolling restarts. Every attempt counts that was begun between the first signal and the
/// moment at which the last node was back and the cluster level, first attempts and further ones alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rolling {
    /// How many rolling restarts there were.
    pub restarts: u64,
    /// Attempts meanwhile.
    pub attempts: u64,
    /// Those of them that were not answered as they should: 5xx, 409, 429, no answer in time, a connection that broke.
    pub failed: u64,
    /// Those that found nobody listening, although the node had said within the last tenth of a second that it is ready:
    /// nothing was asked of the platform, and they are not counted as failed.
    pub unreachable: u64,
    /// How long those attempts took.
    pub took_ms: RecoveryMs,
}

impl ClusterReport {
    pub(super) fn new(options: &ClusterOptions, left: &Left) -> Self {
        let verdict = crate::check(&left.evidence);
        let met: Vec<Met> = left
            .struck
            .iter()
            .map(|struck| measure::met(struck, &left.store, &left.line))
            .collect();
        let mut violations = violations(options, left, &verdict, &met);
        let rolling = rolling(left, &mut violations);
        let recovery = |of: &[Fault]| {
            let struck = left.struck.iter().filter(|struck| of.contains(&struck.fault));
            RecoveryMs::of(struck.filter_map(|struck| struck.moved))
        };
        let kills = || {
            left.struck
                .iter()
                .zip(&met)
                .filter(|(struck, _)| struck.fault == Fault::Kill)
        };
        let waits = left
            .history
            .orders
            .iter()
            .filter_map(|told| Some(told.acknowledged? - told.begun));
        let figures: BTreeMap<String, u64> = left
            .figures
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let mut report = Self {
            seed: options.seed,
            nodes: options.nodes,
            acknowledged: verdict.acknowledged,
            lost: verdict.lost,
            duplicated_effects: verdict.duplicated_effects,
            leftover_effects: verdict.leftover_effects,
            fenced_writes: left.figures.get(FENCED).copied().unwrap_or(0),
            fenced_by_store: left.figures.get(FENCED_BY_STORE).copied().unwrap_or(0),
            faults: faults(options, left),
            failpoints: left.failpoints.clone(),
            zombies: Zombie::all(&left.struck),
            recovery_failpoints_ms: recovery(&[Fault::Failpoints]),
            recovery_ms: recovery(&[Fault::Kill]),
            recovery_silent_ms: recovery(&[Fault::Pause, Fault::Partition, Fault::Zombie]),
            orders_moved_ms: RecoveryMs::of(kills().flat_map(|(_, met)| met.moved.iter().copied())),
            orders_confirmed_ms: RecoveryMs::of(kills().flat_map(|(_, met)| met.confirmed.iter().copied())),
            submit_ms: RecoveryMs::of(waits),
            throughput_per_s: throughput(left),
            errors: left.history.errors(),
            rolling,
            figures,
            in_flight: met.into_iter().map(|met| met.in_flight).collect(),
            violations,
            replay: left.replay.clone(),
            messages: left.messages,
            log_errors: 0,
            run_again: command(options),
            picture: None,
            kept: None,
            database: None,
            log_lines: Vec::new(),
        };
        report.read_logs(left);
        report
    }

    fn read_logs(&mut self, left: &Left) {
        for (path, log) in &left.logs {
            let name = path.file_name().unwrap_or_default().display();
            for line in log
                .lines()
                .filter(|line| line.contains("ERROR") || line.contains("panicked at"))
            {
                self.log_errors += 1;
                if line.contains("panicked at") {
                    self.violations.push(format!("{name}: {line}"));
                } else if self.log_lines.len() < SHOWN {
                    self.log_lines.push(format!("{name}: {line}"));
                }
            }
        }
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
        let pair = |RecoveryMs { p50, p99 }: RecoveryMs| {
            let ms = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| ms.to_string());
            format!("{} / {} ms", ms(p50), ms(p99))
        };
        row("acknowledged", self.acknowledged.to_string());
        row("lost", self.lost.to_string());
        row("duplicated effects", self.duplicated_effects.to_string());
        row("leftover effects", self.leftover_effects.to_string());
        row(
            "fenced writes, of which by the store",
            format!("{}, {}", self.fenced_writes, self.fenced_by_store),
        );
        for zombie in &self.zombies {
            row("zombie: stood still, rows refused, shards lost", zombie.to_string());
        }
        row("acknowledged each second", format!("{:.1}", self.throughput_per_s));
        row("wait for an acknowledgement, p50 / p99", pair(self.submit_ms));
        row("kill → its shards alive elsewhere, p50 / p99", pair(self.recovery_ms));
        row(
            "kill at a fail point → the same, p50 / p99",
            pair(self.recovery_failpoints_ms),
        );
        row(
            "pause or partition → the same, p50 / p99",
            pair(self.recovery_silent_ms),
        );
        row("kill → its orders go on, p50 / p99", pair(self.orders_moved_ms));
        row(
            "kill → its new orders confirmed, p50 / p99",
            pair(self.orders_confirmed_ms),
        );
        if self.rolling.restarts > 0 {
            let Rolling {
                attempts,
                failed,
                unreachable,
                took_ms,
                ..
            } = self.rolling;
            row(
                "rolling restarts: attempts, failed, unreachable",
                format!("{attempts}, {failed}, {unreachable}"),
            );
            row("  those attempts, p50 / p99", pair(took_ms));
        }
        if let Some(messages) = self.messages {
            row("messages in the topic", messages.to_string());
        }
        let mut counts = |title: &str, counts: &BTreeMap<String, u64>| {
            if !counts.is_empty() {
                row(title, String::new());
            }
            for (name, count) in counts {
                row(&format!("  {}", name.replace('_', " ")), count.to_string());
            }
        };
        counts("faults", &self.faults);
        counts("killed at", &self.failpoints);
        counts("errors that clients met", &self.errors);
        row("errors in the nodes' logs", self.log_errors.to_string());
        row("violations", self.violations.len().to_string());
        rows
    }
}

/// Everything that does not hold, but what clients noticed of the rolling restarts.
fn violations(options: &ClusterOptions, left: &Left, verdict: &Verdict, met: &[Met]) -> Vec<String> {
    let mut violations: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
    violations.extend(lines::check(&left.store).iter().map(ToString::to_string));
    violations.extend(left.wrong.iter().cloned());
    let strange = left.history.strange();
    violations.extend(strange.into_iter().map(|strange| format!("OV-1: {strange}")));
    violations.extend(unproved(options, left, met));
    let still = left
        .struck
        .iter()
        .filter(|struck| struck.must_move && struck.moved.is_none());
    violations.extend(still.map(|struck| {
        let Struck { fault, whom, .. } = struck;
        format!("SG-3: {fault} of {whom}: its shards did not come to life elsewhere within a minute")
    }));
    violations
}

/// NV-1: what was to happen and did not, or met nothing.
fn unproved(options: &ClusterOptions, left: &Left, met: &[Met]) -> Vec<String> {
    let mut found = Vec::new();
    let mut not = |what: String| found.push(format!("NV-1: {what}"));
    for fault in options.faults.iter().filter(|fault| **fault != Fault::Skew) {
        if times(*fault, &left.struck, &left.failpoints) == 0 {
            not(format!("there was no {fault}"));
        }
    }
    for (struck, met) in left.struck.iter().zip(met) {
        let Struck { fault, whom, .. } = struck;
        if met.in_flight.is_empty() {
            not(format!("nothing was in flight at the {fault} of {whom}"));
        }
        if struck.must_move && struck.shards.is_empty() {
            not(format!("{whom} owned nothing at its {fault}"));
        }
        if *fault == Fault::Zombie && struck.fenced_by_store == 0 {
            not(format!(
                "{whom} stood still with a batch, and the store refused nothing of it"
            ));
        }
        if struck.must_move && !is_killed(*fault) && struck.lost == 0 {
            not(format!("{whom}: {fault}, and it never found that its shards were lost"));
        }
    }
    // That nobody was answered is seen by the driver; here, that somebody asked.
    for struck in left.struck.iter().filter(|struck| struck.fault == Fault::Postgres) {
        let is_met = |attempt: &Attempt| attempt.begun < struck.until && attempt.ended > struck.at;
        if !left.history.attempts.iter().any(is_met) {
            not("no client asked for anything while the database was away".to_owned());
        }
    }
    found
}

/// How often a fault happened. A node that was only killed so that shards move was not struck at a point.
fn times(fault: Fault, struck: &[Struck], failpoints: &BTreeMap<String, u64>) -> u64 {
    match fault {
        Fault::Failpoints => failpoints.values().sum(),
        _ => struck.iter().filter(|struck| struck.fault == fault).map(|_| 1).sum(),
    }
}

const fn is_killed(fault: Fault) -> bool {
    matches!(fault, Fault::Kill | Fault::Failpoints)
}

/// What clients noticed of the rolling restarts: nothing, or it is a violation.
fn rolling(left: &Left, violations: &mut Vec<String>) -> Rolling {
    let (mut rolling, mut took) = (Rolling::default(), Vec::new());
    for struck in left.struck.iter().filter(|struck| struck.fault == Fault::Rolling) {
        let (failed, unreachable) = left.history.failed_between(struck.at, struck.until);
        let begun = left
            .history
            .attempts
            .iter()
            .filter(|attempt| (struck.at..struck.until).contains(&attempt.begun));
        let before = took.len();
        took.extend(begun.map(|attempt| attempt.ended - attempt.begun));
        rolling.restarts += 1;
        rolling.attempts += u64::try_from(took.len() - before).unwrap_or(u64::MAX);
        rolling.failed += failed.iter().map(|_| 1).sum::<u64>();
        rolling.unreachable += unreachable;
        violations.extend(failed.iter().take(SHOWN).map(|attempt| {
            let after = millis(attempt.begun - struck.at);
            format!(
                "a client's request failed {after} ms into a rolling restart: node {} to {:?} said {:?}",
                attempt.node + 1,
                attempt.ask,
                attempt.said
            )
        }));
    }
    rolling.took_ms = RecoveryMs::of(took.into_iter());
    rolling
}

fn faults(options: &ClusterOptions, left: &Left) -> BTreeMap<String, u64> {
    let mut faults = BTreeMap::new();
    let mut of_participants = Faults::count(&left.evidence, &left.time_line);
    of_participants.stuck = left.repaired;
    if let Ok(Value::Object(counts)) = to_value(of_participants) {
        let of_one_server = ["kills", "kills_with_work", "kills_while_starting"];
        for (name, count) in counts
            .into_iter()
            .filter(|(name, _)| !of_one_server.contains(&name.as_str()))
        {
            faults.insert(name, count.as_u64().unwrap_or(0));
        }
    }
    for fault in &options.faults {
        let times = match fault {
            Fault::Skew => left.skewed,
            _ => times(*fault, &left.struck, &left.failpoints),
        };
        faults.insert(fault.as_str().to_owned(), times);
    }
    faults
}

fn throughput(left: &Left) -> f64 {
    let acknowledged = left.history.orders.iter().filter_map(|told| told.acknowledged);
    let (count, last) = acknowledged.fold((0_u32, left.began), |(count, last), moment| {
        (count + 1, last.max(moment))
    });
    let length = (last - left.began).as_secs_f64();
    if length > 0.0 { f64::from(count) / length } else { 0.0 }
}

/// The picture of the run.
pub(super) fn picture(options: &ClusterOptions, left: &Left) -> String {
    let seconds = timeline::seconds(&left.history, left.began);
    let title = format!(
        "{} nodes, {} orders/s, seed {}, faults: {}",
        options.nodes,
        options.rate,
        options.seed,
        options
            .faults
            .iter()
            .map(|fault| fault.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    timeline::picture(&seconds, &left.struck, left.began, &title)
}

impl fmt::Display for ClusterReport {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([format!("{} nodes, seed {}", self.nodes, self.seed), String::new()]);
        table.add_rows(self.rows());
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        for line in self.violations.iter().take(SHOWN).chain(&self.log_lines) {
            writeln!(f, "{line}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(f, "and {} further violations", self.violations.len() - SHOWN)?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "files: {}", kept.display())?;
        }
        if let Some(picture) = &self.picture {
            writeln!(f, "picture: {}", picture.display())?;
        }
        if let Some(database) = &self.database {
            writeln!(f, "database: {database}")?;
        }
        write!(f, "again: {}", self.run_again)
    }
}

/// The command that runs it again. A database's URL may hold a password, so it is left out.
fn command(options: &ClusterOptions) -> String {
    let words_of_kafka = if options.kafka.is_some() { " --kafka" } else { "" };
    let mut words = vec![format!("cargo run -p chaos -- run{words_of_kafka}")];
    let mut flag = |name: &str, value: String| words.push(format!("--{name} {value}"));
    flag("nodes", options.nodes.to_string());
    flag("seed", options.seed.to_string());
    flag("rate", options.rate.to_string());
    flag("minutes", (options.length.as_secs_f64() / 60.0).to_string());
    if !options.faults.is_empty() {
        let faults: Vec<&str> = options.faults.iter().map(|fault| fault.as_str()).collect();
        flag("faults", faults.join(","));
    }
    flag("every", options.every.as_secs_f64().to_string());
    flag("speed", options.speed.to_string());
    if let Some(day) = &options.day {
        flag("day", day.display().to_string());
    }
    if let Some(orders) = options.orders {
        flag("orders", orders.to_string());
    }
    if options.store.is_some() {
        flag("store", "URL".to_owned());
    }
    for (name, share) in options.shares.flags() {
        flag(name, share.to_string());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn a_kill_that_moves_shards_is_no_kill_at_a_point() {
        let now = Instant::now();
        let struck = [Fault::Failpoints, Fault::Kill, Fault::Kill].map(|fault| Struck::at(fault, now));
        let failpoints =
            |times| BTreeMap::from([("shard::taken".to_owned(), times), ("journal::commit".to_owned(), 0)]);
        assert_eq!(times(Fault::Kill, &struck, &failpoints(0)), 2);
        assert_eq!(times(Fault::Zombie, &struck, &failpoints(0)), 0);
        assert_eq!(
            times(Fault::Failpoints, &struck, &failpoints(0)),
            0,
            "nobody came to it"
        );
        assert_eq!(times(Fault::Failpoints, &struck, &failpoints(1)), 1);
    }
}
