//! What can be seen of the actors.

use crate::fakes::thinking;
use crate::rig::{Rig, Setup};
use domain::saga::Step;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn an_order_shows_what_it_is_at() {
    let mut setup = Setup::default();
    setup.options.idle_after = Duration::from_mins(1);
    let rig = Rig::with_kitchen(setup).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    let order = rig.until_pending_ticket(id).await;
    let view = rig.actor(id).expect("it is seen");
    assert!(view.path.starts_with("node/shard-"), "{}", view.path);
    assert_eq!(
        (view.status.as_str(), view.mailbox_depth, view.restarts),
        ("running", 0, 0)
    );
    assert_eq!(
        (view.version, view.summary.as_deref()),
        (Some(order.seq.0), Some("PENDING"))
    );
    // Placed, and the answers of the channel (twice), the payment and the kitchen; the router is not asked.
    assert!(view.messages_handled >= 5, "{view:?}");
    let record = order.state.record(Step::PlaceTicket, 0).expect("it is asked");
    assert_eq!(
        view.next_timer,
        record.deadline().and_then(|at| u64::try_from(at.0).ok())
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let whole = rig.platform.introspect_at(&view.path).expect("it is seen");
    assert!(whole.age_ms >= 2_000);
    let state = whole.state.expect("its state is shown");
    assert_eq!(state["step"], "place_ticket");
    assert_eq!(state["order"]["status"], "PENDING");
    assert!(rig.platform.introspect_at("node/shard-000/order-nobody").is_none());
}

#[tokio::test(start_paused = true)]
async fn reading_waits_for_nobody_and_shows_no_payment_token() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    rig.journal.set_delay(Duration::from_secs(9));
    let (cancelled, seen) = futures::join!(rig.cancel(id), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // None of this is a future: it cannot wait.
        let views = rig.platform.introspect();
        let states: Vec<_> = views
            .iter()
            .filter_map(|view| rig.platform.introspect_at(&view.path))
            .collect();
        (views, states)
    });
    cancelled.expect("it took its time");
    let (views, states) = seen;
    let order = states
        .iter()
        .find(|view| view.kind == "order")
        .expect("the order is seen");
    assert_eq!(
        order.state.as_ref().expect("shown")["order"]["status"],
        "PENDING",
        "what is durable, not what may be"
    );
    let text = serde_json::to_string(&(views, states)).expect("JSON");
    assert!(
        text.contains("customer-1") && !text.contains("tok-secret"),
        "the token is nobody's business"
    );
}

#[tokio::test(start_paused = true)]
async fn pending_effects_are_shown() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(|_| crate::fakes::Say::Hang);
    let id = rig.place().await;
    let asked = |rig: &Rig| !rig.fakes.calls_of(id, Step::Authorize).is_empty();
    rig.until("the payment is asked for", asked).await;
    let view = rig.actor(id).expect("it is seen");
    let state = rig
        .platform
        .introspect_at(&view.path)
        .and_then(|view| view.state)
        .expect("shown");
    assert_eq!(state["step"], "authorize");
    // The hold is answered by now, but not written: only what is durable is shown.
    let pending = state["pending_effects"].as_array().expect("a list");
    let keys: Vec<_> = pending.iter().map(|effect| effect["key"].clone()).collect();
    assert_eq!(
        keys,
        [format!("{id}:hold_capacity:0:do"), format!("{id}:authorize:0:do")]
    );
    assert!(pending.iter().all(|effect| effect["attempt"] == 1), "{pending:?}");
}

#[tokio::test(start_paused = true)]
async fn watchers_that_nobody_holds_do_not_pile_up() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    let mut watched = rig.platform.subscribe(id);
    for n in 0..10_000 {
        use domain::ids::{HashSlot, OrderId};
        drop(
            rig.platform
                .subscribe(OrderId::mint(domain::time::Timestamp(1), HashSlot::of(&[b"w"]), n)),
        );
    }
    rig.cancel(id).await.expect("it can be cancelled");
    let heard = watched
        .wait_for(|order| order.as_ref().is_some_and(|order| order.state.unwinding.is_some()))
        .await;
    assert!(heard.is_ok(), "who is held is kept");
}

#[tokio::test(start_paused = true)]
async fn the_tree_has_its_trunk() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let views = rig.platform.introspect();
    assert_eq!((views[0].path.as_str(), views[0].status.as_str()), ("node", "running"));
    let order = rig.actor(id).expect("it is seen");
    let (shard, _) = order.path.rsplit_once('/').expect("it is below its shard");
    let shard = rig.platform.introspect_at(shard).expect("its shard is seen");
    assert_eq!(
        (shard.kind.as_str(), shard.mailbox_depth, shard.restarts),
        ("shard", 0, 0)
    );
    assert!(shard.messages_handled >= 5, "{shard:?}");
    assert!(
        shard.next_timer.is_some_and(|at| Some(at) <= order.next_timer),
        "{shard:?} {order:?}"
    );
}
