//! Idempotency keys.

use crate::fakes::thinking;
use crate::rig::{Rig, Setup, details};
use actors::{CallError, CommandOptions, IdempotencyKey, Placed};
use domain::ids::OrderId;
use domain::order::OrderStatus;
use domain::saga::Command;
use futures::future::join_all;
use std::time::Duration;

fn key(key: &str, fingerprint: &str) -> IdempotencyKey {
    IdempotencyKey {
        key: key.into(),
        fingerprint: fingerprint.into(),
    }
}

async fn place(rig: &Rig, key_: &str, fingerprint: &str) -> Result<Placed, CallError> {
    rig.platform.place(details(), Some(key(key_, fingerprint))).await
}

#[tokio::test(start_paused = true)]
async fn one_order_for_one_key() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let answers = join_all((0..20).map(|_| place(&rig, "k-1", "a"))).await;
    let (taken, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let first = taken[0].as_ref().expect("partitioned");
    assert_eq!((taken.len(), first.replayed), (1, false));
    assert!(
        others.iter().all(|other| matches!(other, Err(CallError::InProgress))),
        "{others:?}"
    );

    let again = place(&rig, "k-1", "a").await.expect("the same again");
    assert!(again.replayed);
    assert_eq!(again.order.state.id, first.order.state.id);
    assert_eq!(
        place(&rig, "k-1", "b").await.expect_err("another request"),
        CallError::KeyReused
    );
    let id = first.order.state.id;
    rig.assert_status(&[id], OrderStatus::Delivered).await;

    // Long after, and after a restart, the first answer comes again: the order as it was accepted.
    let rig = rig.stop().await.start().await;
    let again = place(&rig, "k-1", "a").await.expect("the same again");
    assert!(again.replayed);
    assert_eq!(
        (again.order.state.id, again.order.state.status),
        (id, OrderStatus::Pending)
    );
    assert_eq!(again.order.seq, first.order.seq);
    rig.until("replays leave no actor", |rig| rig.actors("order").is_empty())
        .await;
    let other = place(&rig, "k-2", "a").await.expect("another key, another order");
    assert_ne!(other.order.state.id, id);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_first_answer_was_not_waited_for_is_still_used_once() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.journal.set_delay(Duration::from_secs(15));
    assert_eq!(
        place(&rig, "k-1", "a").await.expect_err("too slow"),
        CallError::TimedOut
    );
    rig.journal.set_delay(Duration::from_secs(7));
    let placed = place(&rig, "k-1", "a")
        .await
        .expect("the first one was committed meanwhile");
    assert!(placed.replayed);
    rig.journal.set_delay(Duration::ZERO);
    rig.assert_status(&[placed.order.state.id], OrderStatus::Delivered)
        .await;
}

async fn cancel(rig: &Rig, id: OrderId, name: &str, fingerprint: &str) -> Result<bool, CallError> {
    let options = CommandOptions {
        key: Some(key(name, fingerprint)),
        ..CommandOptions::default()
    };
    let command = Command::Cancel { reason: "no".into() };
    rig.platform
        .command(id, command, options)
        .await
        .map(|applied| applied.changed)
}

#[tokio::test(start_paused = true)]
async fn keys_of_later_commands() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let answers = join_all([cancel(&rig, id, "c", "a"), cancel(&rig, id, "c", "a")]).await;
    assert_eq!(answers, [Ok(true), Err(CallError::InProgress)]);
    assert_eq!(cancel(&rig, id, "c", "a").await, Ok(false));
    assert_eq!(cancel(&rig, id, "c", "b").await, Err(CallError::KeyReused));
    rig.assert_status(&[id], OrderStatus::Cancelled).await;
    assert_eq!(
        cancel(&rig, id, "c", "a").await,
        Ok(false),
        "also when the order has no actor any more"
    );
    // A key belongs to its order.
    let other = rig.place().await;
    rig.until_pending_ticket(other).await;
    assert_eq!(cancel(&rig, other, "c", "b").await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_used_key_concerns_nobody_else_in_the_turn() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let report = |n: i64| {
        use domain::saga::{KitchenReport, Report};
        let ready_at = Some(domain::time::Timestamp(2_000_000_000_000 + n));
        Command::Report(Report::Kitchen(
            crate::rig::kitchen(1),
            KitchenReport::Accepted { ready_at },
        ))
    };
    let keyed = |n: i64| {
        let options = CommandOptions {
            key: Some(key("c", "a")),
            ..CommandOptions::default()
        };
        rig.platform.command(id, report(n), options)
    };
    // The caller of the first gives up before it is committed; it comes again with news, in the company of others.
    rig.journal.set_delay(Duration::from_secs(2));
    assert!(tokio::time::timeout(Duration::from_secs(1), keyed(0)).await.is_err());
    let (again, a, b) = futures::join!(keyed(3), rig.tell(id, report(1)), rig.tell(id, report(2)));
    assert!(!again.expect("it was carried out").changed);
    a.expect("it has no key");
    b.expect("it has no key");
}
