//! Holds that are asked for more than once: a refusal is believed only if no other ask can be granted after it (CP-2).

use crate::fakes::thinking;
use crate::member::member;
use crate::rig::{Rig, Setup, kitchen};
use actors::CallError;
use domain::channel::{Availability, ClaimState, Command};
use domain::ids::{HashSlot, OrderId, Seq};
use domain::invariants;
use domain::order::{Order, OrderStatus};
use domain::ports::{AppendError, OrderObserver, Refusal};
use domain::saga::{Answer, CapacityRequest, Direction, EffectKey, Receipt, Step};
use domain::time::{Millis, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

const fn hold_key(order: OrderId) -> EffectKey {
    EffectKey {
        order,
        step: Step::HoldCapacity,
        round: 0,
        direction: Direction::Forward,
    }
}

/// Somebody else, who takes the only unit that there is.
fn rival() -> EffectKey {
    hold_key(OrderId::mint(Timestamp(1), HashSlot::of(&[b"somebody"]), 1))
}

/// Two kitchens, of which the better one has one unit in each slot.
struct Scene {
    rig: Rig,
    /// The slot that the next order wants of it.
    slot: Timestamp,
}

impl Scene {
    async fn new(mut setup: Setup) -> Arc<Self> {
        setup.policy.choice.load_minor = 0;
        let rig = Rig::start(setup).await;
        rig.until_ready().await;
        rig.open_kitchen(1, 1).await;
        rig.open_kitchen(2, 10).await;
        rig.hire(2).await;
        rig.fakes.follow(thinking);
        let first = rig.place().await;
        let order = rig.until_pending_ticket(first).await;
        let slot = order.state.candidate().expect("it is routed").slot;
        rig.cancel(first).await.expect("it can");
        rig.assert_status(&[first], OrderStatus::Cancelled).await;
        Arc::new(Self { rig, slot })
    }

    /// Asks the better kitchen, as an order does.
    async fn ask(&self, request: CapacityRequest) -> Result<Answer, CallError> {
        let (command, id) = (Command::Capacity(request), kitchen(1));
        let told = self.rig.platform.channel(command, &id, None).await;
        told.map(|applied| applied.reply)
    }

    /// The same, and somebody else waits for the answer.
    fn begin_to_ask(self: &Arc<Self>, request: CapacityRequest) {
        let scene = Arc::clone(self);
        tokio::spawn(async move { scene.ask(request).await });
    }

    fn hold(&self, key: EffectKey) -> CapacityRequest {
        CapacityRequest::Hold {
            key,
            slot: self.slot,
            slots_ahead_max: 0,
            units: 1,
            expires_at: domain::ports::Clock::now(&*self.rig.clock) + Millis::from_mins(3),
            asked_before: false,
        }
    }

    /// Rows of the better kitchen take this long.
    fn slow_down(&self, delay: Duration) {
        self.rig.journal.slow_down(kitchen(1).stream(), delay);
    }

    fn claim(&self, key: EffectKey) -> Option<ClaimState> {
        self.rig.channel(1).ledger.claim(&key).map(|claim| claim.state)
    }

    /// The order was refused and is with the other kitchen. Now there is room, and its first ask comes late.
    async fn asks_too_late(&self, id: OrderId) {
        let order = self.rig.until_pending_ticket(id).await;
        assert_eq!(order.state.round, 1, "{:#?}", order.state);
        self.ask(release(rival())).await.expect("it is given back");
        let late = self.ask(self.hold(hold_key(id))).await.expect("it is answered");
        assert!(
            matches!(&late, Answer::Refused(why) if why.code == "released"),
            "{late:?}"
        );
        self.nothing_is_kept_for_nobody(id).await;
    }

    async fn nothing_is_kept_for_nobody(&self, id: OrderId) {
        let order = self.rig.order(id).await;
        assert_eq!(invariants::nothing_for_refused(&self.rig.channel(1), &order.state), []);
    }
}

fn release(key: EffectKey) -> CapacityRequest {
    CapacityRequest::Release { key, lost: false }
}

/// Panics once over an order that is about to ask for its hold.
#[derive(Default)]
struct Panicker(AtomicBool);

impl OrderObserver for Panicker {
    fn observe(&self, id: OrderId, _seq: Seq, order: &Arc<Order>) {
        let asks = order.record(Step::HoldCapacity, 0).is_some();
        let panics = asks && self.0.swap(false, Ordering::SeqCst);
        assert!(!panics, "the observer panics over {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_after_a_crash_is_refused_for_good() {
    let panicker = Arc::new(Panicker::default());
    let scene = Scene::new(Setup {
        observers: vec![Arc::clone(&panicker) as Arc<dyn OrderObserver>],
        ..Setup::silent()
    })
    .await;
    let rig = &scene.rig;
    panicker.0.store(true, Ordering::SeqCst);
    let id = rig.place().await;
    rig.until("its actor crashes", |_| !panicker.0.load(Ordering::SeqCst))
        .await;
    // Nobody can say whether it had asked for its hold; before it asks again, the kitchen is full.
    let held = scene.ask(scene.hold(rival())).await;
    assert_eq!(held, Ok(Answer::Done(Receipt::Empty)));
    scene.asks_too_late(id).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_again_because_no_answer_came_is_refused_for_good() {
    // By itself an order makes another attempt; in a cluster the call is repeated.
    for setup in [Setup::silent(), member("n4-1")] {
        let scene = Scene::new(setup).await;
        scene.slow_down(SECOND);
        scene.begin_to_ask(scene.hold(rival()));
        sleep(SECOND / 2).await;
        let id = scene.rig.place().await;
        // The order's ask waits for its turn, and is lost with the kitchen's actor, which dies with the rival's row written.
        sleep(SECOND / 4).await;
        scene.rig.clock.bomb.store(true, Ordering::SeqCst);
        sleep(SECOND / 2).await;
        assert!(!scene.rig.clock.bomb.load(Ordering::SeqCst), "it went off");
        scene.slow_down(Duration::ZERO);
        scene.asks_too_late(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_has_asked_again_does_not_believe_the_refusal_of_its_first_ask() {
    let scene = Scene::new(Setup::silent()).await;
    let rig = &scene.rig;
    // The order's ask is behind the rival's, and refused with it, once that is written.
    scene.slow_down(SECOND);
    let busy = Command::SetAvailability(Availability::Busy { delay_ms: Millis(1) });
    let turn = Arc::clone(&scene);
    tokio::spawn(async move { turn.rig.platform.channel(busy, &kitchen(1), None).await });
    sleep(SECOND / 10).await;
    scene.begin_to_ask(scene.hold(rival()));
    sleep(SECOND / 10).await;
    let id = rig.place().await;
    sleep(SECOND).await;
    // Meanwhile the order starts over and asks again, and the rival gives its unit back.
    scene.begin_to_ask(release(rival()));
    rig.journal
        .answer_next(id.stream(), AppendError::Refused(Refusal::DuplicateSeq));
    rig.cancel(id).await.expect_err("it was not written");
    rig.until("it is started again", |rig| {
        rig.actor(id)
            .is_some_and(|view| view.restarts > 0 && view.status == "running")
    })
    .await;
    assert_eq!(scene.claim(rival()), None, "its row is still being written");
    let order = rig.until_pending_ticket(id).await;
    assert_eq!(order.state.round, 0, "it has what it asked for last");
    assert_eq!(scene.claim(hold_key(id)), Some(ClaimState::Reserved));
    scene.nothing_is_kept_for_nobody(id).await;
}
