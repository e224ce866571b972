//! What one channel of a running system has to expect in the slots to come, from its own days.

use super::demand::{Forecast, forecast};
use super::dispersion::Counts;
use super::past::PastDay;
use domain::channel::{Channel, DEMAND_DAYS_MAX, QUARTER, QUARTERS_A_DAY, place_of, weekday_of};
use domain::time::{Millis, Timestamp};
use std::collections::BTreeMap;

/// How many days must be over before they say something: of fewer, each would decide.
pub const HISTORY_DAYS_MIN: usize = 3;

/// What a channel has to expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// How many of its days are over and remembered.
    pub days: usize,
    /// What each slot has to expect; absent while there are fewer than [`HISTORY_DAYS_MIN`] days.
    pub slots: Option<Vec<Expected>>,
}

/// What a slot has to expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// When it begins.
    pub starts_at: Timestamp,
    /// The units that will be asked for, on average.
    pub units: f64,
    /// The units it should have, so that none need be refused with a probability of the level; at least one.
    pub capacity: u32,
}

/// What a channel has to expect in these slots, each `slot_ms` long, so that `level` (between 0 and 1) of such slots would have
/// enough. Pure. The first slot's day is today: the channel's local days before it are the history, closed ones left out; a
/// day is forecast from those that fell on the same day of the week, or from all while those are few, by [`forecast`].
pub fn outlook(channel: &Channel, slots: &[Timestamp], slot_ms: Millis, level: f64) -> Outlook {
    let today = slots.first().map_or(i64::MAX, |first| local(channel, *first).0);
    let history = history(channel, today);
    let days = history.len();
    if days < HISTORY_DAYS_MIN {
        return Outlook { days, slots: None };
    }
    let mut forecasts = BTreeMap::new();
    let expected = |starts_at: &Timestamp| {
        let mut units = 0.0;
        let mut size = f64::INFINITY;
        for (day, quarter, share) in quarters(channel, *starts_at, slot_ms) {
            let of_day: &Option<Forecast> = forecasts.entry(day).or_insert_with(|| of_day(&history, day));
            if let Some(of_day) = of_day {
                units += share * of_day.expected.get(quarter).copied().unwrap_or(0.0);
                size = size.min(of_day.restaurant_size);
            }
        }
        let capacity = Counts { mean: units, size }.quantile(level).max(1);
        Expected {
            starts_at: *starts_at,
            units,
            capacity,
        }
    };
    let slots = Some(slots.iter().map(expected).collect());
    Outlook { days, slots }
}

fn local(channel: &Channel, at: Timestamp) -> (i64, usize) {
    place_of(at, channel.config.utc_offset_min)
}

/// The days before today on which the channel was asked for something, or could have been.
fn history(channel: &Channel, today: i64) -> Vec<(i64, PastDay)> {
    let longest = i64::try_from(DEMAND_DAYS_MAX).unwrap_or(i64::MAX);
    let first = channel
        .demand
        .first_day()
        .unwrap_or(today)
        .max(today.saturating_sub(longest));
    let days = first..today;
    let past = days.filter_map(|day| {
        let mut units = channel.demand.day(day).to_vec();
        let happened = !units.is_empty() || opens_on(channel, day);
        // What was asked for at the end of a day speaks for what comes after it, as far as the day goes.
        units.resize(QUARTERS_A_DAY, 0);
        happened.then(|| (day, PastDay::of_one(units)))
    });
    past.collect()
}

fn opens_on(channel: &Channel, day: i64) -> bool {
    let hours = &channel.config.hours;
    hours.is_empty() || hours.iter().any(|stretch| stretch.days.contains(&weekday_of(day)))
}

/// What is expected of a day; `None` when nobody ever asked for anything on days like it.
fn of_day(history: &[(i64, PastDay)], day: i64) -> Option<Forecast> {
    let of = |fits: &dyn Fn(i64) -> bool| -> Vec<&PastDay> {
        let fitting = history.iter().filter(|(past, _)| fits(*past));
        fitting.map(|(_, past)| past).collect()
    };
    let alike = of(&|past| weekday_of(past) == weekday_of(day));
    let days = if alike.len() < HISTORY_DAYS_MIN {
        of(&|_| true)
    } else {
        alike
    };
    forecast(&days, &[PastDay::only_restaurant()], 0.0).ok()
}

/// The quarters of an hour that a slot covers: the local day, the place in it, and how much of it the slot covers.
fn quarters(channel: &Channel, starts_at: Timestamp, slot_ms: Millis) -> impl Iterator<Item = (i64, usize, f64)> {
    let ends_at = starts_at + slot_ms;
    let mut at = starts_at;
    std::iter::from_fn(move || {
        if at >= ends_at {
            return None;
        }
        let (day, quarter) = local(channel, at);
        let next = next_quarter(at, channel.config.utc_offset_min).min(ends_at);
        #[expect(clippy::cast_precision_loss, reason = "at most a quarter of an hour")]
        let share = next.ms_since(at) as f64 / QUARTER.0 as f64;
        at = next;
        Some((day, quarter, share))
    })
}

fn next_quarter(at: Timestamp, utc_offset_min: i16) -> Timestamp {
    let local_ms = at.0 + i64::from(utc_offset_min) * 60_000;
    let quarter_ms = i64::try_from(QUARTER.0).unwrap_or(i64::MAX);
    Timestamp(at.0 + quarter_ms - local_ms.rem_euclid(quarter_ms))
}
