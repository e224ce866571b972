//! What the journal counts.

use super::{Pending, Task};
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::sync::mpsc;

/// The journal's figures, looked up once.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) batch_rows: Histogram,
    pub(super) commit_seconds: Histogram,
    pub(super) queue_rows: Gauge,
    pub(super) committed: Counter,
    /// Rows of a shard that this node had given up before they were sent.
    pub(super) fenced_here: Counter,
    /// Rows that the store refused, since another node had taken their shard over.
    pub(super) fenced_there: Counter,
    /// Rows whose idempotency key was used: clients that repeat themselves, mostly.
    pub(super) duplicate_keys: Counter,
    /// Rows of a version that the stream has already: somebody else has written it.
    pub(super) duplicate_versions: Counter,
    /// Rows that can never be written.
    pub(super) poison: Counter,
    pub(super) unavailable: Counter,
    pub(super) unknown: Counter,
}

impl Figures {
    /// Puts a row into its place in a writer's queue.
    pub(super) fn enqueue(&self, place: mpsc::Permit<'_, Task>, row: Pending) {
        self.queue_rows.increment(1);
        place.send(Task::Append(row));
    }

    pub(super) fn new() -> Self {
        describe_histogram!("uoop_journal_batch_rows", Unit::Count, "Rows in each commit");
        describe_histogram!(
            "uoop_journal_commit_seconds",
            Unit::Seconds,
            "Time that each commit took"
        );
        describe_gauge!("uoop_journal_queue_rows", Unit::Count, "Rows that wait for a commit");
        describe_counter!("uoop_journal_committed_total", "Rows that were committed");
        describe_counter!(
            "uoop_journal_fenced_total",
            "Rows of shards that another node owns, by who found that: the journal before it sent them, or the store"
        );
        describe_counter!(
            "uoop_journal_refused_total",
            "Rows that the database refused, by reason: duplicate_key (a request that was repeated), duplicate_version or poison"
        );
        describe_counter!(
            "uoop_journal_unavailable_total",
            "Commits that the store could not make"
        );
        describe_counter!(
            "uoop_journal_unknown_total",
            "Commits whose outcome had to be found out"
        );
        Self {
            batch_rows: histogram!("uoop_journal_batch_rows"),
            commit_seconds: histogram!("uoop_journal_commit_seconds"),
            queue_rows: gauge!("uoop_journal_queue_rows"),
            committed: counter!("uoop_journal_committed_total"),
            fenced_here: counter!("uoop_journal_fenced_total", "by" => "journal"),
            fenced_there: counter!("uoop_journal_fenced_total", "by" => "store"),
            duplicate_keys: counter!("uoop_journal_refused_total", "reason" => "duplicate_key"),
            duplicate_versions: counter!("uoop_journal_refused_total", "reason" => "duplicate_version"),
            poison: counter!("uoop_journal_refused_total", "reason" => "poison"),
            unavailable: counter!("uoop_journal_unavailable_total"),
            unknown: counter!("uoop_journal_unknown_total"),
        }
    }
}
