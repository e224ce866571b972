//! What a ledger says of each action, in the terms of the invariants.

use super::ledger::LedgerLine;
use crate::participants::books::Outcome;
use domain::invariants::Deed;
use domain::saga::{EffectKey, Step};
use std::collections::BTreeMap;

/// How often each action of a step was carried out and undone, by the action's key: the lines are counted, so that a
/// sandbox that did something twice would be found out. A ticket that its kitchen dropped counts as undone. So does a void
/// of an authorization that was captured: nothing of it is set aside any more, and the saga's record says undone as well.
/// (An order that keeps its capture never voids the authorization, which then counts as kept.)
pub fn deeds(ledger: &[LedgerLine], step: Step) -> BTreeMap<EffectKey, Deed> {
    let mut deeds: BTreeMap<EffectKey, Deed> = BTreeMap::new();
    for line in ledger.iter().filter(|line| line.key.step == step) {
        let (done, undone) = match line.outcome {
            Outcome::Done => (1, 0),
            Outcome::Undone | Outcome::Dropped => (0, 1),
            Outcome::Tombstone | Outcome::Refused | Outcome::Pending => continue,
        };
        let deed = deeds.entry(line.key.action()).or_default();
        deed.done += done;
        deed.undone += undone;
    }
    deeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::Verb;
    use crate::participants::ask::tests::{key, undo};

    fn line(action: Verb, n: u64, outcome: Outcome) -> LedgerLine {
        let of_action = key(n, action.step(), 0);
        let backward = matches!(action, Verb::Void | Verb::Refund | Verb::Cancel);
        LedgerLine {
            at_ms: 0,
            participant: String::new(),
            action,
            key: if backward { undo(of_action) } else { of_action },
            of: None,
            order: of_action.order,
            amount: None,
            prep_ms: None,
            ready_at: None,
            outcome,
            refused: None,
        }
    }

    #[test]
    fn lines_are_counted_by_the_key_of_the_action() {
        let ledger = [
            line(Verb::Authorize, 1, Outcome::Done),
            line(Verb::Capture, 1, Outcome::Done),
            line(Verb::Authorize, 2, Outcome::Done),
            line(Verb::Void, 2, Outcome::Undone),
            line(Verb::Void, 3, Outcome::Tombstone),
            line(Verb::Authorize, 4, Outcome::Refused),
            line(Verb::Place, 1, Outcome::Pending),
            line(Verb::Place, 1, Outcome::Done),
            line(Verb::Place, 1, Outcome::Dropped),
            line(Verb::Place, 2, Outcome::Done),
            line(Verb::Place, 2, Outcome::Done),
        ];
        let deed = |done, undone| Deed { done, undone };
        let of = |step| {
            deeds(&ledger, step)
                .into_iter()
                .map(|(key, deed)| (key.order, deed))
                .collect::<Vec<_>>()
        };
        let order = |n| key(n, Step::Authorize, 0).order;
        assert_eq!(of(Step::Authorize), [(order(1), deed(1, 0)), (order(2), deed(1, 1))]);
        assert_eq!(of(Step::Capture), [(order(1), deed(1, 0))]);
        assert_eq!(
            of(Step::PlaceTicket),
            [(order(1), deed(1, 1)), (order(2), deed(2, 0))],
            "twice is seen"
        );
    }
}
