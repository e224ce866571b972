//! Channels: alternates, and capacity that is never exceeded and never leaks.

use crate::fakes::{Call, Say};
use crate::rig::{Rig, Setup, kitchen};
use domain::channel::{Availability, Command};
use domain::invariants;
use domain::order::{Ending, FailureCode, OrderStatus};
use domain::saga::{Answer, Direction, Refused, Step};
use domain::time::Millis;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn is_ticket_of(call: &Call, channel: &str) -> bool {
    call.key.direction == Direction::Forward && call.channel.as_deref() == Some(channel)
}

async fn failed_for_want_of_a_channel(rig: &Rig, id: domain::ids::OrderId) {
    let order = rig.until_settled(id).await;
    assert_eq!(order.state.status, OrderStatus::Failed);
    let ending = order.state.unwinding.as_ref().map(|unwinding| unwinding.ending.clone());
    assert_eq!(ending, Some(Ending::Failed(FailureCode::NoAvailableChannel)));
}

#[tokio::test(start_paused = true)]
async fn the_alternate_is_asked_when_a_partner_is_down_or_refuses() {
    let no = [
        Answer::Failed("connection refused".into()),
        Answer::Refused(Refused::new("busy", "no time")),
    ];
    for answer in no {
        let rig = Rig::with_kitchen(Setup::default()).await;
        rig.open_kitchen(2, 10).await;
        rig.fakes.follow(move |call| {
            if is_ticket_of(call, "kitchen-1") {
                Say::No(answer.clone())
            } else {
                Say::Yes
            }
        });
        let id = rig.place().await;
        rig.assert_status(&[id], OrderStatus::Delivered).await;
        assert_eq!(
            rig.order(id).await.state.candidate().map(|c| c.channel.clone()),
            Some(kitchen(2))
        );
        rig.check(&[id]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_alternate_the_order_fails_and_everything_is_undone() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.open_kitchen(2, 10).await;
    rig.fakes.follow(|call| {
        let place = call.key.step == Step::PlaceTicket && call.key.direction == Direction::Forward;
        if place {
            Say::No(Answer::Failed("down".into()))
        } else {
            Say::Yes
        }
    });
    let id = rig.place().await;
    failed_for_want_of_a_channel(&rig, id).await;
    rig.check(&[id]).await;
    let voided = rig
        .fakes
        .deeds()
        .into_iter()
        .filter(|(key, _)| key.step == Step::Authorize);
    assert!(voided.into_iter().all(|(_, deed)| deed.done == 1 && deed.undone == 1));
    assert_eq!(
        rig.channel(1).ledger.slots().count() + rig.channel(2).ledger.slots().count(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_restaurant_that_nobody_serves_or_that_takes_no_orders_fails_its_orders() {
    let rig = Rig::start(Setup::default()).await;
    let nobody = rig.place().await;
    failed_for_want_of_a_channel(&rig, nobody).await;
    rig.open_kitchen(1, 10).await;
    rig.platform
        .channel(Command::SetAvailability(Availability::Paused), &kitchen(1), None)
        .await
        .expect("paused");
    let paused = rig.place().await;
    failed_for_want_of_a_channel(&rig, paused).await;
    rig.check(&[nobody, paused]).await;
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_channel_is_passed_over() {
    let mut setup = Setup {
        shards: 1,
        ..Setup::default()
    };
    setup.options.mailbox_max = 3;
    let rig = Rig::with_kitchen(setup).await;
    rig.open_kitchen(2, 10).await;
    // While one is written three more wait, and as soon as these are taken others come: the holds find no place.
    rig.journal.set_delay(Duration::from_millis(300));
    let over = AtomicBool::new(false);
    let flood = join_all((0..50).map(|n| {
        let (rig, over) = (&rig, &over);
        async move {
            while !over.load(Ordering::SeqCst) {
                let busy = Command::SetAvailability(Availability::Busy { delay_ms: Millis(n) });
                let _ = rig.platform.channel(busy, &kitchen(1), None).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }));
    let held = async {
        // The orders' own rows take as long: their holds come in the middle of the channel's turns.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let ids = join_all((0..3).map(|_| rig.place())).await;
        for id in &ids {
            rig.until_order(*id, "held", |order| order.record(Step::Authorize, 0).is_some())
                .await;
        }
        over.store(true, Ordering::SeqCst);
        rig.journal.set_delay(Duration::ZERO);
        ids
    };
    let (_, ids) = futures::join!(flood, held);
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    let mut makers = BTreeMap::new();
    for id in &ids {
        let order = rig.order(*id).await;
        let maker = order.state.candidate().map(|candidate| candidate.channel.to_string());
        *makers.entry(maker).or_insert(0) += 1;
    }
    assert!(makers.contains_key(&Some("kitchen-2".to_owned())), "{makers:?}");
    rig.check(&ids).await;
}

const CAPACITY: u32 = 3;

/// The most that is taken of any slot; CP-1 holds.
fn most_taken(rig: &Rig) -> u32 {
    let taken = [1, 2].map(|n| {
        let channel = rig.channel(n);
        assert_eq!(invariants::capacity(&channel, CAPACITY), []);
        channel.ledger.slots().map(|(_, units)| units).max().unwrap_or(0)
    });
    taken.into_iter().max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn capacity_is_never_exceeded_and_never_leaks() {
    let rig = Rig::start(Setup::default()).await;
    rig.open_kitchen(1, CAPACITY).await;
    rig.open_kitchen(2, CAPACITY).await;
    rig.hire(20).await;
    // A tenth of the tickets hangs, a fifth is refused, by the order's id.
    rig.fakes.follow(|call| {
        let draw = call.key.order.stream().0.as_u128() % 10;
        match (call.key.step, call.key.direction, draw) {
            (Step::PlaceTicket, Direction::Forward, 0) => Say::Hang,
            (Step::PlaceTicket, Direction::Forward, 1 | 2) => Say::No(Answer::Refused(Refused::new("no", "no"))),
            _ => Say::Yes,
        }
    });
    let (mut ids, mut most) = (Vec::new(), 0);
    for wave in 0..20 {
        let placed = join_all((0..4).map(|_| rig.place())).await;
        if wave % 4 == 0 {
            // Whether it can still be cancelled is not the question here.
            let _ = rig.cancel(placed[0]).await;
        }
        ids.extend(placed);
        for _ in 0..40 {
            most = most.max(most_taken(&rig));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    while !join_all(ids.iter().map(|id| rig.order(*id)))
        .await
        .iter()
        .all(|order| order.state.is_settled())
    {
        most = most.max(most_taken(&rig));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(most, CAPACITY, "the limit was reached");
    rig.check(&ids).await;
    let mut ends: BTreeMap<OrderStatus, u32> = BTreeMap::new();
    for id in &ids {
        *ends.entry(rig.order(*id).await.state.status).or_default() += 1;
    }
    assert!(
        ends[&OrderStatus::Delivered] >= 10 && ends[&OrderStatus::Failed] >= 1,
        "{ends:?}"
    );
}
