//! What is wrong with a draft, and where.

use crate::fixtures::{T0, details, draft};
use crate::order::{Draft, limits};
use crate::time::Millis;

type Change = fn(&mut Draft);

/// The pointers of everything that is wrong.
fn pointers(draft: Draft) -> Vec<String> {
    let errors = draft.check(T0).expect_err("something is wrong");
    assert!(errors.iter().all(|error| !error.detail.is_empty()));
    errors.into_iter().map(|error| error.pointer).collect()
}

fn but(change: impl FnOnce(&mut Draft)) -> Draft {
    let mut draft = draft();
    change(&mut draft);
    draft
}

#[test]
fn a_good_draft_becomes_the_details() {
    assert_eq!(draft().check(T0), Ok(details()));
}

#[test]
fn what_is_just_allowed_is_allowed() {
    let week = Millis::from_mins(limits::DAYS_AHEAD_MAX * 24 * 60);
    let allowed: [(&str, Change); 7] = [
        ("free", |draft| draft.items[0].unit_price_minor = 0),
        ("many", |draft| {
            (draft.items[0].quantity, draft.items[0].unit_price_minor) = (limits::QUANTITY_MAX, 1);
        }),
        ("dear", |draft| {
            (draft.items[0].quantity, draft.items[0].unit_price_minor) = (1, limits::TOTAL_MINOR_MAX);
        }),
        ("long", |draft| draft.notes = Some("x".repeat(limits::TEXT_BYTES_MAX))),
        ("lines", |draft| {
            draft.items = vec![draft.items[0].clone(); limits::ITEMS_MAX];
        }),
        ("pole", |draft| {
            (draft.delivery_location.lat, draft.delivery_location.lng) = (-90.0, 180.0);
        }),
        ("nowhere in words", |draft| draft.delivery_location.address.clear()),
    ];
    for (name, change) in allowed {
        assert!(but(change).check(T0).is_ok(), "{name}: {:?}", but(change).check(T0));
    }
    for at in [T0, T0 + week] {
        let details = but(|draft| draft.requested_for = Some(at.0))
            .check(T0)
            .expect("just allowed");
        assert_eq!(details.requested_for, Some(at));
    }
}

#[test]
fn each_thing_that_is_wrong_is_named() {
    let wrong: [(&str, Change); 27] = [
        ("/customer_id", |draft| draft.customer_id.clear()),
        ("/customer_id", |draft| draft.customer_id = "x".repeat(65)),
        ("/restaurant_id", |draft| draft.restaurant_id = "no spaces".into()),
        ("/currency", |draft| draft.currency = "usd".into()),
        ("/currency", |draft| draft.currency = "DOLLARS".into()),
        ("/currency", |draft| draft.currency = "€UR".into()),
        ("/delivery_location", |draft| draft.delivery_location.lat = 90.1),
        ("/delivery_location", |draft| draft.delivery_location.lng = -180.1),
        ("/delivery_location", |draft| draft.delivery_location.lat = f64::NAN),
        ("/delivery_location", |draft| {
            draft.delivery_location.lng = f64::INFINITY;
        }),
        ("/delivery_location/address", |draft| {
            draft.delivery_location.address = "x".repeat(501);
        }),
        ("/payment_token", |draft| draft.payment_token = "  ".into()),
        ("/payment_token", |draft| draft.payment_token = "x".repeat(501)),
        ("/notes", |draft| draft.notes = Some("é".repeat(251))),
        ("/notes", |draft| draft.notes = Some("a\0b".into())),
        ("/items", |draft| draft.items.clear()),
        ("/items", |draft| {
            draft.items = vec![draft.items[0].clone(); limits::ITEMS_MAX + 1];
        }),
        ("/items/0/sku", |draft| draft.items[0].sku.clear()),
        ("/items/0/name", |draft| draft.items[0].name = "\t".into()),
        ("/items/0/quantity", |draft| draft.items[0].quantity = 0),
        ("/items/0/quantity", |draft| draft.items[0].quantity = -1),
        ("/items/0/quantity", |draft| {
            draft.items[0].quantity = limits::QUANTITY_MAX + 1;
        }),
        ("/items/0/unit_price_minor", |draft| {
            draft.items[0].unit_price_minor = -1;
        }),
        ("/items", |draft| {
            draft.items[0].unit_price_minor = limits::TOTAL_MINOR_MAX / 5 + 1;
        }),
        ("/items", |draft| draft.items[0].unit_price_minor = i64::MAX),
        ("/requested_for", |draft| draft.requested_for = Some(T0.0 - 1)),
        ("/requested_for", |draft| draft.requested_for = Some(i64::MAX)),
    ];
    for (n, (pointer, change)) in wrong.into_iter().enumerate() {
        assert_eq!(pointers(but(change)), [pointer], "row {n}");
    }
}

#[test]
fn a_sum_that_overflows_is_not_a_small_total() {
    let draft = but(|draft| {
        let mut line = draft.items[0].clone();
        (line.quantity, line.unit_price_minor) = (2, i64::MAX / 2);
        draft.items = vec![line; 3];
    });
    assert_eq!(pointers(draft), ["/items"]);
    assert_eq!(
        pointers(but(|draft| draft.requested_for = Some(i64::MIN))),
        ["/requested_for"]
    );
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let draft = but(|draft| {
        draft.customer_id.clear();
        draft.currency = "x".into();
        draft.items.push(draft.items[0].clone());
        draft.items[1].quantity = 0;
        draft.requested_for = Some(0);
    });
    assert_eq!(
        pointers(draft),
        ["/customer_id", "/currency", "/items/1/quantity", "/requested_for"]
    );
}

#[test]
fn an_unknown_field_is_no_draft() {
    let mut json = serde_json::to_value(draft()).expect("JSON");
    assert_eq!(serde_json::from_value::<Draft>(json.clone()).expect("a draft"), draft());
    json["tip"] = 5.into();
    assert!(serde_json::from_value::<Draft>(json).is_err());
}
