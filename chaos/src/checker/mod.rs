//! The checker: whether the evidence of a run agrees with what was promised. Pure; one file for each concern.

mod capacity;
mod endings;
mod existence;
mod history;
pub mod lines;
mod outside;
#[cfg(test)]
pub(crate) mod story;
pub mod topic;

pub use history::{History, read as read_history};

use crate::evidence::{Evidence, OUTSIDE, deeds};
use domain::ids::OrderId;
use domain::invariants::{Invariant, Violation};
use std::collections::BTreeMap;

/// An invariant that does not hold, of what and how.
pub(crate) const fn violation(invariant: Invariant, detail: String) -> Violation {
    Violation { invariant, detail }
}

/// What the checker finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Orders that were acknowledged.
    pub acknowledged: usize,
    /// Those of them that do not exist.
    pub lost: usize,
    /// Effects that were carried out, or undone, more than once: by how often too much.
    pub duplicated_effects: u64,
    /// Effects that are in force at a participant and in no order.
    pub leftover_effects: u64,
    /// Everything that does not hold.
    pub violations: Vec<Violation>,
}

/// Checks everything.
pub fn check(evidence: &Evidence) -> Verdict {
    let mut violations = existence::check(evidence);
    let mut histories: BTreeMap<OrderId, History> = BTreeMap::new();
    for (id, seen) in evidence.known() {
        match history::read(id, &seen.events) {
            Ok(history) => {
                violations.extend(history::agrees(&history, &seen.view));
                violations.extend(endings::check(&history));
                histories.insert(id, history);
            }
            Err(violation) => violations.push(violation),
        }
    }
    violations.extend(outside::check(evidence, &histories));
    violations.extend(capacity::check(evidence, &histories));
    let acknowledged: Vec<OrderId> = evidence.submitted.iter().filter_map(|line| line.id).collect();
    Verdict {
        acknowledged: acknowledged.len(),
        lost: acknowledged
            .iter()
            .filter(|id| existence::is_lost(evidence, id))
            .count(),
        duplicated_effects: OUTSIDE
            .iter()
            .map(|step| outside::too_often(&deeds(&evidence.ledger, *step)))
            .sum(),
        leftover_effects: outside::leftover(evidence, &histories),
        violations,
    }
}
