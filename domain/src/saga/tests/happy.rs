//! The way forward.

use super::script::{Script, accepted, assigned, authorized, capturing, done, kitchen_accepts, routed};
use crate::fixtures::{T0, ready_at};
use crate::order::OrderStatus;
use crate::policy::{CaptureAt, Policy};
use crate::saga::{Action, Answer, CapacityRequest, CourierReport, KitchenReport, Step};
use crate::time::Millis;

#[test]
fn an_order_goes_from_placed_to_delivered() {
    let script = Script::placed(Policy::default());
    let script =
        script
            .answered(Step::Route, 0, routed(2))
            .expect(["route 0 done", "do hold_capacity 0", "do authorize 0"]);
    let script = script
        .answered(Step::HoldCapacity, 0, done())
        .expect(["hold_capacity 0 done"]);
    let script = script.answered(Step::Authorize, 0, authorized(None)).expect([
        "authorize 0 done",
        "do place_ticket 0",
        "do confirm_capacity 0",
    ]);
    let script = script
        .answered(Step::PlaceTicket, 0, accepted())
        .expect(["place_ticket 0 done"]);
    assert_eq!(script.order.state().status, OrderStatus::Pending);
    let script = script.answered(Step::ConfirmCapacity, 0, done()).expect([
        "confirm_capacity 0 done",
        "OrderConfirmed",
        "do dispatch 0",
    ]);
    let script = script
        .answered(Step::Dispatch, 0, assigned(1))
        .expect(["dispatch 0 done"]);
    let script = script
        .kitchen(0, KitchenReport::Preparing)
        .expect(["kitchen Preparing", "OrderPreparing"]);
    let script = script
        .kitchen(0, KitchenReport::Ready)
        .expect(["kitchen Ready", "OrderReady"]);
    let script = script.courier(1, CourierReport::PickedUp).expect([
        "courier PickedUp",
        "OrderPickedUp",
        "do capture 0",
        "do close_capacity 0",
    ]);
    let script = script
        .courier(1, CourierReport::InTransit)
        .expect(["courier InTransit", "OrderInTransit"]);
    let script = script.answered(Step::Capture, 0, done()).expect(["capture 0 done"]);
    let script = script
        .answered(Step::CloseCapacity, 0, done())
        .expect(["close_capacity 0 done"]);
    let script = script.courier(1, CourierReport::Delivered).expect([
        "courier Delivered",
        "OrderDelivered",
        "do complete_delivery 0",
    ]);
    let script = script
        .answered(Step::CompleteDelivery, 0, done())
        .expect(["complete_delivery 0 done"])
        .settled();
    assert_eq!(script.order.state().status, OrderStatus::Delivered);
}

#[test]
fn a_kitchen_may_think_about_a_ticket_and_a_zone_may_look_for_a_courier() {
    let script = Script::reserved(Policy::default(), 1);
    let script = script
        .answered(Step::PlaceTicket, 0, Answer::Pending)
        .expect(["place_ticket 0 pending"]);
    assert_eq!(script.pending(), [], "what is with the kitchen is not asked for again");
    assert_eq!(script.wake_at(), Some(T0 + Policy::default().ticket_acceptance_ms));
    let script =
        script
            .kitchen(0, kitchen_accepts())
            .expect(["place_ticket 0 done", "OrderConfirmed", "do dispatch 0"]);
    let script = script
        .answered(Step::Dispatch, 0, Answer::Pending)
        .expect(["dispatch 0 pending"]);
    let limit = ready_at(0) + Policy::default().no_courier_limit_ms;
    assert_eq!(script.wake_at(), Some(limit));
    let report = crate::saga::Report::Assigned {
        round: 0,
        courier: crate::fixtures::courier_id(1),
        pickup_at: T0 + Millis::from_mins(3),
    };
    let script = script
        .told(crate::saga::Command::Report(report))
        .expect(["dispatch 0 done"]);
    assert_eq!(script.order.state().courier, Some(crate::fixtures::courier_id(1)));
}

#[test]
fn a_courier_is_asked_for_shortly_before_the_food_is_ready() {
    let lead = Millis::from_mins(2);
    let policy = Policy {
        dispatch_lead_ms: lead,
        ..Policy::default()
    };
    let script = Script::accepted(policy, 1);
    let script = script
        .answered(Step::ConfirmCapacity, 0, done())
        .expect(["confirm_capacity 0 done", "OrderConfirmed"]);
    assert_eq!(script.wake_at(), Some(ready_at(0) - lead));
    let later = ready_at(0) + Millis::from_mins(10);
    let script = script
        .kitchen(0, KitchenReport::Accepted { ready_at: Some(later) })
        .expect(["ReadyEstimated"]);
    assert_eq!(script.wake_at(), Some(later - lead));
    script.woken().expect(["do dispatch 0"]);
}

#[test]
fn the_money_is_taken_when_the_policy_says_so() {
    let captured = |script: &Script| script.order.state().record(Step::Capture, 0).is_some();
    let script = Script::confirmed(capturing(CaptureAt::Confirmed), 1);
    assert!(captured(&script), "at confirmation");

    let script = Script::ready(capturing(CaptureAt::PickedUp), 1);
    assert!(!captured(&script));
    assert!(
        captured(&script.courier(1, CourierReport::PickedUp).fine()),
        "at pick-up"
    );

    let script = Script::in_transit(capturing(CaptureAt::Delivered), 1);
    assert!(!captured(&script));
    let script = script
        .answered(Step::CloseCapacity, 0, done())
        .expect(["close_capacity 0 done"]);
    let script = script.courier(1, CourierReport::Delivered).expect([
        "courier Delivered",
        "OrderDelivered",
        "do capture 0",
        "do complete_delivery 0",
    ]);
    let script = script.answered(Step::CompleteDelivery, 0, done()).fine();
    script
        .answered(Step::Capture, 0, done())
        .expect(["capture 0 done"])
        .settled();
}

#[test]
fn the_last_steps_begin_even_when_everything_else_is_done_at_delivery() {
    let script = Script::picked_up(Policy::default(), 1);
    let script = script.answered(Step::Capture, 0, done()).fine();
    let script = script.answered(Step::CloseCapacity, 0, done()).fine();
    let script = script.courier(1, CourierReport::Delivered).fine();
    assert!(!script.order.state().is_settled());
    script.answered(Step::CompleteDelivery, 0, done()).fine().settled();
}

#[test]
fn each_effect_names_what_it_is_about() {
    let script = Script::routed(Policy::default(), 2);
    let [effect, authorization] = script.effects.as_slice() else {
        panic!("two effects: {:?}", script.effects)
    };
    let Action::Payment(request) = &authorization.action else {
        panic!("an authorization: {authorization:?}")
    };
    assert_eq!((request.key, request.of), (authorization.key, None));
    assert!(request.payment_token.is_some(), "what is to be charged");
    let Action::Capacity(
        channel,
        CapacityRequest::Hold {
            key,
            units: 1,
            expires_at,
            ..
        },
    ) = &effect.action
    else {
        panic!("a hold: {effect:?}")
    };
    assert_eq!((channel, key), (&crate::fixtures::channel_id(0), &effect.key));
    assert_eq!(*expires_at, T0 + Policy::default().hold_ttl_ms);

    let script = Script::picked_up(Policy::default(), 1);
    let payment = script.effects.iter().find_map(|effect| match &effect.action {
        Action::Payment(request) => Some(request),
        _ => None,
    });
    let payment = payment.expect("the capture");
    assert_eq!(
        payment.of,
        Some(crate::fixtures::key(1, Step::Authorize, 0)),
        "it builds on the authorization"
    );
    assert_eq!(
        payment.payment_token, None,
        "the token goes only with the authorization"
    );
    assert_eq!(payment.amount.minor, crate::fixtures::TOTAL_MINOR);
}
