//! A courier.

use crate::geo::Location;
use crate::ids::{CourierId, ZoneId};
use crate::rejection::FieldError;
use crate::saga::EffectKey;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

/// A courier's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CourierConfig {
    /// The zone it works in.
    pub zone: ZoneId,
    /// Where it starts.
    pub location: Location,
    /// When its shift begins; at once when absent.
    #[serde(default)]
    pub on_at: Option<Timestamp>,
    /// When its shift ends; never when absent. A job begun before is finished.
    #[serde(default)]
    pub off_at: Option<Timestamp>,
    /// How fast it is, in metres a minute.
    #[serde(default = "default_speed")]
    pub metres_per_min: u32,
}

const fn default_speed() -> u32 {
    320
}

impl CourierConfig {
    /// Everything that is wrong with the settings.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if !self.location.is_valid() {
            problems.push(FieldError::new("/location", "is off the map"));
        }
        if self.metres_per_min == 0 {
            problems.push(FieldError::new("/metres_per_min", "must be at least 1"));
        }
        if let (Some(on_at), Some(off_at)) = (self.on_at, self.off_at)
            && on_at >= off_at
        {
            problems.push(FieldError::new("/off_at", "must be after on_at"));
        }
        problems
    }
}

/// Where something that a courier said stands among all that it says. What comes again has the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Along which line it came: places on different lines say nothing about each other.
    pub line: String,
    /// Its place on the line.
    pub place: u64,
    /// When it was put there. A line that is made anew begins at its first place again, but later.
    pub at: Timestamp,
}

impl Said {
    /// Whether this is said in vain, after `last` was heard.
    fn is_old_after(&self, last: &Self) -> bool {
        self.line == last.line && self.place <= last.place && self.at <= last.at
    }
}

/// A courier as its zone knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Courier {
    /// Who.
    pub id: CourierId,
    /// Its settings.
    pub config: CourierConfig,
    /// Whether it takes jobs, by its own word.
    pub online: bool,
    /// The last of its words about that which have a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Said>,
    /// Where it was last.
    pub location: Location,
    /// Since when it is known to have been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub located_at: Option<Timestamp>,
    /// When it can leave the customer that it was with last; absent before its first drop-off, and once it has fetched
    /// something since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_at: Option<Timestamp>,
    /// Jobs it was sent for and has not lost, those that are over included.
    #[serde(default)]
    pub jobs_taken: u32,
    /// The jobs it carries out, in the sequence of their drop-offs. All are fetched in one place.
    #[serde(
        default,
        alias = "job",
        deserialize_with = "trip",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub trip: Vec<EffectKey>,
}

/// Earlier versions stored the one job there could be.
fn trip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EffectKey>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Trip(Vec<EffectKey>),
        Job(Option<EffectKey>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Trip(trip) => trip,
        Stored::Job(job) => job.into_iter().collect(),
    })
}

impl Courier {
    /// From when on it can go for something, if it carries nothing: at once, or when it is done with its last customer.
    pub fn free_at(&self, now: Timestamp) -> Timestamp {
        self.leaves_at.map_or(now, |leaves_at| leaves_at.max(now))
    }

    /// Whether it can be given a job now, for which it leaves as soon as it is free.
    pub fn is_available(&self, now: Timestamp) -> bool {
        let on = self.config.on_at.is_none_or(|on_at| on_at <= now);
        let off = self.config.off_at.is_some_and(|off_at| off_at <= self.free_at(now));
        self.online && self.trip.is_empty() && on && !off
    }

    /// Whether that was heard before, by its place.
    pub(super) fn has_heard(&self, said: Option<&Said>) -> bool {
        let last = self.heard.as_ref();
        said.is_some_and(|said| last.is_some_and(|last| said.is_old_after(last)))
    }

    /// It no longer carries out a job, and has not done it.
    pub(super) fn drops(&mut self, key: &EffectKey) {
        self.trip.retain(|other| other != key);
        self.jobs_taken = self.jobs_taken.saturating_sub(1);
    }

    /// How long it takes to get somewhere from where it was last: whole minutes, rounded up (as in Reyes et al. 2018).
    pub fn travel_ms(&self, to: Location) -> Millis {
        travel_ms(self.location, to, self.config.metres_per_min)
    }
}

/// How long it takes from one place to another: whole minutes, rounded up.
pub fn travel_ms(from: Location, to: Location, metres_per_min: u32) -> Millis {
    way_ms(from.metres_to(to), metres_per_min)
}

/// How long a way of so many metres takes: whole minutes, rounded up.
pub fn way_ms(metres: f64, metres_per_min: u32) -> Millis {
    let minutes = (metres / f64::from(metres_per_min.max(1))).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "half the earth at a metre a minute fits"
    )]
    Millis::from_mins(minutes as u64)
}
