//! The ways in which an order does not get through: refusals, alternates, dropped tickets, cancels, no courier.

use super::script::{Script, accepted, assigned, authorized, done, kitchen_accepts, kitchen_drops, refusal, routed};
use crate::fixtures::{T0, channel_id};
use crate::order::OrderStatus;
use crate::policy::{CaptureAt, Policy};
use crate::saga::{Answer, CourierReport, KitchenReport, Refused, Step};
use crate::time::Millis;

/// An order that has come so far, under these rules and with so many kitchens.
type Stage = fn(Policy, usize) -> Script;

fn policy() -> Policy {
    Policy::default()
}

#[test]
fn no_channel_can_make_it() {
    let script = Script::placed(policy()).answered(Step::Route, 0, refusal());
    script
        .expect([
            "route 0 refused",
            "UnwindingStarted",
            "OrderFailed NO_AVAILABLE_CHANNEL",
        ])
        .settled();
}

#[test]
fn a_route_to_nowhere_is_no_answer() {
    let script = Script::placed(policy())
        .answered(Step::Route, 0, routed(0))
        .expect(["do route 0 #2"]);
    script.answered(Step::Route, 0, done()).expect(["do route 0 #3"]);
}

#[test]
fn a_full_kitchen_is_passed_over_and_the_last_one_fails_the_order() {
    let script = Script::paid(policy(), 2).answered(Step::HoldCapacity, 0, refusal());
    let script = script.expect(["hold_capacity 0 refused", "OrderRerouted 1", "do hold_capacity 1"]);
    let script = script.answered(Step::HoldCapacity, 1, refusal());
    let script = script.expect(["hold_capacity 1 refused", "UnwindingStarted", "undo authorize 0"]);
    script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "OrderFailed NO_AVAILABLE_CHANNEL"])
        .settled();
}

#[test]
fn a_declined_payment_gives_the_capacity_back() {
    let script = Script::held(policy(), 2).answered(Step::Authorize, 0, refusal());
    let script = script.expect(["authorize 0 refused", "UnwindingStarted", "undo hold_capacity 0"]);
    let script = script.undone(Step::HoldCapacity, 0, done());
    script
        .expect(["hold_capacity 0 undone", "OrderFailed PAYMENT_DECLINED"])
        .settled();
}

#[test]
fn a_kitchen_that_refuses_is_followed_by_the_next() {
    let script = Script::reserved(policy(), 2).answered(Step::PlaceTicket, 0, refusal());
    let script = script.expect([
        "place_ticket 0 refused",
        "hold_capacity 0 to be undone",
        "OrderRerouted 1",
        "undo hold_capacity 0",
        "do hold_capacity 1",
    ]);
    let script = script.answered(Step::HoldCapacity, 1, done());
    let script = script.expect(["hold_capacity 1 done", "do place_ticket 1", "do confirm_capacity 1"]);
    let script = script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone"]);
    let script = script.answered(Step::PlaceTicket, 1, accepted()).fine();
    let script = script.answered(Step::ConfirmCapacity, 1, done());
    let script = script.expect(["confirm_capacity 1 done", "OrderConfirmed", "do dispatch 0"]);
    assert_eq!(
        script.order.state().candidate().map(|c| c.channel.clone()),
        Some(channel_id(1))
    );
}

#[test]
fn the_last_kitchen_that_refuses_fails_the_order() {
    let script = Script::ticketed(policy(), 1).answered(Step::PlaceTicket, 0, refusal());
    let script = script.expect(["place_ticket 0 refused", "UnwindingStarted", "undo authorize 0"]);
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    let script = script.undone(Step::HoldCapacity, 0, done());
    script
        .expect(["hold_capacity 0 undone", "OrderFailed NO_AVAILABLE_CHANNEL"])
        .settled();
}

#[test]
fn a_kitchen_rejects_by_report() {
    let script = Script::ticketed(policy(), 1)
        .answered(Step::PlaceTicket, 0, Answer::Pending)
        .fine();
    let script = script.kitchen(0, KitchenReport::Rejected(Refused::new("sold_out", "no soup")));
    script
        .expect(["place_ticket 0 refused", "UnwindingStarted", "undo authorize 0"])
        .unwound()
        .settled();
}

#[test]
fn a_kitchen_that_does_not_decide_in_time_is_cancelled_and_followed_by_the_next() {
    let script = Script::reserved(policy(), 2)
        .answered(Step::PlaceTicket, 0, Answer::Pending)
        .fine();
    let script = script.woken().expect([
        "place_ticket 0 unknown",
        "hold_capacity 0 to be undone",
        "OrderRerouted 1",
        "undo place_ticket 0",
        "do hold_capacity 1",
    ]);
    let script = script
        .kitchen(0, kitchen_accepts())
        .refused("no longer, with channel kitchen-0");
    let script = script.undone(Step::PlaceTicket, 0, done());
    script.expect(["place_ticket 0 undone", "undo hold_capacity 0"]);
}

#[test]
fn a_hold_that_lapsed_and_was_given_away_cancels_the_late_acceptance() {
    let script = Script::accepted(policy(), 2).answered(Step::ConfirmCapacity, 0, refusal());
    let script = script.expect([
        "confirm_capacity 0 refused",
        "place_ticket 0 to be undone",
        "hold_capacity 0 to be undone",
        "OrderRerouted 1",
        "undo place_ticket 0",
        "do hold_capacity 1",
    ]);
    assert_eq!(script.order.state().status, OrderStatus::Pending);
    let script = Script::accepted(policy(), 1)
        .answered(Step::ConfirmCapacity, 0, refusal())
        .fine()
        .unwound();
    assert_eq!(script.settled().order.state().status, OrderStatus::Failed);
}

#[test]
fn a_dropped_ticket_is_rerouted_once() {
    let script = Script::preparing(policy(), 3).kitchen(0, kitchen_drops());
    let script = script.expect([
        "TicketDropped 0",
        "hold_capacity 0 to be undone",
        "dispatch 0 to be undone",
        "OrderRerouted 1",
        "undo dispatch 0",
        "do hold_capacity 1",
    ]);
    assert_eq!(script.order.state().status, OrderStatus::Confirmed);
    assert_eq!(script.order.state().courier, None);
    let script = script.kitchen(0, kitchen_drops()).refused("no longer");
    let script = script.unwound();
    let script = script.answered(Step::HoldCapacity, 1, done()).expect([
        "hold_capacity 1 done",
        "do place_ticket 1",
        "do confirm_capacity 1",
    ]);
    let script = script.answered(Step::PlaceTicket, 1, accepted()).fine();
    let script = script.answered(Step::ConfirmCapacity, 1, done());
    let script = script.expect(["confirm_capacity 1 done", "do dispatch 1"]);
    let script = script
        .kitchen(1, kitchen_drops())
        .expect(["TicketDropped 1", "UnwindingStarted", "undo dispatch 1"]);
    let script = script
        .undone(Step::Dispatch, 1, done())
        .expect(["dispatch 1 undone", "undo hold_capacity 1"]);
    let script = script
        .undone(Step::HoldCapacity, 1, done())
        .expect(["hold_capacity 1 undone", "undo authorize 0"]);
    let script = script.undone(Step::Authorize, 0, done());
    script
        .expect(["authorize 0 undone", "OrderFailed KITCHEN_CANCELLED"])
        .settled();
}

#[test]
fn a_dropped_ticket_that_no_other_kitchen_takes_fails_the_order_as_dropped() {
    let script = Script::confirmed(policy(), 1)
        .kitchen(0, kitchen_drops())
        .fine()
        .unwound()
        .settled();
    assert_eq!(
        script.history().last().map(super::script::line).as_deref(),
        Some("OrderFailed KITCHEN_CANCELLED")
    );
    let script = Script::confirmed(policy(), 2)
        .kitchen(0, kitchen_drops())
        .fine()
        .unwound();
    let script = script
        .answered(Step::HoldCapacity, 1, refusal())
        .fine()
        .unwound()
        .settled();
    assert_eq!(
        script.history().last().map(super::script::line).as_deref(),
        Some("OrderFailed KITCHEN_CANCELLED")
    );
}

/// The kitchen drops the ticket while the channel is still asked to confirm: whatever that answers belongs to the past.
#[test]
fn a_ticket_dropped_during_the_confirmation_leaves_nothing_open() {
    let dropped = || Script::accepted(policy(), 2).kitchen(0, kitchen_drops());
    let script = dropped().expect([
        "TicketDropped 0",
        "hold_capacity 0 to be undone",
        "confirm_capacity 0 unknown",
        "OrderRerouted 1",
        "undo hold_capacity 0",
        "do hold_capacity 1",
    ]);
    let script = script.answered(Step::ConfirmCapacity, 0, done()).stale();
    assert_eq!(script.order.state().status, OrderStatus::Pending, "nobody makes it yet");
    script.answered(Step::ConfirmCapacity, 0, refusal()).stale();
    let script = dropped().fine().cancelled().fine().unwound().settled();
    assert_eq!(script.order.state().status, OrderStatus::Cancelled);
}

#[test]
fn a_ticket_dropped_before_it_was_known_to_be_accepted_counts_as_refused() {
    let script = Script::reserved(policy(), 2)
        .answered(Step::PlaceTicket, 0, Answer::Pending)
        .fine();
    let script = script.kitchen(0, kitchen_drops()).expect([
        "place_ticket 0 refused",
        "hold_capacity 0 to be undone",
        "OrderRerouted 1",
        "undo hold_capacity 0",
        "do hold_capacity 1",
    ]);
    assert_eq!(script.order.state().reroutes, 0);
}

#[test]
fn a_cancel_is_allowed_until_pick_up_and_means_the_same_twice() {
    let stages: [(&str, Stage); 10] = [
        ("placed", |policy, _| Script::placed(policy)),
        ("routed", Script::routed),
        ("held", Script::held),
        ("paid", Script::paid),
        ("ticketed", Script::ticketed),
        ("reserved", Script::reserved),
        ("accepted", Script::accepted),
        ("confirmed", Script::confirmed),
        ("preparing", Script::preparing),
        ("ready", Script::ready),
    ];
    for capture_at in [CaptureAt::Confirmed, CaptureAt::PickedUp, CaptureAt::Delivered] {
        for (name, stage) in stages {
            let script = stage(Policy { capture_at, ..policy() }, 2).cancelled().fine();
            let script = script.cancelled().nothing().unwound().settled();
            assert_eq!(script.order.state().status, OrderStatus::Cancelled, "{name}");
            script.cancelled().nothing();
        }
    }
}

#[test]
fn a_cancel_is_refused_from_pick_up_on_and_after_a_failure() {
    Script::picked_up(policy(), 1).cancelled().refused("PICKED_UP");
    Script::in_transit(policy(), 1).cancelled().refused("IN_TRANSIT");
    Script::delivered().cancelled().refused("DELIVERED");
    let failing = Script::held(policy(), 1).answered(Step::Authorize, 0, refusal()).fine();
    failing
        .cancelled()
        .refused("FAILED")
        .unwound()
        .cancelled()
        .refused("FAILED");
}

#[test]
fn a_cancel_undoes_in_reverse_order_what_happened_and_what_may_have_happened() {
    let script = Script::preparing(
        Policy {
            capture_at: CaptureAt::Confirmed,
            ..policy()
        },
        1,
    );
    let script = script.cancelled().expect(["UnwindingStarted", "undo capture 0"]);
    let script = script.answered(Step::Capture, 0, done()).stale();
    let script = script
        .undone(Step::Capture, 0, done())
        .expect(["capture 0 undone", "undo dispatch 0"]);
    let script = script
        .undone(Step::Dispatch, 0, done())
        .expect(["dispatch 0 undone", "undo place_ticket 0"]);
    let script = script
        .undone(Step::PlaceTicket, 0, done())
        .expect(["place_ticket 0 undone", "undo authorize 0"]);
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    let script = script
        .undone(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 undone", "OrderCancelled"]);
    script.settled();
}

#[test]
fn a_captured_order_is_refunded_and_its_authorization_is_used_up() {
    let script = Script::confirmed(
        Policy {
            capture_at: CaptureAt::Confirmed,
            ..policy()
        },
        1,
    );
    let script = script
        .answered(Step::Capture, 0, done())
        .fine()
        .cancelled()
        .fine()
        .unwound()
        .settled();
    let order = script.order.state();
    assert!(
        order
            .record(Step::Authorize, 0)
            .is_some_and(crate::saga::Record::is_done),
        "not voided"
    );
}

#[test]
fn no_courier_until_the_limit_fails_the_order() {
    let script = Script::confirmed(policy(), 1)
        .answered(Step::Dispatch, 0, Answer::Pending)
        .fine();
    let script = script
        .woken()
        .expect(["dispatch 0 unknown", "UnwindingStarted", "undo dispatch 0"])
        .unwound();
    assert_eq!(
        script.settled().history().last().map(super::script::line).as_deref(),
        Some("OrderFailed NO_COURIER")
    );
}

#[test]
fn a_courier_that_fails_with_the_food_fails_the_order_and_refunds_the_customer() {
    let failed = || CourierReport::Failed {
        reason: "an accident".into(),
    };
    let script = Script::picked_up(policy(), 1).answered(Step::Capture, 0, done()).fine();
    let script = script
        .courier(1, failed())
        .expect(["UnwindingStarted", "undo capture 0"])
        .unwound()
        .settled();
    let order = script.order.state();
    assert_eq!(order.status, OrderStatus::Failed);
    assert!(
        order
            .record(Step::PlaceTicket, 0)
            .is_some_and(crate::saga::Record::is_done),
        "the food was made"
    );
    script.courier(1, failed()).refused("FAILED");
    Script::delivered().courier(1, failed()).refused("DELIVERED");
}

#[test]
fn an_authorization_about_to_lapse_is_renewed_and_a_refusal_unwinds() {
    let until = T0 + Millis::from_mins(30);
    let script = Script::held(policy(), 1)
        .answered(Step::Authorize, 0, authorized(Some(until)))
        .fine();
    let script = script.answered(Step::PlaceTicket, 0, accepted()).fine();
    let script = script.answered(Step::ConfirmCapacity, 0, done()).fine();
    let script = script.answered(Step::Dispatch, 0, assigned(1)).fine();
    assert_eq!(script.wake_at(), Some(until - policy().authorization_margin_ms));
    let renewing = script
        .woken()
        .expect(["authorize 0 to be undone", "undo authorize 0", "do authorize 1"]);
    let script = renewing
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone"]);
    let again = until + Millis::from_mins(30);
    let script = script
        .answered(Step::Authorize, 1, authorized(Some(again)))
        .expect(["authorize 1 done"]);
    assert_eq!(script.wake_at(), Some(again - policy().authorization_margin_ms));
    let script = script
        .woken()
        .fine()
        .answered(Step::Authorize, 2, refusal())
        .fine()
        .unwound()
        .settled();
    assert_eq!(
        script.history().last().map(super::script::line).as_deref(),
        Some("OrderFailed PAYMENT_DECLINED")
    );
}

#[test]
fn an_authorization_that_lapses_at_once_is_not_renewed_for_ever() {
    let script = Script::held(policy(), 1)
        .answered(Step::Authorize, 0, authorized(Some(T0)))
        .fine();
    let mut script = script.answered(Step::PlaceTicket, 0, Answer::Pending).fine();
    for round in 1..=10 {
        script = script.told(crate::saga::Command::Wake).fine();
        script = script.answered(Step::Authorize, round, authorized(Some(T0))).fine();
    }
    script.told(crate::saga::Command::Wake).nothing();
}

/// The food is on its way when the renewal comes in: the money is then taken, or an operator must look.
#[test]
fn a_renewal_under_way_at_pick_up_is_captured_when_it_comes() {
    let until = T0 + Millis::from_mins(30);
    let renewing = || {
        let script = Script::held(policy(), 1)
            .answered(Step::Authorize, 0, authorized(Some(until)))
            .fine();
        let script = script.answered(Step::PlaceTicket, 0, accepted()).fine();
        let script = script.answered(Step::ConfirmCapacity, 0, done()).fine();
        let script = script.answered(Step::Dispatch, 0, assigned(1)).fine().woken().fine();
        let script = script.undone(Step::Authorize, 0, done()).fine();
        script.courier(1, CourierReport::Delivered).fine()
    };
    let script = renewing();
    assert!(script.order.state().record(Step::Capture, 0).is_none());
    let script = script.answered(Step::CloseCapacity, 0, done()).fine();
    let script = script.answered(Step::CompleteDelivery, 0, done()).fine();
    let script = script
        .answered(Step::Authorize, 1, authorized(None))
        .expect(["authorize 1 done", "do capture 0"]);
    script.answered(Step::Capture, 0, done()).fine().settled();
    renewing()
        .answered(Step::Authorize, 1, refusal())
        .expect(["authorize 1 stuck"]);
}
