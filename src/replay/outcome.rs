//! What came of an order.

use crate::api::OrderView;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the replay leaves an order.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Nothing more is to happen to it.
    Settled(Box<OrderView>),
    /// It was accepted, and is not settled when the time is over.
    Open(Box<OrderView>),
    /// It was accepted, and the server does not know it.
    Unknown,
    /// It was never accepted, for this reason.
    NotAccepted(String),
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The order's id in the instance.
    pub order: String,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Its id on the platform, once it was accepted.
    pub id: Option<String>,
    /// How the replay leaves it.
    pub end: End,
    /// How long its submission took, repetitions included.
    pub submit: Duration,
    /// How much later than planned it was submitted.
    pub lag: Duration,
    /// The id that its repeated submission gave, if it was repeated.
    pub duplicate_id: Option<String>,
    /// Whether its cancel was granted, if it was cancelled.
    pub cancel_granted: Option<bool>,
}

impl Outcome {
    /// Whether the platform promised to carry it out.
    pub const fn is_acknowledged(&self) -> bool {
        self.id.is_some()
    }

    /// The order as it stood when it was seen last.
    pub fn view(&self) -> Option<&OrderView> {
        match &self.end {
            End::Settled(view) | End::Open(view) => Some(view),
            End::Unknown | End::NotAccepted(_) => None,
        }
    }

    /// Whether its repeated submission made a second order (against SG-2).
    pub fn is_doubled(&self) -> bool {
        self.duplicate_id.is_some() && self.duplicate_id != self.id
    }

    /// Why it counts as missing, if it does.
    pub fn missing(&self) -> Option<String> {
        match &self.end {
            End::Settled(_) => None,
            End::Open(view) if view.stuck => Some(format!("{}, stuck", view.status)),
            End::Open(view) => Some(format!("{}, not settled", view.status)),
            End::Unknown => Some("accepted, then unknown".to_owned()),
            End::NotAccepted(reason) => Some(format!("not accepted: {reason}")),
        }
    }

    /// The outcome as a line of a report.
    pub fn report(&self) -> ReportLine {
        let view = self.view();
        ReportLine {
            order: self.order.clone(),
            key: self.key.clone(),
            id: self.id.clone(),
            acknowledged: self.is_acknowledged(),
            settled: matches!(self.end, End::Settled(_)),
            status: view.map(|view| view.status.clone()),
            failure_code: view.and_then(|view| view.failure_code.clone()),
            placed_at: view.map(|view| view.placed_at),
            delivered_at: view.and_then(|view| view.delivered_at),
            duplicate_id: self.duplicate_id.clone(),
            cancel_granted: self.cancel_granted,
            missing: self.missing(),
        }
    }
}

/// A line of the report that `uoop replay --report` writes. Times are milliseconds since the Unix epoch, in business
/// time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportLine {
    /// The order's id in the instance.
    pub order: String,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Its id on the platform; null when it was never accepted.
    pub id: Option<String>,
    /// Whether the platform accepted it.
    pub acknowledged: bool,
    /// Whether nothing more is to happen to it.
    pub settled: bool,
    /// Its status when it was seen last.
    pub status: Option<String>,
    /// Why it failed or was cancelled.
    pub failure_code: Option<String>,
    /// When it was accepted.
    pub placed_at: Option<i64>,
    /// When the customer had it.
    pub delivered_at: Option<i64>,
    /// The id that a repeated submission under the same key gave.
    pub duplicate_id: Option<String>,
    /// Whether its cancel was granted; null when none was asked for.
    pub cancel_granted: Option<bool>,
    /// Why it counts as missing; null when it does not.
    pub missing: Option<String>,
}
