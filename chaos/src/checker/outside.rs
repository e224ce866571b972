//! PY-1 and PT-1: what payments and kitchens did, by their own ledger, is what the orders say.

use super::History;
use crate::evidence::{Evidence, OUTSIDE, deeds};
use domain::ids::OrderId;
use domain::invariants::{Deed, Invariant, Violation, agrees};
use domain::saga::{EffectKey, Step};
use std::collections::BTreeMap;

type Deeds = BTreeMap<EffectKey, Deed>;

pub(super) fn check(evidence: &Evidence, histories: &BTreeMap<OrderId, History>) -> Vec<Violation> {
    let mut found = Vec::new();
    for step in OUTSIDE {
        let mut by_order: BTreeMap<OrderId, Deeds> = BTreeMap::new();
        for (key, deed) in deeds(&evidence.ledger, step) {
            by_order.entry(key.order).or_default().insert(key, deed);
        }
        // Orders that are not settled are reported as such (SG-3); their effects are on the way.
        for (id, history) in histories.iter().filter(|(_, history)| history.order.is_settled()) {
            found.extend(agrees(&history.order, step, by_order.get(id).unwrap_or(&Deeds::new())));
        }
        let strangers = by_order
            .iter()
            .filter(|(id, _)| !matches!(evidence.orders.get(id), Some(Some(_))));
        found.extend(strangers.map(|(id, deeds)| stranger(step, *id, deeds)));
    }
    found
}

fn stranger(step: Step, order: OrderId, deeds: &Deeds) -> Violation {
    let invariant = if step == Step::PlaceTicket {
        Invariant::Pt1
    } else {
        Invariant::Py1
    };
    let done: u32 = deeds.values().map(|deed| deed.done).sum();
    let undone: u32 = deeds.values().map(|deed| deed.undone).sum();
    let detail = format!(
        "{} was done {done} and undone {undone} times for order {order}, which does not exist",
        step.as_str()
    );
    Violation { invariant, detail }
}

/// By how often too much effects were carried out or undone.
pub(super) fn too_often(deeds: &Deeds) -> u64 {
    let more = |times: u32| u64::from(times.saturating_sub(1));
    deeds.values().map(|deed| more(deed.done) + more(deed.undone)).sum()
}

/// How many effects are in force there and kept by no order here.
pub(super) fn leftover(evidence: &Evidence, histories: &BTreeMap<OrderId, History>) -> u64 {
    let is_kept = |key: &EffectKey| {
        let order = histories.get(&key.order).map(|history| &history.order);
        // What is open may still be undone: it is SG-3's matter.
        order.is_some_and(|order| {
            order
                .record(key.step, key.round)
                .is_some_and(|r| r.is_done() || r.is_open())
        })
    };
    let in_force = |step| {
        deeds(&evidence.ledger, step)
            .into_iter()
            .filter(|(_, deed)| deed.done > deed.undone)
    };
    let leftover = OUTSIDE.into_iter().flat_map(in_force).filter(|(key, _)| !is_kept(key));
    u64::try_from(leftover.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::checker::check;
    use crate::checker::story::Story;
    use crate::evidence::{Evidence, Outcome};
    use domain::invariants::Invariant;
    use domain::saga::Step;

    /// The invariants that do not hold, how much was done too often, and how much is left over.
    fn found(evidence: &Evidence) -> (Vec<Invariant>, u64, u64) {
        let verdict = check(evidence);
        let invariants = verdict
            .violations
            .into_iter()
            .map(|violation| violation.invariant)
            .collect();
        (invariants, verdict.duplicated_effects, verdict.leftover_effects)
    }

    fn line(evidence: &Evidence, step: Step) -> usize {
        evidence
            .ledger
            .iter()
            .position(|line| line.key.step == step)
            .expect("a line of that step")
    }

    #[test]
    fn books_that_agree_are_fine() {
        for story in [Story::delivered(1), Story::cancelled(1)] {
            let evidence = story.evidence();
            assert!(!evidence.ledger.is_empty());
            assert_eq!(found(&evidence), (vec![], 0, 0));
        }
    }

    #[test]
    fn money_taken_twice_or_never_is_found() {
        let mut evidence = Story::delivered(1).evidence();
        let capture = line(&evidence, Step::Capture);
        evidence.ledger.push(evidence.ledger[capture].clone());
        assert_eq!(found(&evidence), (vec![Invariant::Py1], 1, 0));
        let mut evidence = Story::delivered(1).evidence();
        evidence.ledger.remove(capture);
        assert_eq!(found(&evidence), (vec![Invariant::Py1], 0, 0));
    }

    #[test]
    fn a_ticket_that_nobody_cancelled_is_found() {
        let mut evidence = Story::cancelled(1).evidence();
        evidence
            .ledger
            .retain(|line| !(line.key.step == Step::PlaceTicket && line.outcome == Outcome::Undone));
        assert_eq!(found(&evidence), (vec![Invariant::Pt1], 0, 1));
    }

    #[test]
    fn a_ticket_of_a_round_that_never_was_is_found() {
        let mut evidence = Story::delivered(1).evidence();
        let mut strange = evidence.ledger[line(&evidence, Step::PlaceTicket)].clone();
        strange.key.round = 7;
        evidence.ledger.push(strange);
        assert_eq!(found(&evidence), (vec![Invariant::Pt1], 0, 1));
    }

    #[test]
    fn effects_for_an_order_that_does_not_exist_are_found() {
        let mut evidence = Story::delivered(1).evidence();
        evidence.ledger.extend(Story::delivered(2).evidence().ledger);
        let (invariants, _, leftover) = found(&evidence);
        assert_eq!(invariants, [Invariant::Py1, Invariant::Py1, Invariant::Pt1]);
        assert_eq!(leftover, 3);
    }
}
