//! Bounds: of what a shard takes, and of what waits for a channel.

use crate::fakes::{Say, thinking};
use crate::rig::{Rig, Setup, kitchen};
use actors::CallError;
use domain::channel::{Availability, Command};
use domain::order::OrderStatus;
use domain::saga::{Answer, Direction, Step};
use domain::time::Millis;
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

fn busy(n: u64) -> Command {
    Command::SetAvailability(Availability::Busy { delay_ms: Millis(n) })
}

#[tokio::test(start_paused = true)]
async fn a_full_shard_says_so_at_once_and_recovers() {
    let mut setup = Setup {
        shards: 1,
        ..Setup::default()
    };
    setup.options.shard_commands_max = 4;
    let rig = Rig::with_kitchen(setup).await;
    rig.journal.set_delay(Duration::from_secs(1));
    let begun = Instant::now();
    let calls = (0..10).map(|_| async {
        let answer = rig.platform.place(crate::rig::details(), None).await;
        (answer, begun.elapsed())
    });
    let (taken, refused): (Vec<_>, Vec<_>) = join_all(calls)
        .await
        .into_iter()
        .partition(|(answer, _)| answer.is_ok());
    assert_eq!((taken.len(), refused.len()), (4, 6));
    for (answer, after) in refused {
        assert!(matches!(answer, Err(CallError::Overloaded { what }) if what == "shard 0"));
        assert_eq!(after, Duration::ZERO);
    }
    rig.journal.set_delay(Duration::ZERO);
    let mut ids: Vec<_> = taken
        .into_iter()
        .filter_map(|(answer, _)| answer.ok())
        .map(|p| p.order.state.id)
        .collect();
    ids.push(rig.place().await);
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_orders_are_under_way_than_there_are_places_for() {
    const PLACES: usize = 3;
    let mut setup = Setup::silent();
    setup.options.orders_under_way_max = PLACES;
    let rig = Rig::with_kitchen(setup).await;
    rig.fakes.follow(|call| match (call.key.step, call.key.direction) {
        (Step::Authorize, Direction::Forward) => Say::Hang,
        (Step::PlaceTicket, Direction::Forward) => Say::No(Answer::Pending),
        _ => Say::Yes,
    });
    let ids = join_all((0..PLACES).map(|_| rig.place())).await;
    let refused = rig.platform.place(crate::rig::details(), None).await;
    let refused = refused.expect_err("all places are taken");
    assert!(matches!(refused, CallError::Overloaded { what } if what == "the platform"));
    // What was taken can be spoken to, and leaves its place when nothing of it is under way.
    rig.cancel(ids[0]).await.expect("it is heard");
    rig.assert_status(&ids[..1], OrderStatus::Cancelled).await;
    rig.fakes.follow(thinking);
    let waits = rig.place().await;
    rig.until_pending_ticket(waits).await;
    rig.place().await;
}

/// Real time on one thread, which somebody keeps for themselves most of the time.
#[tokio::test]
async fn new_orders_are_refused_while_what_is_ready_to_run_waits_too_long() {
    let mut setup = Setup::silent();
    setup.options.orders_under_way_max = 1_600;
    setup.options.delay_max = Duration::from_millis(25);
    let rig = Rig::with_kitchen(setup).await;
    rig.fakes.follow(|call| match (call.key.step, call.key.direction) {
        (Step::Authorize, Direction::Forward) => Say::Hang,
        _ => Say::Yes,
    });
    join_all((0..100).map(|_| rig.place())).await;
    let hog = tokio::spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::yield_now().await;
        }
    });
    let mut refused = None;
    for _ in 0..200 {
        refused = rig.platform.place(crate::rig::details(), None).await.err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(CallError::Overloaded { what }) if what == "the platform"));
    hog.abort();
    rig.until("orders are taken again", |rig| {
        rig.platform.scheduling_delay() < Duration::from_millis(25)
    })
    .await;
    rig.place().await;
}

#[tokio::test(start_paused = true)]
async fn a_hot_channel_is_bounded_and_writes_few_rows() {
    let mut setup = Setup::default();
    setup.options.mailbox_max = 100;
    let rig = Rig::with_kitchen(setup).await;
    let before = rig.row_count(kitchen(1).stream()).await;
    rig.journal.set_delay(Duration::from_millis(20));
    let id = kitchen(1);
    let answers = join_all((0..400).map(|n| rig.platform.channel(busy(n), &id, None))).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    let overloaded = |answer: &&Result<_, CallError>| matches!(answer, Err(CallError::Overloaded { .. }));
    assert_eq!(
        taken + answers.iter().filter(overloaded).count(),
        400,
        "each is answered"
    );
    assert!((100..400).contains(&taken), "{taken} taken");
    let rows = rig.row_count(kitchen(1).stream()).await - before;
    assert!(rows <= 8, "{taken} commands in {rows} rows");
    rig.platform
        .channel(busy(1_000), &id, None)
        .await
        .expect("it has recovered");
    rig.until("nothing waits", |rig| {
        rig.actors("channel").iter().all(|view| view.mailbox_depth == 0)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn more_commands_than_a_turn_takes_are_all_answered_even_if_nothing_changes() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.journal.set_delay(Duration::from_millis(20));
    let id = kitchen(1);
    // The first is being written while the others gather, and they say nothing new.
    let answers = join_all((0..900).map(|_| rig.platform.channel(busy(7), &id, None))).await;
    let changed = answers
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|applied| applied.changed))
        .count();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(changed, 1);
}
