//! What holds for every place where webhooks are kept.

use crate::fixture::Fixture;
use persistence::{
    Attempted, Changed, Delivery, Kept, MemoryWebhooks, PostgresWebhooks, SqliteWebhooks, WebhookId, WebhookStore,
};
use std::sync::Arc;

const NOW: i64 = 1_700_000_000_000;

/// The webhooks beside the fixture's store; opened anew at each call, except in memory.
async fn webhooks(fixture: &Fixture) -> Arc<dyn WebhookStore> {
    match fixture.store.name() {
        "memory" => Arc::new(MemoryWebhooks::default()),
        "sqlite" => {
            let path = fixture.path().with_file_name("webhooks.db");
            Arc::new(SqliteWebhooks::open(&path).await.expect("a file"))
        }
        _ => Arc::new(PostgresWebhooks::connect(fixture.url()).expect("an address")),
    }
}

fn id(text: &str) -> WebhookId {
    text.parse().expect("a webhook id")
}

async fn subscribe(store: &dyn WebhookStore, name: &str) {
    let put = store.put(&id(name), "{}", 0, 100).await;
    assert_eq!(put, Ok(Changed::Done(1)), "{name}");
}

fn delivery(subscription: &str, n: u32, next_at: i64) -> Delivery {
    Delivery {
        id: format!("event-{n:03}:{subscription}"),
        subscription: id(subscription),
        event: "order.placed".into(),
        body: format!("{{\"n\":{n},\"text\":\"é\"}}"),
        attempts: 1,
        next_at,
        dead_at: None,
        error: "answered 500".into(),
        committed_at: n.is_multiple_of(2).then_some(NOW - 10),
    }
}

fn dead(subscription: &str, n: u32, at: i64) -> Delivery {
    Delivery {
        dead_at: Some(at),
        ..delivery(subscription, n, NOW)
    }
}

fn names(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|one| one.id.as_str()).collect()
}

pub(crate) async fn subscriptions_change_at_the_version_that_was_seen(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    let (a, b, c) = (id("a"), id("B_2"), id("c-3"));
    assert_eq!(store.put(&a, "{\"n\":1}", 1, 2).await, Ok(Changed::Conflict(0)));
    assert_eq!(store.put(&a, "{\"n\":1}", 0, 2).await, Ok(Changed::Done(1)));
    assert_eq!(store.put(&a, "{\"n\":2}", 0, 2).await, Ok(Changed::Conflict(1)));
    assert_eq!(store.put(&a, "{\"n\":2}", 1, 2).await, Ok(Changed::Done(2)));
    assert_eq!(store.put(&b, "{}", 0, 2).await, Ok(Changed::Done(1)));
    assert_eq!(store.put(&c, "{}", 0, 2).await, Ok(Changed::Full));
    assert_eq!(
        store.put(&a, "{\"n\":3}", 2, 2).await,
        Ok(Changed::Done(3)),
        "a change adds none"
    );
    let all = store.subscriptions().await.expect("read");
    let seen: Vec<_> = all
        .iter()
        .map(|one| (one.id.as_str(), one.version, one.settings.as_str()))
        .collect();
    assert_eq!(seen, [("B_2", 1, "{}"), ("a", 3, "{\"n\":3}")], "by id");
    assert_eq!(store.remove(&a, 2).await, Ok(Changed::Conflict(3)));
    assert_eq!(
        store.remove(&c, 0).await,
        Ok(Changed::Conflict(0)),
        "what is not there cannot be removed"
    );
    assert_eq!(store.remove(&a, 3).await, Ok(Changed::Done(0)));
    assert_eq!(
        store.put(&c, "{}", 0, 2).await,
        Ok(Changed::Done(1)),
        "there is room again"
    );
}

pub(crate) async fn of_concurrent_changes_one_is_made_and_the_limit_holds(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    let put = |name: String, settings: String| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(&id(&name), &settings, 0, 3).await.expect("an answer") })
    };
    let same: Vec<_> = (0..8).map(|n| put("same".into(), format!("{{\"n\":{n}}}"))).collect();
    let mut done = 0;
    for one in same {
        match one.await.expect("no panic") {
            Changed::Done(1) => done += 1,
            other => assert_eq!(other, Changed::Conflict(1)),
        }
    }
    assert_eq!(done, 1);
    let others: Vec<_> = (0..8).map(|n| put(format!("other-{n}"), "{}".into())).collect();
    for one in others {
        one.await.expect("no panic");
    }
    assert_eq!(store.subscriptions().await.expect("read").len(), 3);
}

pub(crate) async fn what_is_kept_is_claimed_when_it_is_due(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    subscribe(&*store, "a").await;
    subscribe(&*store, "b").await;
    let kept = [
        delivery("a", 1, NOW + 5),
        delivery("a", 2, NOW),
        delivery("a", 3, NOW + 50),
        delivery("b", 4, NOW),
    ];
    store.keep(&kept).await.expect("kept");
    let again = Delivery {
        attempts: 9,
        body: "{}".into(),
        ..kept[0].clone()
    };
    store.keep(&[again]).await.expect("kept already");
    assert_eq!(store.next_due(&id("a")).await, Ok(Some(NOW)));
    let first = store.claim(&id("a"), NOW + 10, NOW + 100, 1).await.expect("claimed");
    let taken = Delivery {
        next_at: NOW + 100,
        ..kept[1].clone()
    };
    assert_eq!(first, [taken], "the earliest, whole, and due again later");
    let second = store.claim(&id("a"), NOW + 10, NOW + 100, 10).await.expect("claimed");
    assert_eq!(
        second,
        [Delivery {
            next_at: NOW + 100,
            ..kept[0].clone()
        }],
        "what was kept first, and not what is not due"
    );
    assert_eq!(store.claim(&id("a"), NOW + 10, NOW + 100, 10).await, Ok(Vec::new()));
    assert_eq!(store.next_due(&id("a")).await, Ok(Some(NOW + 50)));
    let all = store.claim(&id("a"), NOW + 100, NOW + 200, 10).await.expect("claimed");
    assert_eq!(all.len(), 3, "what was claimed and not settled comes again");
    assert_eq!(store.next_due(&id("nobody")).await, Ok(None));
    store
        .forget(&["event-001:a", "event-002:a", "nothing"])
        .await
        .expect("forgotten");
    assert_eq!(
        store.kept().await,
        Ok(vec![
            (id("a"), Kept { waiting: 1, dead: 0 }),
            (id("b"), Kept { waiting: 1, dead: 0 })
        ])
    );
}

pub(crate) async fn attempts_are_recorded_and_what_is_gone_stays_gone(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    subscribe(&*store, "a").await;
    store
        .keep(&[delivery("a", 1, NOW), delivery("a", 2, NOW)])
        .await
        .expect("kept");
    let later = Delivery {
        attempts: 2,
        next_at: NOW + 70,
        error: "a\0b".into(),
        ..delivery("a", 1, NOW)
    };
    let over = Delivery {
        attempts: 3,
        dead_at: Some(NOW + 1),
        error: "answered 410".into(),
        ..delivery("a", 2, NOW)
    };
    let unknown = delivery("a", 7, NOW);
    let attempted = [later, over.clone(), unknown].map(|delivery| Attempted { delivery, claim: NOW });
    for _ in 0..2 {
        store
            .update(&attempted)
            .await
            .expect("updated, and as often as it is said");
    }
    let waiting = store.claim(&id("a"), NOW + 100, NOW + 200, 10).await.expect("claimed");
    assert_eq!((names(&waiting), waiting[0].attempts), (vec!["event-001:a"], 2));
    assert_eq!(store.dead(None, None, 10).await, Ok(vec![over]));
    assert_eq!(store.remove(&id("a"), 1).await, Ok(Changed::Done(0)));
    store.keep(&[delivery("a", 3, NOW)]).await.expect("left out");
    assert_eq!(
        store.kept().await,
        Ok(Vec::new()),
        "a subscription takes its deliveries with it, and no new ones come"
    );
}

pub(crate) async fn who_comes_back_after_its_claim_has_passed_changes_nothing(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    subscribe(&*store, "a").await;
    store.keep(&[delivery("a", 1, NOW)]).await.expect("kept");
    let a = id("a");
    let claim = |now| store.claim(&a, now, now + 100, 10);
    let slow = claim(NOW).await.expect("claimed").remove(0);
    assert_eq!(claim(NOW + 99).await, Ok(Vec::new()), "it is somebody's");
    let next = claim(NOW + 100).await.expect("claimed").remove(0);
    let told = |claimed: &Delivery, next_at, dead_at| Attempted {
        delivery: Delivery {
            attempts: 2,
            next_at,
            dead_at,
            error: "answered 503".into(),
            ..claimed.clone()
        },
        claim: claimed.next_at,
    };
    for late in [told(&slow, NOW + 110, None), told(&slow, NOW, Some(NOW + 110))] {
        store.update(&[late]).await.expect("left alone");
        assert_eq!(claim(NOW + 150).await, Ok(Vec::new()), "it is still the other's");
        assert_eq!(store.dead(None, None, 9).await, Ok(Vec::new()));
    }
    store.update(&[told(&next, NOW + 170, None)]).await.expect("updated");
    let again = claim(NOW + 170).await.expect("claimed");
    assert_eq!((names(&again), again[0].attempts), (vec!["event-001:a"], 2));
}

pub(crate) async fn dead_letters_are_listed_page_by_page_and_replayed(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    for name in ["a", "B", "c"] {
        subscribe(&*store, name).await;
    }
    let letters = [
        dead("c", 1, NOW),
        dead("a", 2, NOW),
        dead("B", 3, NOW - 5),
        dead("a", 1, NOW - 9),
        delivery("a", 9, NOW),
    ];
    store.keep(&letters).await.expect("kept");
    let first = store.dead(None, None, 3).await.expect("read");
    assert_eq!(names(&first), ["event-003:B", "event-001:a", "event-002:a"]);
    let last = first.last().map(|one| (&one.subscription, one.id.as_str()));
    assert_eq!(names(&store.dead(None, last, 3).await.expect("read")), ["event-001:c"]);
    let a = id("a");
    assert_eq!(
        names(&store.dead(Some(&a), None, 1).await.expect("read")),
        ["event-001:a"]
    );
    assert_eq!(
        names(&store.dead(Some(&a), Some((&a, "event-001:a")), 9).await.expect("read")),
        ["event-002:a"]
    );

    assert_eq!(store.replay("event-002:a", NOW + 3).await, Ok(Some(a.clone())));
    assert_eq!(store.replay("event-002:a", NOW + 3).await, Ok(None), "it waits already");
    for nothing in ["event-009:a", "nothing", "a\0b"] {
        assert_eq!(store.replay(nothing, NOW).await, Ok(None), "{nothing:?}");
    }
    let waiting = store.claim(&a, NOW + 3, NOW + 99, 10).await.expect("claimed");
    let seen: Vec<_> = waiting
        .iter()
        .map(|one| (one.id.as_str(), one.attempts, one.dead_at))
        .collect();
    assert!(
        seen.contains(&("event-002:a", 0, None)),
        "all its attempts lie before it: {seen:?}"
    );

    assert_eq!(store.purge(NOW - 5).await, Ok(1), "only what is older");
    assert_eq!(
        names(&store.dead(None, None, 9).await.expect("read")),
        ["event-003:B", "event-001:c"]
    );
}

pub(crate) async fn claims_of_two_nodes_do_not_overlap(fixture: Arc<Fixture>) {
    let store = webhooks(&fixture).await;
    // A second handle on the same data, where there can be one.
    let other = if fixture.store.name() == "memory" {
        Arc::clone(&store)
    } else {
        webhooks(&fixture).await
    };
    subscribe(&*store, "a").await;
    let kept: Vec<_> = (0..60).map(|n| delivery("a", n, NOW)).collect();
    store.keep(&kept).await.expect("kept");
    let claim = |store: &Arc<dyn WebhookStore>| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let some = store.claim(&id("a"), NOW, NOW + 1, 4).await.expect("claimed");
                if some.is_empty() {
                    return all;
                }
                all.extend(some.into_iter().map(|one| one.id));
            }
        })
    };
    let (one, two) = (claim(&store), claim(&other));
    let mut claimed = one.await.expect("no panic");
    claimed.extend(two.await.expect("no panic"));
    claimed.sort();
    let expected: Vec<_> = kept.iter().map(|one| one.id.clone()).collect();
    assert_eq!(claimed, expected, "each once");
}
