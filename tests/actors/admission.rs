//! Bounds: of what a shard takes, and of what waits for a channel.

use crate::rig::{Rig, Setup, kitchen};
use actors::CallError;
use domain::channel::{Availability, Command};
use domain::order::OrderStatus;
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
