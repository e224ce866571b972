//! Opening hours: minutes of the local day.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// The Unix epoch was a Thursday.
const FROM_THURSDAY: [Weekday; 7] = [
    Weekday::Thu,
    Weekday::Fri,
    Weekday::Sat,
    Weekday::Sun,
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
];

const DAY_MIN: i64 = 24 * 60;

/// A stretch of opening hours on some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningHours {
    /// On which days.
    pub days: Vec<Weekday>,
    /// From this minute of the local day, 0 to 1439.
    pub from_min: u16,
    /// Up to this minute of the local day, 1 to 1440; exclusive.
    pub to_min: u16,
}

impl OpeningHours {
    /// Whether it is a stretch of a day.
    pub fn is_valid(&self) -> bool {
        self.from_min < self.to_min && i64::from(self.to_min) <= DAY_MIN && !self.days.is_empty()
    }
}

/// The day of the week of a local day, as a number of days since the Unix epoch.
pub fn weekday_of(day: i64) -> Weekday {
    usize::try_from(day.rem_euclid(7)).map_or(Weekday::Thu, |n| FROM_THURSDAY[n])
}

/// Whether one of the stretches holds a moment; none at all means always open.
pub fn is_open(hours: &[OpeningHours], utc_offset_min: i16, at: Timestamp) -> bool {
    if hours.is_empty() {
        return true;
    }
    let local_min = at.0.div_euclid(60_000) + i64::from(utc_offset_min);
    let weekday = weekday_of(local_min.div_euclid(DAY_MIN));
    let minute = local_min.rem_euclid(DAY_MIN);
    let holds = |stretch: &OpeningHours| {
        stretch.days.contains(&weekday) && (i64::from(stretch.from_min)..i64::from(stretch.to_min)).contains(&minute)
    };
    hours.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_follow_the_local_day() {
        let hours = [OpeningHours {
            days: vec![Weekday::Sat],
            from_min: 600,
            to_min: 1_320,
        }];
        // 2026-11-21 was a Saturday; 12:00 UTC.
        let noon = Timestamp(1_795_262_400_000);
        assert!(is_open(&hours, 0, noon));
        assert!(!is_open(&hours, -180, noon), "09:00 local time");
        assert!(!is_open(&hours, 600, noon), "22:00 local time is closing time");
        assert!(is_open(&hours, 599, noon));
        assert!(is_open(&[], 0, noon), "no hours mean always");
    }
}
