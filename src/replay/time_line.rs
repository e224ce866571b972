//! Which wall moment is which business moment.

use domain::time::{Millis, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// A server's time line, and where on it a day lies.
#[derive(Clone, Copy, Debug)]
pub struct TimeLine {
    /// A wall moment…
    anchor: Instant,
    /// … and the business moment it is.
    anchor_at: Timestamp,
    speed: u64,
    /// The business moment of the day's first minute.
    day_at: Timestamp,
    first_minute: u32,
}

impl TimeLine {
    /// The time line of a server whose clock showed `anchor_at` at the wall moment `anchor` and runs `speed` times as
    /// fast as the wall's. The day's minute `first_minute` is `lead` of wall time later.
    pub fn new(anchor: Instant, anchor_at: Timestamp, speed: u64, lead: Duration, first_minute: u32) -> Self {
        let speed = speed.max(1);
        let lead_ms = u64::try_from(lead.as_millis()).unwrap_or(u64::MAX);
        Self {
            anchor,
            anchor_at,
            speed,
            day_at: anchor_at + Millis(lead_ms).times(speed),
            first_minute,
        }
    }

    /// The business moment of a minute of the day.
    pub fn at(&self, minute: u32) -> Timestamp {
        let minutes = i64::from(minute) - i64::from(self.first_minute);
        Timestamp(self.day_at.as_ms().saturating_add(minutes * 60_000))
    }

    /// The wall moment of a business moment; the anchor for what lies before it.
    pub fn wall(&self, at: Timestamp) -> Instant {
        let business = Duration::from_millis(at.ms_since(self.anchor_at));
        self.anchor + Duration::from_secs_f64(business.as_secs_f64() / self.pace())
    }

    /// How much wall time lies between two business moments; none when `until` is the earlier.
    pub fn wall_between(&self, from: Timestamp, until: Timestamp) -> Duration {
        Duration::from_secs_f64(Duration::from_millis(until.ms_since(from)).as_secs_f64() / self.pace())
    }

    /// The business moment of a wall moment.
    pub fn business(&self, wall: Instant) -> Timestamp {
        let micros = u64::try_from(wall.saturating_duration_since(self.anchor).as_micros()).unwrap_or(u64::MAX);
        self.anchor_at + Millis(micros.saturating_mul(self.speed) / 1_000)
    }

    /// The minute of the day at a wall moment.
    pub fn minute(&self, wall: Instant) -> u32 {
        let since = self.business(wall).ms_since(self.day_at) / 60_000;
        self.first_minute
            .saturating_add(u32::try_from(since).unwrap_or(u32::MAX))
    }

    fn pace(&self) -> f64 {
        f64::from(u32::try_from(self.speed).unwrap_or(u32::MAX))
    }
}
