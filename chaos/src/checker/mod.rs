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
use domain::invariants::Violation;
use std::collections::BTreeMap;
use std::fmt;

/// Something that does not hold, by the id that the architecture gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which invariant, such as `LS-1`.
    pub invariant: &'static str,
    /// Of what, and how.
    pub detail: String,
}

impl Finding {
    pub(crate) const fn new(invariant: &'static str, detail: String) -> Self {
        Self { invariant, detail }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
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
