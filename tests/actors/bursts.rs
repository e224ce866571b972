//! Orders that come together find scarce capacity shared out so that it serves them best.

use crate::rig::{Rig, Setup, details, kitchen, kitchen_config};
use domain::channel::{ChannelConfig, Command};
use domain::geo::Location;
use domain::ids::{OrderId, Seq};
use domain::order::{Details, Event};
use domain::saga::Step;
use domain::time::{Millis, Timestamp};
use futures::future::join_all;
use std::collections::BTreeMap;

async fn open(rig: &Rig, n: u16, config: ChannelConfig) {
    let command = Command::Configure {
        id: kitchen(n),
        config: Box::new(config),
    };
    rig.platform.channel(command, &kitchen(n), None).await.expect("valid");
}

async fn place(rig: &Rig, details: Details) -> OrderId {
    let placed = rig.platform.place(details, None).await.expect("the order is taken");
    placed.order.state.id
}

async fn until_held(rig: &Rig, ids: &[OrderId]) {
    for id in ids {
        let held = |order: &domain::order::Order| {
            let record = order.record(Step::HoldCapacity, order.round);
            record.is_some_and(domain::saga::Record::is_done)
        };
        rig.until_order(*id, "held", held).await;
    }
}

/// How many rows an order's routing took.
async fn rows_until_routed(rig: &Rig, id: OrderId) -> usize {
    let rows = rig
        .platform
        .rows(id.stream(), Seq(0), 1_000)
        .await
        .expect("the store is there");
    let routed = rows.iter().position(|row| {
        let events: Vec<Event> = serde_json::from_str(&row.events).expect("events");
        let is_routed = |event: &Event| matches!(event, Event::StepDone { step: Step::Route, .. });
        events.iter().any(is_routed)
    });
    1 + routed.expect("it is routed")
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_spread_over_what_is_left_and_nobody_is_turned_away() {
    let rig = Rig::start(Setup::silent()).await;
    for n in [1, 2] {
        rig.open_kitchen(n, 4).await;
    }
    let ids = join_all((0..20).map(|_| rig.place())).await;
    until_held(&rig, &ids).await;
    let mut taken: BTreeMap<(String, Timestamp), u32> = BTreeMap::new();
    for id in &ids {
        let order = rig.order(*id).await.state;
        assert_eq!(order.round, 0, "the first that was asked had room");
        let candidate = order.candidate().expect("routed");
        *taken
            .entry((candidate.channel.to_string(), candidate.slot))
            .or_default() += 1;
        let held = rig
            .platform
            .directory()
            .channel(&candidate.channel)
            .expect("known")
            .state;
        let claims = held.ledger.claims().filter(|(key, _)| key.order == *id);
        let slots: Vec<_> = claims.map(|(_, claim)| claim.slot).collect();
        assert_eq!(slots, [candidate.slot], "what was promised is what is held");
    }
    assert!(taken.values().all(|units| *units <= 4), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_unit_goes_to_whom_it_saves_most_whoever_comes_first() {
    let rig = Rig::start(Setup::silent()).await;
    for (n, lat) in [(1, 41.05), (2, 41.0)] {
        let config = ChannelConfig {
            location: Location { lat, lng: -87.0 },
            prep_ms: Millis(0),
            ..kitchen_config(0, 1)
        };
        open(&rig, n, config).await;
    }
    let to = |lat| {
        let mut details = details();
        details.delivery_location.lat = lat;
        details
    };
    // The first saves a minute with the second kitchen; the second would have to wait for its next slot.
    let ids = join_all([to(41.024), to(41.0)].map(|details| place(&rig, details))).await;
    until_held(&rig, &ids).await;
    let makers = join_all(ids.iter().map(|id| rig.order(*id))).await;
    let makers: Vec<_> = makers
        .iter()
        .map(|order| order.state.candidate().expect("routed").channel.clone())
        .collect();
    assert_eq!(makers, [kitchen(1), kitchen(2)]);
}

#[tokio::test(start_paused = true)]
async fn only_scarce_capacity_costs_a_row() {
    let rig = Rig::start(Setup::silent()).await;
    rig.open_kitchen(1, 100).await;
    rig.open_kitchen(2, 100).await;
    let plenty = rig.place().await;
    assert_eq!(rows_until_routed(&rig, plenty).await, 1);
    rig.open_kitchen(1, 1).await;
    rig.open_kitchen(2, 1).await;
    let scarce = rig.place().await;
    until_held(&rig, &[scarce]).await;
    assert_eq!(rows_until_routed(&rig, scarce).await, 2);
    let alone = Rig::start(Setup::silent()).await;
    alone.open_kitchen(1, 1).await;
    let only = alone.place().await;
    assert_eq!(rows_until_routed(&alone, only).await, 1, "nobody to leave it to");
}

/// An order that was accepted and waits to be assigned is assigned after a restart.
#[tokio::test(start_paused = true)]
async fn who_waited_when_the_platform_stopped_is_assigned_after_the_start() {
    let mut setup = Setup::silent();
    setup.options.gather = std::time::Duration::from_secs(1);
    let rig = Rig::start(setup).await;
    rig.open_kitchen(1, 1).await;
    rig.open_kitchen(2, 1).await;
    let id = rig.place().await;
    assert!(rig.order(id).await.state.candidates.is_empty(), "it waits");
    let rig = rig.stop().await.start().await;
    until_held(&rig, &[id]).await;
}
