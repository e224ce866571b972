//! Answers that begin nothing are written with what comes next: fewer rows, and nothing is lost by it.

use crate::fakes::{Call, Say};
use crate::rig::{Rig, Setup, kitchen};
use actors::{CallError, CommandOptions};
use domain::ids::{OrderId, Seq};
use domain::order::{Event, Order, OrderStatus};
use domain::ports::{AppendError, Refusal};
use domain::rejection::Rejection;
use domain::saga::{Command, Direction, Step};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

/// The events of an order's rows.
async fn rows(rig: &Rig, id: OrderId) -> Vec<Vec<Event>> {
    let rows = rig.platform.rows(id.stream(), Seq(0), 1_000).await;
    let parse = |text: &str| serde_json::from_str(text).expect("events");
    let rows = rows.expect("the store is there");
    rows.iter().map(|row| parse(&row.events)).collect()
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::StepStarted { step, attempt, .. } => format!("do {} #{attempt}", step.as_str()),
        Event::StepDone { step, .. } => format!("{} done", step.as_str()),
        other => other.name().to_owned(),
    };
    events.iter().map(name).collect()
}

/// The payment never answers.
fn no_payment(call: &Call) -> Say {
    if call.key.step == Step::Authorize {
        Say::Hang
    } else {
        Say::Yes
    }
}

fn authorized(rig: &Rig, id: OrderId) -> bool {
    let done = |(key, deed): (&domain::saga::EffectKey, &domain::invariants::Deed)| {
        (key.order, key.step) == (id, Step::Authorize) && deed.done == 1
    };
    rig.fakes.deeds().iter().any(done)
}

/// The kitchen's claims.
fn claims(rig: &Rig) -> usize {
    rig.channel(1)
        .ledger
        .claims()
        .filter(|(_, claim)| claim.state.takes())
        .count()
}

/// An order whose hold is answered, while its payment is not: one row so far.
async fn held_and_not_written(rig: &Rig) -> OrderId {
    rig.fakes.follow(no_payment);
    let before = claims(rig);
    let id = rig.place().await;
    rig.until("its hold is durable with the kitchen", |rig| claims(rig) == before + 1)
        .await;
    rig.until("it has heard of it", |rig| {
        rig.actor(id).is_some_and(|view| view.messages_handled == 2)
    })
    .await;
    assert_eq!(rig.row_count(id.stream()).await, 1);
    id
}

#[tokio::test(start_paused = true)]
async fn two_answers_in_flight_make_one_row_whichever_comes_first() {
    for (slow, first, second) in [
        (false, "hold_capacity done", "authorize done"),
        (true, "authorize done", "hold_capacity done"),
    ] {
        let rig = Rig::with_kitchen(Setup::silent()).await;
        if slow {
            rig.journal.slow_down(kitchen(1).stream(), Duration::from_millis(50));
        }
        let id = rig.place().await;
        let confirmed = |order: &Order| order.status == OrderStatus::Confirmed;
        let order = rig.until_order(id, "confirmed", confirmed).await;
        assert_eq!(order.seq, Seq(3), "placed, set aside, confirmed");
        let rows = rows(&rig, id).await;
        assert_eq!(
            names(&rows[0]),
            [
                "OrderPlaced",
                "do route #1",
                "route done",
                "do hold_capacity #1",
                "do authorize #1"
            ]
        );
        assert_eq!(
            names(&rows[1]),
            [first, second, "do place_ticket #1", "do confirm_capacity #1"]
        );
        let last = names(&rows[2]);
        assert_eq!(last.len(), 3, "{last:?}");
        assert!(last.contains(&"place_ticket done".into()) && last.contains(&"confirm_capacity done".into()));
        assert_eq!(last[2], "OrderConfirmed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_written_with_the_next_attempt_when_the_other_does_not_answer() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    let id = held_and_not_written(&rig).await;
    let more = |order: &Order| {
        order
            .record(Step::Authorize, 0)
            .and_then(|r| r.attempt(Direction::Forward))
            .is_some_and(|attempt| attempt.number == 2)
    };
    assert_eq!(rig.until_order(id, "tried again", more).await.seq, Seq(2));
    assert_eq!(
        names(&rows(&rig, id).await[1]),
        ["hold_capacity done", "do authorize #2"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_written_with_a_command_and_counts_as_a_version() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    let id = held_and_not_written(&rig).await;
    let cancel = |if_match| {
        let reason = "changed my mind".into();
        let options = CommandOptions {
            if_match: Some(if_match),
            ..CommandOptions::default()
        };
        rig.platform.command(id, Command::Cancel { reason }, options)
    };
    let refused = cancel(Seq(1)).await.expect_err("something has happened since");
    let wrong = Rejection::WrongVersion { expected: 1, actual: 2 };
    assert_eq!(refused, CallError::Rejected(wrong));
    let order = rig.order(id).await;
    assert_eq!(order.seq, Seq(2), "what the refusal rests on is durable");
    assert_eq!(names(&rows(&rig, id).await[1]), ["hold_capacity done"]);
    rig.fakes.follow(|_| Say::Yes);
    cancel(order.seq).await.expect("it is cancelled");
    rig.assert_status(&[id], OrderStatus::Cancelled).await;
    rig.check(&[id]).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_what_waited_is_written_repeats_nothing_outside() {
    // The hold is answered and forgotten.
    let rig = Rig::with_kitchen(Setup::default()).await;
    let id = held_and_not_written(&rig).await;
    let stopped = rig.stop().await;
    stopped.fakes.follow(|_| Say::Yes);
    let rig = stopped.start().await;
    assert_eq!(rig.platform.recovery().expect("it serves").effects_resumed, 2);
    let confirmed = |order: &Order| order.milestones.confirmed_at.is_some();
    rig.until_order(id, "confirmed", confirmed).await;
    assert_eq!(rig.channel(1).ledger.len(), 1, "held once");
    rig.assert_status(&[id], OrderStatus::Delivered).await;
    rig.check(&[id]).await;

    // The authorization is answered and forgotten.
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.journal.slow_down(kitchen(1).stream(), Duration::from_secs(4));
    let id = rig.place().await;
    rig.until("the money is set aside", |rig| authorized(rig, id)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.order(id).await.seq, Seq(1));
    let rig = rig.stop().await.start().await;
    rig.assert_status(&[id], OrderStatus::Delivered).await;
    rig.check(&[id]).await;
    let calls = rig.fakes.calls_of(id, Step::Authorize);
    assert_eq!(calls.len(), 2, "asked again");
    assert_eq!(calls[0].key, calls[1].key, "under the same key");
}

/// The actor crashes with both answers in its hands, while those who brought them still wait to be heard.
#[tokio::test(start_paused = true)]
async fn a_row_of_two_answers_that_cannot_be_written_is_heard_again() {
    for error in [
        AppendError::Refused(Refusal::DuplicateSeq),
        AppendError::Unavailable("disk full".into()),
    ] {
        let rig = Rig::with_kitchen(Setup::default()).await;
        rig.journal.slow_down(kitchen(1).stream(), Duration::from_millis(50));
        let id = rig.place().await;
        rig.journal.answer_next(id.stream(), error);
        rig.assert_status(&[id], OrderStatus::Delivered).await;
        rig.check(&[id]).await;
        let rows = rows(&rig, id).await;
        assert_eq!(
            names(&rows[1]).len(),
            4,
            "both and what they begin: {:?}",
            names(&rows[1])
        );
        assert_eq!(rig.fakes.calls_of(id, Step::PlaceTicket).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_shard_answers_who_waits_with_what_was_not_written() {
    let rig = Rig::with_kitchen(Setup {
        shards: 1,
        ..Setup::silent()
    })
    .await;
    let told = held_and_not_written(&rig).await;
    let untold = held_and_not_written(&rig).await;
    rig.journal.answer_all(Some(AppendError::Fenced));
    // It would have been written together with what waits.
    assert_eq!(
        rig.cancel(told).await.expect_err("the shard is lost"),
        CallError::Fenced
    );
    rig.until("the actors have stopped", |rig| rig.entities().is_empty())
        .await;
    let count = |rig: &Rig| {
        let appends = rig.journal.appends.load(Ordering::SeqCst);
        (appends, rig.store.loads.load(Ordering::SeqCst), rig.fakes.calls().len())
    };
    let before = count(&rig);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(count(&rig), before, "nothing is tried any more");
    for id in [told, untold] {
        assert_eq!(rig.row_count(id.stream()).await, 1, "nothing was written");
    }
}
