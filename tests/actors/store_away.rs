//! The store is away, and the shard is lost.

use crate::fakes::{Call, Say, thinking};
use crate::rig::{Rig, Setup};
use actors::{CallError, Readiness};
use domain::order::OrderStatus;
use domain::ports::AppendError;
use domain::saga::{Answer, Refused, Step};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_was_answered_while_the_store_was_away_is_not_lost() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let ids = join_all((0..5).map(|_| rig.place())).await;
    // The answers of the channel and of the payment are on their way.
    rig.store.away.store(true, Ordering::SeqCst);
    let refused = rig
        .platform
        .place(crate::rig::details(), None)
        .await
        .expect_err("it cannot be kept");
    assert!(matches!(refused, CallError::Unavailable(_)), "{refused:?}");
    let refused = rig.cancel(ids[0]).await.expect_err("it cannot be kept");
    assert!(matches!(refused, CallError::Unavailable(_)), "{refused:?}");
    assert_eq!(
        rig.order(ids[0]).await.state.status,
        OrderStatus::Pending,
        "reading does not need the store"
    );
    // Much longer than any deadline: an answer that came in time is heard before the deadline that passed since.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let readiness = rig.platform.readiness();
    assert!(matches!(readiness, Readiness::Unavailable { .. }), "{readiness:?}");
    rig.store.away.store(false, Ordering::SeqCst);
    rig.until_ready().await;
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
    for id in &ids {
        for step in [Step::Authorize, Step::PlaceTicket, Step::Capture] {
            assert_eq!(
                rig.fakes.calls_of(*id, step).len(),
                1,
                "asked once, since no answer got lost"
            );
        }
    }
    let actors = rig.actors("order");
    assert!(actors.iter().all(|view| view.restarts == 0), "{actors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_refuses_at_once_is_not_asked_without_a_pause() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let ids = join_all((0..5).map(|_| rig.place())).await;
    rig.journal
        .answer_all(Some(AppendError::Unavailable("disk full".into())));
    let before = rig.journal.appends.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let appends = rig.journal.appends.load(Ordering::SeqCst) - before;
    assert!(
        (10..=5 * 60).contains(&appends),
        "{appends} appends of 5 orders in 10 s"
    );
    rig.journal.answer_all(None);
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_while_the_store_is_away_waits_for_it() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let stopped = rig.stop().await;
    stopped.fakes.follow(|_| Say::Yes);
    let store = std::sync::Arc::clone(&stopped.store);
    let away = tokio::spawn(async move {
        tokio::task::yield_now().await;
        store.away.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.away.store(false, Ordering::SeqCst);
    });
    let rig = stopped.start().await;
    away.await.expect("it came back");
    assert_eq!(rig.platform.readiness(), Readiness::Ready);
    rig.assert_status(&[id], OrderStatus::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_shard_is_left_alone() {
    let rig = Rig::with_kitchen(Setup {
        shards: 1,
        ..Setup::silent()
    })
    .await;
    rig.fakes.follow(thinking);
    let ids = join_all((0..5).map(|_| rig.place())).await;
    for id in &ids {
        rig.until_pending_ticket(*id).await;
    }
    rig.fakes
        .follow(|_: &Call| Say::No(Answer::Refused(Refused::new("closed", "too late"))));
    rig.journal.answer_all(Some(AppendError::Fenced));
    let calls = ids.iter().map(|id| rig.cancel(*id));
    for answer in join_all(calls).await {
        assert_eq!(answer.expect_err("the shard is lost"), CallError::Fenced);
    }
    rig.until("the actors have stopped", |rig| rig.entities().is_empty())
        .await;
    let count = |rig: &Rig| {
        (
            rig.journal.appends.load(Ordering::SeqCst),
            rig.store.loads.load(Ordering::SeqCst),
        )
    };
    let before = count(&rig);
    assert_eq!(rig.cancel(ids[0]).await.expect_err("still"), CallError::Fenced);
    // Their timers would have fired by now, again and again.
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(count(&rig), before, "nothing is tried any more");
    assert!(rig.entities().is_empty());
}
