//! What rows change, alone and together.

use super::*;
use domain::ids::{HashSlot, Position};
use domain::order::{DeliveryLocation, Details, Draft, DraftItem, Ending, FailureCode};
use domain::saga::Step;

fn order() -> OrderId {
    OrderId::mint(Timestamp(1_000), HashSlot::of(&[b"a"]), 7)
}

fn details() -> Details {
    let draft = Draft {
        customer_id: "c-1".into(),
        restaurant_id: "r-1".into(),
        items: vec![DraftItem {
            sku: "soup".into(),
            name: "\"Order soup\"".into(),
            quantity: 2,
            unit_price_minor: 450,
        }],
        currency: "EUR".into(),
        delivery_location: DeliveryLocation {
            lat: 1.0,
            lng: 2.0,
            address: "\"OrderReady\"".into(),
        },
        requested_for: None,
        payment_token: "tok".into(),
        notes: Some("{\"type\":\"OrderFailed\"}".into()),
    };
    draft.check(Timestamp(1_000)).expect("a valid order")
}

fn placed() -> Event {
    Event::OrderPlaced {
        id: order(),
        details: details().into(),
        saga_version: 1,
    }
}

fn confirmed(channel: &str) -> Event {
    Event::OrderConfirmed {
        channel: Some(channel.parse().expect("an id")),
        ready_at: None,
    }
}

fn row(seq: u64, events: &[Event]) -> Row {
    Row {
        stream: order().stream(),
        kind: StreamKind::Order,
        seq: Seq(seq),
        position: Position(seq),
        at: Timestamp(1_000 + i64::try_from(seq).expect("small")),
        events: serde_json::to_string(events).expect("JSON"),
    }
}

fn change(seq: u64, events: &[Event]) -> OrderChange {
    let change = OrderChange::of(&row(seq, events), None).expect("readable");
    change.expect("it changes something")
}

#[test]
fn a_placed_order_is_told_with_who_what_and_when() {
    let step = Event::UndoWanted {
        step: Step::Dispatch,
        round: 0,
    };
    let placed = change(1, &[placed(), step]);
    let expected = Placed {
        customer: "c-1".parse().expect("an id"),
        restaurant: "r-1".parse().expect("an id"),
        total: details().total,
        at: Timestamp(1_001),
    };
    assert_eq!(placed.placed, Some(expected));
    assert_eq!(placed.status, StatusChange::Became(OrderStatus::Pending));
    assert_eq!(
        (placed.order, placed.seq, placed.at),
        (order(), Seq(1), Timestamp(1_001))
    );
}

#[test]
fn steps_and_other_streams_change_nothing_whatever_their_texts_say() {
    let quoting = Event::StepUnknown {
        step: Step::Dispatch,
        round: 0,
        detail: "{\"type\":\"OrderFailed\"} \"Order".into(),
    };
    assert_eq!(OrderChange::of(&row(4, &[quoting]), None).expect("readable"), None);
    let unwinding = Event::UnwindingStarted {
        ending: Ending::Failed(FailureCode::NoCourier),
        reason: "OrderFailed".into(),
    };
    assert_eq!(OrderChange::of(&row(4, &[unwinding]), None).expect("readable"), None);
    let channel = Row {
        kind: StreamKind::Channel,
        ..row(4, &[placed()])
    };
    assert_eq!(OrderChange::of(&channel, None).expect("not read"), None);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for events in [
        "[{\"type\":\"OrderPlaced\"}]",
        "[{\"type\":\"OrderSold\"}]",
        "\"Order\"",
        "[{\"Order\":1}]",
    ] {
        let row = Row {
            events: events.into(),
            ..row(1, &[])
        };
        assert!(OrderChange::of(&row, None).is_err(), "{events}");
    }
}

#[test]
fn every_status_is_told() {
    let code = FailureCode::NoCourier;
    let told = [
        (Event::OrderPreparing, OrderStatus::Preparing),
        (Event::OrderReady, OrderStatus::ReadyForPickup),
        (Event::OrderPickedUp, OrderStatus::PickedUp),
        (Event::OrderInTransit, OrderStatus::InTransit),
        (Event::OrderDelivered, OrderStatus::Delivered),
        (Event::OrderCancelled, OrderStatus::Cancelled),
        (Event::OrderFailed { code }, OrderStatus::Failed),
        (confirmed("k"), OrderStatus::Confirmed),
        (placed(), OrderStatus::Pending),
    ];
    assert_eq!(told.len(), OrderStatus::ALL.len());
    for (event, status) in told {
        assert_eq!(change(2, &[event]).status, StatusChange::Became(status));
    }
}

#[test]
fn a_rerouted_order_is_confirmed_again_by_nobody_yet() {
    let rerouted = change(
        5,
        &[Event::OrderRerouted {
            round: 1,
            channel: None,
        }],
    );
    assert_eq!(rerouted.channel, Some(None));
    for (before, after) in [
        (OrderStatus::Pending, OrderStatus::Pending),
        (OrderStatus::Confirmed, OrderStatus::Confirmed),
        (OrderStatus::Preparing, OrderStatus::Confirmed),
        (OrderStatus::ReadyForPickup, OrderStatus::Confirmed),
    ] {
        assert_eq!(rerouted.status.applied_to(before), after);
        let mut both = change(4, &[Event::OrderReady]);
        both.status = StatusChange::Became(before);
        both.then(rerouted.clone());
        assert_eq!((both.status, both.seq), (StatusChange::Became(after), Seq(5)));
    }
    let mut later = rerouted;
    later.then(change(6, &[confirmed("k-2"), Event::OrderPreparing]));
    assert_eq!(later.status, StatusChange::Became(OrderStatus::Preparing));
    assert_eq!(later.channel, Some(Some("k-2".parse().expect("an id"))));
}

#[test]
fn changes_together_are_the_last_and_what_none_after_it_touched() {
    let mut all = change(1, &[placed()]);
    all.then(change(3, &[confirmed("k-1")]));
    all.then(change(4, &[Event::OrderPreparing]));
    let whole = all.clone();
    assert_eq!(all.status, StatusChange::Became(OrderStatus::Preparing));
    assert_eq!(all.channel, Some(Some("k-1".parse().expect("an id"))));
    assert_eq!((all.seq, all.at), (Seq(4), Timestamp(1_004)));
    assert!(all.placed.is_some());
    for again in [change(4, &[Event::OrderDelivered]), change(1, &[placed()])] {
        all.then(again);
        assert_eq!(all, whole, "what is not newer changes nothing");
    }
}

fn undo_stuck(round: u32) -> Event {
    Event::UndoStuck {
        step: Step::PlaceTicket,
        round,
        detail: "gone".into(),
    }
}

fn undo_started(round: u32, attempt: u32) -> Event {
    Event::UndoStarted {
        step: Step::PlaceTicket,
        round,
        attempt,
        start_at: Timestamp(0),
        deadline: Timestamp(1),
    }
}

#[test]
fn what_is_stuck_is_followed_until_nothing_is() {
    let both = change(4, &[undo_stuck(0), undo_stuck(1)]).stuck.expect("it changed");
    assert_eq!(both.to_string(), "place_ticket:0:undo,place_ticket:1:undo");
    let of =
        |seq, events: &[Event], before: &Stuck| OrderChange::of(&row(seq, events), Some(before)).expect("readable");
    let one = of(5, &[undo_started(0, 1)], &both).expect("a change");
    assert_eq!((one.status, one.seq), (StatusChange::Kept, Seq(5)));
    let one = one.stuck.expect("it changed");
    assert_eq!(one.to_string(), "place_ticket:1:undo");
    assert_eq!(
        of(6, &[undo_started(0, 2)], &one),
        None,
        "another attempt of what is not stuck"
    );
    assert_eq!(of(6, &[undo_started(1, 1), undo_stuck(1)], &one), None, "as before");
    let resolved = Event::Resolved {
        step: Step::PlaceTicket,
        round: 1,
        note: String::new(),
    };
    let mut all = change(4, &[undo_stuck(1)]);
    all.then(of(7, &[resolved], &one).expect("a change"));
    assert!(all.stuck.expect("it changed").is_empty());
    assert_eq!(change(2, &[confirmed("k")]).stuck, None);
}
