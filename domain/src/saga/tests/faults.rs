//! No answers, late answers, stale answers; stuck orders and their repair.

use super::script::{Script, accepted, authorized, capturing, done, refusal, silence};
use crate::fixtures::{T0, details, order_id};
use crate::order::{Event, OrderStatus};
use crate::policy::{CallPolicy, CaptureAt, Policy};
use crate::rejection::Rejection;
use crate::saga::{Answer, Command, CourierReport, Direction, Record, Step};
use crate::time::Millis;
use std::sync::Arc;

/// Rules under which three failures are enough for everything.
fn impatient() -> Policy {
    let call = CallPolicy {
        attempts_max: 2,
        persistent_attempts_max: 3,
        ..Policy::default().kitchen
    };
    Policy {
        internal: call,
        payment: call,
        kitchen: call,
        ..Policy::default()
    }
}

fn answer(step: Step, round: u32, direction: Direction, attempt: u32, answer: Answer) -> Command {
    Command::Answer {
        step,
        round,
        direction,
        attempt,
        answer,
    }
}

#[test]
fn an_order_must_exist_and_exists_once() {
    let script = Script::placed(Policy::default());
    let place = |details| Command::Place {
        id: order_id(1),
        details: Arc::new(details),
    };
    let mut order = script.order;
    let again = order.tell(place(details()), T0, &script.policy);
    assert!(again.expect("said again").events.is_empty());
    let mut other = details();
    other.notes = Some("and a fork".into());
    assert_eq!(
        order.tell(place(other), T0, &script.policy).expect_err("another"),
        Rejection::Exists("order")
    );
    let mut none = crate::fixtures::Journalled::<crate::order::Order>::new();
    assert_eq!(
        none.tell(Command::Wake, T0, &script.policy).expect_err("none"),
        Rejection::NotFound("order")
    );
}

#[test]
fn an_attempt_without_an_answer_is_followed_by_another_after_a_pause() {
    let script = Script::held(Policy::default(), 1);
    let call = script.policy.payment;
    let script = script
        .answered(Step::Authorize, 0, silence())
        .expect(["do authorize 0 #2"]);
    assert_eq!(script.effects[0].start_at, T0 + call.backoff_ms);
    assert_eq!(script.wake_at(), Some(T0 + call.backoff_ms + call.timeout_ms.times(2)));
    let script = script.woken().expect(["do authorize 0 #3"]);
    assert_eq!(script.effects[0].start_at, script.now + call.backoff_ms.times(2));
    let first = script.effects[0].key;
    let script = script
        .woken()
        .expect(["authorize 0 unknown", "UnwindingStarted", "undo authorize 0"]);
    assert_eq!(
        script.effects[0].key.action(),
        first,
        "what may have happened is undone"
    );
    let script = script.unwound().settled();
    assert_eq!(
        script.history().last().map(super::script::line).as_deref(),
        Some("OrderFailed PAYMENT_UNAVAILABLE")
    );
}

#[test]
fn only_the_attempt_under_way_is_listened_to() {
    let script = Script::held(Policy::default(), 1)
        .answered(Step::Authorize, 0, silence())
        .fine();
    let script = script
        .told(answer(Step::Authorize, 0, Direction::Forward, 1, authorized(None)))
        .stale();
    let script = script
        .told(answer(Step::Authorize, 0, Direction::Forward, 3, authorized(None)))
        .stale();
    let script = script
        .told(answer(Step::Authorize, 1, Direction::Forward, 1, authorized(None)))
        .stale();
    let script = script
        .told(answer(Step::Authorize, 0, Direction::Backward, 2, done()))
        .stale();
    let script = script.told(answer(Step::Authorize, 0, Direction::Forward, 2, authorized(None)));
    let script = script.expect(["authorize 0 done", "do place_ticket 0", "do confirm_capacity 0"]);
    script
        .told(answer(Step::Authorize, 0, Direction::Forward, 2, refusal()))
        .stale();
}

#[test]
fn an_answer_after_the_unwinding_began_is_stale() {
    let script = Script::ticketed(Policy::default(), 1).cancelled().fine();
    let script = script.answered(Step::PlaceTicket, 0, accepted()).stale();
    script.unwound().settled();
}

#[test]
fn a_step_that_must_be_decided_at_once_cannot_be_put_off() {
    let script = Script::held(Policy::default(), 1);
    script
        .answered(Step::Authorize, 0, Answer::Pending)
        .expect(["do authorize 0 #2"]);
    let script = Script::held(Policy::default(), 1)
        .cancelled()
        .expect(["UnwindingStarted", "undo authorize 0"]);
    script
        .undone(Step::Authorize, 0, Answer::Pending)
        .expect(["undo authorize 0 #2"]);
}

#[test]
fn waking_too_early_or_twice_does_nothing() {
    let script = Script::held(Policy::default(), 1).told(Command::Wake).nothing();
    let script = script.woken().expect(["do authorize 0 #2"]);
    script.told(Command::Wake).nothing();
}

#[test]
fn a_capture_that_fails_for_ever_is_stuck_then_tried_again() {
    let script = Script::picked_up(impatient(), 1);
    let script = script.answered(Step::Capture, 0, silence()).expect(["do capture 0 #2"]);
    let script = script.answered(Step::Capture, 0, silence()).expect(["do capture 0 #3"]);
    let script = script.answered(Step::Capture, 0, silence()).expect(["capture 0 stuck"]);
    assert!(script.order.state().is_stuck());
    let script = script.answered(Step::CloseCapacity, 0, done()).fine();
    let script = script.courier(1, CourierReport::Delivered).fine();
    let script = script.answered(Step::CompleteDelivery, 0, done()).fine();
    assert_eq!(script.order.state().status, OrderStatus::Delivered);
    assert!(!script.order.state().is_settled(), "visible until it is repaired");
    let script = script.restarted().told(Command::Retry).expect(["do capture 0"]);
    script
        .answered(Step::Capture, 0, done())
        .expect(["capture 0 done"])
        .settled()
        .told(Command::Retry)
        .refused("stuck");
}

#[test]
fn a_capture_that_is_refused_is_stuck_and_can_be_settled_by_hand() {
    let script = Script::picked_up(Policy::default(), 1)
        .answered(Step::Capture, 0, refusal())
        .expect(["capture 0 stuck"]);
    let resolve = |step, round| Command::Resolve {
        step,
        round,
        note: "paid in cash".into(),
    };
    let script = script.told(resolve(Step::Capture, 1)).refused("stuck are: capture 0");
    let script = script
        .told(resolve(Step::Authorize, 0))
        .refused("authorize 0 is not stuck");
    let script = script.told(resolve(Step::Capture, 0)).expect(["capture 0 resolved"]);
    let script = script
        .told(resolve(Step::Capture, 0))
        .refused("nothing else of the order is");
    let script = script.answered(Step::CloseCapacity, 0, done()).fine();
    let script = script.courier(1, CourierReport::Delivered).fine();
    script.answered(Step::CompleteDelivery, 0, done()).fine().settled();
}

#[test]
fn a_confirmation_settled_by_hand_confirms_the_order() {
    let script = Script::accepted(impatient(), 1);
    let script = script
        .woken()
        .fine()
        .woken()
        .fine()
        .woken()
        .expect(["confirm_capacity 0 stuck"]);
    let resolve = Command::Resolve {
        step: Step::ConfirmCapacity,
        round: 0,
        note: "asked by telephone".into(),
    };
    script
        .told(resolve)
        .expect(["confirm_capacity 0 resolved", "OrderConfirmed", "do dispatch 0"]);
}

#[test]
fn a_kitchen_can_drop_the_ticket_of_a_stuck_confirmation() {
    let script = Script::accepted(impatient(), 1);
    let script = script
        .woken()
        .fine()
        .woken()
        .fine()
        .woken()
        .expect(["confirm_capacity 0 stuck"]);
    script
        .kitchen(0, super::script::kitchen_drops())
        .fine()
        .unwound()
        .settled();
    let script = Script::accepted(impatient(), 2)
        .woken()
        .fine()
        .woken()
        .fine()
        .woken()
        .fine();
    let script = script.kitchen(0, super::script::kitchen_drops()).fine();
    assert!(
        !script.order.state().is_stuck(),
        "the next kitchen has nothing to do with it"
    );
    script.cancelled().fine().unwound().settled();
}

#[test]
fn a_compensation_that_fails_is_stuck_passed_over_and_repaired() {
    let script = Script::preparing(impatient(), 1)
        .cancelled()
        .expect(["UnwindingStarted", "undo dispatch 0"]);
    let script = script.undone(Step::Dispatch, 0, done()).fine();
    let script = script
        .woken()
        .expect(["undo place_ticket 0 #2"])
        .woken()
        .expect(["undo place_ticket 0 #3"]);
    let script = script
        .woken()
        .expect(["place_ticket 0 stuck in undoing", "undo authorize 0"]);
    let script = script.unwound();
    assert_eq!(
        script.order.state().status,
        OrderStatus::Preparing,
        "the end waits for the operator"
    );
    assert_eq!(script.wake_at(), None);
    let script = script.cancelled().nothing().restarted();
    let retried = script.told(Command::Retry).expect(["undo place_ticket 0"]);
    let retried = retried
        .undone(Step::PlaceTicket, 0, done())
        .expect(["place_ticket 0 undone", "OrderCancelled"]);
    retried.settled();
}

#[test]
fn an_open_circuit_costs_a_compensation_no_attempt() {
    let unsent = || Answer::Unsent("the circuit is open".into());
    let mut script = Script::preparing(impatient(), 1).cancelled().fine();
    script = script
        .undone(Step::Dispatch, 0, done())
        .expect(["dispatch 0 undone", "undo place_ticket 0"]);
    let before = script.now;
    for _ in 0..10 {
        script = script
            .undone(Step::PlaceTicket, 0, unsent())
            .expect(["undo place_ticket 0"]);
        let [again] = &script.effects[..] else {
            panic!("{:?}", script.effects);
        };
        assert!(again.start_at > script.now, "later");
        assert_eq!(again.attempt, 1);
    }
    assert!(
        script.wake_at().is_some_and(|at| at > before),
        "a lost answer has a deadline"
    );
    // What left counts, and what did not counts as little as before.
    let script = script
        .undone(Step::PlaceTicket, 0, silence())
        .expect(["undo place_ticket 0 #2"]);
    let script = script
        .undone(Step::PlaceTicket, 0, unsent())
        .expect(["undo place_ticket 0 #2"])
        .restarted();
    let script = script
        .undone(Step::PlaceTicket, 0, silence())
        .expect(["undo place_ticket 0 #3"]);
    let script = script
        .undone(Step::PlaceTicket, 0, silence())
        .expect(["place_ticket 0 stuck in undoing", "undo authorize 0"]);
    script.unwound();
}

#[test]
fn a_refused_compensation_can_be_settled_by_hand() {
    let script = Script::held(Policy::default(), 1).cancelled().fine();
    let script = script.undone(Step::Authorize, 0, refusal());
    let script = script.expect(["authorize 0 stuck in undoing", "undo hold_capacity 0"]);
    let script = script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone"]);
    let resolve = Command::Resolve {
        step: Step::Authorize,
        round: 0,
        note: "voided in the console".into(),
    };
    script
        .told(resolve)
        .expect(["authorize 0 resolved", "OrderCancelled"])
        .settled();
}

#[test]
fn several_stuck_compensations_are_tried_again_in_reverse_order() {
    let script = Script::ticketed(Policy::default(), 1).cancelled().fine();
    let script = script
        .undone(Step::PlaceTicket, 0, refusal())
        .fine()
        .undone(Step::Authorize, 0, refusal())
        .fine();
    let script = script
        .unwound()
        .told(Command::Retry)
        .expect(["undo place_ticket 0", "undo authorize 0"]);
    script.unwound().settled();
}

#[test]
fn an_order_finishes_on_the_definition_it_began_or_is_not_touched() {
    let script = Script::placed(Policy::default());
    let rows = script.order.read_back();
    let Event::OrderPlaced { id, details, .. } = &rows[0].1[0] else {
        panic!("the first event")
    };
    let newer = Event::OrderPlaced {
        id: *id,
        details: details.clone(),
        saga_version: 99,
    };
    let illegal = crate::saga::evolve(None, &newer, T0).expect_err("an unknown version");
    assert!(illegal.to_string().contains("99"), "{illegal}");
}

#[test]
fn illegal_events_are_typed_errors() {
    let order = Script::accepted(Policy::default(), 2).order;
    let (step, round) = (Step::PlaceTicket, 0);
    let started = |step, round, attempt| Event::StepStarted {
        step,
        round,
        attempt,
        start_at: T0,
        deadline: T0,
    };
    let rerouted = |round| Event::OrderRerouted { round, channel: None };
    let (detail, receipt) = (String::new, crate::saga::Receipt::Empty);
    let courier = crate::fixtures::courier_id(1);
    let illegal = [
        Event::OrderDelivered,
        Event::OrderPickedUp,
        Event::StepPending {
            step,
            round,
            deadline: T0,
        },
        Event::StepDone {
            step: Step::Capture,
            round,
            receipt,
        },
        started(step, round, 2),
        started(Step::Dispatch, 7, 1),
        started(Step::Dispatch, round, 2),
        started(Step::ConfirmCapacity, round, 3),
        Event::UndoStarted {
            step,
            round,
            attempt: 1,
            start_at: T0,
            deadline: T0,
        },
        Event::UndoDone { step, round },
        Event::UndoWanted {
            step: Step::Route,
            round,
        },
        Event::UndoStuck {
            step,
            round,
            detail: detail(),
        },
        Event::Resolved {
            step,
            round,
            note: detail(),
        },
        rerouted(2),
        rerouted(0),
        Event::CourierLost { courier, round },
        Event::StepUnknown {
            step,
            round,
            detail: detail(),
        },
        Event::StepRefused {
            step,
            round,
            refused: crate::saga::Refused::new("a", "b"),
        },
    ];
    for event in illegal {
        let evolved = crate::saga::evolve(order.state.clone(), &event, T0);
        assert!(evolved.is_err(), "{event:?}");
    }
}

fn confirmed() -> Event {
    Event::OrderConfirmed {
        channel: None,
        ready_at: None,
    }
}

#[test]
fn nothing_happens_before_an_order_is_placed_nor_after_it_is_settled() {
    assert!(crate::saga::evolve(None, &confirmed(), T0).is_err());
    let settled = Script::delivered().order;
    assert!(crate::saga::evolve(settled.state, &confirmed(), T0).is_err());
}

#[test]
fn the_wake_up_is_the_first_of_all_deadlines() {
    let script = Script::confirmed(capturing(CaptureAt::Confirmed), 1);
    let deadlines: Vec<_> = script
        .order
        .state()
        .ledger
        .iter()
        .filter_map(Record::deadline)
        .collect();
    assert_eq!(deadlines.len(), 2, "dispatch and capture");
    assert_eq!(script.wake_at(), deadlines.into_iter().min());
    let script = Script::routed(Policy::default(), 1);
    let (hold, authorization) = (script.policy.internal, script.policy.payment);
    let deadline = hold.timeout_ms.min(authorization.timeout_ms).times(2);
    assert_eq!(script.wake_at(), Some(T0 + deadline));
    assert_eq!(
        script.later(Millis(1)).wake_at(),
        Some(T0 + deadline),
        "whatever the time"
    );
}
