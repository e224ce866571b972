//! SG-3 and SG-5: every order comes to its end, and what was undone was undone in its order.

use super::History;
use domain::invariants::{Violation, ledger, reverse_order, settled};

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = ledger(&history.order);
    found.extend(settled(&history.order));
    found.extend(reverse_order(&history.order, &history.events()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::read_history;
    use crate::checker::story::Story;
    use domain::invariants::Invariant;
    use domain::order::Event;

    fn found(history: &History) -> Vec<Invariant> {
        check(history)
            .into_iter()
            .map(|violation| violation.invariant)
            .collect()
    }

    #[test]
    fn an_order_that_goes_on_is_found() {
        let story = Story::delivered(1);
        let mut told = story.told();
        let history = read_history(story.id(), &told).expect("legal");
        assert_eq!(found(&history), []);
        told.retain(|view| view.version < story.view().version);
        let history = read_history(story.id(), &told).expect("legal as far as it goes");
        assert_eq!(found(&history), [Invariant::Sg3]);
    }

    #[test]
    fn compensations_in_the_wrong_order_are_found() {
        let story = Story::cancelled(1);
        let mut history = read_history(story.id(), &story.told()).expect("legal");
        assert_eq!(found(&history), []);
        let undone = |event: &Event| matches!(event, Event::UndoStarted { .. });
        let places: Vec<usize> = (0..history.events.len())
            .filter(|n| undone(&history.events[*n].1))
            .collect();
        assert!(places.len() > 1, "more than one thing is undone");
        history.events.swap(places[0], places[places.len() - 1]);
        assert_eq!(found(&history), [Invariant::Sg5]);
    }
}
