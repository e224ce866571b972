//! The capacity ledger: never more taken than there is (CP-1), each key answered once and for all, nothing kept for ever.

use crate::channel::{Availability, Channel, ChannelConfig, ClaimState, Command, slot_of};
use crate::fixtures::{Journalled, T0, channel_config, channel_id, key, kitchen};
use crate::invariants;
use crate::policy::Policy;
use crate::saga::{Answer, CapacityRequest, EffectKey, Receipt, Step};
use crate::time::{Millis, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn hold_key(n: u64) -> EffectKey {
    key(n, Step::HoldCapacity, 0)
}

fn hold(n: u64, units: u32, now: Timestamp) -> CapacityRequest {
    let slot = slot_of(T0, Policy::default().slot_ms);
    CapacityRequest::Hold {
        key: hold_key(n),
        slot,
        slots_ahead_max: 0,
        units,
        expires_at: now + Policy::default().hold_ttl_ms,
        asked_before: false,
    }
}

fn release(n: u64) -> CapacityRequest {
    CapacityRequest::Release {
        key: hold_key(n),
        lost: false,
    }
}

fn close(n: u64) -> CapacityRequest {
    CapacityRequest::Close {
        key: hold_key(n),
        cooked: None,
    }
}

fn ask(channel: &mut Journalled<Channel>, request: CapacityRequest, now: Timestamp) -> (Answer, usize) {
    let told = channel
        .tell(Command::Capacity(request), now, &Policy::default())
        .expect("it answers");
    (told.reply, told.events.len())
}

fn state(channel: &Journalled<Channel>, n: u64) -> Option<ClaimState> {
    channel.state().ledger.claim(&hold_key(n)).map(|claim| claim.state)
}

const DONE: Answer = Answer::Done(Receipt::Empty);

#[track_caller]
fn refused(answer: &Answer, code: &str) {
    assert!(
        matches!(answer, Answer::Refused(refused) if refused.code == code),
        "{answer:?} is not {code}"
    );
}

#[test]
fn a_slot_is_given_away_once() {
    let mut channel = kitchen(0, 3);
    assert_eq!(ask(&mut channel, hold(1, 2, T0), T0), (DONE, 1));
    assert_eq!(ask(&mut channel, hold(1, 2, T0), T0), (DONE, 0), "asked again");
    refused(&ask(&mut channel, hold(2, 2, T0), T0).0, "full");
    assert_eq!(ask(&mut channel, hold(3, 1, T0), T0), (DONE, 1));
    assert_eq!(channel.state().free_units(T0), 0);
    let release = release(1);
    assert_eq!(ask(&mut channel, release, T0), (DONE, 1));
    assert_eq!(ask(&mut channel, release, T0), (DONE, 0), "released again");
    assert_eq!(ask(&mut channel, hold(2, 2, T0), T0), (DONE, 1), "there is room again");
    refused(
        &ask(&mut channel, CapacityRequest::Confirm { key: hold_key(1) }, T0).0,
        "no_hold",
    );
}

#[test]
fn a_hold_becomes_a_reservation_and_ends() {
    let mut channel = kitchen(0, 1);
    let (confirm, close) = (CapacityRequest::Confirm { key: hold_key(1) }, close(1));
    refused(&ask(&mut channel, confirm, T0).0, "no_hold");
    assert_eq!(ask(&mut channel, hold(1, 1, T0), T0), (DONE, 1));
    assert_eq!(ask(&mut channel, confirm, T0), (DONE, 1));
    assert_eq!(ask(&mut channel, confirm, T0), (DONE, 0));
    assert_eq!(state(&channel, 1), Some(ClaimState::Reserved));
    assert_eq!(
        channel.wake_at(T0, &Policy::default()),
        None,
        "a reservation does not lapse"
    );
    assert_eq!(ask(&mut channel, close, T0), (DONE, 1));
    assert_eq!(ask(&mut channel, close, T0), (DONE, 0));
    assert_eq!(ask(&mut channel, release(1), T0), (DONE, 0), "it served its purpose");
    assert_eq!(ask(&mut channel, confirm, T0), (DONE, 0), "late, but true");
    assert_eq!(ask(&mut channel, hold(1, 1, T0), T0), (DONE, 0), "late, but true");
    assert_eq!(channel.state().ledger.slots().count(), 0);
}

#[test]
fn what_was_released_before_it_came_is_refused() {
    let mut channel = kitchen(0, 1);
    assert_eq!(ask(&mut channel, release(1), T0), (DONE, 1));
    refused(&ask(&mut channel, hold(1, 1, T0), T0).0, "released");
    channel.restart();
    refused(&ask(&mut channel, hold(1, 1, T0), T0).0, "released");
    let forgotten = T0 + Policy::default().tombstone_ttl_ms;
    assert_eq!(channel.wake_at(T0, &Policy::default()), Some(forgotten));
    channel.wake(forgotten, &Policy::default());
    assert_eq!(state(&channel, 1), None);
}

#[test]
fn a_hold_that_may_have_been_asked_for_before_is_refused_for_good() {
    let mut channel = kitchen(0, 1);
    assert_eq!(ask(&mut channel, hold(1, 1, T0), T0), (DONE, 1));
    let (answer, events) = ask(&mut channel, hold(2, 1, T0), T0);
    refused(&answer, "full");
    assert_eq!((events, state(&channel, 2)), (0, None), "it costs nothing");
    let (answer, events) = ask(&mut channel, hold(3, 1, T0).again(), T0);
    refused(&answer, "full");
    assert_eq!(events, 1);
    ask(&mut channel, release(1), T0);
    channel.restart();
    let late = T0 + Millis::from_secs(60);
    refused(&ask(&mut channel, hold(3, 1, T0), late).0, "released");
    let again = ask(&mut channel, hold(3, 1, late).again(), late);
    refused(&again.0, "released");
    assert_eq!(again.1, 0, "it is known");
    assert_eq!(ask(&mut channel, release(3), late), (DONE, 0), "nothing is left to do");
    assert_eq!(ask(&mut channel, hold(2, 1, T0), late), (DONE, 1), "there is room");
    assert_eq!(
        ask(&mut channel, hold(2, 1, T0).again(), late),
        (DONE, 0),
        "and it is held"
    );
    // Long before it is forgotten, the late ask would be too late anyway.
    let lapsed = late + Policy::default().hold_ttl_ms;
    assert!(matches!(state(&channel, 3), Some(ClaimState::Released { until }) if until > lapsed));
}

#[test]
fn a_hold_that_lapsed_and_is_refused_when_it_is_asked_for_again_is_given_up() {
    let policy = Policy::default();
    let mut channel = kitchen(0, 1);
    ask(&mut channel, hold(1, 1, T0), T0);
    let lapsed_at = T0 + policy.hold_ttl_ms;
    channel.wake(lapsed_at, &policy);
    ask(&mut channel, hold(2, 1, lapsed_at), lapsed_at);
    refused(&ask(&mut channel, hold(1, 1, lapsed_at).again(), lapsed_at).0, "full");
    ask(&mut channel, release(2), lapsed_at);
    let confirm = CapacityRequest::Confirm { key: hold_key(1) };
    refused(&ask(&mut channel, confirm, lapsed_at).0, "no_hold");
}

#[test]
fn what_is_asked_for_once_is_said_as_ever() {
    let hold = |json: &str| serde_json::from_str::<CapacityRequest>(json).expect("a hold");
    let once = self::hold(1, 1, T0);
    let json = serde_json::to_string(&once).expect("it is written");
    assert!(!json.contains("asked_before"), "{json}");
    assert_eq!(hold(&json), once);
    let json = serde_json::to_string(&once.again()).expect("it is written");
    assert_eq!(hold(&json), once.again());
    assert_ne!(once, once.again());
}

#[test]
fn a_hold_lapses_and_may_be_confirmed_late_while_there_is_room() {
    let policy = Policy::default();
    let lapsed_at = T0 + policy.hold_ttl_ms;
    let lapsed = || {
        let mut channel = kitchen(0, 1);
        ask(&mut channel, hold(1, 1, T0), T0);
        assert_eq!(channel.wake_at(T0, &policy), Some(lapsed_at));
        channel.wake(lapsed_at, &policy);
        assert!(matches!(state(&channel, 1), Some(ClaimState::Lapsed { .. })));
        assert_eq!(channel.state().free_units(T0), 1);
        channel
    };
    let confirm = CapacityRequest::Confirm { key: hold_key(1) };
    let mut channel = lapsed();
    assert_eq!(ask(&mut channel, confirm, lapsed_at), (DONE, 1));
    assert_eq!(channel.state().free_units(T0), 0);
    let mut channel = lapsed();
    assert_eq!(ask(&mut channel, hold(2, 1, lapsed_at), lapsed_at), (DONE, 1));
    refused(&ask(&mut channel, confirm, lapsed_at).0, "lapsed");
    assert_eq!(invariants::capacity(channel.state(), 1), []);
    let mut channel = lapsed();
    assert_eq!(
        ask(&mut channel, hold(1, 1, lapsed_at), lapsed_at),
        (DONE, 1),
        "held anew"
    );
}

#[test]
fn a_hold_that_comes_after_its_own_end_is_refused() {
    let mut channel = kitchen(0, 1);
    let late = T0 + Policy::default().hold_ttl_ms;
    refused(&ask(&mut channel, hold(1, 1, T0), late).0, "late");
    assert_eq!(channel.wake_at(late, &Policy::default()), None);
}

#[test]
fn a_paused_channel_keeps_what_it_promised_and_promises_nothing_new() {
    let mut channel = kitchen(0, 2);
    ask(&mut channel, hold(1, 1, T0), T0);
    channel
        .tell(Command::SetAvailability(Availability::Paused), T0, &Policy::default())
        .expect("it pauses");
    refused(&ask(&mut channel, hold(2, 1, T0), T0).0, "paused");
    assert_eq!(
        ask(&mut channel, CapacityRequest::Confirm { key: hold_key(1) }, T0),
        (DONE, 1)
    );
    let busy = Availability::Busy { delay_ms: Millis(1) };
    channel
        .tell(Command::SetAvailability(busy), T0, &Policy::default())
        .expect("it is busy");
    assert_eq!(ask(&mut channel, hold(2, 1, T0), T0), (DONE, 1), "busy is not closed");
}

#[test]
fn a_full_slot_gives_way_to_a_later_one_as_far_as_it_may() {
    let mut channel = kitchen(0, 1);
    let ahead = |n: u64| match hold(n, 1, T0) {
        CapacityRequest::Hold {
            key,
            slot,
            units,
            expires_at,
            ..
        } => CapacityRequest::Hold {
            key,
            slot,
            slots_ahead_max: 2,
            units,
            expires_at,
            asked_before: false,
        },
        other => other,
    };
    let (first, length) = (slot_of(T0, Policy::default().slot_ms), Policy::default().slot_ms);
    assert_eq!(ask(&mut channel, ahead(1), T0), (DONE, 1), "as it was asked for");
    for n in [2, 3] {
        let later = Answer::Done(Receipt::Held {
            slot: first + length.times(n - 1),
        });
        assert_eq!(ask(&mut channel, ahead(n), T0), (later.clone(), 1));
        assert_eq!(ask(&mut channel, ahead(n), T0), (later, 0), "asked again");
    }
    refused(&ask(&mut channel, ahead(4), T0).0, "full");
}

#[test]
fn a_slot_that_is_over_is_not_given_away() {
    let mut channel = kitchen(0, 1);
    let later = T0 + Millis::from_mins(40);
    assert_eq!(ask(&mut channel, hold(1, 1, later), later), (DONE, 1));
    let claim = channel.state().ledger.claim(&hold_key(1)).copied().expect("it is held");
    assert_eq!(
        claim.slot,
        slot_of(later, Policy::default().slot_ms),
        "of the slot that it is now"
    );
}

/// One thing that happens to a channel.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Hold(u64, u32),
    HoldAgain(u64, u32),
    Confirm(u64),
    Release(u64),
    Close(u64),
    Pass(u64),
    Wake,
    Capacity(u32),
    Paused(bool),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..12_u64, 1..4_u32).prop_map(|(n, units)| Happening::Hold(n, units)),
        3 => (0..12_u64, 1..4_u32).prop_map(|(n, units)| Happening::HoldAgain(n, units)),
        5 => (0..12_u64).prop_map(Happening::Confirm),
        3 => (0..12_u64).prop_map(Happening::Release),
        2 => (0..12_u64).prop_map(Happening::Close),
        3 => (1..400_u64).prop_map(Happening::Pass),
        3 => Just(Happening::Wake),
        1 => (1..6_u32).prop_map(Happening::Capacity),
        1 => any::<bool>().prop_map(Happening::Paused),
        1 => Just(Happening::Restart),
    ]
}

/// A channel under random use, and the promises it made.
struct Played {
    channel: Journalled<Channel>,
    now: Timestamp,
    limit: u32,
    released: BTreeMap<EffectKey, Timestamp>,
}

impl Played {
    fn happens(&mut self, happening: Happening) {
        let policy = Policy::default();
        match happening {
            Happening::Hold(n, units) => self.ask(hold(n, units, self.now)),
            Happening::HoldAgain(n, units) => self.ask(hold(n, units, self.now).again()),
            Happening::Confirm(n) => self.ask(CapacityRequest::Confirm { key: hold_key(n) }),
            Happening::Release(n) => self.ask(release(n)),
            Happening::Close(n) => self.ask(close(n)),
            Happening::Pass(seconds) => self.now = self.now + Millis::from_secs(seconds),
            Happening::Wake => drop(self.channel.wake(self.now, &policy)),
            Happening::Capacity(units) => {
                self.limit = self.limit.max(units);
                let config = Box::new(ChannelConfig {
                    capacity_per_slot: units,
                    ..channel_config()
                });
                let configure = Command::Configure {
                    id: channel_id(0),
                    config,
                };
                self.channel.tell(configure, self.now, &policy).expect("valid");
            }
            Happening::Paused(paused) => {
                let availability = if paused {
                    Availability::Paused
                } else {
                    Availability::Online
                };
                self.channel
                    .tell(Command::SetAvailability(availability), self.now, &policy)
                    .expect("valid");
            }
            Happening::Restart => self.channel.restart(),
        }
        assert_eq!(invariants::capacity(self.channel.state(), self.limit), []);
    }

    /// Asks, and asks again: the second time nothing is written and, unless it was refused, the same is answered.
    fn ask(&mut self, request: CapacityRequest) {
        let before = self.channel.state().ledger.slots().map(|(_, units)| units).sum::<u32>();
        let (answer, events) = ask(&mut self.channel, request, self.now);
        assert!(events <= 1);
        let may_leave_tombstone = request == request.again();
        assert!(
            answer == DONE || events == 0 || may_leave_tombstone,
            "a refusal leaves nothing behind"
        );
        let (again, none) = ask(&mut self.channel, request, self.now);
        assert_eq!(none, 0, "the second time nothing is written");
        assert!(
            again == answer || (may_leave_tombstone && answer != DONE && again != DONE),
            "the same question, the same answer"
        );
        let after = self.channel.state().ledger.slots().map(|(_, units)| units).sum::<u32>();
        match request {
            CapacityRequest::Hold { key, .. } => {
                let tombstone = self.released.get(&key).is_some_and(|until| *until > self.now);
                assert!(!tombstone || answer != DONE, "held although it was released");
                let claim = self.channel.state().ledger.claim(&key).map(|claim| claim.state);
                if may_leave_tombstone && answer != DONE {
                    let Some(ClaimState::Released { until }) = claim else {
                        panic!("refused, and {claim:?}")
                    };
                    self.released.insert(key, until);
                }
            }
            CapacityRequest::Confirm { key } => {
                let claim = self.channel.state().ledger.claim(&key).map(|claim| claim.state);
                let kept = matches!(claim, Some(ClaimState::Reserved | ClaimState::Closed { .. }));
                assert_eq!(answer == DONE, kept, "what is confirmed is kept");
            }
            CapacityRequest::Release { key, .. } | CapacityRequest::Close { key, .. } => {
                assert_eq!(answer, DONE, "giving back is never refused");
                assert!(after <= before);
                let claim = self.channel.state().ledger.claim(&key).map(|claim| claim.state);
                assert!(
                    claim.is_none_or(|state| !state.takes()),
                    "what is given back takes nothing"
                );
                if let Some(ClaimState::Released { until }) = claim {
                    self.released.insert(key, until);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_more_is_taken_than_there_is(
        happenings in proptest::collection::vec(happening(), 0..150)
    ) {
        let (channel, released) = (kitchen(0, 2), BTreeMap::new());
        let mut played = Played { channel, now: T0, limit: 2, released };
        for happening in happenings {
            played.happens(happening);
        }
        // Left alone, the ledger comes to rest: only reservations stay.
        let policy = Policy::default();
        let mut wakes = 0;
        while let Some(at) = played.channel.wake_at(played.now, &policy) {
            played.now = played.now.max(at);
            played.channel.wake(played.now, &policy);
            wakes += 1;
            prop_assert!(wakes < 100, "it does not come to rest");
        }
        played.channel.restart();
        let claims: Vec<_> = played.channel.state().ledger.claims().map(|(_, claim)| claim.state).collect();
        prop_assert!(claims.iter().all(|state| *state == ClaimState::Reserved), "{claims:?}");
    }
}
