//! What is delivered, how, and what happens when it is not taken.

use super::endpoint::{Endpoint, status};
use super::rig::{Rig, draft, eventually, id, options};
use crate::webhooks::{Draft, Guard, WebhookOptions};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// HMAC-SHA256 by its definition (RFC 2104), from nothing but the hash.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

#[tokio::test]
async fn an_event_becomes_a_signed_message_for_each_who_wants_it() {
    let rig = Rig::start(options()).await;
    let (all, some) = (Endpoint::answering(204).await, Endpoint::answering(200).await);
    let secret = rig.subscribe("all", draft(&all.url)).await;
    let chosen = Draft {
        event_types: Some(vec!["order.delivered".into()]),
        ..draft(&some.url)
    };
    rig.subscribe("some", chosen).await;
    let row = r#"[{"type":"OrderPreparing"},{"type":"OrderReady"}]"#;
    let order = rig.commit(1, 3, row).await;
    let (first, second) = (all.next().await, all.next().await);
    let mut ids = [first.id(), second.id()];
    ids.sort_unstable();
    assert_eq!(ids, [format!("{order}:3:0:all"), format!("{order}:3:1:all")]);
    let (first, second) = if ids[0] == first.id() {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(first.json()["type"], "order.preparing");
    assert_eq!(second.json()["type"], "order.ready");
    assert_eq!(first.json()["timestamp"], "2023-11-14T22:13:20.123Z");
    assert_eq!(first.json()["data"]["version"], 3);
    assert_eq!(
        (first.order(), first.header("content-type")),
        (order, "application/json")
    );

    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").expect("a prefix"))
        .expect("base64");
    let body = std::str::from_utf8(&first.body).expect("text");
    let signed = format!("{}.{}.{body}", first.id(), first.header("webhook-timestamp"));
    let expected = format!("v1,{}", STANDARD.encode(hmac(&key, signed.as_bytes())));
    assert_eq!(first.header("webhook-signature"), expected);

    rig.commit(1, 4, r#"[{"type":"OrderDelivered"}]"#).await;
    assert_eq!(
        some.next().await.json()["type"],
        "order.delivered",
        "and nothing before it"
    );
    assert_eq!(all.next().await.json()["type"], "order.delivered");
    eventually("everything is settled and the cursor moves", || async {
        rig.cursor().await == 2
    })
    .await;
    assert_eq!(rig.kept("all").await.waiting, 0, "what is taken is never written");
}

#[tokio::test]
async fn all_secrets_sign_while_they_are_rotated() {
    let rig = Rig::start(options()).await;
    let endpoint = Endpoint::answering(200).await;
    let secrets = ["a new secret of 24 bytes.", "0123456789abcdef01234567"];
    let rotating = Draft {
        secrets: Some(secrets.map(str::to_owned).into()),
        ..draft(&endpoint.url)
    };
    rig.subscribe("a", rotating).await;
    rig.prepare(1).await;
    let message = endpoint.next().await;
    let body = std::str::from_utf8(&message.body).expect("text");
    let signed = format!("{}.{}.{body}", message.id(), message.header("webhook-timestamp"));
    let expected = secrets.map(|key| format!("v1,{}", STANDARD.encode(hmac(key.as_bytes(), signed.as_bytes()))));
    assert_eq!(message.header("webhook-signature"), expected.join(" "));
}

#[tokio::test]
async fn what_fails_is_attempted_again_as_the_same_message() {
    let rig = Rig::start(options()).await;
    let endpoint = Endpoint::start(|n| async move { status(if n < 2 { 500 } else { 200 }) }).await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    rig.prepare(1).await;
    let attempts = [endpoint.next().await, endpoint.next().await, endpoint.next().await];
    let same: BTreeSet<_> = attempts
        .iter()
        .map(|one| (one.id().to_owned(), one.body.clone()))
        .collect();
    assert_eq!(same.len(), 1);
    eventually("it is taken and forgotten", || async {
        rig.kept("a").await.waiting == 0
    })
    .await;
    assert_eq!(endpoint.count(), 3);
    assert!(rig.dead().await.is_empty());
}

#[tokio::test]
async fn after_the_last_attempt_it_is_a_dead_letter_and_can_be_replayed() {
    let rig = Rig::start(options()).await;
    let mended = Arc::new(Semaphore::new(0));
    let answer = Arc::clone(&mended);
    let endpoint = Endpoint::start(move |_| {
        let mended = answer.available_permits() > 0;
        async move { status(if mended { 200 } else { 503 }) }
    })
    .await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    rig.prepare(1).await;
    eventually("it is dead", || async { rig.kept("a").await.dead == 1 }).await;
    assert_eq!(endpoint.count(), 3, "the first attempt and two more");
    let dead = rig.dead().await;
    assert_eq!((dead[0].attempts, dead[0].error.as_str()), (3, "answered 503"));
    let message = endpoint.next().await;
    assert_eq!(
        (dead[0].id.as_str(), dead[0].body.as_bytes()),
        (message.id(), &*message.body)
    );

    rig.webhooks.replay(&dead[0].id).await.expect("replayed");
    eventually("it is dead again", || async {
        rig.kept("a").await.dead == 1 && endpoint.count() == 6
    })
    .await;
    mended.add_permits(1);
    rig.webhooks.replay(&dead[0].id).await.expect("replayed");
    eventually("it is taken", || async {
        rig.kept("a").await == persistence::Kept::default()
    })
    .await;
    assert_eq!(endpoint.count(), 7);
    assert!(rig.webhooks.replay(&dead[0].id).await.is_err(), "it is dead no more");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_called_no_more() {
    let rig = Rig::start(options()).await;
    let (gone, other) = (Endpoint::answering(410).await, Endpoint::answering(200).await);
    rig.subscribe("gone", draft(&gone.url)).await;
    rig.subscribe("other", draft(&other.url)).await;
    rig.prepare(1).await;
    let is_off = || async { !rig.webhooks.get(&id("gone")).await.expect("there").settings.enabled };
    eventually("it is switched off", is_off).await;
    let reason = rig
        .webhooks
        .get(&id("gone"))
        .await
        .expect("there")
        .settings
        .disabled_reason;
    assert!(reason.is_some_and(|reason| reason.contains("410")));
    assert_eq!(rig.dead().await.len(), 1, "what it refused can be looked at");
    rig.prepare(2).await;
    other.next().await;
    other.next().await;
    eventually("the line moves on", || async { rig.cursor().await == 2 }).await;
    assert_eq!(gone.count(), 1);
    rig.webhooks
        .put(&id("gone"), draft(&other.url), None)
        .await
        .expect("switched on");
    let order = rig.prepare(3).await;
    assert_eq!(other.next().await.order(), order);
    assert_eq!(other.next().await.order(), order, "both are told again");
}

#[tokio::test]
async fn a_slow_endpoint_delays_neither_another_nor_the_line() {
    let few = WebhookOptions {
        concurrency_max: 1,
        queue_max: 2,
        ..options()
    };
    let rig = Rig::start(few).await;
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let slow = Endpoint::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.expect("open").forget();
            status(200)
        }
    })
    .await;
    let quick = Endpoint::answering(200).await;
    rig.subscribe("slow", draft(&slow.url)).await;
    rig.subscribe("quick", draft(&quick.url)).await;
    let mut orders = BTreeSet::new();
    for n in 0..40 {
        orders.insert(rig.prepare(n).await);
    }
    let mut told = BTreeSet::new();
    while told.len() < 40 {
        told.insert(quick.next().await.order());
    }
    assert_eq!(told, orders);
    assert_eq!(
        slow.count(),
        1,
        "the other has taken all while the slow one still thinks about its first"
    );
    // One is under way and two are queued: the others found no room.
    eventually("the rest is kept", || async { rig.kept("slow").await.waiting >= 37 }).await;
    open.add_permits(1_000);
    let mut told = BTreeSet::new();
    while told.len() < 40 {
        told.insert(slow.next().await.order());
    }
    assert_eq!(told, orders, "none is lost");
    eventually("nothing waits", || async { rig.kept("slow").await.waiting == 0 }).await;
    eventually("the cursor is at the end", || async { rig.cursor().await == 40 }).await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_gets_one_message_and_all_others_are_kept() {
    // The second delay never ends, so only first attempts are made, and those of what is put off lie a day ahead.
    let day = WebhookOptions {
        retry_schedule_ms: vec![86_400_000],
        ..options()
    };
    let rig = Rig::start(day).await;
    let endpoint = Endpoint::answering(500).await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    for n in 0..5 {
        rig.prepare(n).await;
    }
    eventually("five in a row have failed", || async {
        rig.kept("a").await.waiting == 5
    })
    .await;
    for n in 5..25 {
        rig.prepare(n).await;
    }
    eventually("the others are kept", || async { rig.kept("a").await.waiting == 25 }).await;
    assert_eq!(endpoint.count(), 5, "without an attempt");
    eventually("the line moves on", || async { rig.cursor().await == 25 }).await;
}

#[tokio::test]
async fn who_asks_for_time_gets_it() {
    let rig = Rig::start(options()).await;
    let busy = Endpoint::start(|_| async { ([(RETRY_AFTER, "3600")], status(429)).into_response() }).await;
    rig.subscribe("a", draft(&busy.url)).await;
    rig.prepare(1).await;
    eventually("it waits", || async { rig.kept("a").await.waiting == 1 }).await;
    let now = crate::participants::wall::system()();
    let due = rig.kept.next_due(&id("a")).await.expect("read").expect("waits");
    assert!(due > now + 3_000_000, "the schedule alone has 1 ms: {}", due - now);
}

#[tokio::test]
async fn redirects_and_endless_answers_are_failures_of_their_own_kind() {
    let elsewhere = Endpoint::answering(200).await;
    let target = elsewhere.url.clone();
    let moved = Endpoint::start(move |_| {
        let target = target.clone();
        async move { ([(LOCATION, target)], status(307)).into_response() }
    })
    .await;
    let once = WebhookOptions {
        retry_schedule_ms: Vec::new(),
        ..options()
    };
    let rig = Rig::start(once).await;
    rig.subscribe("moved", draft(&moved.url)).await;
    let chatty = Endpoint::start(|_| async { "x".repeat(1 << 20).into_response() }).await;
    rig.subscribe("talks", draft(&chatty.url)).await;
    rig.prepare(1).await;
    eventually("it is dead", || async { rig.kept("moved").await.dead == 1 }).await;
    assert_eq!(rig.dead().await[0].error, "answered 307");
    assert_eq!(elsewhere.count(), 0, "nobody was led elsewhere");
    eventually("a long answer is as good as a short one", || async {
        rig.cursor().await == 1
    })
    .await;
    assert_eq!(rig.dead().await.len(), 1);
}

#[tokio::test]
async fn names_that_lead_into_private_networks_are_not_called() {
    let guarded = WebhookOptions {
        guard: Guard {
            allow_http: true,
            allow_private: false,
        },
        retry_schedule_ms: Vec::new(),
        ..options()
    };
    let rig = Rig::start(guarded).await;
    let endpoint = Endpoint::answering(200).await;
    let refused = rig
        .webhooks
        .put(&id("a"), draft(&endpoint.url), None)
        .await
        .expect_err("refused");
    assert!(
        refused
            .to_string()
            .contains("/url: leads to an address that is not public"),
        "{refused}"
    );
    // What a name resolves to is not known before it is called.
    rig.subscribe("b", draft(&endpoint.url.replace("127.0.0.1", "localhost")))
        .await;
    rig.prepare(1).await;
    eventually("it is dead", || async { rig.kept("b").await.dead == 1 }).await;
    assert_eq!(
        rig.dead().await[0].error,
        "the URL leads to an address that is not public"
    );
    assert_eq!(endpoint.count(), 0);
}
