//! Finds the highest rate that a server keeps up with: the search is pure, [`super::ramp`] measures its steps.

use super::latency::Quantiles;
use super::numbers::rounded;
use super::session::Measured;
use super::verify::Found;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::fmt;

/// The p99 of submissions that must be kept, in milliseconds: the brief's, and that of a platform that feels quick.
pub(super) const LIMITS_MS: [f64; 2] = [2_000.0, 100.0];
/// From one step up to the next.
const STEP_UP: f64 = 1.5;
/// From one step down to the next, while nothing has been kept up with.
const STEP_DOWN: f64 = 0.5;
/// How close the rates that was and was not kept up with must be.
const PRECISION: f64 = 1.05;
/// Rates that are not searched beyond.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 200_000.0;
/// The share of offered orders that may fail.
const ERROR_SHARE_MAX: f64 = 0.001;
/// The share of offered orders that must complete meanwhile: the rest is what was under way at the window's edges.
const COMPLETED_SHARE_MIN: f64 = 0.95;

/// A rate that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Orders a second that were to arrive.
    pub rate_per_s: f64,
    /// Acceptances a second.
    pub accepted_per_s: f64,
    /// Orders a second that became CONFIRMED.
    pub completed_per_s: f64,
    /// From the intended start to the acceptance, the p99 in milliseconds.
    pub submit_p99_ms: Option<f64>,
    /// From the intended start to CONFIRMED, the p99 in milliseconds.
    pub confirmed_p99_ms: Option<f64>,
    /// The share of orders that failed, in percent.
    pub errors_pct: f64,
    /// How long after the load's end the last order was done, in seconds; null: not within a minute.
    pub drain_s: Option<f64>,
}

impl Step {
    pub(super) fn new(rate_per_s: f64, measured: &Measured) -> Self {
        let outcome = &measured.outcome;
        Self {
            rate_per_s,
            accepted_per_s: rounded(super::numbers::float(outcome.counts.accepted_within) / measured.seconds),
            completed_per_s: measured.completed_per_s().unwrap_or(0.0),
            submit_p99_ms: outcome.submit.p99,
            confirmed_p99_ms: outcome.confirmed.p99,
            errors_pct: rounded(measured.error_share() * 100.0),
            drain_s: measured.drain.map(|drain| rounded(drain.as_secs_f64())),
        }
    }

    /// Whether the server kept up with it, its submissions' p99 within the limit.
    fn keeps(&self, limit_ms: f64) -> bool {
        self.submit_p99_ms.is_some_and(|p99| p99 <= limit_ms)
            && self.errors_pct < ERROR_SHARE_MAX * 100.0
            && self.completed_per_s >= self.rate_per_s * COMPLETED_SHARE_MIN
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s offered: {:.0} accepted, {:.0} completed, submit p99 {} ms, to CONFIRMED p99 {} ms, {:.2} % errors",
            self.rate_per_s,
            self.accepted_per_s,
            self.completed_per_s,
            shown(self.submit_p99_ms),
            shown(self.confirmed_p99_ms),
            self.errors_pct
        )
    }
}

/// What a search does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Tries this rate.
    Try(f64),
    /// Is over: the highest rate that was kept up with, if any was.
    Found(Option<f64>),
}

/// What to do next in search of the highest rate with a p99 within `limit_ms`, after these steps (of any search, in any
/// order), beginning at `start`: up in geometric steps, then by halves until the bounds are within five percent.
///
/// A rate that failed below one that was kept up with is taken for an accident of the machine.
pub(super) fn next(steps: &[Step], limit_ms: f64, start: f64) -> Next {
    if steps.is_empty() {
        return Next::Try(start);
    }
    let rates = |kept: bool| {
        let steps = steps.iter().filter(move |step| step.keeps(limit_ms) == kept);
        steps.map(|step| step.rate_per_s)
    };
    let Some(good) = rates(true).max_by(f64::total_cmp) else {
        let lowest = rates(false).min_by(f64::total_cmp).unwrap_or(start) * STEP_DOWN;
        return if lowest < RATE_MIN {
            Next::Found(None)
        } else {
            Next::Try(whole(lowest))
        };
    };
    match rates(false).filter(|rate| *rate > good).min_by(f64::total_cmp) {
        None if good >= RATE_MAX => Next::Found(Some(good)),
        None => Next::Try(whole((good * STEP_UP).min(RATE_MAX))),
        Some(bad) if bad / good <= PRECISION || whole((good * bad).sqrt()) <= good => Next::Found(Some(good)),
        Some(bad) => Next::Try(whole((good * bad).sqrt())),
    }
}

/// Rates of a thousand and more need no decimals.
fn whole(rate: f64) -> f64 {
    if rate >= 100.0 { rate.round() } else { rounded(rate) }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RampReport {
    /// Servers.
    pub nodes: usize,
    /// `sqlite`, `postgres`, `memory`, or `unknown`.
    pub store: String,
    /// The program's version.
    pub version: String,
    /// Cores of this machine.
    pub cores: usize,
    /// The highest rate with a submit p99 of at most 2 s; null when not even the lowest was kept up with.
    pub rate_at_2000_ms: Option<f64>,
    /// The highest rate with a submit p99 of at most 100 ms; null when not even the lowest was kept up with.
    pub rate_at_100_ms: Option<f64>,
    /// Every rate that was tried, in order.
    pub steps: Vec<Step>,
    /// Acknowledged orders of all steps.
    pub acknowledged: u64,
    /// Those of them that were looked for.
    pub checked: u64,
    /// Those that are not there.
    pub missing: u64,
    /// Those that are there, but are still PENDING and do not get on.
    pub stalled: u64,
    /// How long the disk took to keep 4 kB, measured before the load.
    pub fsync_ms: Quantiles,
}

impl RampReport {
    pub(super) fn new(
        (store, nodes): (&str, usize),
        found: [Option<f64>; 2],
        steps: Vec<Step>,
        acknowledged: usize,
        orders: &Found,
        sync: Option<Quantiles>,
    ) -> Self {
        let [rate_at_2000_ms, rate_at_100_ms] = found;
        Self {
            nodes,
            store: store.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rate_at_2000_ms,
            rate_at_100_ms,
            steps,
            acknowledged: u64::try_from(acknowledged).unwrap_or(u64::MAX),
            checked: orders.checked,
            missing: orders.missing,
            stalled: orders.stalled,
            fsync_ms: sync.unwrap_or_default(),
        }
    }

    /// Whether every acknowledged order that was looked for is there, and over or moving.
    pub const fn is_complete(&self) -> bool {
        self.missing == 0 && self.stalled == 0
    }
}

impl fmt::Display for RampReport {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "offered /s",
            "accepted /s",
            "completed /s",
            "submit p99 ms",
            "CONFIRMED p99 ms",
            "errors %",
            "drain s",
        ]);
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        for step in steps {
            table.add_row([
                format!("{:.0}", step.rate_per_s),
                format!("{:.0}", step.accepted_per_s),
                format!("{:.0}", step.completed_per_s),
                shown(step.submit_p99_ms),
                shown(step.confirmed_p99_ms),
                format!("{:.2}", step.errors_pct),
                shown(step.drain_s),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.0}/s"));
        writeln!(
            f,
            "{} server(s), {} store, uoop {}, {} cores; fsync of 4 kB p50 {} ms, p99 {} ms",
            self.nodes,
            self.store,
            self.version,
            self.cores,
            shown(self.fsync_ms.p50),
            shown(self.fsync_ms.p99)
        )?;
        writeln!(f, "submit p99 within 2 s: {}", rate(self.rate_at_2000_ms))?;
        writeln!(f, "submit p99 within 100 ms: {}", rate(self.rate_at_100_ms))?;
        write!(
            f,
            "{} acknowledged, {} looked for: {} missing, {} stalled",
            self.acknowledged, self.checked, self.missing, self.stalled
        )
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose latency grows without bound towards its ceiling, as a queue's does.
    fn measured(rate_per_s: f64, ceiling: f64) -> Step {
        let load = rate_per_s / ceiling;
        let p99 = if load < 1.0 { 5.0 / (1.0 - load) } else { 30_000.0 };
        let completed = rate_per_s.min(ceiling);
        Step {
            rate_per_s,
            accepted_per_s: completed,
            completed_per_s: completed,
            submit_p99_ms: Some(p99),
            confirmed_p99_ms: Some(p99 * 3.0),
            errors_pct: if load > 1.2 { 10.0 } else { 0.0 },
            drain_s: Some(0.0),
        }
    }

    fn search(limit_ms: f64, start: f64, steps: &mut Vec<Step>, ceiling: f64) -> Option<f64> {
        for _ in 0..100 {
            match next(steps, limit_ms, start) {
                Next::Try(rate) => steps.push(measured(rate, ceiling)),
                Next::Found(rate) => return rate,
            }
        }
        panic!("no end after {steps:?}");
    }

    #[test]
    fn both_rates_are_found_within_five_percent() {
        for (ceiling, start) in [(8_000.0, 1_000.0), (12.0, 1_000.0), (937.0, 5_000.0), (60_000.0, 100.0)] {
            let mut steps = Vec::new();
            let loose = search(2_000.0, start, &mut steps, ceiling).expect("a rate");
            let strict = search(100.0, start, &mut steps, ceiling).expect("a rate");
            // 5 / (1 - load) reaches the limits at these loads.
            for (found, exact) in [(loose, ceiling * 0.9975), (strict, ceiling * 0.95)] {
                assert!(found <= exact && found >= exact / 1.06, "{found} of {exact}: {steps:?}");
            }
            assert!(steps.len() < 40, "{} steps", steps.len());
        }
    }

    #[test]
    fn a_search_begins_where_it_is_told_and_can_find_nothing() {
        assert_eq!(next(&[], 100.0, 700.0), Next::Try(700.0));
        let mut steps = Vec::new();
        assert_eq!(search(100.0, 1_000.0, &mut steps, 0.5), None);
    }

    #[test]
    fn failing_orders_and_orders_left_behind_do_not_keep_up() {
        let fine = measured(100.0, 1_000.0);
        assert!(fine.keeps(100.0) && !fine.keeps(5.0));
        for wrong in [
            Step {
                errors_pct: 0.1,
                ..fine
            },
            Step {
                completed_per_s: 94.0,
                ..fine
            },
            Step {
                submit_p99_ms: None,
                ..fine
            },
        ] {
            assert!(!wrong.keeps(2_000.0), "{wrong:?}");
        }
    }

    #[test]
    fn an_accident_below_a_rate_that_was_kept_up_with_is_passed_over() {
        let accident = Step {
            errors_pct: 50.0,
            ..measured(500.0, 1_000.0)
        };
        let steps = [measured(800.0, 1_000.0), accident];
        assert_eq!(next(&steps, 100.0, 1.0), Next::Try(1_200.0));
    }
}
