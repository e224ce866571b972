//! How subscriptions come, change and go.

use super::endpoint::Endpoint;
use super::rig::{Rig, draft, eventually, id, options};
use crate::webhooks::{Draft, WebhookError, WebhookOptions};
use domain::ids::Seq;
use domain::rejection::Rejection;

#[tokio::test]
async fn asking_again_changes_nothing_and_an_old_version_is_refused() {
    let rig = Rig::start(options()).await;
    let (a, body) = (id("a"), draft("http://127.0.0.1:9/"));
    let first = rig.webhooks.put(&a, body.clone(), Some(Seq(0))).await.expect("created");
    assert!(first.created && first.secret.is_some());
    let again = rig
        .webhooks
        .put(&a, body.clone(), Some(Seq(1)))
        .await
        .expect("the same");
    assert!(!again.created && again.secret.is_none());
    assert_eq!(again.subscription, first.subscription);
    let other = Draft {
        description: "other".into(),
        ..body.clone()
    };
    let changed = rig.webhooks.put(&a, other, None).await.expect("changed");
    assert_eq!((changed.subscription.version, changed.secret), (2, None));
    for expected in [0, 1, 3] {
        let refused = rig
            .webhooks
            .put(&a, body.clone(), Some(Seq(expected)))
            .await
            .expect_err("refused");
        assert_eq!(
            refused,
            WebhookError::Rejected(Rejection::WrongVersion { expected, actual: 2 })
        );
        assert!(
            rig.webhooks.remove(&a, Some(Seq(expected))).await.is_err(),
            "nor removed"
        );
    }
    rig.webhooks.remove(&a, Some(Seq(2))).await.expect("removed");
    assert_eq!(
        rig.webhooks.get(&a).await,
        Err(WebhookError::Rejected(Rejection::NotFound("webhook")))
    );
}

#[tokio::test]
async fn there_are_only_so_many() {
    let rig = Rig::start(WebhookOptions {
        subscriptions_max: 1,
        ..options()
    })
    .await;
    rig.subscribe("a", draft("http://127.0.0.1:9/")).await;
    let refused = rig.webhooks.put(&id("b"), draft("http://127.0.0.1:9/"), None).await;
    assert!(
        matches!(refused, Err(WebhookError::Rejected(Rejection::NotAllowed(_)))),
        "{refused:?}"
    );
    rig.subscribe("a", draft("http://127.0.0.1:10/")).await;
}

#[tokio::test]
async fn what_happened_before_or_after_is_not_told() {
    let rig = Rig::start(options()).await;
    let endpoint = Endpoint::answering(200).await;
    rig.prepare(1).await;
    // Whoever is told nothing also waits for nothing: the row is passed over before somebody subscribes.
    let (other, observer) = (Endpoint::answering(200).await, id("other"));
    rig.subscribe("other", draft(&other.url)).await;
    rig.prepare(2).await;
    other.next().await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    let order = rig.prepare(3).await;
    assert_eq!(endpoint.next().await.order(), order);
    rig.webhooks.remove(&id("a"), None).await.expect("removed");
    rig.prepare(4).await;
    eventually("the line moves on", || async { rig.cursor().await == 4 }).await;
    assert_eq!(endpoint.count(), 1);
    assert!(rig.webhooks.get(&observer).await.is_ok());
}

#[tokio::test]
async fn whoever_leaves_takes_along_what_waits() {
    let rig = Rig::start(WebhookOptions {
        retry_schedule_ms: vec![3_600_000],
        ..options()
    })
    .await;
    let endpoint = Endpoint::answering(500).await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    rig.prepare(1).await;
    eventually("it waits", || async { rig.kept("a").await.waiting == 1 }).await;
    rig.webhooks.remove(&id("a"), None).await.expect("removed");
    assert_eq!(rig.kept("a").await.waiting, 0);
    eventually("the cursor moves", || async { rig.cursor().await == 1 }).await;
}

#[tokio::test]
async fn a_changed_subscription_is_delivered_to_where_it_leads_now() {
    let rig = Rig::start(WebhookOptions {
        retry_schedule_ms: vec![3_600_000],
        ..options()
    })
    .await;
    let (old, new) = (Endpoint::answering(500).await, Endpoint::answering(200).await);
    rig.subscribe("a", draft(&old.url)).await;
    let order = rig.prepare(1).await;
    eventually("it waits", || async { rig.kept("a").await.waiting == 1 }).await;
    rig.subscribe("a", draft(&new.url)).await;
    rig.wall.advance_ms(4_000_000);
    let later = rig.prepare(2).await;
    let mut told = [new.next().await.order(), new.next().await.order()];
    let mut expected = [order, later];
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "what waited too");
    assert_eq!(old.count(), 1);
}

#[tokio::test]
async fn whoever_keeps_too_much_is_switched_off_and_loses_nothing() {
    let rig = Rig::start(WebhookOptions {
        retry_schedule_ms: vec![3_600_000],
        kept_max: 10,
        ..options()
    })
    .await;
    let endpoint = Endpoint::answering(500).await;
    rig.subscribe("a", draft(&endpoint.url)).await;
    let is_on = || async { rig.webhooks.get(&id("a")).await.expect("there").settings.enabled };
    let mut n = 0;
    while is_on().await {
        n += 1;
        assert!(n < 1_000, "it is never switched off");
        rig.prepare(n).await;
    }
    let reason = rig
        .webhooks
        .get(&id("a"))
        .await
        .expect("there")
        .settings
        .disabled_reason;
    assert!(reason.is_some_and(|reason| reason.contains("more than 10 messages")));
    assert!(rig.kept("a").await.waiting > 10, "what is kept stays");
    eventually("the line moves on", || async { rig.cursor().await == n }).await;
}
