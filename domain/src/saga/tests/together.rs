//! What is asked for together: capacity and the money, then the ticket and the reservation. Whichever answers first,
//! whatever it says, the other is used, called off, or undone though it was never heard.

use super::script::{Script, accepted, authorized, done, kitchen_accepts, line, refusal, silence};
use crate::fixtures::T0;
use crate::order::OrderStatus;
use crate::policy::{CallPolicy, Policy};
use crate::saga::{Answer, Command, Forward, Step};
use crate::time::Millis;

fn policy() -> Policy {
    Policy::default()
}

/// Rules under which one attempt, or two of what is retried long, is enough.
fn curt() -> Policy {
    let call = CallPolicy {
        attempts_max: 1,
        persistent_attempts_max: 2,
        ..Policy::default().kitchen
    };
    Policy {
        internal: call,
        payment: call,
        kitchen: call,
        ..Policy::default()
    }
}

fn steps(script: &Script) -> Vec<Step> {
    script.pending().iter().map(|effect| effect.key.step).collect()
}

fn forward(script: &Script, step: Step, round: u32) -> Forward {
    let record = script.order.state().record(step, round);
    record.expect("it was begun").forward
}

#[test]
fn capacity_and_money_are_both_waited_for() {
    let held = Script::held(policy(), 1);
    assert_eq!(steps(&held), [Step::Authorize]);
    let paid = Script::paid(policy(), 1);
    assert_eq!(steps(&paid), [Step::HoldCapacity]);
    paid.answered(Step::HoldCapacity, 0, done()).expect([
        "hold_capacity 0 done",
        "do place_ticket 0",
        "do confirm_capacity 0",
    ]);
}

#[test]
fn both_under_way_are_asked_for_again_after_a_crash() {
    let script = Script::routed(policy(), 1);
    let (begun, script) = (script.effects.clone(), script.restarted());
    assert_eq!(script.pending(), begun);
    let script = Script::ticketed(policy(), 1);
    let (begun, script) = (script.effects.clone(), script.restarted());
    assert_eq!(steps(&script), [Step::PlaceTicket, Step::ConfirmCapacity]);
    assert_eq!(script.pending(), begun);
}

#[test]
fn an_authorization_under_way_when_the_hold_is_refused_is_used_for_the_next_kitchen() {
    let rerouted = || {
        Script::routed(policy(), 2)
            .answered(Step::HoldCapacity, 0, refusal())
            .expect(["hold_capacity 0 refused", "OrderRerouted 1", "do hold_capacity 1"])
    };
    let next = ["do place_ticket 1", "do confirm_capacity 1"];
    let script = rerouted()
        .answered(Step::Authorize, 0, authorized(None))
        .expect(["authorize 0 done"]);
    let script = script.answered(Step::HoldCapacity, 1, done());
    let first = script.expect(["hold_capacity 1 done", next[0], next[1]]);
    let script = rerouted()
        .answered(Step::HoldCapacity, 1, done())
        .expect(["hold_capacity 1 done"]);
    let script = script.answered(Step::Authorize, 0, authorized(None));
    let second = script.expect(["authorize 0 done", next[0], next[1]]);
    for script in [first, second] {
        let order = script.order.state();
        assert_eq!(order.next_round(Step::Authorize), 1, "the customer is asked once");
        let script = script.answered(Step::PlaceTicket, 1, accepted()).fine();
        script.answered(Step::ConfirmCapacity, 1, done()).expect([
            "confirm_capacity 1 done",
            "OrderConfirmed",
            "do dispatch 0",
        ]);
    }
}

#[test]
fn an_authorization_never_heard_of_is_voided_when_no_kitchen_is_left() {
    for late in [authorized(None), refusal(), silence()] {
        let script = Script::routed(policy(), 1)
            .answered(Step::HoldCapacity, 0, refusal())
            .expect(["hold_capacity 0 refused", "UnwindingStarted", "undo authorize 0"]);
        assert_eq!(forward(&script, Step::Authorize, 0), Forward::Unknown);
        let script = script.answered(Step::Authorize, 0, late).stale();
        script
            .undone(Step::Authorize, 0, done())
            .expect(["authorize 0 undone", "OrderFailed NO_AVAILABLE_CHANNEL"])
            .settled();
    }
}

#[test]
fn a_hold_never_heard_of_is_released_when_the_payment_is_declined() {
    for late in [done(), refusal(), silence()] {
        let script = Script::routed(policy(), 2)
            .answered(Step::Authorize, 0, refusal())
            .expect(["authorize 0 refused", "UnwindingStarted", "undo hold_capacity 0"]);
        let script = script.answered(Step::HoldCapacity, 0, late).stale();
        script
            .undone(Step::HoldCapacity, 0, done())
            .expect(["hold_capacity 0 undone", "OrderFailed PAYMENT_DECLINED"])
            .settled();
    }
}

#[test]
fn a_payment_declined_after_a_kitchen_was_passed_over_releases_only_what_may_be_held() {
    let script = Script::routed(policy(), 2)
        .answered(Step::HoldCapacity, 0, refusal())
        .fine();
    let script = script.answered(Step::Authorize, 0, refusal());
    let script = script.expect(["authorize 0 refused", "UnwindingStarted", "undo hold_capacity 1"]);
    script
        .undone(Step::HoldCapacity, 1, done())
        .expect(["hold_capacity 1 undone", "OrderFailed PAYMENT_DECLINED"])
        .settled();
}

#[test]
fn an_authorization_that_lapses_before_capacity_is_held_is_renewed_before_the_kitchen_is_asked() {
    let script = Script::routed(policy(), 1)
        .answered(Step::Authorize, 0, authorized(Some(T0 + Millis::from_mins(5))))
        .fine();
    let script = script
        .told(Command::Wake)
        .expect(["authorize 0 to be undone", "undo authorize 0", "do authorize 1"]);
    let script = script
        .answered(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 done"]);
    script.answered(Step::Authorize, 1, authorized(None)).expect([
        "authorize 1 done",
        "do place_ticket 0",
        "do confirm_capacity 0",
    ]);
}

#[test]
fn an_order_is_confirmed_when_the_kitchen_has_accepted_and_its_capacity_is_reserved() {
    let confirmed = |script: &Script| script.order.state().status == OrderStatus::Confirmed;
    let script = Script::accepted(policy(), 1);
    assert!(!confirmed(&script));
    let script = script.answered(Step::ConfirmCapacity, 0, done());
    let script = script.expect(["confirm_capacity 0 done", "OrderConfirmed", "do dispatch 0"]);
    assert!(confirmed(&script));
    let follows = ["place_ticket 0 done", "OrderConfirmed", "do dispatch 0"];
    let script = Script::reserved(policy(), 1);
    assert!(!confirmed(&script));
    assert!(confirmed(
        &script.answered(Step::PlaceTicket, 0, accepted()).expect(follows)
    ));
    // However long the kitchen thinks: what is reserved does not lapse.
    let script = Script::reserved(policy(), 1)
        .answered(Step::PlaceTicket, 0, Answer::Pending)
        .fine();
    assert!(confirmed(&script.kitchen(0, kitchen_accepts()).expect(follows)));
}

#[test]
fn a_ticket_refused_while_capacity_is_being_reserved_gives_it_back() {
    for late in [done(), refusal(), silence()] {
        let script = Script::ticketed(policy(), 2).answered(Step::PlaceTicket, 0, refusal());
        let script = script.expect([
            "place_ticket 0 refused",
            "hold_capacity 0 to be undone",
            "confirm_capacity 0 unknown",
            "OrderRerouted 1",
            "undo hold_capacity 0",
            "do hold_capacity 1",
        ]);
        let script = script.answered(Step::ConfirmCapacity, 0, late).stale();
        script.cancelled().fine().unwound().settled();
    }
    let script = Script::ticketed(policy(), 1)
        .answered(Step::PlaceTicket, 0, refusal())
        .expect(["place_ticket 0 refused", "UnwindingStarted", "undo authorize 0"]);
    let script = script.answered(Step::ConfirmCapacity, 0, done()).stale();
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone", "OrderFailed NO_AVAILABLE_CHANNEL"])
        .settled();
}

#[test]
fn what_one_kitchen_had_reserved_does_not_confirm_the_order_with_another() {
    let script = Script::reserved(policy(), 2)
        .answered(Step::PlaceTicket, 0, refusal())
        .fine();
    assert_eq!(forward(&script, Step::ConfirmCapacity, 0), Forward::Done);
    let script = script.answered(Step::HoldCapacity, 1, done()).fine();
    let script = script
        .answered(Step::PlaceTicket, 1, accepted())
        .expect(["place_ticket 1 done"]);
    script.answered(Step::ConfirmCapacity, 1, done()).expect([
        "confirm_capacity 1 done",
        "OrderConfirmed",
        "do dispatch 0",
    ]);
}

/// The hold lapsed and was given away, while the kitchen has the ticket, thinks about it, or has not answered yet.
#[test]
fn a_reservation_refused_while_the_kitchen_has_the_ticket_calls_it_off() {
    for answer in [None, Some(Answer::Pending), Some(silence())] {
        let asked = |kitchens| {
            let script = Script::ticketed(policy(), kitchens);
            match answer.clone() {
                Some(answer) => script.answered(Step::PlaceTicket, 0, answer).fine(),
                None => script,
            }
        };
        let script = asked(2).answered(Step::ConfirmCapacity, 0, refusal()).expect([
            "confirm_capacity 0 refused",
            "place_ticket 0 to be undone",
            "hold_capacity 0 to be undone",
            "OrderRerouted 1",
            "undo place_ticket 0",
            "do hold_capacity 1",
        ]);
        let script = script.kitchen(0, kitchen_accepts()).refused("no longer, with channel");
        let script = script.answered(Step::PlaceTicket, 0, refusal()).stale();
        let script = script
            .undone(Step::PlaceTicket, 0, done())
            .expect(["place_ticket 0 undone", "undo hold_capacity 0"]);
        let script = script.answered(Step::HoldCapacity, 1, done());
        let script = script.expect(["hold_capacity 1 done", "do place_ticket 1", "do confirm_capacity 1"]);
        script.cancelled().fine().unwound().settled();

        let script = asked(1).answered(Step::ConfirmCapacity, 0, refusal()).expect([
            "confirm_capacity 0 refused",
            "UnwindingStarted",
            "undo place_ticket 0",
        ]);
        let script = script
            .answered(Step::PlaceTicket, 0, accepted())
            .stale()
            .unwound()
            .settled();
        assert_eq!(
            script.history().last().map(line).as_deref(),
            Some("OrderFailed NO_AVAILABLE_CHANNEL")
        );
    }
}

#[test]
fn a_cancel_undoes_both_that_are_under_way_in_reverse_order() {
    let script = Script::routed(policy(), 2).cancelled();
    let script = script.expect(["UnwindingStarted", "undo authorize 0"]);
    let script = script.answered(Step::HoldCapacity, 0, done()).stale();
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone", "OrderCancelled"])
        .settled();

    let script = Script::ticketed(policy(), 2).cancelled();
    let script = script.expect(["UnwindingStarted", "undo place_ticket 0"]);
    let script = script.answered(Step::ConfirmCapacity, 0, refusal()).stale();
    let script = script
        .undone(Step::PlaceTicket, 0, done())
        .expect(["place_ticket 0 undone", "undo authorize 0"]);
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone", "OrderCancelled"])
        .settled();
}

#[test]
fn two_deadlines_that_pass_together_are_both_seen_to() {
    let late = Millis::from_mins(1);
    let script = Script::routed(policy(), 1).later(late).told(Command::Wake);
    script.expect(["do hold_capacity 0 #2", "do authorize 0 #2"]);
    let script = Script::ticketed(policy(), 1).later(late).told(Command::Wake);
    script.expect(["do place_ticket 0 #2", "do confirm_capacity 0 #2"]);
}

/// The first that is given up decides; the second is then no longer what it was when the order was woken.
#[test]
fn two_that_are_given_up_together_are_undone_once() {
    let late = Millis::from_mins(1);
    let script = Script::routed(curt(), 2).later(late).told(Command::Wake);
    let script = script.expect([
        "hold_capacity 0 unknown",
        "OrderRerouted 1",
        "authorize 0 unknown",
        "UnwindingStarted",
        "undo authorize 0",
    ]);
    script.unwound().settled();
    let script = Script::routed(curt(), 1).later(late).told(Command::Wake);
    let script = script.expect(["hold_capacity 0 unknown", "UnwindingStarted", "undo authorize 0"]);
    script.unwound().settled();
    let script = Script::ticketed(curt(), 2).later(late).told(Command::Wake);
    let script = script.expect([
        "place_ticket 0 unknown",
        "hold_capacity 0 to be undone",
        "confirm_capacity 0 unknown",
        "OrderRerouted 1",
        "undo place_ticket 0",
        "do hold_capacity 1",
    ]);
    script.cancelled().fine().unwound().settled();
}

#[test]
fn a_stuck_reservation_waits_for_the_operator_and_the_kitchen() {
    let stuck = |kitchens| {
        let script = Script::ticketed(curt(), kitchens)
            .answered(Step::PlaceTicket, 0, Answer::Pending)
            .fine();
        let script = script
            .answered(Step::ConfirmCapacity, 0, silence())
            .expect(["do confirm_capacity 0 #2"]);
        script
            .answered(Step::ConfirmCapacity, 0, silence())
            .expect(["confirm_capacity 0 stuck"])
    };
    let resolve = || Command::Resolve {
        step: Step::ConfirmCapacity,
        round: 0,
        note: "asked by telephone".into(),
    };
    let confirmed = ["OrderConfirmed", "do dispatch 0"];
    let script = stuck(1).told(resolve()).expect(["confirm_capacity 0 resolved"]);
    script
        .kitchen(0, kitchen_accepts())
        .expect(["place_ticket 0 done", confirmed[0], confirmed[1]]);
    let script = stuck(1).kitchen(0, kitchen_accepts()).expect(["place_ticket 0 done"]);
    let script = script.told(Command::Retry).expect(["do confirm_capacity 0"]);
    script
        .answered(Step::ConfirmCapacity, 0, done())
        .expect(["confirm_capacity 0 done", confirmed[0], confirmed[1]]);
    // A kitchen that does not take it frees the order of what was stuck with it.
    let script = stuck(2).woken().expect([
        "place_ticket 0 unknown",
        "hold_capacity 0 to be undone",
        "confirm_capacity 0 unknown",
        "OrderRerouted 1",
        "undo place_ticket 0",
        "do hold_capacity 1",
    ]);
    assert!(!script.order.state().is_stuck());
    script.cancelled().fine().unwound().settled();
}
