//! What a channel's operator sets.

use super::hours::OpeningHours;
use crate::geo::Location;
use crate::ids::{RestaurantId, ZoneId};
use crate::money::Currency;
use crate::rejection::FieldError;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Whose kitchen it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// Our own.
    Kitchen,
    /// A partner's.
    Partner,
}

/// Whether a channel takes orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Availability {
    /// It does.
    #[default]
    Online,
    /// It does, but takes longer.
    Busy {
        /// How much longer, in business time.
        delay_ms: Millis,
    },
    /// It does not.
    Paused,
}

impl Availability {
    /// How much longer it takes at present.
    pub const fn delay_ms(self) -> Millis {
        match self {
            Self::Busy { delay_ms } => delay_ms,
            Self::Online | Self::Paused => Millis(0),
        }
    }
}

/// A channel's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// What people call it.
    pub name: String,
    /// Whose kitchen it is.
    pub kind: ChannelKind,
    /// The restaurants whose orders it can make.
    pub serves: Vec<RestaurantId>,
    /// Where the food is picked up.
    pub location: Location,
    /// The zone whose couriers carry it.
    pub zone: ZoneId,
    /// The currency it trades in.
    pub currency: Currency,
    /// When it is open; empty: always.
    #[serde(default)]
    pub hours: Vec<OpeningHours>,
    /// Its local time, in minutes east of UTC.
    #[serde(default)]
    pub utc_offset_min: i16,
    /// How long an order takes to cook unless its menu says otherwise, in business time.
    pub prep_ms: Millis,
    /// How many units of capacity each slot has; an order takes one.
    pub capacity_per_slot: u32,
    /// What one order costs us there, in minor units.
    #[serde(default)]
    pub cost_minor: i64,
    /// How far it delivers, in metres.
    #[serde(default = "default_radius_m")]
    pub radius_m: u32,
}

const fn default_radius_m() -> u32 {
    20_000
}

impl ChannelConfig {
    /// Everything that is wrong with the settings.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, pointer: &str, detail: &str| {
            if !fine {
                problems.push(FieldError::new(pointer, detail));
            }
        };
        check(
            !self.name.trim().is_empty() && self.name.len() <= 200,
            "/name",
            "must be 1 to 200 bytes long",
        );
        check(!self.serves.is_empty(), "/serves", "must name at least one restaurant");
        check(
            self.serves.len() <= 1_000,
            "/serves",
            "must name at most 1000 restaurants",
        );
        check(self.location.is_valid(), "/location", "is off the map");
        check(
            self.prep_ms <= Millis::from_mins(24 * 60),
            "/prep_ms",
            "must be at most a day (86400000)",
        );
        check(self.capacity_per_slot > 0, "/capacity_per_slot", "must be at least 1");
        check(
            (-840..=840).contains(&self.utc_offset_min),
            "/utc_offset_min",
            "must be from -840 to 840",
        );
        check(self.cost_minor >= 0, "/cost_minor", "must not be negative");
        for (n, hours) in self.hours.iter().enumerate() {
            check(
                hours.is_valid(),
                &format!("/hours/{n}"),
                "must be from 0 to 1440 minutes, and end after it begins",
            );
        }
        problems
    }
}

/// An article of a channel's menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MenuItem {
    /// The article.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What one costs, in minor units of the channel's currency.
    pub price_minor: i64,
    /// How long it takes to cook, in business time; the channel's estimate when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prep_ms: Option<Millis>,
}

/// When a thing is expected, with the channel's present delay.
impl super::Channel {
    /// How long articles take to cook at present of which the longest takes so long by the menu, if that says anything: that
    /// long, or as long as is usual here, and the delay.
    pub fn prep_ms_of(&self, longest: Option<Millis>) -> Millis {
        longest.unwrap_or(self.config.prep_ms) + self.availability.delay_ms()
    }

    /// How long an order takes to cook that begins at a moment and by menu and settings takes `expected_ms`: as so many of
    /// a hundred tickets like it have taken, once enough were seen; until then, as expected.
    pub fn likely_prep_ms(&self, expected_ms: Millis, begins_at: Timestamp, quantile_pct: u8) -> Millis {
        let learned = &self.learned;
        let likely = learned.prep_ms(expected_ms, begins_at, self.config.utc_offset_min, quantile_pct);
        likely.unwrap_or(expected_ms)
    }

    /// Whether it is open at a moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        super::is_open(&self.config.hours, self.config.utc_offset_min, at)
    }
}
