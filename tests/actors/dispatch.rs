//! Zones with a planner: bundles, couriers that drop out, and a planner that begins anew.

use crate::rig::{Rig, Setup, centre};
use actors::DispatchOptions;
use domain::ids::{CourierId, OrderId};
use domain::order::OrderStatus;
use domain::policy::{Assigning, Policy};
use domain::ports::Clock;
use domain::time::{Millis, Timestamp};
use domain::zone::{self, CourierConfig, JobState, Zone};
use routing::dispatch;
use serde_json::Value;
use std::sync::Arc;

fn planned() -> Setup {
    let mut setup = Setup {
        policy: Policy {
            assigning: Assigning::Planned,
            dispatch_lead_ms: Millis::from_mins(60),
            ..Policy::default()
        },
        ..Setup::default()
    };
    setup.options.dispatch = DispatchOptions {
        policy: Some(dispatch::Policy::Anneal),
        ..DispatchOptions::default()
    };
    setup
}

fn zone(rig: &Rig) -> Arc<Zone> {
    let known = rig.platform.directory().zone(&centre());
    known.expect("the zone is known").state
}

fn couriers(rig: &Rig, carry: usize) -> Vec<CourierId> {
    let zone = zone(rig);
    let carrying = zone.couriers.values().filter(|courier| courier.trip.len() >= carry);
    carrying.map(|courier| courier.id.clone()).collect()
}

async fn tell(rig: &Rig, command: zone::Command) {
    rig.platform.zone(command, &centre()).await.expect("it is carried out");
}

/// What the zone's planner shows of itself.
fn planner(rig: &Rig) -> Option<Value> {
    let path = rig.actors("zone").first()?.path.clone();
    let state = rig.platform.introspect_at(&path)?.state?;
    state.get("planner").cloned()
}

async fn place(rig: &Rig, orders: usize) -> Vec<OrderId> {
    let mut ids = Vec::new();
    for _ in 0..orders {
        ids.push(rig.place().await);
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn orders_of_one_kitchen_for_one_street_go_out_together() {
    let rig = Rig::start(planned()).await;
    rig.open_kitchen(1, 1_000).await;
    rig.hire(1).await;
    let ids = place(&rig, 3).await;
    rig.until("one courier has a bundle", |rig| !couriers(rig, 2).is_empty())
        .await;
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
    let planner = planner(&rig).expect("there is a planner");
    assert_eq!(planner["policy"], "anneal");
    assert!(planner["trips"].as_u64() >= Some(1), "{planner}");
    let zone = zone(&rig);
    assert!(zone.jobs.is_empty(), "nothing is left over");
    assert_eq!(zone.couriers.values().map(|courier| courier.jobs_taken).sum::<u32>(), 3);
}

#[tokio::test(start_paused = true)]
async fn couriers_leave_as_late_as_they_can() {
    let rig = Rig::with_kitchen(planned()).await;
    let id = rig.place().await;
    let order = rig
        .until_order(id, "with a courier", |order| order.courier.is_some())
        .await;
    let (now, ready_at) = (rig.clock.now(), order.state.ready_at.expect("an estimate"));
    assert!(
        now + Millis::from_mins(5) >= ready_at,
        "{now:?} is long before {ready_at:?}"
    );
    rig.assert_status(&[id], OrderStatus::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_courier_that_drops_out_is_replaced() {
    let rig = Rig::with_kitchen(planned()).await;
    let ids = place(&rig, 2).await;
    rig.until("a courier is sent off", |rig| !couriers(rig, 1).is_empty())
        .await;
    let first = couriers(&rig, 1)[0].clone();
    tell(
        &rig,
        zone::Command::SetOnline {
            id: first.clone(),
            online: false,
            said: None,
        },
    )
    .await;
    rig.assert_status(&ids, OrderStatus::Delivered).await;
    rig.check(&ids).await;
    for id in ids {
        assert_ne!(rig.order(id).await.state.courier, Some(first.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_planner_begins_anew_after_a_restart_though_nothing_happens() {
    let rig = Rig::start(planned()).await;
    rig.open_kitchen(1, 1_000).await;
    let on_at = rig.clock.now() + Millis::from_mins(90);
    let config = CourierConfig {
        zone: centre(),
        location: crate::rig::kitchen_config(1, 1).location,
        on_at: Some(on_at),
        off_at: None,
        metres_per_min: 320,
    };
    let id: CourierId = "late-riser".parse().expect("a name");
    let config = Box::new(config);
    let command = zone::Command::PutCourier {
        zone: centre(),
        id,
        config,
    };
    tell(&rig, command).await;
    let order = rig.place().await;
    rig.until("the job waits", |rig| {
        zone(rig).jobs.values().any(|entry| entry.state == JobState::Queued)
    })
    .await;
    let rig = rig.stop().await.start().await;
    let plans = |rig: &Rig| planner(rig).and_then(|planner| planner["plans"].as_u64());
    rig.until("the zone is planned again", |rig| plans(rig) >= Some(1))
        .await;
    assert!(rig.clock.now() < on_at, "before its courier comes");
    let settled = rig.until_settled(order).await;
    assert_eq!(settled.state.status, OrderStatus::Delivered);
    assert!(settled.state.milestones.picked_up_at > Some(Timestamp(on_at.0)));
}

/// One courier, two orders, one after the other. What is expected of the courier is what it does; and where nobody reckons
/// with the time that it needs to leave its first customer, it needs the time all the same.
#[tokio::test(start_paused = true)]
async fn a_courier_goes_for_more_once_it_has_left_its_last_customer() {
    let leave = Millis::from_mins(2);
    for reckoned in [leave, Millis(0)] {
        let mut setup = planned();
        setup.policy.dropoff_leave_ms = reckoned;
        setup.options.dispatch.policy = Some(dispatch::Policy::Nearest);
        // It is not by chance that somebody looks when the courier is free.
        setup.options.dispatch.every = Millis::from_mins(7);
        let rig = Rig::start(setup).await;
        rig.open_kitchen(1, 1_000).await;
        rig.hire(1).await;
        let mut orders = Vec::new();
        for id in place(&rig, 2).await {
            orders.push(rig.until_settled(id).await.state);
        }
        orders.sort_by_key(|order| order.milestones.delivered_at);
        let [first, second] = &orders[..] else {
            panic!("two orders")
        };
        let kitchen = second.candidate().expect("a kitchen").pickup;
        let way = zone::travel_ms(first.details.delivery_location.place(), kitchen, 320);
        let delivered_at = first.milestones.delivered_at.expect("it is delivered");
        let (expected_at, picked_up_at) = (second.pickup_at, second.milestones.picked_up_at);
        let (expected_at, picked_up_at) = (expected_at.expect("expected"), picked_up_at.expect("it has left"));
        let looks = Millis::from_secs(2);
        let soon = |at: Timestamp, earliest: Timestamp| earliest <= at && at <= earliest + looks;
        assert!(
            soon(expected_at, delivered_at + reckoned + way),
            "{delivered_at:?}, {way:?}: {expected_at:?}"
        );
        let parked_at = delivered_at + leave + way + Millis::from_mins(2);
        assert!(
            soon(picked_up_at, parked_at),
            "{delivered_at:?}, {way:?}: {picked_up_at:?}"
        );
        if reckoned == leave {
            assert_eq!(
                picked_up_at.ms_since(expected_at) / 1_000,
                120,
                "it comes when it is expected"
            );
        }
    }
}
