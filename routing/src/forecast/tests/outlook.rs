//! What one channel has to expect.

use crate::forecast::{HISTORY_DAYS_MIN, Outlook, outlook};
use domain::channel::{Channel, Demand, OpeningHours, QUARTERS_A_DAY, Weekday};
use domain::time::{Millis, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A Thursday, 00:00 UTC, by its number.
const THURSDAY: i64 = 20_000 - 20_000 % 7;
const DAY_MS: i64 = 86_400_000;
const QUARTER_MS: i64 = 900_000;

fn at(day: i64, quarter: i64) -> Timestamp {
    Timestamp(day * DAY_MS + quarter * QUARTER_MS)
}

/// A channel that was asked for so many units: by day and quarter of an hour.
fn channel(asked: &[(i64, &[(usize, u32)])]) -> Channel {
    let day = |(day, units): &(i64, &[(usize, u32)])| {
        let mut counts = vec![0; units.iter().map(|(quarter, _)| quarter + 1).max().unwrap_or(0)];
        for (quarter, units) in *units {
            counts[*quarter] += units;
        }
        (day.to_string(), json!(counts))
    };
    let days: Map<String, Value> = asked.iter().map(day).collect();
    let channel = json!({
        "id": "k-1",
        "config": {
            "name": "K", "kind": "kitchen", "serves": [], "location": {"lat": 0.0, "lng": 0.0}, "zone": "z",
            "currency": "USD", "hours": [], "utc_offset_min": 0, "prep_ms": 0, "capacity_per_slot": 4,
            "cost_minor": 0, "radius_m": 1,
        },
        "availability": {"state": "ONLINE"},
        "ledger": {"claims": {}},
        "demand": days,
    });
    serde_json::from_value(channel).expect("a channel")
}

fn of_day(channel: &Channel, day: i64, slot_ms: i64) -> Outlook {
    let slots: Vec<Timestamp> = (0..DAY_MS / slot_ms)
        .map(|n| Timestamp(day * DAY_MS + n * slot_ms))
        .collect();
    outlook(channel, &slots, Millis(slot_ms.unsigned_abs()), 0.95)
}

fn expected(outlook: &Outlook) -> f64 {
    outlook.slots.iter().flatten().map(|slot| slot.units).sum()
}

#[test]
fn it_is_silent_until_three_days_are_over() {
    let lunch: &[(usize, u32)] = &[(48, 4)];
    let channel = channel(&[(THURSDAY, lunch), (THURSDAY + 1, lunch), (THURSDAY + 2, lunch)]);
    for days in 0..HISTORY_DAYS_MIN {
        let today = THURSDAY + i64::try_from(days).expect("few");
        assert_eq!(of_day(&channel, today, QUARTER_MS), Outlook { days, slots: None });
    }
    let outlook = of_day(&channel, THURSDAY + 3, QUARTER_MS);
    assert_eq!(outlook.days, 3);
    assert!((expected(&outlook) - 4.0).abs() < 1e-9);
    let slots = outlook.slots.expect("enough");
    let most = slots.iter().max_by(|a, b| a.units.total_cmp(&b.units)).expect("some");
    assert_eq!(most.starts_at, at(THURSDAY + 3, 48));
    // Four of a Poisson of four, with 95 of 100: eight. Quiet slots keep a unit.
    assert_eq!((most.capacity, slots[0].capacity), (8, 1));
}

/// Nothing at all was asked on a day on which it was open: that counts. It is closed on Sundays: that does not.
#[test]
fn days_on_which_nobody_came_count_and_closed_ones_do_not() {
    let lunch: &[(usize, u32)] = &[(48, 6)];
    let mut channel = channel(&[(THURSDAY, lunch), (THURSDAY + 2, lunch)]);
    let monday = THURSDAY + 4;
    assert_eq!(of_day(&channel, monday, QUARTER_MS).days, 4);
    assert!((expected(&of_day(&channel, monday, QUARTER_MS)) - 3.0).abs() < 1e-9);
    let config = Arc::make_mut(&mut channel.config);
    config.hours = vec![OpeningHours {
        days: vec![Weekday::Mon, Weekday::Thu, Weekday::Fri, Weekday::Sat],
        from_min: 600,
        to_min: 1_200,
    }];
    assert_eq!(of_day(&channel, monday, QUARTER_MS).days, 3);
    assert!((expected(&of_day(&channel, monday, QUARTER_MS)) - 4.0).abs() < 1e-9);
}

#[test]
fn a_day_is_like_those_of_its_name_once_there_are_three() {
    let busy: &[(usize, u32)] = &[(72, 14)];
    let quiet: &[(usize, u32)] = &[(72, 2)];
    let weeks = (0..28).map(|n| (THURSDAY + n, if n % 7 == 0 { busy } else { quiet }));
    let all: Vec<_> = weeks.collect();
    let on = |asked: &[(i64, &[(usize, u32)])], day| expected(&of_day(&channel(asked), day, QUARTER_MS));
    assert!((on(&all, THURSDAY + 28) - 14.0).abs() < 1e-9);
    assert!((on(&all[..24], THURSDAY + 24) - 2.0).abs() < 1e-9, "a Sunday");
    let mean = (2.0 * 14.0 + 12.0 * 2.0) / 14.0;
    assert!(
        (on(&all[..14], THURSDAY + 14) - mean).abs() < 1e-9,
        "two Thursdays are too few"
    );
}

#[test]
fn a_kitchen_that_nobody_asked_keeps_one_unit() {
    let channel = channel(&[(THURSDAY, &[(0, 0)])]);
    let slots = of_day(&channel, THURSDAY + 5, QUARTER_MS).slots.expect("enough");
    assert!(slots.iter().all(|slot| slot.units == 0.0 && slot.capacity == 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..Default::default() })]

    /// However long slots are and wherever the channel lies, a day's slots have the day's orders together.
    #[test]
    fn slots_of_any_length_share_the_same_orders(
        counts in proptest::collection::vec(proptest::collection::vec(0_u32..9, 0..QUARTERS_A_DAY), 3..7),
        slot_min in prop_oneof![Just(1_i64), Just(5), Just(7), Just(15), Just(30), Just(60), Just(1_440)],
        offset in -840_i16..=840,
    ) {
        let mut channel = channel(&[]);
        let days: Map<String, Value> = (THURSDAY..).zip(&counts).map(|(day, counts)| (day.to_string(), json!(counts))).collect();
        channel.demand = Arc::new(serde_json::from_value::<Demand>(Value::Object(days)).expect("days"));
        Arc::make_mut(&mut channel.config).utc_offset_min = offset;
        let days = i64::try_from(counts.len()).expect("few");
        // From midnight to midnight, where the channel is.
        let midnight = (THURSDAY + days) * DAY_MS - i64::from(offset) * 60_000;
        let in_slots = |slot_min: i64| {
            let slots: Vec<Timestamp> = (0..1_440 / slot_min).map(|n| Timestamp(midnight + n * slot_min * 60_000)).collect();
            outlook(&channel, &slots, Millis::from_mins(slot_min.unsigned_abs()), 0.9)
        };
        let covered = f64::from(u32::try_from(1_440 / slot_min * slot_min).expect("few")) / 1_440.0;
        let (found, mean) = (in_slots(slot_min), counts.iter().flatten().sum::<u32>());
        prop_assert_eq!(found.days, counts.len());
        let mean = f64::from(mean) / f64::from(u32::try_from(counts.len()).expect("few"));
        if covered >= 1.0 {
            prop_assert!((expected(&found) - mean).abs() < 1e-6 * (1.0 + mean), "{} against {mean}", expected(&found));
        } else {
            prop_assert!(expected(&found) <= mean + 1e-6);
        }
        for slot in found.slots.iter().flatten() {
            prop_assert!(f64::from(slot.capacity) >= slot.units.floor() || slot.units < 1.0);
        }
    }
}
