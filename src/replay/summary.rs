//! A replay in figures: pure.

use super::outcome::{End, Outcome};
use super::polls::Polls;
use crate::api::OrderView;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A replay in figures. `orders` = `delivered` + `failed` + `cancelled` + `missing`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The run's name: the prefix of its restaurants, couriers and keys.
    pub run: String,
    /// Orders of the day that were played.
    pub orders: usize,
    /// Orders that the platform accepted.
    pub placed: usize,
    /// Orders that reached their customer.
    pub delivered: usize,
    /// Orders that failed, with everything undone.
    pub failed: usize,
    /// The same by reason.
    pub failed_by: BTreeMap<String, usize>,
    /// Orders that were cancelled, with everything undone.
    pub cancelled: usize,
    /// Orders that were not accepted, that the server does not know, or that are not settled.
    pub missing: usize,
    /// The same by reason.
    pub missing_by: BTreeMap<String, usize>,
    /// From acceptance to delivery, in minutes of business time.
    pub click_to_door_min: Spread,
    /// From the food being ready to the courier having it, in minutes of business time.
    pub ready_to_pickup_min: Spread,
    /// Deliveries later than the target.
    pub overdue: Overdue,
    /// Deliveries within five minutes of what was promised first, in percent; null when there are none.
    pub promises_kept_pct: Option<f64>,
    /// How long submissions took, repetitions included, in milliseconds of wall time.
    pub submit_ms: Quantiles,
    /// How much later than planned orders were submitted, in milliseconds of wall time.
    pub lag_ms: Quantiles,
    /// Requests that were repeated.
    pub retries: u64,
    /// Submissions repeated on purpose.
    pub duplicates: Duplicates,
    /// Cancels that were granted.
    pub cancels_granted: usize,
    /// Cancels that were refused.
    pub cancels_refused: usize,
    /// What customers saw who looked at their orders' status; null unless that was asked for.
    pub polls: Option<Polls>,
    /// How long the replay took, in seconds of wall time.
    pub wall_s: f64,
}

/// A distribution; null when there is nothing to distribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: Option<f64>,
    /// What nine of ten do not exceed.
    pub p90: Option<f64>,
    /// The mean.
    pub mean: Option<f64>,
}

/// A distribution's middle and end; null when there is nothing to distribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// What 99 of a hundred do not exceed.
    pub p99: Option<f64>,
}

/// Deliveries later than the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Overdue {
    /// The target from the click to the door, in minutes.
    pub target_min: u32,
    /// How many.
    pub count: usize,
    /// By how many minutes on average; null when there are none.
    pub mean_min: Option<f64>,
}

/// Submissions repeated under the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// How many were sent.
    pub sent: usize,
    /// How many did not get the first one's order.
    pub wrong: usize,
}

/// What a summary says beside what came of the orders.
pub(super) struct Frame {
    pub(super) run: String,
    pub(super) target_min: u32,
    pub(super) retries: u64,
    pub(super) wall: Duration,
    pub(super) polls: Option<Polls>,
}

impl Summary {
    pub(super) fn new(outcomes: &[Outcome], frame: Frame) -> Self {
        let ended = |status: &'static str| {
            outcomes.iter().filter_map(move |outcome| match &outcome.end {
                End::Settled(view) if view.status == status => Some(view.as_ref()),
                _ => None,
            })
        };
        let mut doors: Vec<u64> = ended("DELIVERED")
            .filter_map(|o| since(o.placed_at, o.delivered_at?))
            .collect();
        let mut waits: Vec<u64> = ended("DELIVERED")
            .filter_map(|o| since(o.ready_at?, o.picked_up_at?))
            .collect();
        let mut submits: Vec<u64> = accepted(outcomes).map(|outcome| micros(outcome.submit)).collect();
        let mut lags: Vec<u64> = outcomes.iter().map(|outcome| micros(outcome.lag)).collect();
        for figures in [&mut doors, &mut waits, &mut submits, &mut lags] {
            figures.sort_unstable();
        }
        let missing_by = count_by(outcomes.iter().filter_map(Outcome::missing));
        let failed_by = count_by(ended("FAILED").map(|o| o.failure_code.clone().unwrap_or_else(|| "UNKNOWN".into())));
        let cancels = |granted| {
            outcomes
                .iter()
                .filter(|outcome| outcome.cancel_granted == Some(granted))
                .count()
        };
        Self {
            run: frame.run,
            orders: outcomes.len(),
            placed: accepted(outcomes).count(),
            delivered: ended("DELIVERED").count(),
            failed: failed_by.values().sum(),
            failed_by,
            cancelled: ended("CANCELLED").count(),
            missing: missing_by.values().sum(),
            missing_by,
            click_to_door_min: Spread::of(&doors),
            ready_to_pickup_min: Spread::of(&waits),
            overdue: Overdue::of(&doors, frame.target_min),
            promises_kept_pct: kept_pct(ended("DELIVERED")),
            submit_ms: Quantiles::of(&submits),
            lag_ms: Quantiles::of(&lags),
            retries: frame.retries,
            duplicates: Duplicates {
                sent: outcomes.iter().filter(|outcome| outcome.duplicate_id.is_some()).count(),
                wrong: outcomes.iter().filter(|outcome| outcome.is_doubled()).count(),
            },
            cancels_granted: cancels(true),
            cancels_refused: cancels(false),
            polls: frame.polls,
            wall_s: rounded(frame.wall.as_secs_f64()),
        }
    }

    /// Whether every order of the day was settled, and none became two.
    pub const fn is_complete(&self) -> bool {
        self.missing == 0 && self.duplicates.wrong == 0
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
        row("placed", format!("{} of {}", self.placed, self.orders));
        row("delivered", self.delivered.to_string());
        row("failed", self.failed.to_string());
        for (code, count) in &self.failed_by {
            row(&format!("  {code}"), count.to_string());
        }
        row("cancelled", self.cancelled.to_string());
        row("missing", self.missing.to_string());
        for (reason, count) in &self.missing_by {
            row(&format!("  {reason}"), count.to_string());
        }
        let door = self.click_to_door_min;
        row(
            "click to door, p50 / p90 / mean",
            in_unit(&[door.p50, door.p90, door.mean], "min"),
        );
        let wait = self.ready_to_pickup_min;
        row(
            "ready to pick-up, p50 / p90 / mean",
            in_unit(&[wait.p50, wait.p90, wait.mean], "min"),
        );
        let late = match self.overdue.mean_min {
            Some(mean) => format!("{}, by {mean:.1} min", self.overdue.count),
            None => self.overdue.count.to_string(),
        };
        row(&format!("over {} min", self.overdue.target_min), late);
        row("promises kept within 5 min", in_unit(&[self.promises_kept_pct], "%"));
        row(
            "submit, p50 / p99",
            in_unit(&[self.submit_ms.p50, self.submit_ms.p99], "ms"),
        );
        row(
            "submitted late by, p50 / p99",
            in_unit(&[self.lag_ms.p50, self.lag_ms.p99], "ms"),
        );
        row("repeated requests", self.retries.to_string());
        if self.duplicates.sent > 0 {
            let Duplicates { sent, wrong } = self.duplicates;
            row("duplicates, of them wrong", format!("{sent}, {wrong}"));
        }
        if self.cancels_granted + self.cancels_refused > 0 {
            let (granted, refused) = (self.cancels_granted, self.cancels_refused);
            row("cancels granted, refused", format!("{granted}, {refused}"));
        }
        if let Some(polls) = &self.polls {
            let Polls {
                answered,
                failed,
                backward,
                ..
            } = polls;
            row(
                "status polls, failed, backward",
                format!("{answered}, {failed}, {backward}"),
            );
            let ratio = polls
                .hit_ratio
                .map_or("-".into(), |ratio| format!("{:.2} %", ratio * 100.0));
            row("status cache hit ratio", ratio);
        }
        row("wall time", format!("{:.1} s", self.wall_s));
        rows
    }
}

impl fmt::Display for Summary {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([self.run.as_str(), ""]);
        table.add_rows(self.rows());
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

impl Spread {
    /// Of sorted milliseconds, in minutes.
    fn of(sorted_ms: &[u64]) -> Self {
        Self {
            p50: percentile(sorted_ms, 50).map(minutes),
            p90: percentile(sorted_ms, 90).map(minutes),
            mean: mean(sorted_ms).map(minutes),
        }
    }
}

impl Quantiles {
    /// Of sorted microseconds, in milliseconds.
    fn of(sorted_us: &[u64]) -> Self {
        let ms = |us: u64| rounded(as_f64(us) / 1_000.0);
        Self {
            p50: percentile(sorted_us, 50).map(ms),
            p99: percentile(sorted_us, 99).map(ms),
        }
    }
}

impl Overdue {
    fn of(doors_ms: &[u64], target_min: u32) -> Self {
        let target_ms = u64::from(target_min) * 60_000;
        let late: Vec<u64> = doors_ms
            .iter()
            .filter(|ms| **ms > target_ms)
            .map(|ms| ms - target_ms)
            .collect();
        Self {
            target_min,
            count: late.len(),
            mean_min: mean(&late).map(minutes),
        }
    }
}

/// How many of a hundred orders were delivered within five minutes of what was promised first.
fn kept_pct<'a>(delivered: impl Iterator<Item = &'a OrderView>) -> Option<f64> {
    const KEPT_MS: u64 = 5 * 60_000;
    let errors = delivered.filter_map(|order| Some(order.delivered_at?.abs_diff(order.first_promised_at?)));
    let errors: Vec<u64> = errors.collect();
    let kept = errors.iter().filter(|error_ms| **error_ms <= KEPT_MS).count();
    (!errors.is_empty()).then(|| rounded(100.0 * as_f64(kept as u64) / as_f64(errors.len() as u64)))
}

/// The smallest value that `percent` of a hundred do not exceed (nearest rank).
pub(super) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn mean(values: &[u64]) -> Option<u64> {
    values.iter().sum::<u64>().checked_div(values.len() as u64)
}

fn accepted(outcomes: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().filter(|outcome| outcome.is_acknowledged())
}

fn count_by(reasons: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    counts
}

fn since(earlier: i64, later: i64) -> Option<u64> {
    u64::try_from(later - earlier).ok()
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn minutes(ms: u64) -> f64 {
    rounded(as_f64(ms) / 60_000.0)
}

/// Exact up to 49 days in milliseconds, far beyond any figure here.
fn as_f64(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

/// To two places.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn in_unit(values: &[Option<f64>], unit: &str) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| value.map_or("-".into(), |value| format!("{value:.1}")))
        .collect();
    format!("{} {unit}", values.join(" / "))
}
