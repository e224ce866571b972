//! The storage format: what was once written must be read for ever. Change these texts only together with a migration.

use crate::fixtures::{details, order_id};
use crate::order::{Ending, Event, FailureCode, KitchenStage};
use crate::saga::{EffectKey, Step};
use std::collections::BTreeSet;

/// One text for each event, and for each variant inside of them.
const EVENTS: [&str; 41] = [
    r#"{"type":"OrderPlaced","id":"01a3185c-5000-893d-8000-000000000001","details":{"customer_id":"customer-1","restaurant_id":"restaurant-1","items":[{"sku":"soup","name":"Soup","quantity":5,"unit_price_minor":500}],"total":{"minor":2500,"currency":"USD"},"delivery_location":{"lat":41.02,"lng":-87.0,"address":"1 Main Street"},"payment_token":"tok-1"},"saga_version":1}"#,
    r#"{"type":"OrderPlaced","id":"01a3185c-5000-893d-8000-000000000001","details":{"customer_id":"customer-1","restaurant_id":"restaurant-1","items":[],"total":{"minor":0,"currency":"USD"},"delivery_location":{"lat":41.02,"lng":-87.0,"address":""},"requested_for":1800000000000,"payment_token":"tok-1","notes":"ring twice"},"saga_version":1}"#,
    r#"{"type":"StepStarted","step":"route","round":0,"attempt":1,"start_at":1800000000000,"deadline":1800000006000}"#,
    r#"{"type":"StepPending","step":"place_ticket","round":1,"deadline":1800000006000}"#,
    r#"{"type":"StepDone","step":"hold_capacity","round":0,"receipt":"empty"}"#,
    r#"{"type":"StepDone","step":"route","round":0,"receipt":{"routed":{"candidates":[{"channel":"kitchen-0","zone":"centre","pickup":{"lat":41.0,"lng":-87.0},"slot":1800000000000,"units":1,"prep_ms":300000,"ready_at":1800000300000,"delivered_at":1800001500000,"cost_minor":100}],"infeasible":[{"channel":"kitchen-3","why":"closed"}]}}}"#,
    r#"{"type":"StepDone","step":"route","round":0,"receipt":{"routed":{"candidates":[]}}}"#,
    r#"{"type":"StepDone","step":"authorize","round":0,"receipt":{"authorized":{"until":1800000006000}}}"#,
    r#"{"type":"StepDone","step":"authorize","round":0,"receipt":{"authorized":{}}}"#,
    r#"{"type":"StepDone","step":"place_ticket","round":0,"receipt":{"accepted":{"ready_at":1800000006000}}}"#,
    r#"{"type":"StepDone","step":"place_ticket","round":0,"receipt":{"accepted":{}}}"#,
    r#"{"type":"StepDone","step":"dispatch","round":0,"receipt":{"assigned":{"courier":"courier-1","pickup_at":1800000006000}}}"#,
    r#"{"type":"StepRefused","step":"place_ticket","round":0,"refused":{"code":"sold_out","detail":"no soup"}}"#,
    r#"{"type":"StepUnknown","step":"dispatch","round":0,"detail":"no answer in time"}"#,
    r#"{"type":"StepStuck","step":"capture","round":0,"detail":"no answer in time"}"#,
    r#"{"type":"UndoWanted","step":"authorize","round":0}"#,
    r#"{"type":"UndoStarted","step":"authorize","round":0,"attempt":2,"start_at":1800000000000,"deadline":1800000006000}"#,
    r#"{"type":"UndoDone","step":"dispatch","round":0}"#,
    r#"{"type":"UndoStuck","step":"place_ticket","round":0,"detail":"no answer in time"}"#,
    r#"{"type":"Resolved","step":"confirm_capacity","round":0,"note":"asked by telephone"}"#,
    r#"{"type":"OrderConfirmed"}"#,
    r#"{"type":"OrderConfirmed","channel":"kitchen-0","ready_at":1800000006000}"#,
    r#"{"type":"KitchenReported","stage":"waiting"}"#,
    r#"{"type":"KitchenReported","stage":"preparing"}"#,
    r#"{"type":"KitchenReported","stage":"ready"}"#,
    r#"{"type":"ReadyEstimated","ready_at":1800000006000}"#,
    r#"{"type":"TicketDropped","round":0,"reason":"the oven broke"}"#,
    r#"{"type":"OrderRerouted","round":1}"#,
    r#"{"type":"OrderRerouted","round":1,"channel":"kitchen-1"}"#,
    r#"{"type":"CourierLost","courier":"courier-1","round":0}"#,
    r#"{"type":"CourierReported","stage":"picked_up"}"#,
    r#"{"type":"CourierReported","stage":"in_transit"}"#,
    r#"{"type":"OrderPreparing"}"#,
    r#"{"type":"OrderReady"}"#,
    r#"{"type":"OrderPickedUp"}"#,
    r#"{"type":"OrderInTransit"}"#,
    r#"{"type":"OrderDelivered"}"#,
    r#"{"type":"UnwindingStarted","ending":"cancelled","reason":"changed my mind"}"#,
    r#"{"type":"UnwindingStarted","ending":{"failed":"NO_COURIER"},"reason":"not decided in time"}"#,
    r#"{"type":"OrderCancelled"}"#,
    r#"{"type":"OrderFailed","code":"DELIVERY_FAILED"}"#,
];

#[test]
fn every_event_is_read_and_written_as_ever() {
    for text in EVENTS {
        let event: Event = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
        assert!(
            text.starts_with(&format!(r#"{{"type":"{}""#, event.name())),
            "its name is its type: {text}"
        );
    }
}

/// `name` matches on every variant, so the number of names is the number of variants.
#[test]
fn every_event_is_among_the_texts() {
    let names: BTreeSet<String> = EVENTS
        .iter()
        .map(|text| serde_json::from_str::<Event>(text).expect("an event").name().to_owned())
        .collect();
    let source = include_str!("../event.rs");
    let variants = source.matches("\" => ").count() + source.matches("=> \"").count();
    assert_eq!(names.len(), variants, "an event without a text: add it");
}

#[test]
fn names_inside_of_events_are_as_ever() {
    let steps = Step::ALL.map(|step| serde_json::to_value(step).expect("JSON"));
    assert_eq!(
        steps,
        Step::ALL.map(Step::as_str),
        "one name in events and in effect keys"
    );
    let codes = [
        (FailureCode::NoAvailableChannel, "NO_AVAILABLE_CHANNEL"),
        (FailureCode::PaymentDeclined, "PAYMENT_DECLINED"),
        (FailureCode::PaymentUnavailable, "PAYMENT_UNAVAILABLE"),
        (FailureCode::KitchenCancelled, "KITCHEN_CANCELLED"),
        (FailureCode::NoCourier, "NO_COURIER"),
        (FailureCode::DeliveryFailed, "DELIVERY_FAILED"),
    ];
    for (code, name) in codes {
        assert_eq!(
            serde_json::to_value(Ending::Failed(code)).expect("JSON"),
            serde_json::json!({ "failed": name })
        );
        assert_eq!(code.as_str(), name);
    }
    assert!(KitchenStage::Waiting < KitchenStage::Preparing && KitchenStage::Preparing < KitchenStage::Ready);
}

#[test]
fn effect_keys_are_as_ever() {
    let key = crate::fixtures::key(1, Step::PlaceTicket, 3);
    assert_eq!(key.to_string(), format!("{}:place_ticket:3:do", order_id(1)));
    let undo = EffectKey {
        direction: crate::saga::Direction::Backward,
        ..key
    };
    assert_eq!(undo.to_string().parse::<EffectKey>(), Ok(undo));
    assert_eq!(undo.action(), key);
    let wrong = [
        "",
        "a:b:c:d",
        &format!("{key}:x"),
        &key.to_string().replace("do", "redo"),
    ];
    for text in wrong {
        assert!(text.parse::<EffectKey>().is_err(), "{text}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// EV-1: a place is read as it was written, to the last bit.
    #[test]
    fn places_lose_nothing_in_the_journal(lat in -90.0..=90.0_f64, lng in -180.0..=180.0_f64) {
        let place = crate::geo::Location { lat, lng };
        let text = serde_json::to_string(&place).expect("JSON");
        proptest::prop_assert_eq!(serde_json::from_str::<crate::geo::Location>(&text).expect("a place"), place);
    }
}

/// An order of the first version, as a snapshot has it, with only the fields that are always written.
#[test]
fn a_snapshot_without_the_optional_fields_is_read() {
    let details = serde_json::to_value(details()).expect("JSON");
    let snapshot = serde_json::json!({
        "id": order_id(1).to_string(), "details": details, "saga_version": 1, "status": "PENDING",
        "placed_at": 1_800_000_000_000_i64, "candidates": [], "round": 0, "reroutes": 0,
        "ledger": [{"step": "route", "round": 0, "candidate": 0,
            "forward": {"acting": {"number": 1, "start_at": 1_800_000_000_000_i64, "deadline": 1_800_000_010_000_i64}}}],
        "kitchen": "waiting", "carriage": "waiting", "milestones": {},
    });
    let order: crate::order::Order = serde_json::from_value(snapshot.clone()).expect("a snapshot");
    assert_eq!(serde_json::to_value(&order).expect("JSON"), snapshot);
}
