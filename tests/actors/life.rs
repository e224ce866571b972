//! From birth to passivation.

use crate::fakes::thinking;
use crate::rig::{Rig, Setup, kitchen};
use actors::{ActorOptions, CallError};
use domain::channel::{self, ClaimState};
use domain::ids::{HashSlot, OrderId};
use domain::order::OrderStatus;
use domain::rejection::Rejection;
use domain::saga::{CapacityRequest, Command, Direction, EffectKey, KitchenReport, Report, Step};
use domain::time::{Millis, Timestamp};
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

fn passivating_soon() -> Setup {
    let options = ActorOptions {
        idle_after: Duration::from_millis(100),
        ..ActorOptions::default()
    };
    Setup {
        options,
        ..Setup::default()
    }
}

#[tokio::test(start_paused = true)]
async fn orders_live_and_leave_nothing_behind() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let ids = join_all((0..10).map(|_| rig.place())).await;
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
    rig.until("settled orders have no actor", |rig| rig.actors("order").is_empty())
        .await;
    assert_eq!(
        rig.order(ids[0]).await.state.status,
        OrderStatus::Delivered,
        "read from the store"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_leaves_no_actor() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let nobody = OrderId::mint(Timestamp(1), HashSlot::of(&[b"nobody"]), 1);
    for _ in 0..3 {
        let refused = rig.cancel(nobody).await.expect_err("there is no such order");
        assert_eq!(refused, CallError::Rejected(Rejection::NotFound("order")));
    }
    rig.until("nothing is left of it", |rig| rig.actors("order").is_empty())
        .await;
    assert_eq!(rig.row_count(nobody.stream()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_order_goes_and_comes_back_when_it_is_spoken_to() {
    let rig = Rig::with_kitchen(passivating_soon()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    let before = rig.until_pending_ticket(id).await;
    rig.until("it is passivated", |rig| rig.actor(id).is_none()).await;
    assert_eq!(rig.order(id).await.seq, before.seq);
    let after = rig.cancel(id).await.expect("it can still be cancelled");
    assert_eq!(after.seq, before.seq.next());
    rig.assert_status(&[id], OrderStatus::Cancelled).await;
    rig.check(&[id]).await;
}

/// Real time and real threads: commands are sent while actors go, so that some wait for a successor. None may get lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_actors_come_and_go() {
    // Whether or not the shard remembers those that left.
    for recent_orders_max in [0, 1_000] {
        actors_come_and_go(recent_orders_max).await;
    }
}

async fn actors_come_and_go(recent_orders_max: usize) {
    let mut setup = passivating_soon();
    setup.options.recent_orders_max = recent_orders_max;
    let rig = Arc::new(Rig::with_kitchen(setup).await);
    rig.fakes.follow(thinking);
    let ids = join_all((0..10).map(|_| rig.place())).await;
    for id in &ids {
        rig.until_pending_ticket(*id).await;
    }
    let loads = rig.store.loads.load(std::sync::atomic::Ordering::SeqCst);
    let senders = ids.iter().enumerate().map(|(n, id)| {
        let (rig, id, pause) = (Arc::clone(&rig), *id, Duration::from_millis(97 + 6 * n as u64));
        tokio::spawn(async move {
            for n in 0..12_i64 {
                let ready_at = Timestamp(2_000_000_000_000 + n);
                let report = Report::Kitchen(
                    kitchen(1),
                    KitchenReport::Accepted {
                        ready_at: Some(ready_at),
                    },
                );
                let order = rig
                    .tell(id, Command::Report(report))
                    .await
                    .expect("every command is answered");
                assert_eq!(order.state.ready_at, Some(ready_at), "and heard");
                tokio::time::sleep(pause).await;
            }
        })
    });
    for sender in join_all(senders).await {
        sender.expect("no command was lost");
    }
    let loads = rig.store.loads.load(std::sync::atomic::Ordering::SeqCst) - loads;
    if recent_orders_max == 0 {
        assert!(loads >= 10, "the actors came and went: {loads} loads");
    } else {
        assert_eq!(loads, 0, "who came back was remembered");
    }
    rig.until("all have gone", |rig| rig.actors("order").is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_taken_for_an_order_is_not_harmed() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let hold = EffectKey {
        order: OrderId::mint(Timestamp(1), HashSlot::of(&[b"somebody"]), 1),
        step: Step::HoldCapacity,
        round: 0,
        direction: Direction::Forward,
    };
    let stranger: OrderId = kitchen(1)
        .stream()
        .to_string()
        .parse()
        .expect("a channel's stream reads as an order id");
    let not_found = CallError::Rejected(Rejection::NotFound("order"));
    // Once while the channel has an actor.
    assert_eq!(rig.cancel(stranger).await.expect_err("no order"), not_found);
    let until = domain::ports::Clock::now(&*rig.clock) + Millis::from_mins(3);
    let request = CapacityRequest::Hold {
        key: hold,
        slot: until,
        slots_ahead_max: 0,
        units: 1,
        expires_at: until,
        asked_before: false,
    };
    rig.platform
        .channel(channel::Command::Capacity(request), &kitchen(1), None)
        .await
        .expect("there is room");
    // And once while it has none, but a timer.
    let rig = rig.stop().await.start().await;
    assert!(rig.actors("channel").is_empty());
    let availability = channel::Command::SetAvailability(channel::Availability::Paused);
    let id = kitchen(1);
    let (refused, taken) = futures::join!(rig.cancel(stranger), rig.platform.channel(availability, &id, None));
    assert_eq!(refused.expect_err("no order"), not_found);
    taken.expect("the channel hears what it is told");
    assert_eq!(rig.cancel(stranger).await.expect_err("no order"), not_found);
    assert!(rig.platform.order(stranger).await.is_err());

    let rig = rig.stop().await.start().await;
    assert_eq!(rig.cancel(stranger).await.expect_err("no order"), not_found);
    let lapsed = |rig: &Rig| {
        rig.channel(1)
            .ledger
            .claim(&hold)
            .is_some_and(|claim| matches!(claim.state, ClaimState::Lapsed { .. }))
    };
    rig.until("the hold lapses although nobody speaks to the channel", lapsed)
        .await;
    let late_ms = domain::ports::Clock::now(&*rig.clock).ms_since(until);
    assert!(late_ms < 100, "{late_ms} ms late");
}
