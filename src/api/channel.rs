//! Channels.

use super::Place;
use domain::channel::{Availability, Channel, ChannelConfig, MenuItem, OpeningHours};
use domain::ids::Seq;
use domain::time::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A channel's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelBody {
    /// What people call it.
    pub name: String,
    /// `kitchen` (our own) or `partner`.
    #[schema(example = "kitchen")]
    pub kind: String,
    /// The restaurants whose orders it can make.
    pub serves: Vec<String>,
    /// Where the food is picked up.
    pub location: Place,
    /// The zone whose couriers carry it.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    /// When it is open: days (`mon` … `sun`) and minutes of the local day; empty: always.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub hours: Vec<OpeningHours>,
    /// Its local time, in minutes east of UTC.
    #[serde(default)]
    pub utc_offset_min: i16,
    /// How long an order takes to cook unless the menu says otherwise, in milliseconds of business time.
    pub prep_ms: u64,
    /// How many orders each slot of 15 minutes takes.
    pub capacity_per_slot: u32,
    /// What one order costs us there, in minor units.
    #[serde(default)]
    pub cost_minor: i64,
    /// How far it delivers, in metres.
    #[serde(default = "default_radius_m")]
    pub radius_m: u32,
}

fn default_zone() -> String {
    "default".to_owned()
}

const fn default_radius_m() -> u32 {
    20_000
}

impl From<&ChannelConfig> for ChannelBody {
    fn from(config: &ChannelConfig) -> Self {
        Self {
            name: config.name.clone(),
            kind: match config.kind {
                domain::channel::ChannelKind::Kitchen => "kitchen".to_owned(),
                domain::channel::ChannelKind::Partner => "partner".to_owned(),
            },
            serves: config.serves.iter().map(ToString::to_string).collect(),
            location: config.location.into(),
            zone: config.zone.to_string(),
            currency: config.currency.to_string(),
            hours: config.hours.clone(),
            utc_offset_min: config.utc_offset_min,
            prep_ms: config.prep_ms.0,
            capacity_per_slot: config.capacity_per_slot,
            cost_minor: config.cost_minor,
            radius_m: config.radius_m,
        }
    }
}

/// Whether a channel takes orders: `{"state":"ONLINE"}`, `{"state":"BUSY","delay_ms":600000}` or `{"state":"PAUSED"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum AvailabilityBody {
    /// It does.
    Online,
    /// It does, but takes longer.
    Busy {
        /// How much longer, in milliseconds of business time.
        delay_ms: u64,
    },
    /// It does not.
    Paused,
}

impl From<AvailabilityBody> for Availability {
    fn from(body: AvailabilityBody) -> Self {
        match body {
            AvailabilityBody::Online => Self::Online,
            AvailabilityBody::Busy { delay_ms } => Self::Busy {
                delay_ms: Millis(delay_ms),
            },
            AvailabilityBody::Paused => Self::Paused,
        }
    }
}

impl From<Availability> for AvailabilityBody {
    fn from(availability: Availability) -> Self {
        match availability {
            Availability::Online => Self::Online,
            Availability::Busy { delay_ms } => Self::Busy { delay_ms: delay_ms.0 },
            Availability::Paused => Self::Paused,
        }
    }
}

/// A channel's articles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MenuBody {
    /// All of them: `{sku, name, price_minor, prep_ms?}`.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<MenuItem>,
}

/// What a channel has run out of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SoldOutBody {
    /// All articles that are sold out.
    pub skus: Vec<String>,
}

/// A channel as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    /// Its id.
    pub id: String,
    /// Its version, also the `ETag`.
    pub version: u64,
    /// Its settings.
    #[serde(flatten)]
    pub config: ChannelBody,
    /// Whether it takes orders.
    pub availability: AvailabilityBody,
    /// Its articles.
    #[schema(value_type = Vec<Object>)]
    pub menu: Vec<MenuItem>,
    /// What it has run out of.
    pub sold_out: Vec<String>,
    /// What it has shown of itself; channels are chosen, and quotes made, by it.
    #[serde(default)]
    pub learned: LearnedView,
}

/// What a channel has shown of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LearnedView {
    /// How many of a thousand tickets it refuses, drops or does not answer.
    pub lost_pm: u32,
    /// How many of a thousand are ready more than five minutes later than promised.
    pub late_pm: u32,
    /// How long it cooks, by the local hour in which it begins.
    pub hours: Vec<HourView>,
}

/// How long a channel cooks in one hour of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HourView {
    /// The hour, 0 to 23, local time.
    pub hour: u8,
    /// How many tickets are remembered. Quotes go by them from 20 on.
    pub tickets: u32,
    /// How long half of the tickets take at most that should take `prep_ms`, in milliseconds of business time.
    pub p50_ms: u64,
    /// The same for nine of ten.
    pub p90_ms: u64,
}

impl LearnedView {
    fn new(channel: &Channel) -> Self {
        let (learned, prep_ms) = (&channel.learned, channel.config.prep_ms);
        let took_ms = |hour, pct| learned.took_ms(prep_ms, hour, pct).unwrap_or(prep_ms).0;
        let hour = |hour| HourView {
            hour,
            tickets: learned.observations(hour),
            p50_ms: took_ms(hour, 50),
            p90_ms: took_ms(hour, 90),
        };
        Self {
            lost_pm: learned.lost_pm(),
            late_pm: learned.late_pm(),
            hours: learned.hours().map(hour).collect(),
        }
    }
}

impl ChannelView {
    /// The view of a channel at a version.
    pub fn new(channel: &Channel, version: Seq) -> Self {
        Self {
            id: channel.id.to_string(),
            version: version.0,
            config: ChannelBody::from(&*channel.config),
            availability: channel.availability.into(),
            menu: channel.menu.to_vec(),
            sold_out: channel.sold_out.iter().cloned().collect(),
            learned: LearnedView::new(channel),
        }
    }
}

/// A page of the channels, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelList {
    /// The channels.
    pub channels: Vec<ChannelView>,
    /// What to ask for with `cursor=` for the next page, if there is one; the same stands in `Link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A channel's capacity ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapacityView {
    /// The channel.
    pub id: String,
    /// Units each slot has.
    pub capacity_per_slot: u32,
    /// Slots of which something is taken, by time.
    pub slots: Vec<SlotView>,
    /// The claims that take capacity, by the key of their hold: `held` or `reserved`.
    pub claims: std::collections::BTreeMap<String, String>,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// When it begins, in milliseconds since the Unix epoch.
    pub starts_at: i64,
    /// Units taken.
    pub used: u32,
    /// Units free.
    pub free: u32,
}

impl CapacityView {
    /// The view of a channel's ledger.
    pub fn new(channel: &Channel) -> Self {
        let slot = |(starts_at, used)| SlotView {
            starts_at: domain::time::Timestamp::as_ms(starts_at),
            used,
            free: channel.config.capacity_per_slot.saturating_sub(used),
        };
        let claims = channel.ledger.claims().filter_map(|(key, claim)| {
            let state = match claim.state {
                domain::channel::ClaimState::Held { .. } => "held",
                domain::channel::ClaimState::Reserved => "reserved",
                _ => return None,
            };
            Some((key.to_string(), state.to_owned()))
        });
        Self {
            id: channel.id.to_string(),
            capacity_per_slot: channel.config.capacity_per_slot,
            slots: channel.ledger.slots().map(slot).collect(),
            claims: claims.collect(),
        }
    }
}
