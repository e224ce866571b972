//! What a channel hears of its tickets when capacity is closed or released.

use super::script::{Script, assigned, done, kitchen_drops, refusal, silence};
use crate::channel::Cooked;
use crate::fixtures::{T0, ready_at};
use crate::order::Order;
use crate::policy::Policy;
use crate::saga::{Action, CapacityRequest, CourierReport, Effect, KitchenReport, Step};
use crate::time::Millis;

fn closes(effects: &[Effect]) -> Vec<Option<Cooked>> {
    let closes = effects.iter().filter_map(|effect| match &effect.action {
        Action::Capacity(_, CapacityRequest::Close { cooked, .. }) => Some(*cooked),
        _ => None,
    });
    closes.collect()
}

fn releases(effects: &[Effect]) -> Vec<bool> {
    let releases = effects.iter().filter_map(|effect| match &effect.action {
        Action::Capacity(_, CapacityRequest::Release { lost, .. }) => Some(*lost),
        _ => None,
    });
    releases.collect()
}

fn later(mut script: Script, min: u64) -> Script {
    script.now = script.now + Millis::from_mins(min);
    script
}

fn assigned_to_a_courier() -> Script {
    let script = Script::confirmed(Policy::default(), 2);
    script.answered(Step::Dispatch, 0, assigned(1)).fine()
}

/// The kitchens of these scripts take five minutes by their settings.
#[test]
fn the_time_from_when_cooking_should_have_begun_is_told() {
    let script = later(assigned_to_a_courier(), 3);
    let script = later(script.kitchen(0, KitchenReport::Preparing).fine(), 6);
    let script = later(script.kitchen(0, KitchenReport::Ready).fine(), 2);
    let script = script.courier(1, CourierReport::PickedUp).fine();
    let cooked = Cooked {
        began_at: T0,
        took_ms: Millis::from_mins(9),
        expected_ms: Millis::from_mins(5),
        late_ms: Millis::from_mins(4),
    };
    assert_eq!(
        closes(&script.effects),
        [Some(cooked)],
        "what it let wait is a part of it"
    );
    assert_eq!(
        closes(&script.pending()),
        [Some(cooked)],
        "and said again after a restart"
    );
}

#[test]
fn a_kitchen_that_begins_early_is_no_slower_for_it() {
    let mut script = assigned_to_a_courier();
    // As if it had been quoted for an hour later.
    let order: &mut Order = script.order.state.as_mut().expect("it exists");
    let mut candidates = order.candidates.to_vec();
    candidates[0].ready_at = ready_at(0) + Millis::from_mins(60);
    candidates[0].menu_prep_ms = Some(Millis::from_mins(4));
    order.candidates = candidates.into();
    let cooked = |script: &Script| super::super::outcome::cooked(script.order.state()).expect("known");
    let order = script.order.state.as_mut().expect("it exists");
    let times = &mut order.milestones;
    times.preparing_at = Some(T0 + Millis::from_mins(10));
    times.ready_at = Some(T0 + Millis::from_mins(17));
    times.picked_up_at = Some(T0 + Millis::from_mins(18));
    let early = cooked(&script);
    assert_eq!((early.took_ms, early.late_ms), (Millis::from_mins(7), Millis(0)));
    assert_eq!(early.expected_ms, Millis::from_mins(4), "by the menu, not as quoted");
}

#[test]
fn nothing_is_learned_of_what_was_never_reported() {
    let script = later(assigned_to_a_courier(), 30);
    let script = script.courier(1, CourierReport::PickedUp).fine();
    assert_eq!(closes(&script.effects), [None], "ready by implication");
}

#[test]
fn a_refused_dropped_or_unanswered_ticket_is_told_and_a_cancelled_order_is_not() {
    let refused = Script::reserved(Policy::default(), 2);
    let refused = refused.answered(Step::PlaceTicket, 0, refusal()).fine();
    assert_eq!(releases(&refused.effects), [true]);

    let mut silent = Script::reserved(Policy::default(), 2);
    for _ in 0..Policy::default().kitchen.attempts_max {
        silent = silent.answered(Step::PlaceTicket, 0, silence()).fine();
    }
    let silent = silent.undone(Step::PlaceTicket, 0, done()).fine();
    assert_eq!(
        releases(&silent.effects),
        [true],
        "once the ticket is certainly not cooked"
    );

    let dropped = assigned_to_a_courier().kitchen(0, kitchen_drops()).fine();
    let dropped = dropped.undone(Step::Dispatch, 0, done()).fine();
    assert_eq!(releases(&dropped.effects), [true]);

    let cancelled = Script::ready(Policy::default(), 2).told(crate::saga::Command::Cancel {
        reason: "changed my mind".into(),
    });
    let cancelled = cancelled.fine();
    let released = releases(&cancelled.pending());
    assert!(!released.contains(&true), "{released:?}");
    let full = Script::routed(Policy::default(), 2);
    let full = full.answered(Step::HoldCapacity, 0, refusal()).fine();
    assert!(!releases(&full.effects).contains(&true), "it had no ticket");
}

#[test]
fn the_next_kitchen_is_not_blamed_for_the_first() {
    let script = assigned_to_a_courier().kitchen(0, kitchen_drops()).fine();
    let mut order = script.order.state().clone();
    order.milestones.ready_at = Some(T0 + Millis::from_mins(50));
    order.milestones.picked_up_at = Some(T0 + Millis::from_mins(51));
    assert_eq!(super::super::outcome::cooked(&order), None);
}

/// Else each quote would be shorter than the one before by what it took until the ticket was accepted.
#[test]
fn a_kitchen_that_is_ready_as_quoted_teaches_nothing_new() {
    let script = Script::accepted(Policy::default(), 2);
    let script = later(script, 1).answered(Step::ConfirmCapacity, 0, done()).fine();
    let script = script.answered(Step::Dispatch, 0, assigned(1)).fine();
    let script = later(script.kitchen(0, KitchenReport::Preparing).fine(), 4);
    let script = later(script.kitchen(0, KitchenReport::Ready).fine(), 1);
    let script = script.courier(1, CourierReport::PickedUp).fine();
    let [Some(cooked)] = closes(&script.effects)[..] else {
        panic!("it is told")
    };
    assert_eq!((cooked.took_ms, cooked.late_ms), (cooked.expected_ms, Millis(0)));
}
