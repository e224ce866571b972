//! Crashes: of an order that cannot be read, of one that panics, of a whole shard.

use crate::fakes::{Say, thinking};
use crate::rig::{Rig, Setup, kitchen};
use actors::CallError;
use domain::ids::{OrderId, Seq};
use domain::order::{Order, OrderStatus};
use domain::ports::{AppendError, OrderObserver, Refusal};
use domain::saga::{Command, KitchenReport, Report, Step};
use domain::time::{Millis, Timestamp};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn one_shard() -> Setup {
    Setup {
        shards: 1,
        ..Setup::default()
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_read_is_parked_and_harms_nobody() {
    let rig = Rig::with_kitchen(one_shard()).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    let stopped = rig.stop().await;
    stopped.store.set_corrupt(id.stream(), true);
    stopped.fakes.follow(|_| Say::Yes);
    let restarts_max = stopped.setup.options.restarts_max;
    let rig = stopped.start().await;

    // Nobody speaks to it, and yet it is seen.
    let parked = |rig: &Rig| rig.actor(id).is_some_and(|view| view.status == "parked");
    rig.until("it is parked", parked).await;
    let view = rig.actor(id).expect("it is seen");
    assert!(
        view.trouble
            .as_deref()
            .is_some_and(|trouble| trouble.contains("corrupt")),
        "{view:?}"
    );
    assert_eq!((view.restarts, view.mailbox_depth), (restarts_max, 0));
    assert!(matches!(rig.cancel(id).await, Err(CallError::Parked(why)) if why.contains("corrupt")));

    let others = join_all((0..5).map(|_| rig.place())).await;
    rig.assert_status(&others, OrderStatus::Delivered).await;
    rig.check(&others).await;
    assert!(parked(&rig), "as long as nobody repairs it");

    // A retry that comes too early leaves it where it was.
    rig.tell(id, Command::Retry).await.expect_err("it is still corrupt");
    rig.until("it is parked again", parked).await;
    rig.store.set_corrupt(id.stream(), false);
    rig.tell(id, Command::Retry).await.expect("an operator brings it back");
    // The kitchen's time to think is long over.
    rig.assert_status(&[id], OrderStatus::Failed).await;
    rig.check(&[id]).await;
}

/// Panics when it sees a version of an order for the first time.
struct Panicker {
    at: Seq,
    seen: Mutex<BTreeMap<OrderId, u32>>,
    panics: u32,
}

impl OrderObserver for Panicker {
    fn observe(&self, id: OrderId, seq: Seq, _order: &Arc<Order>) {
        let panics = seq == self.at && {
            let mut seen = self
                .seen
                .lock()
                .expect("not poisoned: the guard is dropped before the panic");
            let times = seen.entry(id).or_default();
            *times += 1;
            *times <= self.panics
        };
        assert!(!panics, "the observer panics over {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_any_version_is_survived() {
    // Whatever panics once the last version is durable does not matter any more.
    let rig = Rig::with_kitchen(Setup::default()).await;
    let id = rig.place().await;
    let last = rig.until_settled(id).await.seq;
    assert!(last.0 >= 10, "{last:?}");
    for at in 1..last.0 {
        let panicker = Arc::new(Panicker {
            at: Seq(at),
            seen: Mutex::default(),
            panics: 2,
        });
        let observers = vec![Arc::clone(&panicker) as Arc<dyn OrderObserver>];
        let rig = Rig::with_kitchen(Setup {
            observers,
            ..Setup::default()
        })
        .await;
        let id = place_through_a_crash(&rig, at).await;
        rig.assert_status(&[id], OrderStatus::Delivered).await;
        let seen = panicker.seen.lock().expect("not poisoned").get(&id).copied();
        assert!(
            seen.is_some_and(|times| times > 2),
            "version {at} was seen {seen:?} times"
        );
        rig.check(&[id]).await;
    }
}

/// Places an order whose actor crashes over this version.
async fn place_through_a_crash(rig: &Rig, at: u64) -> OrderId {
    match rig.platform.place(crate::rig::details(), None).await {
        Ok(placed) => placed.order.state.id,
        // It is durable, or will be, but the answer was lost with the crash: that is all that can be said.
        Err(CallError::TimedOut) if at == 1 => {
            let path = rig.actors("order").first().expect("it is there").path.clone();
            path.rsplit("order-")
                .next()
                .and_then(|id| id.parse().ok())
                .expect("an order's path")
        }
        Err(error) => panic!("version {at}: {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_left_with_the_journal_is_waited_for() {
    let rig = Rig::with_kitchen(Setup::default()).await;
    let id = rig.place().await;
    let last = rig.until_settled(id).await.seq;
    assert!(last.0 >= 10, "{last:?}");
    for at in (1..=last.0).step_by(4) {
        let rig = Rig::with_kitchen(Setup::default()).await;
        rig.journal.panic_over(Seq(at));
        let id = place_through_a_crash(&rig, at).await;
        rig.until("its actor has crashed", |rig| rig.journal.has_panicked())
            .await;
        // The row is written after the pause that follows a crash: whoever reads the stream before misses it, and what is to
        // be done then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let settled = rig.until_settled(id).await;
        assert_eq!(
            settled.state.status,
            OrderStatus::Delivered,
            "version {at}: {:#?}",
            settled.state
        );
        rig.check(&[id]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_somebody_else_wrote_or_that_is_refused_starts_the_order_over() {
    for refusal in [Refusal::DuplicateSeq, Refusal::Poison("a strange character".into())] {
        let rig = Rig::with_kitchen(Setup::default()).await;
        rig.fakes.follow(thinking);
        let id = rig.place().await;
        rig.until_pending_ticket(id).await;
        rig.journal
            .answer_next(id.stream(), AppendError::Refused(refusal.clone()));
        let error = rig.cancel(id).await.expect_err("it was not written");
        assert_eq!(error, CallError::Unavailable(refusal.to_string()));
        rig.cancel(id).await.expect("it was read again");
        rig.assert_status(&[id], OrderStatus::Cancelled).await;
        rig.check(&[id]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_crashes_while_it_is_to_go_comes_back() {
    let mut setup = Setup::silent();
    setup.options.idle_after = Duration::from_millis(100);
    setup.options.restart_window = Duration::from_secs(2);
    setup.policy.ticket_acceptance_ms = Millis::from_mins(24 * 60);
    setup.policy.hold_ttl_ms = Millis::from_mins(25 * 60);
    let rig = Rig::with_kitchen(setup).await;
    rig.fakes.follow(thinking);
    let id = rig.place().await;
    rig.until_pending_ticket(id).await;
    // The append takes longer than the shard's patience with an idle actor. Told to go, the actor says that it is busy, and
    // crashes before the shard has heard it: for some of these lengths both happen in the same moment.
    for n in 0..300 {
        let delay_ms = 100 + n % 51;
        rig.journal.yields.store(n / 51, Ordering::SeqCst);
        rig.journal.set_delay(Duration::from_millis(delay_ms));
        rig.journal
            .answer_next(id.stream(), AppendError::Refused(Refusal::DuplicateSeq));
        let ready_at = Timestamp(2_000_000_000_000 + i64::try_from(n).expect("small"));
        let report = Report::Kitchen(
            kitchen(1),
            KitchenReport::Accepted {
                ready_at: Some(ready_at),
            },
        );
        let refused = rig
            .tell(id, Command::Report(report.clone()))
            .await
            .expect_err("it was not written");
        assert_eq!(
            refused,
            CallError::Unavailable(Refusal::DuplicateSeq.to_string()),
            "{delay_ms}"
        );
        let view = rig.actor(id).expect("it restarts");
        rig.journal.set_delay(Duration::ZERO);
        let order = rig
            .tell(id, Command::Report(report))
            .await
            .unwrap_or_else(|e| panic!("{delay_ms}: {e}: {view:?}"));
        assert_eq!(order.state.ready_at, Some(ready_at));
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_is_started_again_with_everything_in_it() {
    let rig = Rig::with_kitchen(Setup {
        shards: 1,
        ..Setup::silent()
    })
    .await;
    rig.fakes.follow(thinking);
    let ids = join_all((0..5).map(|_| rig.place())).await;
    for id in &ids {
        rig.until_pending_ticket(*id).await;
    }
    let cells = rig.entities().len();
    assert!(cells >= 5);
    // Nobody looks at the clock until the shard does, when the tickets' time is over.
    rig.clock.bomb.store(true, Ordering::SeqCst);
    rig.until("it went off", |rig| !rig.clock.bomb.load(Ordering::SeqCst))
        .await;
    rig.until("nothing is left of the actors that died with it", |rig| {
        rig.entities().is_empty()
    })
    .await;
    rig.assert_status(&ids, OrderStatus::Failed).await;
    rig.check(&ids).await;
    rig.fakes.follow(|_| Say::Yes);
    let id = rig.place().await;
    rig.until_order(id, "confirmed", |order| order.status == OrderStatus::Confirmed)
        .await;
    assert_eq!(rig.fakes.calls_of(id, Step::PlaceTicket).len(), 1);
}
