//! What came of the orders of a load.

use super::latency::{Latencies, Quantiles};
use super::load::{Answer, Arrival, Failure};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use uuid::Uuid;

/// The time whose orders are measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

impl Window {
    fn contains(&self, at: Instant) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

/// Counts and latencies while a load runs.
pub(super) struct Tally {
    window: Window,
    inner: Mutex<Inner>,
}

struct Inner {
    counts: Counts,
    submit: Latencies,
    confirmed: Latencies,
    refused: Latencies,
    begun: Latencies,
    errors: BTreeMap<String, u64>,
    acknowledged: Vec<Uuid>,
}

/// How many orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// That were to arrive within the window.
    pub(super) offered: u64,
    /// Of those, that were accepted.
    pub(super) accepted: u64,
    /// Acceptances that came within the window, whenever the order was to arrive.
    pub(super) accepted_within: u64,
    /// Submissions that were answered or given up, the whole load's.
    pub(super) ended: u64,
}

/// What came of the orders.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// From the intended start to `201`.
    pub(super) submit: Quantiles,
    /// From the intended start to the answer that says CONFIRMED.
    pub(super) confirmed: Quantiles,
    /// From the intended start to `503`.
    pub(super) refused: Quantiles,
    /// From the intended start until the generator began, where a connection was free for it.
    pub(super) begun: Quantiles,
    /// By kind, of those that were to arrive within the window.
    pub(super) errors: BTreeMap<String, u64>,
    /// Every accepted order of the whole load.
    pub(super) acknowledged: Vec<Uuid>,
}

impl Outcome {
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Tally {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            inner: Mutex::new(Inner {
                counts: Counts::default(),
                submit: Latencies::new(),
                confirmed: Latencies::new(),
                refused: Latencies::new(),
                begun: Latencies::new(),
                errors: BTreeMap::new(),
                acknowledged: Vec::new(),
            }),
        }
    }

    /// The figures are whole at every moment, so a panic elsewhere does not spoil them.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down when an arrival began that did not have to wait for a connection: late only by the generator's own doing.
    pub(super) fn began(&self, arrival: Arrival, now: Instant) {
        if self.window.contains(arrival.at) {
            self.inner().begun.record(now.saturating_duration_since(arrival.at));
        }
    }

    /// Takes down what came of an arrival, and when.
    pub(super) fn record(&self, arrival: Arrival, placed: Result<Answer, Failure>, now: Instant) {
        let took = now.saturating_duration_since(arrival.at);
        let mut inner = self.inner();
        inner.counts.ended += 1;
        if let Ok(Answer::Accepted { id, .. }) = &placed {
            inner.acknowledged.push(*id);
            inner.counts.accepted_within += u64::from(self.window.contains(now));
        }
        if !self.window.contains(arrival.at) {
            return;
        }
        inner.counts.offered += 1;
        let error = match placed {
            Ok(Answer::Accepted { status, .. }) => {
                inner.counts.accepted += 1;
                match status.as_deref() {
                    // It did not wait: its answer came as soon as the others'.
                    None => inner.submit.record(took),
                    Some("FAILED" | "CANCELLED" | "PENDING") => {}
                    Some(_) => inner.confirmed.record(took),
                }
                match status.as_deref() {
                    Some("PENDING") => "still PENDING after 30 s".to_owned(),
                    Some(over @ ("FAILED" | "CANCELLED")) => format!("order {over}"),
                    None if arrival.wait => "not allowed to wait".to_owned(),
                    _ => return,
                }
            }
            Ok(Answer::Refused { status, problem }) => {
                if status == 503 {
                    inner.refused.record(took);
                }
                format!("{status} {problem}")
            }
            Err(failure) => failure.to_string(),
        };
        *inner.errors.entry(error).or_default() += 1;
    }

    /// How many so far.
    pub(super) fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// What came of all of them.
    pub(super) fn outcome(&self) -> Outcome {
        let mut inner = self.inner();
        Outcome {
            counts: inner.counts,
            submit: inner.submit.quantiles(),
            confirmed: inner.confirmed.quantiles(),
            refused: inner.refused.quantiles(),
            begun: inner.begun.quantiles(),
            errors: inner.errors.clone(),
            acknowledged: std::mem::take(&mut inner.acknowledged),
        }
    }
}
