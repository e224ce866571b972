//! Reports as they come: doubled, late, out of order, from the wrong ones.

use super::script::{Script, assigned, done, kitchen_accepts, kitchen_drops};
use crate::fixtures::{channel_id, courier_id, ready_at};
use crate::order::OrderStatus;
use crate::policy::Policy;
use crate::saga::{Answer, Command, CourierReport, KitchenReport, Refused, Report, Step};
use crate::time::Millis;

fn policy() -> Policy {
    Policy::default()
}

fn assignment(round: u32, courier: usize) -> Command {
    Command::Report(Report::Assigned {
        round,
        courier: courier_id(courier),
        pickup_at: ready_at(0),
    })
}

#[test]
fn what_is_reported_twice_happens_once() {
    let script = Script::accepted(policy(), 1).kitchen(0, kitchen_accepts()).nothing();
    let script = script
        .answered(Step::ConfirmCapacity, 0, done())
        .fine()
        .told(assignment(0, 1))
        .fine();
    let script = script.told(assignment(0, 1)).nothing();
    let script = script
        .kitchen(0, KitchenReport::Preparing)
        .fine()
        .kitchen(0, KitchenReport::Preparing)
        .nothing();
    let script = script
        .kitchen(0, KitchenReport::Ready)
        .fine()
        .kitchen(0, KitchenReport::Ready)
        .nothing();
    let script = script.kitchen(0, KitchenReport::Preparing).nothing();
    let script = script
        .courier(1, CourierReport::PickedUp)
        .fine()
        .courier(1, CourierReport::PickedUp)
        .nothing();
    let script = script.kitchen(0, KitchenReport::PickedUp).nothing();
    let script = script
        .courier(1, CourierReport::Delivered)
        .fine()
        .courier(1, CourierReport::Delivered)
        .nothing();
    script.courier(1, CourierReport::InTransit).nothing();
}

#[test]
fn what_was_left_out_is_implied() {
    let script = Script::confirmed(policy(), 1)
        .answered(Step::Dispatch, 0, assigned(1))
        .fine();
    let script = script.courier(1, CourierReport::Delivered);
    script.expect([
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
}

#[test]
fn a_kitchen_that_cooks_has_accepted() {
    for answer in [None, Some(Answer::Pending)] {
        let script = Script::ticketed(policy(), 1);
        let script = match answer {
            Some(answer) => script.answered(Step::PlaceTicket, 0, answer).fine(),
            None => script,
        };
        let script = script.kitchen(0, KitchenReport::Ready);
        let script = script.expect(["place_ticket 0 done", "kitchen Ready"]);
        let script = script.answered(Step::PlaceTicket, 0, Answer::Pending).stale();
        let script = script.answered(Step::ConfirmCapacity, 0, done());
        script.expect([
            "confirm_capacity 0 done",
            "OrderConfirmed",
            "OrderPreparing",
            "OrderReady",
            "do dispatch 0",
        ]);
    }
}

#[test]
fn the_wrong_ones_are_not_heard() {
    let script = Script::placed(policy())
        .kitchen(0, kitchen_accepts())
        .refused("not, or no longer, with channel");
    let script = script.answered(Step::Route, 0, super::script::routed(2)).fine();
    let script = script.kitchen(0, kitchen_accepts()).refused("no ticket");
    script.kitchen(1, kitchen_accepts()).refused("kitchen-1");
    let script = Script::ready(policy(), 2)
        .kitchen(1, KitchenReport::Ready)
        .refused("kitchen-1");
    let script = script
        .courier(2, CourierReport::PickedUp)
        .refused("courier-2 does not carry the order");
    let script = script.courier_lost(1, 1).nothing().courier_lost(0, 1).fine();
    script
        .courier(1, CourierReport::PickedUp)
        .refused("courier-1 does not carry the order");
    let script = Script::confirmed(policy(), 1)
        .kitchen(0, KitchenReport::PickedUp)
        .refused("no courier is assigned");
    assert_eq!(
        script.order.state().status,
        OrderStatus::Confirmed,
        "a refused report leaves nothing behind"
    );
}

#[test]
fn an_accepted_ticket_cannot_be_rejected_nor_dropped_after_pick_up() {
    let rejected = || KitchenReport::Rejected(Refused::new("sold_out", "no soup"));
    Script::accepted(policy(), 1)
        .kitchen(0, rejected())
        .refused("report 'cancelled'");
    Script::picked_up(policy(), 2)
        .kitchen(0, kitchen_drops())
        .refused("cannot be dropped");
    Script::delivered()
        .kitchen(0, kitchen_drops())
        .refused("cannot be dropped");
}

#[test]
fn nothing_is_heard_while_or_after_an_order_is_undone() {
    let script = Script::ready(policy(), 1).cancelled().fine();
    let script = script.courier(1, CourierReport::PickedUp).refused("changed my mind");
    let script = script.kitchen(0, kitchen_drops()).refused("READY_FOR_PICKUP");
    let script = script.courier_lost(0, 1).nothing().unwound();
    script
        .courier(1, CourierReport::Delivered)
        .refused("CANCELLED")
        .kitchen(0, kitchen_accepts())
        .refused("CANCELLED");
}

#[test]
fn reports_after_the_delivery_change_nothing() {
    let script = Script::delivered();
    let script = script
        .kitchen(0, kitchen_accepts())
        .nothing()
        .kitchen(0, KitchenReport::Ready)
        .nothing();
    let script = script
        .kitchen(
            0,
            KitchenReport::Accepted {
                ready_at: Some(ready_at(2)),
            },
        )
        .nothing();
    let script = script
        .courier(1, CourierReport::Delivered)
        .nothing()
        .courier_lost(0, 1)
        .nothing();
    let script = script.told(assignment(0, 2)).nothing().told(Command::Wake).nothing();
    script.answered(Step::Capture, 0, done()).stale().settled();
}

#[test]
fn a_new_estimate_is_kept_until_the_food_is_ready() {
    let later = ready_at(0) + Millis::from_mins(7);
    let estimate = || KitchenReport::Accepted { ready_at: Some(later) };
    let script = Script::preparing(policy(), 1)
        .kitchen(0, estimate())
        .expect(["ReadyEstimated"]);
    assert_eq!(script.order.state().ready_at, Some(later));
    let script = script.kitchen(0, estimate()).nothing().later(Millis::from_mins(1));
    let now = script.now;
    let script = script.kitchen(0, KitchenReport::Ready).fine();
    assert_eq!(script.order.state().ready_at, Some(now), "it is ready now");
    script.kitchen(0, estimate()).nothing();
}

#[test]
fn a_lost_courier_is_replaced_before_pick_up() {
    let lost = ["CourierLost 0", "undo dispatch 0", "do dispatch 1"];
    let by_zone = Script::preparing(policy(), 1).courier_lost(0, 1).expect(lost);
    let order = by_zone.order.state();
    assert_eq!((&order.courier, order.pickup_at), (&None, None));
    let by_zone = by_zone.courier_lost(0, 1).nothing();
    let by_zone = by_zone.undone(Step::Dispatch, 0, done()).expect(["dispatch 0 undone"]);
    let by_zone = by_zone
        .answered(Step::Dispatch, 1, assigned(2))
        .expect(["dispatch 1 done"]);
    let by_zone = by_zone.courier(2, CourierReport::Delivered).fine();
    let by_zone = by_zone.answered(Step::CompleteDelivery, 1, done()).fine();
    let by_zone = by_zone.answered(Step::Capture, 0, done()).fine();
    by_zone.answered(Step::CloseCapacity, 0, done()).fine().settled();
    let by_itself = Script::preparing(policy(), 1).courier(
        1,
        CourierReport::Failed {
            reason: "a flat tyre".into(),
        },
    );
    by_itself.expect(lost);
}

#[test]
fn a_lost_courier_after_pick_up_fails_the_order() {
    let script = Script::in_transit(policy(), 1).courier_lost(0, 1);
    let script = script
        .expect(["UnwindingStarted", "undo capture 0"])
        .unwound()
        .settled();
    assert_eq!(script.order.state().status, OrderStatus::Failed);
}

/// The assignment's report is lost, or overtaken by the news that the courier dropped out: the order must not wait for a
/// courier that will never come.
#[test]
fn a_courier_lost_before_it_was_heard_of_is_replaced_too() {
    for answer in [None, Some(Answer::Pending)] {
        let script = Script::confirmed(policy(), 1);
        let script = match answer {
            Some(answer) => script.answered(Step::Dispatch, 0, answer).fine(),
            None => script,
        };
        let script = script
            .courier_lost(0, 1)
            .expect(["CourierLost 0", "undo dispatch 0", "do dispatch 1"]);
        let script = script.told(assignment(0, 1)).nothing();
        assert_eq!(script.order.state().courier, None);
    }
}

#[test]
fn a_report_survives_the_wire() {
    let report = Report::Kitchen(channel_id(0), kitchen_drops());
    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("read back"), report);
}
