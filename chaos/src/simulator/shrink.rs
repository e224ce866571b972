//! Makes a failing scenario smaller: faults and orders are taken out as long as the same invariant still fails (delta
//! debugging, Zeller and Hildebrandt 2002).

use super::Broken;
use super::run::{Outcome, play_scenario, play_until};
use super::scenario::Scenario;
use domain::invariants::Invariant;
use std::sync::Arc;

/// Most runs that a shrinking may take.
const RUNS_MAX: u32 = 400;

pub(super) struct Shrunk {
    pub(super) scenario: Arc<Scenario>,
    pub(super) outcome: Outcome,
}

struct Shrinker {
    invariant: Invariant,
    broken: Option<Broken>,
    best: Arc<Scenario>,
    runs: u32,
    /// How long a smaller one may take to fail.
    events_max: u64,
}

impl Shrinker {
    /// Whether the smaller scenario still fails; if so it is the best.
    fn tries(&mut self, smaller: Scenario) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let smaller = Arc::new(smaller);
        let outcome = play_until(&smaller, self.broken, false, self.events_max);
        let fails = outcome
            .findings
            .iter()
            .any(|finding| finding.invariant == self.invariant);
        if fails {
            self.best = smaller;
        }
        fails
    }

    /// Takes out pieces of a list, large ones first.
    fn without<T: Clone>(&mut self, get: impl Fn(&Scenario) -> &Vec<T>, set: impl Fn(&mut Scenario, Vec<T>)) {
        let mut chunk = get(&self.best).len();
        while chunk > 0 {
            let mut from = 0;
            while from < get(&self.best).len() {
                let all = get(&self.best);
                let rest = all.iter().take(from).chain(all.iter().skip(from + chunk)).cloned();
                let rest: Vec<T> = rest.collect();
                let mut smaller = (*self.best).clone();
                set(&mut smaller, rest);
                if !self.tries(smaller) {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }
}

/// `events`: after how many of them the whole scenario failed.
pub(super) fn shrink(scenario: &Arc<Scenario>, invariant: Invariant, broken: Option<Broken>, events: u64) -> Shrunk {
    let mut shrinker = Shrinker {
        invariant,
        broken,
        best: scenario.clone(),
        runs: 0,
        events_max: events.saturating_mul(2) + 10_000,
    };
    shrinker.without(|scenario| &scenario.faults, |scenario, faults| scenario.faults = faults);
    shrinker.without(|scenario| &scenario.orders, |scenario, orders| scenario.orders = orders);
    shrinker.without(|scenario| &scenario.faults, |scenario, faults| scenario.faults = faults);
    let outcome = play_scenario(&shrinker.best, broken, true);
    Shrunk {
        scenario: shrinker.best,
        outcome,
    }
}
