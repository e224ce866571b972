//! Submissions: requests for an order as they came, and the answers to them.

use crate::member::member;
use crate::rig::{Rig, Setup, kitchen};
use actors::{CallError, IdempotencyKey, Submitted};
use domain::channel::Command;
use domain::ids::{OrderId, Seq};
use domain::order::{Order, OrderStatus};
use domain::ports::{Clock, OrderObserver};
use domain::time::{Millis, Timestamp};
use futures::future::join;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn order(requested_for: Option<Timestamp>) -> Vec<u8> {
    let order = json!({
        "customer_id": "customer-1", "restaurant_id": "restaurant-1", "currency": "USD", "payment_token": "tok",
        "items": [{"sku": "soup", "name": "Soup", "quantity": 5, "unit_price_minor": 500}],
        "delivery_location": {"lat": 41.02, "lng": -87.0}, "requested_for": requested_for.map(Timestamp::as_ms),
    });
    order.to_string().into_bytes()
}

/// Submits it under a key that its client made for this body.
async fn submit(rig: &Rig, key: &str, body: &[u8], wait: Duration) -> Submitted {
    let key = IdempotencyKey {
        key: key.into(),
        fingerprint: String::from_utf8_lossy(body).into_owned(),
    };
    let submitted = rig.platform.submit(body.to_vec(), Some(&key), wait).await;
    submitted.expect("an answer")
}

fn header<'a>(submitted: &'a Submitted, name: &str) -> Option<&'a str> {
    let mut headers = submitted.headers.iter();
    let found = headers.find(|(header, _)| header == name);
    found.map(|(_, value)| &**value)
}

fn shown(submitted: &Submitted) -> Value {
    serde_json::from_slice(&submitted.body).expect("JSON")
}

fn id(submitted: &Submitted) -> OrderId {
    assert_eq!(submitted.status, 201, "{}", shown(submitted));
    let shown = shown(submitted);
    shown["id"].as_str().expect("an id").parse().expect("an id")
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_an_answer_and_the_first_answer_comes_again() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    for (body, status, kind, pointer) in [
        (&b"{"[..], 400, "malformed-request", Value::Null),
        (b"{\"customer_id\": 7}", 422, "invalid-request", json!("/customer_id")),
        (
            &order(Some(Timestamp(1)))[..],
            422,
            "invalid-request",
            json!("/requested_for"),
        ),
    ] {
        let refused = submit(&rig, "k", body, Duration::ZERO).await;
        let problem = shown(&refused);
        assert_eq!(
            (refused.status, &problem["status"]),
            (status, &json!(status)),
            "{problem}"
        );
        assert_eq!(problem["type"], format!("urn:uoop:problem:{kind}"));
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        assert_eq!(problem["instance"], "/v1/orders");
        assert_eq!(header(&refused, "content-type"), Some("application/problem+json"));
    }
    let first = submit(&rig, "k", &order(None), Duration::ZERO).await;
    let id = id(&first);
    assert_eq!(header(&first, "location"), Some(&*format!("/v1/orders/{id}")));
    assert_eq!(header(&first, "etag"), Some("\"1\""));
    assert_eq!(header(&first, "idempotent-replayed"), None);
    let pending = first.pending.expect("it has no outcome");
    assert_eq!((pending.order, pending.replayed), (id, false));
    let confirmed = |order: &Order| order.status == OrderStatus::Confirmed;
    rig.until_order(id, "confirmed", confirmed).await;

    let sold_out = Command::SetSoldOut(["soup".to_owned()].into());
    let told = rig.platform.channel(sold_out, &kitchen(1), None).await;
    told.expect("it is told");
    let new = submit(&rig, "new", &order(None), Duration::ZERO).await;
    assert_eq!(new.status, 422, "it is sold out");
    let again = submit(&rig, "k", &order(None), Duration::ZERO).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    let other = submit(&rig, "k", b"{\"customer_id\": 7}", Duration::ZERO).await;
    assert_eq!(other.status, 422, "it is refused for what is wrong with it");
    let other = submit(&rig, "k", &order(Some(rig.clock.now() + Millis(9))), SECOND).await;
    assert_eq!(shown(&other)["type"], "urn:uoop:problem:idempotency-key-reused");
}

#[tokio::test(start_paused = true)]
async fn the_outcome_comes_with_the_answer_if_it_comes_soon_enough() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    let confirmed = submit(&rig, "soon", &order(None), SECOND).await;
    assert_eq!(
        (confirmed.status, &shown(&confirmed)["status"]),
        (201, &json!("CONFIRMED"))
    );
    assert_eq!(confirmed.pending, None);
    rig.journal.slow_down(kitchen(1).stream(), 4 * SECOND);
    let began = Instant::now();
    let late = submit(&rig, "late", &order(None), 30 * SECOND).await;
    assert_eq!((late.status, &shown(&late)["status"]), (201, &json!("PENDING")));
    assert_eq!(late.pending.map(|pending| pending.order), Some(id(&late)));
    assert_eq!(began.elapsed(), SECOND, "an answer is not held back for longer");
}

/// Whoever publishes an order breaks off, once.
#[derive(Default)]
struct Trap(AtomicBool);

impl OrderObserver for Trap {
    fn observe(&self, _: OrderId, _: Seq, _: &Arc<Order>) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "the trap was set");
    }
}

/// The order's actor dies with the row written and the answer unsaid; it is the same order that answers in the end, to a client
/// that hears nothing of all that. Nobody else with its key gets in between.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_got_by_the_next_attempt() {
    let trap = Arc::new(Trap::default());
    let rig = Rig::with_kitchen(Setup {
        observers: vec![Arc::clone(&trap) as _],
        ..member("n5-1")
    })
    .await;
    rig.journal.set_delay(SECOND);
    // The second would be refused when it is asked again: its time has passed by then.
    for (key, is_for_soon) in [("k-1", false), ("k-2", true)] {
        let soon = rig.clock.now() + Millis(500);
        let body = order(is_for_soon.then_some(soon));
        trap.0.store(true, Ordering::SeqCst);
        let other = IdempotencyKey {
            key: key.into(),
            fingerprint: "another body".into(),
        };
        let (answer, refused) = join(
            submit(&rig, key, &body, Duration::ZERO),
            rig.platform.submit(order(None), Some(&other), Duration::ZERO),
        )
        .await;
        assert!(!trap.0.load(Ordering::SeqCst), "NV-1: the answer was lost");
        assert_eq!(refused.expect_err("its key is taken"), CallError::InProgress);
        assert_eq!(header(&answer, "idempotent-replayed"), None, "it is its own order");
        let id = id(&answer);
        let again = submit(&rig, key, &body, Duration::ZERO).await;
        assert_eq!(
            shown(&again)["id"],
            json!(id.to_string()),
            "one order for one key (SG-2)"
        );
        assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    }
}
