//! Ten thousand orders in flight, in real time.

use crate::fakes::thinking;
use crate::rig::{Rig, Setup};
use domain::order::Order;
use domain::saga::{Forward, Step};
use domain::time::Millis;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

const ORDERS: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_orders_in_flight_move_again_after_a_restart() {
    let mut setup = Setup {
        shards: 64,
        world: false,
        ..Setup::default()
    };
    setup.policy.ticket_acceptance_ms = Millis::from_mins(60);
    setup.policy.hold_ttl_ms = Millis::from_mins(120);
    setup.options.mailbox_max = 100_000;
    setup.options.orders_under_way_max = ORDERS;
    // They come all at once.
    setup.options.delay_max = Duration::ZERO;
    let rig = Rig::start(setup).await;
    rig.open_kitchen(1, 100_000).await;
    rig.fakes.follow(thinking);
    let begun = Instant::now();
    let ids: Vec<_> = futures::stream::iter(0..ORDERS)
        .map(|_| rig.place())
        .buffer_unordered(256)
        .collect()
        .await;
    let pending = |order: &Order| {
        let forward = |step| order.record(step, 0).map(|record| record.forward);
        matches!(forward(Step::PlaceTicket), Some(Forward::Pending { .. }))
            && forward(Step::ConfirmCapacity) == Some(Forward::Done)
    };
    for id in &ids {
        while !pending(&rig.order(*id).await.state) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!(
        "{ORDERS} orders from acceptance to a ticket with the kitchen in {:?}",
        begun.elapsed()
    );
    let stopped = rig.stop().await;
    let begun = Instant::now();
    let rig = stopped.start().await;
    println!(
        "started again after {:?}: {:?}",
        begun.elapsed(),
        rig.platform.recovery()
    );
    let recovery = rig.platform.recovery().expect("it serves");
    assert_eq!((recovery.orders_live, recovery.effects_resumed), (ORDERS, 0));
    assert!(recovery.timers_armed >= ORDERS);
    assert_eq!(rig.actors("order").len(), 0, "an order that waits needs no actor");
}
