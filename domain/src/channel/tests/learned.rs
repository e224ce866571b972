//! What a channel learns of itself: quantiles near the exact ones, bounded, and the same when its rows are replayed.

use crate::channel::{Channel, Command, Cooked, Learned, OBSERVATIONS_MIN};
use crate::fixtures::{Journalled, T0, channel_config, channel_id, key, kitchen};
use crate::policy::Policy;
use crate::saga::{CapacityRequest, Step};
use crate::time::{Millis, Timestamp};
use proptest::prelude::*;

const EXPECTED: Millis = Millis::from_mins(10);
const HOUR: Millis = Millis::from_mins(60);

fn told(channel: &mut Journalled<Channel>, request: CapacityRequest) {
    let command = Command::Capacity(request);
    channel.tell(command, T0, &Policy::default()).expect("it answers");
}

fn cooked(began_at: Timestamp, took_ms: Millis) -> Cooked {
    Cooked {
        began_at,
        took_ms,
        expected_ms: EXPECTED,
        late_ms: Millis(0),
    }
}

/// A ticket from its hold to its end.
fn serve(channel: &mut Journalled<Channel>, n: u64, cooked: Option<Cooked>) {
    let key = key(n, Step::HoldCapacity, 0);
    let hold = CapacityRequest::Hold {
        key,
        slot: T0,
        slots_ahead_max: 0,
        units: 1,
        expires_at: T0 + HOUR,
        asked_before: false,
    };
    told(channel, hold);
    told(channel, CapacityRequest::Close { key, cooked });
}

fn lose(channel: &mut Journalled<Channel>, n: u64) {
    let key = key(n, Step::HoldCapacity, 0);
    told(channel, CapacityRequest::Release { key, lost: true });
}

fn likely(channel: &Journalled<Channel>, at: Timestamp, pct: u8) -> Millis {
    channel.state().likely_prep_ms(EXPECTED, at, pct)
}

fn near(found: Millis, wanted: Millis) -> bool {
    let (found, wanted) = (found.0, wanted.0);
    found.abs_diff(wanted) * 100 <= wanted * 6
}

#[test]
fn the_menu_is_believed_until_enough_was_seen() {
    let mut channel = kitchen(0, 3);
    let slow = cooked(T0, EXPECTED.times(2));
    for n in 1..u64::from(OBSERVATIONS_MIN) {
        serve(&mut channel, n, Some(slow));
    }
    assert_eq!(likely(&channel, T0, 50), EXPECTED);
    serve(&mut channel, 1_000, Some(slow));
    let found = likely(&channel, T0, 50);
    assert!(near(found, EXPECTED.times(2)), "{found:?}");
    channel.restart();
    assert_eq!(likely(&channel, T0, 50), found);
}

#[test]
fn each_hour_of_the_local_day_is_its_own_and_few_tickets_borrow_from_the_others() {
    let mut channel = kitchen(0, 3);
    let evening = T0 + HOUR.times(11);
    for n in 0..40 {
        serve(&mut channel, n, Some(cooked(T0, EXPECTED)));
        serve(&mut channel, 100 + n, Some(cooked(evening, EXPECTED.times(3))));
    }
    let median = |at| likely(&channel, at, 50);
    assert!(near(median(T0), EXPECTED), "{:?}", median(T0));
    assert!(
        near(median(evening + HOUR.times(24)), EXPECTED.times(3)),
        "the next day"
    );
    let night = T0 + HOUR.times(5);
    assert!(
        median(night) >= median(T0) && median(night) <= median(evening),
        "of all hours: {:?}",
        median(night)
    );
}

#[test]
fn the_hour_is_the_local_one() {
    let mut channel = Journalled::<Channel>::new();
    let config = crate::channel::ChannelConfig {
        utc_offset_min: -90,
        ..channel_config()
    };
    let configure = Command::Configure {
        id: channel_id(0),
        config: Box::new(config),
    };
    channel.tell(configure, T0, &Policy::default()).expect("valid");
    // 2027-01-15 08:00 UTC is half past six there.
    serve(&mut channel, 1, Some(cooked(T0, EXPECTED)));
    assert_eq!(channel.state().learned.observations(6), 1);
}

#[test]
fn absurd_reports_are_clamped_and_do_not_move_the_middle() {
    let mut channel = kitchen(0, 3);
    for n in 0..60 {
        serve(&mut channel, n, Some(cooked(T0, EXPECTED)));
    }
    for n in 100..110 {
        serve(&mut channel, n, Some(cooked(T0, Millis(u64::MAX))));
        serve(&mut channel, n + 100, Some(cooked(T0, Millis(0))));
    }
    assert!(
        near(likely(&channel, T0, 50), EXPECTED),
        "{:?}",
        likely(&channel, T0, 50)
    );
    assert!(
        likely(&channel, T0, 99).0 <= EXPECTED.0 * 42 / 10,
        "at most about fourfold"
    );
    assert!(
        likely(&channel, T0, 1).0 >= EXPECTED.0 * 23 / 100,
        "at least about a quarter"
    );
    let nothing_expected = Cooked {
        expected_ms: Millis(0),
        ..cooked(T0, EXPECTED)
    };
    serve(&mut channel, 999, Some(nothing_expected));
    assert_eq!(channel.state().learned.observations(8), 80, "that says nothing");
}

#[test]
fn what_was_long_ago_is_forgotten_and_the_state_stays_small() {
    let mut channel = kitchen(0, 3);
    for n in 0..2_000 {
        serve(&mut channel, n, Some(cooked(T0, EXPECTED.times(3))));
    }
    assert!(channel.state().learned.observations(8) <= 400);
    for n in 2_000..3_000 {
        serve(&mut channel, n, Some(cooked(T0, EXPECTED)));
    }
    assert!(
        near(likely(&channel, T0, 60), EXPECTED),
        "{:?}",
        likely(&channel, T0, 60)
    );
    let json = serde_json::to_string(&*channel.state().learned).expect("JSON");
    assert!(json.len() < 200, "{json}");
}

#[test]
fn lost_tickets_count_once_and_weigh_less_as_others_are_kept() {
    let mut channel = kitchen(0, 3);
    let learned = |channel: &Journalled<Channel>| channel.state().learned.lost_pm();
    assert_eq!(learned(&channel), 0);
    lose(&mut channel, 1);
    lose(&mut channel, 1);
    assert_eq!(learned(&channel), 1_000 / 21, "of twenty credited and one");
    for n in 10..40 {
        serve(&mut channel, n, None);
    }
    assert_eq!(learned(&channel), 1_000 / 51);
    let late = Cooked {
        late_ms: Millis::from_mins(6),
        ..cooked(T0, EXPECTED)
    };
    serve(&mut channel, 50, Some(late));
    assert_eq!(channel.state().learned.late_pm(), 1_000 / 21);
    channel.restart();
}

/// What was once written must be read for ever; a channel that has learned nothing is written as before.
#[test]
fn what_is_learned_is_read_and_written_as_ever() {
    let text = r#"{"hours":{"8":{"16":2,"24":1}},"tickets":{"of":3,"bad":0},"times":{"of":3,"bad":1}}"#;
    let learned: Learned = serde_json::from_str(text).expect("read");
    assert_eq!(serde_json::to_string(&learned).expect("JSON"), text);
    let fresh = serde_json::to_value(kitchen(0, 3).state()).expect("JSON");
    assert!(fresh.get("learned").is_none());
    let read: Channel = serde_json::from_value(fresh).expect("a snapshot without it");
    assert!(read.learned.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..Default::default() })]

    /// Within the width of a bin of the exact quantile, as long as nothing is clamped; and rising with it.
    #[test]
    fn quantiles_are_near_the_exact_ones(
        mut took in proptest::collection::vec(160_000..2_300_000_u64, 20..120),
        pct in 5..96_u8,
    ) {
        let mut channel = kitchen(0, 3);
        for (n, ms) in (0..).zip(&took) {
            serve(&mut channel, n, Some(cooked(T0, Millis(*ms))));
        }
        took.sort_unstable();
        let found = likely(&channel, T0, pct).0;
        // Between the neighbours of its rank, each a bin wide.
        let rank = took.len() * usize::from(pct) / 100;
        let (low, high) = (took[rank.saturating_sub(1)], took[rank.min(took.len() - 1)]);
        prop_assert!(found * 100 >= low * 91 && found * 100 <= high * 110, "{} is not in {}..{}", found, low, high);
        prop_assert!(likely(&channel, T0, pct + 4).0 >= found);
        channel.restart();
    }
}
