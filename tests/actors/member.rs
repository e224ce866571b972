//! A member of a cluster, alone in it: what it may say and own when the store is away, or cannot be read.

use crate::fakes::thinking;
use crate::rig::{Rig, Setup};
use actors::{ActorOptions, CallError, ClusterOptions, Readiness, TransportOptions};
use domain::order::OrderStatus;
use domain::ports::{ClusterView, Membership};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

const LEASE: Duration = Duration::from_secs(3);

/// Names are one registry in a process: each test has its own.
pub(crate) fn member(name: &str) -> Setup {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let transport = TransportOptions {
        name: name.to_owned(),
        listen,
        cookie: "a secret of one node".to_owned(),
        tls: None,
        heartbeat: Duration::from_millis(250),
        misses_max: 3,
        requests_max: 16,
        batch_items_max: 16,
        batch_bytes_max: 1 << 16,
        wire_version_max: 4,
        redial: Duration::from_millis(250),
    };
    Setup {
        member: Some(ClusterOptions {
            transport,
            address: None,
            lease: LEASE,
            renew_every: Duration::from_secs(1),
            moves_max: 16,
        }),
        // Its actors stay.
        options: ActorOptions {
            idle_after: Duration::from_hours(24),
            ..ActorOptions::default()
        },
        ..Setup::silent()
    }
}

async fn view(rig: &Rig) -> ClusterView {
    Membership::view(&*rig.store).await.expect("the store is there")
}

/// A node that is cut off from the store may be the last to know that others have its shards and changed its orders.
#[tokio::test(start_paused = true)]
async fn a_node_without_a_lease_shows_nothing_from_memory() {
    let rig = Rig::with_kitchen(member("n1-1")).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    assert!(rig.platform.owns(id.stream()));

    rig.store.away.store(true, Ordering::SeqCst);
    // Nobody else can have the shards yet, so what its actor holds is what is.
    assert_eq!(rig.order(id).await.state.status, OrderStatus::Pending);
    sleep(LEASE).await;
    assert!(!rig.platform.owns(id.stream()));
    assert!(rig.actor(id).is_some(), "its actor lives");
    assert!(rig.platform.live_order(id).is_none(), "and is not believed");
    let answer = rig.platform.order(id).await;
    assert!(matches!(answer, Err(CallError::Unavailable(_))), "{answer:?}");
    let readiness = rig.platform.readiness();
    assert!(matches!(readiness, Readiness::Unavailable { .. }), "{readiness:?}");
    let told = rig.cancel(id).await;
    assert!(matches!(told, Err(CallError::Unavailable(_))), "{told:?}");

    // Nobody took them meanwhile: it goes on as if nothing had been.
    rig.store.away.store(false, Ordering::SeqCst);
    rig.until_ready().await;
    assert!(rig.platform.live_order(id).is_some());
    assert_eq!(rig.cancel(id).await.expect("it can").state.id, id);
}

#[tokio::test(start_paused = true)]
async fn shards_that_cannot_be_brought_to_life_are_given_back_and_tried_again() {
    const NAME: &str = "n2-1";
    let rig = Rig::begin(member(NAME), |store| store.unreadable.store(true, Ordering::SeqCst)).await;
    rig.until("they are given back", |rig| {
        rig.store.releases.load(Ordering::SeqCst) > 1
    })
    .await;
    let mut looks = 0;
    while view(&rig).await.shards.iter().any(|shard| !shard.owner.is_empty()) {
        looks += 1;
        assert!(looks < 1_000, "they are never nobody's");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.platform.readiness(), Readiness::Recovering, "it has nothing");
    let told = rig
        .platform
        .cluster()
        .await
        .expect("the store is there")
        .expect("a cluster");
    assert!(
        told.shards.iter().all(|shard| shard.owner != NAME),
        "nobody was told that it has"
    );

    rig.store.unreadable.store(false, Ordering::SeqCst);
    rig.until_ready().await;
    assert!(view(&rig).await.shards.iter().all(|shard| shard.owner == NAME));
    rig.open_kitchen(1, 10).await;
    let id = rig.place().await;
    assert!(rig.platform.owns(id.stream()));
}
