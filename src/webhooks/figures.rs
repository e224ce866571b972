//! The figures of webhooks.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use persistence::Kept;
use std::time::Duration;

const DELIVERIES: &str = "uoop_webhook_deliveries_total";
const SECONDS: &str = "uoop_webhook_delivery_seconds";
const WAITING: &str = "uoop_webhook_waiting";
const DEAD: &str = "uoop_webhook_dead";
const UNREADABLE: &str = "uoop_webhook_rows_unreadable_total";

/// Gives the figures their help texts. Idempotent.
pub(super) fn describe() {
    describe_counter!(
        DELIVERIES,
        Unit::Count,
        "Attempts to deliver a message, by outcome: delivered, failed (it will be attempted again), dead (it will not), \
         gone (410: the subscription was switched off); and messages put off without one"
    );
    describe_histogram!(
        SECONDS,
        Unit::Seconds,
        "From an event's commit to the answer of the endpoint that took it, retries included"
    );
    describe_gauge!(WAITING, Unit::Count, "Messages kept for another attempt");
    describe_gauge!(DEAD, Unit::Count, "Dead letters: messages that were given up");
    describe_counter!(
        UNREADABLE,
        Unit::Count,
        "Rows that were passed over because this program cannot read them"
    );
}

/// What an attempt came to.
pub(super) fn outcome(outcome: &'static str) {
    outcomes(outcome, 1);
}

/// What became of so many messages.
pub(super) fn outcomes(outcome: &'static str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    metrics::counter!(DELIVERIES, "outcome" => outcome).increment(count);
}

/// How long a message took to arrive.
pub(super) fn took(time: Duration) {
    metrics::histogram!(SECONDS).record(time.as_secs_f64());
}

/// How many messages are kept.
pub(super) fn kept(all: Kept) {
    let shown = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!(WAITING).set(shown(all.waiting));
    metrics::gauge!(DEAD).set(shown(all.dead));
}

/// A row was passed over.
pub(super) fn unreadable() {
    metrics::counter!(UNREADABLE).increment(1);
}
