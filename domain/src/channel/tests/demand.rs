//! What was asked of a channel: once for each order that is confirmed, bounded, and the same when its rows are replayed.

use crate::channel::demand::{DAYS_MAX, QUARTERS_A_DAY, place_of};
use crate::channel::{Channel, Command};
use crate::fixtures::{Journalled, T0, key, kitchen};
use crate::policy::Policy;
use crate::saga::{CapacityRequest, Step};
use crate::time::{Millis, Timestamp};
use proptest::prelude::*;

const DAY: Millis = Millis::from_mins(24 * 60);

fn told(channel: &mut Journalled<Channel>, request: CapacityRequest, at: Timestamp) {
    let told = channel.tell(Command::Capacity(request), at, &Policy::default());
    told.expect("it answers");
}

fn hold(channel: &mut Journalled<Channel>, n: u64, at: Timestamp) {
    let hold = CapacityRequest::Hold {
        key: key(n, Step::HoldCapacity, 0),
        slot: at,
        slots_ahead_max: 0,
        units: 1,
        expires_at: at + Millis::from_mins(60),
        asked_before: false,
    };
    told(channel, hold, at);
}

fn confirm(channel: &mut Journalled<Channel>, n: u64, at: Timestamp) {
    let key = key(n, Step::HoldCapacity, 0);
    told(channel, CapacityRequest::Confirm { key }, at);
}

fn asked(channel: &Journalled<Channel>, at: Timestamp) -> u32 {
    let (day, quarter) = place_of(at, channel.state().config.utc_offset_min);
    channel.state().demand.day(day).get(quarter).copied().unwrap_or(0)
}

#[test]
fn an_order_counts_once_when_it_is_confirmed_and_still_when_it_is_cancelled() {
    let mut channel = kitchen(0, 9);
    hold(&mut channel, 1, T0);
    assert!(channel.state().demand.is_empty(), "a hold may come to nothing");
    for _ in 0..2 {
        confirm(&mut channel, 1, T0);
        assert_eq!(asked(&channel, T0), 1);
    }
    let key = key(1, Step::HoldCapacity, 0);
    told(&mut channel, CapacityRequest::Release { key, lost: false }, T0);
    assert_eq!(asked(&channel, T0), 1);
    // Who is served without being confirmed was wanted as well, and who is both counts once.
    for n in [2, 3] {
        hold(&mut channel, n, T0);
    }
    confirm(&mut channel, 2, T0);
    for n in [2, 3] {
        let key = crate::fixtures::key(n, Step::HoldCapacity, 0);
        told(&mut channel, CapacityRequest::Close { key, cooked: None }, T0);
    }
    assert_eq!(asked(&channel, T0), 3);
    let before = channel.state().clone();
    channel.restart();
    assert_eq!(*channel.state(), before);
}

#[test]
fn only_the_last_four_weeks_are_remembered() {
    let mut channel = kitchen(0, 9);
    let days = u64::try_from(DAYS_MAX).expect("few") + 3;
    for n in 0..days {
        let at = T0 + DAY.times(n);
        hold(&mut channel, n, at);
        confirm(&mut channel, n, at);
    }
    assert_eq!(asked(&channel, T0 + DAY.times(2)), 0);
    assert_eq!(asked(&channel, T0 + DAY.times(3)), 1);
    let (first, _) = place_of(T0 + DAY.times(3), 0);
    assert_eq!(channel.state().demand.first_day(), Some(first));
}

proptest! {
    #[test]
    fn days_and_quarters_are_local(at in -4_000_000_000_000_i64..4_000_000_000_000, offset in -840_i16..=840) {
        let (day, quarter) = place_of(Timestamp(at), offset);
        prop_assert!(quarter < QUARTERS_A_DAY);
        let begins_at = day * 86_400_000 + i64::try_from(quarter).expect("few") * 900_000 - i64::from(offset) * 60_000;
        prop_assert!((begins_at..begins_at + 900_000).contains(&at));
    }
}
