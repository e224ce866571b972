//! What a message says.

use super::*;
use domain::ids::{HashSlot, Seq};
use proptest::prelude::*;
use rdkafka::message::Headers as _;
use serde_json::json;

fn event(data: Value) -> PublicEvent {
    PublicEvent {
        order: OrderId::mint(Timestamp(1_800_000_000_000), HashSlot::of(&[b"order"]), 7),
        seq: Seq(3),
        index: 1,
        at: Timestamp(1_800_000_000_123),
        name: "order.confirmed",
        data,
    }
}

#[test]
fn a_message_is_a_cloud_event() {
    let mut envelope = Envelope::default();
    let event = event(json!({ "status": "CONFIRMED" }));
    // Written twice: nothing is left over from the first time.
    envelope.write(&event).expect("written");
    let headers = envelope.write(&event).expect("written");
    let headers: Vec<(String, String)> = (0..headers.as_borrowed().count())
        .map(|index| {
            let header = headers.as_borrowed().get_as::<str>(index).expect("text");
            (header.key.to_owned(), header.value.unwrap_or_default().to_owned())
        })
        .collect();
    let order = event.order.to_string();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", &format!("{order}:3:1")),
        ("ce_source", "/uoop/orders"),
        ("ce_type", "uoop.order.confirmed"),
        ("ce_subject", &order),
        ("ce_time", "2027-01-15T08:00:00.123Z"),
        ("ce_sequence", "0000000003.0001"),
        ("content-type", "application/json"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
    assert_eq!(envelope.key(), order);
    let body: Value = serde_json::from_slice(envelope.body()).expect("JSON");
    assert_eq!(body, json!({ "order_id": order, "version": 3, "status": "CONFIRMED" }));
}

#[test]
fn an_event_of_which_nothing_is_said_has_its_order() {
    let mut envelope = Envelope::default();
    let event = event(json!({}));
    envelope.write(&event).expect("written");
    let body: Value = serde_json::from_slice(envelope.body()).expect("JSON");
    assert_eq!(body, json!({ "order_id": event.order.to_string(), "version": 3 }));
}

#[test]
fn what_is_no_object_is_refused() {
    assert!(Envelope::default().write(&event(json!(["a"]))).is_err());
}

#[test]
fn moments_are_written_as_everybody_does() {
    let cases = [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
    ];
    for (ms, expected) in cases {
        assert_eq!(Rfc3339(Timestamp(ms)).to_string(), expected);
    }
}

proptest! {
    /// Each day has the date after the day before, and dates sort as days do.
    #[test]
    fn days_follow_each_other(day in -1_000_000_i64..1_000_000) {
        let (before, after) = (date(day), date(day + 1));
        prop_assert!(before < after);
        let (year, month, _) = before;
        let same_month = (year, month, before.2 + 1) == after;
        let next_month = after.2 == 1 && (after.0 * 12 + after.1 == year * 12 + month + 1) && before.2 >= 28;
        prop_assert!(same_month || next_month, "{before:?} {after:?}");
    }
}
