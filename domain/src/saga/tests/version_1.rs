//! Orders that began under version 1 of the definition go to their end under it, one step after the other.

use super::script::{Script, accepted, assigned, authorized, done, line, refusal, routed, silence};
use crate::order::OrderStatus;
use crate::policy::{CallPolicy, Policy};
use crate::saga::{CourierReport, Step};

fn placed() -> Script {
    Script::placed_under(1, Policy::default())
}

fn ticketed(kitchens: usize) -> Script {
    let script = placed()
        .answered(Step::Route, 0, routed(kitchens))
        .expect(["route 0 done", "do hold_capacity 0"]);
    let script = script
        .answered(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 done", "do authorize 0"]);
    script
        .answered(Step::Authorize, 0, authorized(None))
        .expect(["authorize 0 done", "do place_ticket 0"])
}

fn last_line(script: &Script) -> Option<String> {
    script.history().last().map(line)
}

/// What is under way.
fn steps(script: &Script) -> Vec<Step> {
    script.pending().iter().map(|effect| effect.key.step).collect()
}

#[test]
fn an_order_goes_from_placed_to_delivered() {
    let script = ticketed(2)
        .answered(Step::PlaceTicket, 0, accepted())
        .expect(["place_ticket 0 done", "do confirm_capacity 0"]);
    assert_eq!(script.order.state().status, OrderStatus::Pending);
    let script = script.answered(Step::ConfirmCapacity, 0, done()).expect([
        "confirm_capacity 0 done",
        "OrderConfirmed",
        "do dispatch 0",
    ]);
    let script = script.answered(Step::Dispatch, 0, assigned(1)).fine();
    let script = script.courier(1, CourierReport::Delivered).expect([
        "kitchen Ready",
        "courier Delivered",
        "OrderPreparing",
        "OrderReady",
        "OrderPickedUp",
        "OrderInTransit",
        "OrderDelivered",
        "do capture 0",
        "do close_capacity 0",
        "do complete_delivery 0",
    ]);
    let script = script.answered(Step::Capture, 0, done()).fine();
    let script = script.answered(Step::CloseCapacity, 0, done()).fine();
    let script = script.answered(Step::CompleteDelivery, 0, done()).fine().settled();
    assert_eq!(script.order.state().saga_version, 1, "to its end");
}

#[test]
fn refusals_lead_to_the_alternate_and_then_back() {
    let script = ticketed(2).answered(Step::PlaceTicket, 0, refusal()).expect([
        "place_ticket 0 refused",
        "hold_capacity 0 to be undone",
        "OrderRerouted 1",
        "undo hold_capacity 0",
        "do hold_capacity 1",
    ]);
    let script = script.undone(Step::HoldCapacity, 0, done()).fine();
    let script = script
        .answered(Step::HoldCapacity, 1, done())
        .expect(["hold_capacity 1 done", "do place_ticket 1"]);
    let script = script
        .answered(Step::PlaceTicket, 1, accepted())
        .expect(["place_ticket 1 done", "do confirm_capacity 1"]);
    let script = script.answered(Step::ConfirmCapacity, 1, refusal()).expect([
        "confirm_capacity 1 refused",
        "UnwindingStarted",
        "undo place_ticket 1",
    ]);
    let script = script
        .undone(Step::PlaceTicket, 1, done())
        .expect(["place_ticket 1 undone", "undo hold_capacity 1"]);
    let script = script
        .undone(Step::HoldCapacity, 1, done())
        .expect(["hold_capacity 1 undone", "undo authorize 0"]);
    script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "OrderFailed NO_AVAILABLE_CHANNEL"])
        .settled();
}

#[test]
fn no_money_is_set_aside_before_capacity_is_held() {
    let script = placed().answered(Step::Route, 0, routed(1)).fine();
    script
        .answered(Step::HoldCapacity, 0, refusal())
        .expect([
            "hold_capacity 0 refused",
            "UnwindingStarted",
            "OrderFailed NO_AVAILABLE_CHANNEL",
        ])
        .settled();
}

#[test]
fn a_crash_anywhere_on_the_way_goes_on_with_the_one_step_under_way() {
    let script = placed().restarted();
    assert_eq!(steps(&script), [Step::Route]);
    let script = script.answered(Step::Route, 0, routed(1)).fine().restarted();
    assert_eq!(steps(&script), [Step::HoldCapacity]);
    let script = script.answered(Step::HoldCapacity, 0, done()).fine().restarted();
    assert_eq!(steps(&script), [Step::Authorize]);
    let script = script.answered(Step::Authorize, 0, authorized(None)).fine().restarted();
    assert_eq!(
        steps(&script),
        [Step::PlaceTicket],
        "the reservation waits for the kitchen"
    );
    let script = script.answered(Step::PlaceTicket, 0, accepted()).fine().restarted();
    assert_eq!(steps(&script), [Step::ConfirmCapacity]);
    let script = script.answered(Step::ConfirmCapacity, 0, done()).fine().restarted();
    assert_eq!(script.order.state().status, OrderStatus::Confirmed);
    let script = script.cancelled().fine().restarted().unwound().settled();
    assert_eq!(last_line(&script).as_deref(), Some("OrderCancelled"));
}

#[test]
fn an_authorization_whose_outcome_is_unknown_is_voided_before_the_capacity_is_given_back() {
    let once = CallPolicy {
        attempts_max: 1,
        ..Policy::default().payment
    };
    let policy = Policy {
        payment: once,
        ..Policy::default()
    };
    let script = Script::placed_under(1, policy)
        .answered(Step::Route, 0, routed(2))
        .fine();
    let script = script.answered(Step::HoldCapacity, 0, done()).fine();
    let script = script.answered(Step::Authorize, 0, silence()).expect([
        "authorize 0 unknown",
        "UnwindingStarted",
        "undo authorize 0",
    ]);
    let script = script
        .undone(Step::Authorize, 0, done())
        .expect(["authorize 0 undone", "undo hold_capacity 0"]);
    let script = script.unwound().settled();
    assert_eq!(last_line(&script).as_deref(), Some("OrderFailed PAYMENT_UNAVAILABLE"));
}
