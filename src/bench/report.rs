//! A measured load in figures.

use super::coordination::{Coordination, NodeShare};
use super::latency::Quantiles;
use super::numbers::{float, known, rounded, thousandths};
use super::session::Measured;
use super::verify::Found;
use super::{Load, Options};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

const MIB: f64 = 1_048_576.0;

/// A load in figures. Rates and latencies are of the measuring window, without the warm-up; null is what is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Servers.
    pub nodes: usize,
    /// `open` or `closed`.
    pub load: String,
    /// `sqlite`, `postgres`, `memory`, or `unknown`.
    pub store: String,
    /// The program's version.
    pub version: String,
    /// Cores of this machine.
    pub cores: usize,
    /// The measuring window, in seconds.
    pub seconds: f64,
    /// Orders that were to arrive within the window (in a closed load: that were begun).
    pub offered: u64,
    /// Of those, the ones that were accepted.
    pub accepted: u64,
    /// Orders a second that were to arrive.
    pub offered_per_s: f64,
    /// Acceptances a second.
    pub accepted_per_s: f64,
    /// Orders a second that became CONFIRMED, by the server's count.
    pub completed_per_s: Option<f64>,
    /// From the intended start to the acceptance, of those that did not wait for their outcome.
    pub submit_ms: Quantiles,
    /// From the intended start to CONFIRMED, of those that waited for it.
    pub confirmed_ms: Quantiles,
    /// From the intended start to the answer 503.
    pub refused_ms: Quantiles,
    /// How late the generator itself was, from the intended start until it began to submit, where a connection was free: it
    /// shares the machine with the servers, and this is part of the latencies above.
    pub generator_late_ms: Quantiles,
    /// Orders that were not accepted, or not confirmed, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledged orders, the warm-up's included.
    pub acknowledged: u64,
    /// Those of them that were looked for.
    pub checked: u64,
    /// Those that are not there.
    pub missing: u64,
    /// Those that are there, but are still PENDING and do not get on.
    pub stalled: u64,
    /// What the others had come to.
    pub by_status: BTreeMap<String, u64>,
    /// How long after the load's end the last accepted order was confirmed or over, in seconds; null: not within a minute.
    pub drain_s: Option<f64>,
    /// Processor time for each completed order, of all servers and the store together, in milliseconds.
    pub cpu_ms_per_order: Option<f64>,
    /// The same by process: `server` (all of them), `postgres`, `kafka`, `redis`, `bench`.
    pub cpu_ms_by_process: BTreeMap<String, f64>,
    /// The most memory that all servers together held within the window, in MiB.
    pub rss_mb: Option<f64>,
    /// The most that one of them held, in MiB.
    pub rss_largest_mb: Option<f64>,
    /// What they held together at the end, in MiB.
    pub rss_end_mb: Option<f64>,
    /// Bytes of write-ahead log for each completed order (of Postgres).
    pub wal_bytes_per_order: Option<f64>,
    /// Bytes by which the store grew for each completed order.
    pub disk_bytes_per_order: Option<f64>,
    /// Bytes that the servers' processes themselves wrote for each completed order: those of the embedded store.
    pub written_bytes_per_order: Option<f64>,
    /// What crosses between nodes.
    #[serde(flatten)]
    pub coordination: Coordination,
    /// What each server did.
    pub by_node: Vec<NodeShare>,
    /// Rows in a commit, on average.
    pub batch_rows: Option<f64>,
    /// Commits a second.
    pub commits_per_s: Option<f64>,
    /// How long a commit took, on average, in milliseconds.
    pub commit_ms: Option<f64>,
    /// What 99 of 100 events did not exceed from their commit to the broker's acknowledgement, in milliseconds.
    pub delivery_p99_ms: Option<f64>,
    /// How long the disk took to keep 4 kB, measured before the load.
    pub fsync_ms: Quantiles,
}

/// What a report says beside the load.
pub(super) struct Frame<'a> {
    pub(super) options: &'a Options,
    pub(super) store: &'static str,
    /// The servers' names.
    pub(super) servers: Vec<&'a str>,
    pub(super) is_cluster: bool,
    pub(super) sync: Option<Quantiles>,
}

impl Report {
    pub(super) fn new(measured: &Measured, found: &Found, frame: &Frame<'_>) -> Self {
        let outcome = &measured.outcome;
        let counts = outcome.counts;
        let shares = Shares::of(measured);
        let by_node = measured.shares(frame.servers.iter().copied());
        Self {
            nodes: frame.servers.len(),
            load: match frame.options.load {
                Load::Open { .. } => "open".to_owned(),
                Load::Closed { .. } => "closed".to_owned(),
            },
            store: frame.store.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            seconds: measured.seconds,
            offered: counts.offered,
            accepted: counts.accepted,
            offered_per_s: rounded(float(counts.offered) / measured.seconds),
            accepted_per_s: rounded(float(counts.accepted_within) / measured.seconds),
            completed_per_s: measured.completed_per_s().map(rounded),
            submit_ms: outcome.submit,
            confirmed_ms: outcome.confirmed,
            refused_ms: outcome.refused,
            generator_late_ms: outcome.begun,
            errors: outcome.errors.clone(),
            acknowledged: u64::try_from(outcome.acknowledged.len()).unwrap_or(u64::MAX),
            checked: found.checked,
            missing: found.missing,
            stalled: found.stalled,
            by_status: found.by_status.clone(),
            drain_s: measured.drain.map(|drain| rounded(drain.as_secs_f64())),
            cpu_ms_per_order: shares.cpu_ms_of(match frame.store {
                "postgres" => &["server", "postgres"],
                _ => &["server"],
            }),
            cpu_ms_by_process: shares.cpu_ms(),
            rss_mb: measured.memory_peak_bytes.map(|bytes| rounded(float(bytes) / MIB)),
            rss_largest_mb: by_node.iter().filter_map(|node| node.rss_mb).max_by(f64::total_cmp),
            rss_end_mb: measured.memory_end_bytes.map(|bytes| rounded(float(bytes) / MIB)),
            wal_bytes_per_order: shares.each(measured.between(|reading| reading.usage?.wal_bytes)),
            disk_bytes_per_order: shares.each(measured.between(|reading| Some(reading.usage?.disk_bytes))),
            written_bytes_per_order: shares.each(measured.between(|reading| reading.written_bytes)),
            coordination: Coordination::of(measured, frame.is_cluster),
            by_node,
            batch_rows: measured.mean("uoop_journal_batch_rows").and_then(known),
            commits_per_s: measured.commits_per_s().and_then(known),
            commit_ms: measured
                .mean("uoop_journal_commit_seconds")
                .and_then(|s| known(s * 1_000.0)),
            delivery_p99_ms: measured.delivery_p99_s().and_then(|s| known(s * 1_000.0)),
            fsync_ms: frame.sync.unwrap_or_default(),
        }
    }

    /// Whether every acknowledged order that was looked for is there, and over or moving.
    pub const fn is_complete(&self) -> bool {
        self.missing == 0 && self.stalled == 0
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
        row("offered", format!("{:.1} /s", self.offered_per_s));
        row("accepted", format!("{:.1} /s", self.accepted_per_s));
        row("completed", shown(self.completed_per_s, 1, "/s"));
        row("submit, p50 / p90 / p99 / p99.9 / max", latencies(&self.submit_ms));
        row("to CONFIRMED, the same", latencies(&self.confirmed_ms));
        if self.refused_ms.count > 0 {
            row("to 503, the same", latencies(&self.refused_ms));
        }
        if self.generator_late_ms.count > 0 {
            row("of these the generator's own delay", latencies(&self.generator_late_ms));
        }
        for (kind, count) in &self.errors {
            row(&format!("error: {kind}"), count.to_string());
        }
        row("drained after", shown(self.drain_s, 1, "s"));
        row(
            "acknowledged, looked for",
            format!("{}, {}", self.acknowledged, self.checked),
        );
        row("missing, stalled", format!("{}, {}", self.missing, self.stalled));
        for (status, count) in &self.by_status {
            row(&format!("  {status}"), count.to_string());
        }
        row("CPU an order, servers and store", shown(self.cpu_ms_per_order, 3, "ms"));
        for (process, ms) in &self.cpu_ms_by_process {
            row(&format!("  {process}"), format!("{ms:.3} ms"));
        }
        let memory = [self.rss_mb, self.rss_end_mb].map(|mb| shown(mb, 0, "MiB"));
        row("servers' memory, peak, at the end", memory.join(", "));
        if self.nodes > 1 {
            row("  the largest one's, peak", shown(self.rss_largest_mb, 0, "MiB"));
        }
        row("log an order", shown(self.wal_bytes_per_order, 0, "B"));
        row("disk an order", shown(self.disk_bytes_per_order, 0, "B"));
        row(
            "written by the servers an order",
            shown(self.written_bytes_per_order, 0, "B"),
        );
        let commits = [
            shown(self.commits_per_s, 0, "/s"),
            shown(self.batch_rows, 1, "rows"),
            shown(self.commit_ms, 2, "ms"),
        ];
        row("commits, their mean size and time", commits.join(", "));
        for [what, value] in self.coordination.rows(&self.by_node) {
            row(&what, value);
        }
        if self.delivery_p99_ms.is_some() {
            row("delivery of events, p99", shown(self.delivery_p99_ms, 1, "ms"));
        }
        let sync = [self.fsync_ms.p50, self.fsync_ms.p99].map(|ms| shown(ms, 2, "ms"));
        row("fsync of 4 kB beforehand, p50 / p99", sync.join(" / "));
        rows
    }
}

impl fmt::Display for Report {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        let servers = match self.nodes {
            1 => String::new(),
            nodes => format!("{nodes} servers, "),
        };
        let title = format!(
            "{} load, {:.0} s, {servers}{} store",
            self.load, self.seconds, self.store
        );
        table.set_header([title, format!("uoop {}, {} cores", self.version, self.cores)]);
        table.add_rows(self.rows());
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

fn shown(value: Option<f64>, places: usize, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$} {unit}"))
}

fn latencies(quantiles: &Quantiles) -> String {
    let values = [
        quantiles.p50,
        quantiles.p90,
        quantiles.p99,
        quantiles.p999,
        quantiles.max,
    ];
    let values = values.map(|ms| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}")));
    format!("{} ms", values.join(" / "))
}

/// What each completed order took.
struct Shares {
    orders: f64,
    cpu_ms: BTreeMap<&'static str, f64>,
}

impl Shares {
    fn of(measured: &Measured) -> Self {
        let (before, after) = (&measured.before.cpu.by_process, &measured.after.cpu.by_process);
        let used = after.iter().map(|(process, ms)| {
            let earlier = before.get(process).copied().unwrap_or(0);
            (*process, float(ms.saturating_sub(earlier)))
        });
        Self {
            orders: measured.completed().unwrap_or(0.0),
            cpu_ms: used.collect(),
        }
    }

    fn each(&self, total: Option<f64>) -> Option<f64> {
        known(total? / self.orders)
    }

    /// To a microsecond.
    fn cpu_ms_each(&self, ms: f64) -> Option<f64> {
        thousandths(ms / self.orders)
    }

    /// `None` unless all of the processes' first, the server, is known.
    fn cpu_ms_of(&self, processes: &[&str]) -> Option<f64> {
        self.cpu_ms.get(processes.first()?)?;
        self.cpu_ms_each(processes.iter().filter_map(|process| self.cpu_ms.get(process)).sum())
    }

    fn cpu_ms(&self) -> BTreeMap<String, f64> {
        let each = |(process, ms): (&&str, &f64)| Some(((*process).to_owned(), self.cpu_ms_each(*ms)?));
        self.cpu_ms.iter().filter_map(each).collect()
    }
}

impl Measured {
    /// By how much something grew between the readings.
    fn between(&self, read: impl Fn(&super::reading::Reading) -> Option<u64>) -> Option<f64> {
        Some(float(read(&self.after)?.saturating_sub(read(&self.before)?)))
    }

    /// Orders that became CONFIRMED between the readings.
    pub(super) fn completed(&self) -> Option<f64> {
        let [before, after] = [&self.before, &self.after].map(|reading| reading.figures.as_ref());
        Some((after?.confirmed() - before?.confirmed()).max(0.0))
    }

    /// The same a second.
    pub(super) fn completed_per_s(&self) -> Option<f64> {
        known(self.completed()? / self.read_s())
    }

    /// Seconds between the readings.
    fn read_s(&self) -> f64 {
        self.after.at.saturating_duration_since(self.before.at).as_secs_f64()
    }

    fn observed(&self, name: &str) -> Option<(f64, f64)> {
        self.after
            .figures
            .as_ref()?
            .observed_since(self.before.figures.as_ref()?, name)
    }

    fn mean(&self, name: &str) -> Option<f64> {
        self.observed(name).map(|(_, mean)| mean)
    }

    fn commits_per_s(&self) -> Option<f64> {
        self.observed("uoop_journal_commit_seconds")
            .map(|(count, _)| count / self.read_s())
    }

    fn delivery_p99_s(&self) -> Option<f64> {
        let (after, before) = (self.after.figures.as_ref()?, self.before.figures.as_ref()?);
        after.quantile_since(before, "uoop_relay_delivery_seconds", 0.99)
    }

    /// The share of the offered orders that came to nothing.
    pub(super) fn error_share(&self) -> f64 {
        float(self.outcome.failed()) / float(self.outcome.counts.offered).max(1.0)
    }
}
