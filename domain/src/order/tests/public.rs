//! Public events: what is told, what is not, and that the names are those of the interface.

use crate::fixtures::{details, order_id};
use crate::ids::{Position, Seq};
use crate::order::{Ending, Event, FailureCode, PublicEvent, public_events};
use crate::ports::{Row, StreamKind};
use crate::saga::{Receipt, Step};
use crate::time::Timestamp;

fn row(kind: StreamKind, events: &[Event]) -> Row {
    Row {
        stream: order_id(1).stream(),
        kind,
        seq: Seq(3),
        position: Position(9),
        at: Timestamp(1_800_000_000_000),
        events: serde_json::to_string(events).expect("JSON"),
    }
}

fn placed() -> Event {
    Event::OrderPlaced {
        id: order_id(1),
        details: details().into(),
        saga_version: 1,
    }
}

fn step_done(step: Step, receipt: Receipt) -> Event {
    Event::StepDone {
        step,
        round: 0,
        receipt,
    }
}

#[test]
fn an_event_is_named_by_order_version_and_place_in_the_row() {
    let confirmed = Event::OrderConfirmed {
        channel: None,
        ready_at: None,
    };
    let events = [step_done(Step::ConfirmCapacity, Receipt::Empty), confirmed];
    let public = public_events(&row(StreamKind::Order, &events)).expect("readable");
    assert_eq!(public.len(), 1, "steps are not public");
    assert_eq!(public[0].id(), format!("{}:3:1", order_id(1)));
    assert_eq!(public[0].name, "order.confirmed");
}

#[test]
fn secrets_and_places_are_not_told() {
    let public = public_events(&row(StreamKind::Order, &[placed()])).expect("readable");
    let text = public[0].data.to_string();
    let details = details();
    assert!(text.contains(details.customer_id.as_str()), "{text}");
    for hidden in [&details.payment_token, &details.delivery_location.address] {
        assert!(!hidden.is_empty() && !text.contains(hidden), "{hidden}: {text}");
    }
}

#[test]
fn names_are_those_of_the_interface() {
    let events = [
        placed(),
        Event::OrderRerouted {
            round: 1,
            channel: None,
        },
        Event::ReadyEstimated { ready_at: Timestamp(5) },
        step_done(
            Step::Dispatch,
            Receipt::Assigned {
                courier: "courier-1".parse().expect("an id"),
                pickup_at: Timestamp(7),
            },
        ),
        Event::UnwindingStarted {
            ending: Ending::Failed(FailureCode::NoCourier),
            reason: "nobody".into(),
        },
        Event::OrderFailed {
            code: FailureCode::NoCourier,
        },
        Event::OrderPreparing,
        Event::OrderReady,
        Event::OrderPickedUp,
        Event::OrderInTransit,
        Event::OrderDelivered,
        Event::OrderCancelled,
        Event::OrderConfirmed {
            channel: None,
            ready_at: None,
        },
    ];
    let public = public_events(&row(StreamKind::Order, &events)).expect("readable");
    assert_eq!(public.len(), events.len());
    for name in PublicEvent::NAMES {
        assert!(public.iter().any(|event| event.name == name), "{name}");
    }
    for event in public {
        assert!(PublicEvent::NAMES.contains(&event.name), "{}", event.name);
        assert!(event.data.is_object());
    }
}

#[test]
fn rows_of_channels_and_zones_have_none() {
    let public = public_events(&row(StreamKind::Channel, &[placed()])).expect("readable");
    assert!(public.is_empty());
}
