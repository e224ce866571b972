//! Timers: none lost, none early (TM-1), across passivation and restarts; and what a restart begins again.

use crate::fakes::{Say, thinking};
use crate::rig::{Rig, Setup, kitchen};
use actors::ActorOptions;
use domain::channel::{self, ClaimState};
use domain::ids::{HashSlot, OrderId, Seq};
use domain::order::{Event, OrderStatus};
use domain::ports::Clock;
use domain::saga::{CapacityRequest, Command, Direction, EffectKey, KitchenReport, Report, Step};
use domain::time::{Millis, Timestamp};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// When the first event of a kind was decided.
async fn time_of(rig: &Rig, id: OrderId, is_it: impl Fn(&Event) -> bool) -> Timestamp {
    let rows = rig
        .platform
        .rows(id.stream(), Seq(0), 1_000)
        .await
        .expect("the store is there");
    let found = rows.iter().find(|row| {
        let events: Vec<Event> = serde_json::from_str(&row.events).expect("events");
        events.iter().any(&is_it)
    });
    found.expect("it happened").at
}

fn passivating_soon(setup: Setup) -> Setup {
    let options = ActorOptions {
        idle_after: Duration::from_millis(100),
        ..setup.options
    };
    Setup { options, ..setup }
}

fn late_ms(at: Timestamp, due: Timestamp) -> u64 {
    assert!(at >= due, "{} ms early", due.ms_since(at));
    at.ms_since(due)
}

#[tokio::test(start_paused = true)]
async fn a_kitchen_that_does_not_decide_is_given_up_in_time() {
    for restart in [false, true] {
        let rig = Rig::with_kitchen(passivating_soon(Setup::silent())).await;
        rig.fakes.follow(thinking);
        let id = rig.place().await;
        let order = rig.until_pending_ticket(id).await;
        let due = order
            .state
            .record(Step::PlaceTicket, 0)
            .and_then(domain::saga::Record::deadline)
            .expect("a deadline");
        rig.until("it is passivated", |rig| rig.actor(id).is_none()).await;
        let rig = if restart { rig.stop().await.start().await } else { rig };
        rig.assert_status(&[id], OrderStatus::Failed).await;
        let at = time_of(&rig, id, |event| {
            matches!(
                event,
                Event::StepUnknown {
                    step: Step::PlaceTicket,
                    ..
                }
            )
        })
        .await;
        assert!(late_ms(at, due) <= 20, "{} ms late", late_ms(at, due));
        rig.check(&[id]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_courier_is_asked_for_at_its_time() {
    for restart in [false, true] {
        let rig = Rig::with_kitchen(passivating_soon(Setup::default())).await;
        let id = rig.place().await;
        let order = rig
            .until_order(id, "confirmed", |order| order.milestones.confirmed_at.is_some())
            .await;
        let due = order.state.ready_at.expect("an estimate") - Setup::default().policy.dispatch_lead_ms;
        assert!(due > rig.clock.now(), "there is something to wait for");
        let rig = if restart { rig.stop().await.start().await } else { rig };
        rig.assert_status(&[id], OrderStatus::Delivered).await;
        let at = time_of(&rig, id, |event| {
            matches!(
                event,
                Event::StepStarted {
                    step: Step::Dispatch,
                    ..
                }
            )
        })
        .await;
        assert!(late_ms(at, due) <= 20, "{} ms late", late_ms(at, due));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_passed_while_the_platform_was_down_fires_at_the_start() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let stopped = rig.stop().await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    let rig = stopped.start().await;
    let begun = rig.clock.now();
    rig.assert_status(&[id], OrderStatus::Failed).await;
    assert!(rig.clock.now().ms_since(begun) < 2_000);
}

#[tokio::test(start_paused = true)]
async fn commands_that_change_nothing_do_not_put_a_timer_off() {
    let rig = Rig::with_kitchen(Setup::silent()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    let order = rig.until_pending_ticket(id).await;
    let due = order
        .state
        .record(Step::PlaceTicket, 0)
        .and_then(domain::saga::Record::deadline)
        .expect("a deadline");
    while !rig.order(id).await.state.is_settled() {
        let late = late_ms(rig.clock.now().max(due), due);
        assert!(late < 1_000, "the timer is {late} ms late");
        // Refused, each time.
        let report = Report::Kitchen(kitchen(9), KitchenReport::Preparing);
        rig.tell(id, Command::Report(report))
            .await
            .expect_err("it is not with that kitchen");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Each timer here is due before all those set earlier, so that the alarm is moved each time.
#[tokio::test(start_paused = true)]
async fn a_shard_has_one_alarm_however_often_it_is_moved() {
    const CHANNELS: u16 = 100;
    let rig = Rig::start(Setup {
        shards: 1,
        ..Setup::default()
    })
    .await;
    let now = rig.clock.now();
    let key = |n: u16| EffectKey {
        order: OrderId::mint(Timestamp(1), HashSlot::of(&[b"somebody"]), u64::from(n)),
        step: Step::HoldCapacity,
        round: 0,
        direction: Direction::Forward,
    };
    for n in 0..CHANNELS {
        rig.open_kitchen(n, 10).await;
        let expires_at = now + Millis::from_secs(1_000 - 5 * u64::from(n));
        let request = CapacityRequest::Hold {
            key: key(n),
            slot: expires_at,
            slots_ahead_max: 0,
            units: 1,
            expires_at,
            asked_before: false,
        };
        rig.platform
            .channel(channel::Command::Capacity(request), &kitchen(n), None)
            .await
            .expect("there is room");
    }
    let before = rig.clock.reads.load(Ordering::SeqCst);
    let lapsed = |rig: &Rig, n| {
        rig.channel(n)
            .ledger
            .claim(&key(n))
            .is_none_or(|claim| matches!(claim.state, ClaimState::Lapsed { .. }))
    };
    tokio::time::sleep(Duration::from_secs(1_001)).await;
    assert!((0..CHANNELS).all(|n| lapsed(&rig, n)), "all have lapsed");
    let reads = rig.clock.reads.load(Ordering::SeqCst) - before;
    // A tick, a turn, a new timer for each; were every alarm kept that was ever set, each of them would tick each time.
    assert!(
        reads <= 15 * u64::from(CHANNELS),
        "{reads} looks at the clock for {CHANNELS} timers"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_exactly_what_was_pending_again() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let ids = join_all((0..5).map(|_| rig.place())).await;
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.fakes.follow(|call| {
        if call.key.step == Step::PlaceTicket {
            Say::Hang
        } else {
            Say::Yes
        }
    });
    let hanging = join_all((0..7).map(|_| rig.place())).await;
    let asked = |rig: &Rig| {
        hanging
            .iter()
            .all(|id| !rig.fakes.calls_of(*id, Step::PlaceTicket).is_empty())
    };
    rig.until("all kitchens are asked", asked).await;
    let stopped = rig.stop().await;
    stopped.fakes.follow(|_| Say::Yes);
    let before = stopped.fakes.calls();
    let rig = stopped.start().await;

    let recovery = rig.platform.recovery().expect("it is known when it serves").clone();
    // Each order's ticket, and its reservation: that is answered, but was to be written with the ticket's answer.
    assert_eq!((recovery.orders_live, recovery.effects_resumed), (7, 14));
    // Each order's deadline, and the kitchen's holds; the zone waits for nothing but forgetting what is over.
    assert_eq!(recovery.timers_armed, 9);
    let begun = |rig: &Rig| rig.fakes.calls().len() >= before.len() + 7;
    rig.until("all are asked again", begun).await;
    let again = &rig.fakes.calls()[before.len()..before.len() + 7];
    for id in &hanging {
        let first = before
            .iter()
            .find(|call| call.key.order == *id && call.key.step == Step::PlaceTicket);
        let second: Vec<_> = again.iter().filter(|call| call.key.order == *id).collect();
        assert_eq!(second.len(), 1, "{id}");
        assert_eq!(Some(second[0].key), first.map(|call| call.key), "under the same key");
        assert!(
            first.is_some_and(|call| call.offered) && !second[0].offered,
            "but not as something new"
        );
    }
    rig.assert_status(&hanging, OrderStatus::Delivered).await;
    rig.check(&hanging).await;
}
