//! What the nodes count, summed over all nodes and all their lives.

use super::front::Front;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often the figures are read: what a node counts in the last moment before a kill is not seen.
const READ_EVERY: Duration = Duration::from_millis(250);
const READ_MAX: Duration = Duration::from_millis(500);

/// What is kept of them.
pub(super) const FENCED: &str = "uoop_journal_fenced_total";
/// Those that were sent, and that the store refused.
pub(super) const FENCED_BY_STORE: &str = "uoop_journal_fenced_total{by=\"store\"}";
pub(super) const LOST: &str = "uoop_shards_lost_total";
pub(super) const TAKEN: &str = "uoop_shards_taken_total";
/// Commands for which there was no room with a channel or a zone.
pub(super) const CROWDED: &str = "uoop_commands_refused_total{bound=\"mailbox\"}";
const KEPT: [&str; 18] = [
    FENCED,
    FENCED_BY_STORE,
    CROWDED,
    LOST,
    TAKEN,
    "uoop_shards_given_total",
    "uoop_shards_given_back_total",
    "uoop_nodes_removed_total",
    "uoop_calls_forwarded_total",
    "uoop_peer_requests_total",
    "uoop_peer_lost_total",
    "uoop_replica_gaps_total",
    "uoop_stale_answers_total",
    "uoop_journal_unknown_total",
    "uoop_journal_unavailable_total",
    "uoop_actor_crashes_total",
    "uoop_orders_stuck_total",
    "uoop_streams_corrupt_total",
];

pub(super) type Counts = BTreeMap<&'static str, u64>;

/// The sums so far.
#[derive(Clone, Default)]
pub(super) struct Figures {
    nodes: Arc<Mutex<Vec<Life>>>,
}

/// What one node counts: in its present life, and in those before.
#[derive(Default)]
struct Life {
    now: Counts,
    before: Counts,
}

impl Life {
    fn see(&mut self, counts: Counts) {
        // A process that was started again counts from 0.
        if self
            .now
            .iter()
            .any(|(name, before)| counts.get(name).is_none_or(|now| now < before))
        {
            for (name, count) in std::mem::take(&mut self.now) {
                *self.before.entry(name).or_default() += count;
            }
        }
        self.now = counts;
    }
}

impl Figures {
    /// Reads them until the run is over.
    pub(super) fn start(front: &Arc<Front>, tasks: &mut JoinSet<()>) -> Self {
        let figures = Self::default();
        for n in 0..front.len() {
            let (front, kept) = (Arc::clone(front), figures.clone());
            kept.lock().push(Life::default());
            tasks.spawn(async move {
                let Ok(http) = reqwest::Client::builder().timeout(READ_MAX).no_proxy().build() else {
                    return;
                };
                loop {
                    if let Some(counts) = read(&http, front.node(n)).await {
                        kept.lock()[n].see(counts);
                    }
                    sleep(READ_EVERY).await;
                }
            });
        }
        figures
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Life>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All sums.
    pub(super) fn sums(&self) -> BTreeMap<&'static str, u64> {
        let mut sums: Counts = KEPT.iter().map(|name| (*name, 0)).collect();
        for life in self.lock().iter() {
            for (name, count) in life.now.iter().chain(&life.before) {
                *sums.entry(name).or_default() += count;
            }
        }
        sums
    }
}

/// What a node counts now; `None` when it does not tell.
pub(super) async fn read(http: &reqwest::Client, url: &str) -> Option<Counts> {
    let text = http
        .get(format!("{url}/metrics"))
        .send()
        .await
        .ok()?
        .text()
        .await
        .ok()?;
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some(value) = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok()) else {
            continue;
        };
        // One with a label counts for the sum as well.
        for name in KEPT {
            if line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) {
                *counts.entry(name).or_default() += value;
            }
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_summed() {
        let mut life = Life::default();
        for (fenced, sum) in [(0, 0), (3, 3), (5, 5), (1, 6), (4, 9), (0, 9)] {
            life.see(Counts::from([(FENCED, fenced)]));
            let figures = Figures {
                nodes: Arc::new(Mutex::new(vec![std::mem::take(&mut life)])),
            };
            assert_eq!(figures.sums()[FENCED], sum);
            life = figures.lock().remove(0);
        }
    }
}
