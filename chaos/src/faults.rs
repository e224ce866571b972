//! Which faults really happened, from what they left behind (NV-1: a fault that did not happen proves nothing).

use crate::checker::read_history;
use crate::evidence::{Evidence, LedgerLine, OUTSIDE, Outcome};
use domain::ids::OrderId;
use domain::order::{Ending, Event};
use domain::saga::{Direction, EffectKey, Step};
use domain::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// A call that is not answered within so much wall time counts as timed out rather than failed.
const TIMED_OUT_MS: i64 = 2_400;

/// How business time relates to wall time: what both showed at one moment, and the pace.
#[derive(Clone, Copy, Debug)]
pub struct TimeLine {
    /// Wall milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Business milliseconds at that moment.
    pub business_ms: i64,
    /// How many times as fast business time runs.
    pub speed: u64,
}

impl TimeLine {
    fn wall_ms(&self, at: Timestamp) -> i64 {
        self.wall_ms + self.lasts_ms(at.as_ms() - self.business_ms)
    }

    /// How long so much business time is on the wall clock.
    fn lasts_ms(&self, business_ms: i64) -> i64 {
        business_ms / i64::try_from(self.speed.max(1)).unwrap_or(i64::MAX)
    }
}

/// How often each fault happened. What the participants' ledger tells: `declined` … `tombstones`. What the orders'
/// histories tell: the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Kills of the server.
    pub kills: u64,
    /// Kills with orders in flight.
    pub kills_with_work: u64,
    /// Kills while the server was starting.
    pub kills_while_starting: u64,
    /// Authorizations declined.
    pub declined: u64,
    /// Tickets refused.
    pub refused: u64,
    /// Tickets whose decision was put off.
    pub put_off: u64,
    /// Tickets dropped by their kitchen.
    pub dropped: u64,
    /// Compensations of something that never arrived.
    pub tombstones: u64,
    /// Calls that were not answered in time, and made again.
    pub timed_out: u64,
    /// Calls that failed at once, and were made again.
    pub failed: u64,
    /// Calls that had been carried out, as the ledger shows, and were made again because the answer did not arrive.
    pub done_unanswered: u64,
    /// Steps that were given up with their outcome unknown, and compensated.
    pub unknown: u64,
    /// Orders that were stuck when the faults stopped, and were tried again by the operator.
    pub stuck: u64,
    /// Orders cancelled.
    pub cancelled: u64,
    /// Submissions repeated under their key.
    pub repeated: u64,
}

impl Faults {
    /// Counts what the evidence shows; kills and repairs are not in it.
    pub fn count(evidence: &Evidence, line: &TimeLine) -> Self {
        let mut faults = Self::default();
        for line in &evidence.ledger {
            faults.add_line(line);
        }
        faults.repeated = evidence
            .submitted
            .iter()
            .filter(|line| line.repeated.is_some())
            .map(|_| 1)
            .sum();
        let carried_out: BTreeMap<EffectKey, i64> = evidence
            .ledger
            .iter()
            .map(|line| (line.key, line.at_ms))
            .rev()
            .collect();
        for (id, seen) in evidence.known() {
            if let Ok(history) = read_history(id, &seen.events) {
                faults.add_history(id, &history.events, &carried_out, line);
            }
        }
        faults
    }

    fn add_line(&mut self, line: &LedgerLine) {
        let counted = match (line.outcome, line.key.step) {
            (Outcome::Refused, Step::PlaceTicket) => &mut self.refused,
            (Outcome::Refused, _) => &mut self.declined,
            (Outcome::Pending, _) => &mut self.put_off,
            (Outcome::Dropped, _) => &mut self.dropped,
            (Outcome::Tombstone, _) => &mut self.tombstones,
            (Outcome::Done | Outcome::Undone, _) => return,
        };
        *counted += 1;
    }

    fn add_history(
        &mut self,
        order: OrderId,
        events: &[(Timestamp, Event)],
        carried_out: &BTreeMap<EffectKey, i64>,
        line: &TimeLine,
    ) {
        let mut began: BTreeMap<EffectKey, Timestamp> = BTreeMap::new();
        for (at, event) in events {
            let (step, round, direction, attempt, start_at) = match *event {
                Event::StepStarted {
                    step,
                    round,
                    attempt,
                    start_at,
                    ..
                } => (step, round, Direction::Forward, attempt, start_at),
                Event::UndoStarted {
                    step,
                    round,
                    attempt,
                    start_at,
                    ..
                } => (step, round, Direction::Backward, attempt, start_at),
                Event::StepUnknown { .. } => {
                    self.unknown += 1;
                    continue;
                }
                Event::UnwindingStarted {
                    ending: Ending::Cancelled,
                    ..
                } => {
                    self.cancelled += 1;
                    continue;
                }
                _ => continue,
            };
            let key = EffectKey {
                order,
                step,
                round,
                direction,
            };
            let before = began.insert(key, start_at);
            let (Some(before), true, true) = (before, attempt > 1, OUTSIDE.contains(&step)) else {
                continue;
            };
            if carried_out
                .get(&key)
                .is_some_and(|done_ms| *done_ms < line.wall_ms(*at))
            {
                self.done_unanswered += 1;
            }
            if line.lasts_ms(at.as_ms() - before.as_ms()) >= TIMED_OUT_MS {
                self.timed_out += 1;
            } else {
                self.failed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::check;
    use crate::checker::story::Story;

    const LINE: TimeLine = TimeLine {
        wall_ms: 0,
        business_ms: 0,
        speed: 1,
    };

    #[test]
    fn a_smooth_day_has_none() {
        assert_eq!(Faults::count(&Story::delivered(1).evidence(), &LINE), Faults::default());
    }

    #[test]
    fn calls_that_were_made_again_are_told_apart() {
        let mut evidence = Story::troubled(1).evidence();
        assert_eq!(check(&evidence).duplicated_effects, 0);
        let expected = Faults {
            timed_out: 1,
            failed: 1,
            done_unanswered: 1,
            ..Faults::default()
        };
        assert_eq!(Faults::count(&evidence, &LINE), expected);
        let fast = TimeLine {
            speed: 240,
            wall_ms: 1_800_000_000_000,
            business_ms: 1_800_000_000_000,
        };
        evidence.ledger.iter_mut().for_each(|line| line.at_ms += 10_000);
        let faults = Faults::count(&evidence, &fast);
        let expected = Faults {
            failed: 2,
            ..Faults::default()
        };
        assert_eq!(
            faults, expected,
            "three seconds of business are an instant, and it was carried out later"
        );
    }

    #[test]
    fn the_ledger_and_the_customers_are_counted() {
        let mut evidence = Story::cancelled(1).evidence();
        evidence.submitted[0].repeated = Some(String::new());
        let mut told = |outcome, step| {
            let mut line = evidence.ledger[0].clone();
            (line.outcome, line.key.step) = (outcome, step);
            evidence.ledger.push(line);
        };
        told(Outcome::Refused, Step::Authorize);
        told(Outcome::Refused, Step::PlaceTicket);
        told(Outcome::Pending, Step::PlaceTicket);
        told(Outcome::Dropped, Step::PlaceTicket);
        told(Outcome::Tombstone, Step::PlaceTicket);
        let expected = Faults {
            declined: 1,
            refused: 1,
            put_off: 1,
            dropped: 1,
            tombstones: 1,
            cancelled: 1,
            repeated: 1,
            ..Faults::default()
        };
        assert_eq!(Faults::count(&evidence, &LINE), expected);
    }
}
