//! What the relay counts.

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a relay has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayStatus {
    /// Events that Kafka acknowledged; one that was sent twice counts twice.
    pub events: u64,
    /// How often it failed and began again.
    pub errors: u64,
    /// Rows and events that can never be relayed and were passed over.
    pub poison: u64,
    /// Events that were sent and are not acknowledged yet.
    pub in_flight: u64,
}

/// The same, where the relay keeps it.
#[derive(Default)]
pub(super) struct Counts {
    events: AtomicU64,
    errors: AtomicU64,
    poison: AtomicU64,
    in_flight: AtomicU64,
}

impl Counts {
    pub(super) fn status(&self) -> RelayStatus {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RelayStatus {
            events: read(&self.events),
            errors: read(&self.errors),
            poison: read(&self.poison),
            in_flight: read(&self.in_flight),
        }
    }
}

/// The relay's figures, looked up once.
pub(super) struct Figures {
    pub(super) delivery: Histogram,
    events: Counter,
    errors: Counter,
    poison: Counter,
    in_flight: Gauge,
    counts: Arc<Counts>,
}

impl Figures {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        describe_histogram!(
            "uoop_relay_delivery_seconds",
            Unit::Seconds,
            "Time from an event's commit to its acknowledgement by Kafka; not of events that were read back from the store"
        );
        describe_counter!("uoop_relay_events_total", "Events that Kafka acknowledged");
        describe_counter!(
            "uoop_relay_errors_total",
            "Times that the relay failed and began again from its cursors"
        );
        describe_counter!(
            "uoop_relay_poison_total",
            "Rows and events that can never be relayed and were passed over"
        );
        describe_gauge!(
            "uoop_relay_in_flight",
            Unit::Count,
            "Events that were sent and are not acknowledged yet"
        );
        Self {
            delivery: histogram!("uoop_relay_delivery_seconds"),
            events: counter!("uoop_relay_events_total"),
            errors: counter!("uoop_relay_errors_total"),
            poison: counter!("uoop_relay_poison_total"),
            in_flight: gauge!("uoop_relay_in_flight"),
            counts,
        }
    }

    pub(super) fn acknowledged(&self, events: u64) {
        self.events.increment(events);
        self.counts.events.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.errors.increment(1);
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn passed_over(&self) {
        self.poison.increment(1);
        self.counts.poison.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self, events: usize) {
        self.in_flight.set(u32::try_from(events).unwrap_or(u32::MAX));
        self.counts.in_flight.store(events as u64, Ordering::Relaxed);
    }
}
