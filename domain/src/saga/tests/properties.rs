//! Random worlds: whatever is lost, doubled, late, refused, cancelled, dropped or restarted, once the faults stop the
//! order comes to its end, and everybody's books agree (SG-3, SG-4, SG-5, PY-1, PT-1, CP-1, CP-2, EV-1).

use super::participants::{COURIERS, KITCHENS, Mood};
use super::world::{Fate, World};
use crate::channel::Availability;
use crate::order::OrderStatus;
use crate::policy::{CallPolicy, CaptureAt, Policy};
use crate::saga::{CURRENT_VERSION, Command, CourierReport, KitchenReport};
use crate::time::Millis;
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A message arrives.
    Deliver(u8, Mood, Fate),
    /// A message is lost.
    Lose(u8),
    /// A message is doubled.
    Double(u8),
    /// Time passes until somebody wants to be woken.
    Tick,
    /// Time passes, and nobody is woken.
    Pass(Millis),
    Cancel,
    Retry,
    KitchenDecides(u8, bool),
    KitchenPrepares,
    KitchenReady,
    KitchenHandsOver,
    KitchenDrops,
    CourierPicksUp,
    CourierLeaves,
    CourierDelivers,
    CourierFails,
    Shift(u8, bool),
    Pause(u8, bool),
    Stray(u8),
    RestartOrder,
    RestartParticipants,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::FailedAfter),
        1 => Just(Fate::FailedBefore),
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![8 => Just(Mood::Willing), 2 => Just(Mood::Slow), 1 => Just(Mood::Unwilling)]
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        24 => (0..4_u8, mood(), fate()).prop_map(|(n, mood, fate)| Deliver(n, mood, fate)),
        2 => any::<u8>().prop_map(Lose),
        3 => any::<u8>().prop_map(Double),
        6 => Just(Tick),
        2 => (1..600_u64).prop_map(|seconds| Pass(Millis::from_secs(seconds))),
        1 => Just(Cancel),
        1 => Just(Retry),
        2 => (0..3_u8, any::<bool>()).prop_map(|(round, willing)| KitchenDecides(round, willing)),
        1 => Just(KitchenPrepares),
        1 => Just(KitchenReady),
        1 => Just(KitchenHandsOver),
        1 => Just(KitchenDrops),
        1 => Just(CourierPicksUp),
        1 => Just(CourierLeaves),
        1 => Just(CourierDelivers),
        1 => Just(CourierFails),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(n, online)| Shift(n, online)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(n, paused)| Pause(n, paused)),
        2 => any::<u8>().prop_map(Stray),
        2 => Just(RestartOrder),
        1 => Just(RestartParticipants),
    ]
}

/// What can come between the asks for a hold, and between what they are answered.
fn hold_happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let willing = |(n, fate)| Deliver(n, Mood::Willing, fate);
    prop_oneof![
        8 => (0..6_u8, fate()).prop_map(willing),
        2 => any::<u8>().prop_map(Double),
        2 => Just(Tick),
        3 => (0..2_u8, any::<bool>()).prop_map(|(n, paused)| Pause(n, paused)),
        2 => Just(RestartOrder),
    ]
}

fn happens(world: &mut World, happening: Happening) {
    let nth = |n: u8, of: usize| if of == 0 { 0 } else { usize::from(n) % of };
    match happening {
        Happening::Deliver(n, mood, fate) => world.deliver(nth(n, world.mail.len()), mood, fate),
        Happening::Lose(n) if !world.mail.is_empty() => drop(world.mail.remove(nth(n, world.mail.len()))),
        Happening::Double(n) if !world.mail.is_empty() => {
            world.double(nth(n, world.mail.len()));
        }
        Happening::Lose(_) | Happening::Double(_) => {}
        Happening::Tick => drop(world.tick()),
        Happening::Pass(length) => world.now = world.now + length,
        Happening::Cancel => drop(world.try_tell(Command::Cancel {
            reason: "changed my mind".into(),
        })),
        Happening::Retry => drop(world.try_tell(Command::Retry)),
        Happening::KitchenDecides(round, willing) => world.kitchen_decides(u32::from(round), willing),
        Happening::KitchenPrepares => world.kitchen_cooks(KitchenReport::Preparing),
        Happening::KitchenReady => world.kitchen_cooks(KitchenReport::Ready),
        Happening::KitchenHandsOver => world.kitchen_hands_over(),
        Happening::KitchenDrops => world.kitchen_drops(),
        Happening::CourierPicksUp => world.courier_says(CourierReport::PickedUp),
        Happening::CourierLeaves => world.courier_says(CourierReport::InTransit),
        Happening::CourierDelivers => world.courier_says(CourierReport::Delivered),
        Happening::CourierFails => world.courier_says(CourierReport::Failed {
            reason: "an accident".into(),
        }),
        Happening::Shift(n, online) => world.shift(nth(n, COURIERS), online),
        Happening::Pause(n, paused) => {
            let availability = if paused {
                Availability::Paused
            } else {
                Availability::Online
            };
            world.set_availability(nth(n, KITCHENS), availability);
        }
        Happening::Stray(n) => world.stray(n),
        Happening::RestartOrder => world.restart_order(),
        Happening::RestartParticipants => world.restart_participants(),
    }
}

/// Rules under which an operator is soon needed.
fn policy() -> impl Strategy<Value = Policy> {
    let capture_at = prop_oneof![
        Just(CaptureAt::Confirmed),
        Just(CaptureAt::PickedUp),
        Just(CaptureAt::Delivered)
    ];
    (capture_at, 0..=2_u8, 1..=3_u32).prop_map(|(capture_at, reroutes_max, attempts_max)| {
        let call = CallPolicy {
            attempts_max,
            persistent_attempts_max: attempts_max + 2,
            ..Policy::default().kitchen
        };
        Policy {
            internal: call,
            payment: call,
            kitchen: call,
            capture_at,
            reroutes_max,
            ..Policy::default()
        }
    })
}

/// Old orders go on among the new ones.
fn version() -> impl Strategy<Value = u16> {
    prop_oneof![1 => 1..CURRENT_VERSION, 2 => Just(CURRENT_VERSION)]
}

fn world() -> impl Strategy<Value = (u16, Policy, Option<u64>, usize, Vec<Happening>)> {
    let authorized_for_min = prop_oneof![2 => Just(None), 1 => (1..60_u64).prop_map(Some)];
    (
        version(),
        policy(),
        authorized_for_min,
        0..40_usize,
        proptest::collection::vec(happening(), 0..120),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 900, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_order_comes_to_its_end_and_the_books_agree(
        (version, policy, authorized_for_min, head_start, happenings) in world()
    ) {
        let mut world = World::new(version, policy, authorized_for_min.map(Millis::from_mins));
        for _ in 0..head_start {
            world.quiet_turn();
        }
        for happening in happenings {
            happens(&mut world, happening);
            world.check_refusals();
        }
        world.settle();
        world.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 900, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_held_that_was_refused(
        version in version(),
        policy in policy(),
        happenings in proptest::collection::vec(hold_happening(), 0..30)
    ) {
        let mut world = World::new(version, policy, None);
        for happening in happenings {
            happens(&mut world, happening);
            world.check_refusals();
        }
        world.settle();
        world.check();
    }
}

#[test]
fn a_world_in_which_nothing_goes_wrong_delivers() {
    for version in 1..=CURRENT_VERSION {
        for capture_at in [CaptureAt::Confirmed, CaptureAt::PickedUp, CaptureAt::Delivered] {
            let policy = Policy {
                capture_at,
                ..Policy::default()
            };
            let mut world = World::new(version, policy, None);
            world.settle();
            world.check();
            assert_eq!(world.state().status, OrderStatus::Delivered);
        }
    }
}
