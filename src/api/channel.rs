//! Channels.

use super::Place;
use domain::channel::{Availability, Channel, ChannelConfig, MenuItem, OpeningHours, slot_of};
use domain::ids::Seq;
use domain::time::{Millis, Timestamp};
use routing::forecast::{Expected, HISTORY_DAYS_MIN, outlook};
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CapacityView {
    /// The channel.
    pub id: String,
    /// Units each slot has.
    pub capacity_per_slot: u32,
    /// How full it is now, and in the slots ahead.
    pub utilisation: UtilisationView,
    /// What will be asked of it, as far as its past tells.
    #[serde(default)]
    pub forecast: ForecastView,
    /// Slots of which something is taken, by time.
    pub slots: Vec<SlotView>,
    /// The claims that take capacity, by the key of their hold: `held` or `reserved`.
    pub claims: std::collections::BTreeMap<String, String>,
}

/// One slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// When it begins, in milliseconds since the Unix epoch.
    pub starts_at: i64,
    /// Units taken.
    pub used: u32,
    /// Units free.
    pub free: u32,
}

/// How full a channel is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UtilisationView {
    /// How long a slot is, in milliseconds of business time.
    pub slot_ms: u64,
    /// The slot that is under way.
    pub present: SlotView,
    /// How many of a thousand of its units are taken.
    pub present_pm: u32,
    /// The slots of the two hours after it, taken or not.
    pub ahead: Vec<SlotView>,
    /// How many of a thousand of their units are taken.
    pub ahead_pm: u32,
}

/// What will be asked of a channel, learned from its own confirmed orders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastView {
    /// How many of its local days are over and remembered, at most 28; days on which it is closed are none.
    pub days: u32,
    /// How many it takes; with fewer, `slots` is absent.
    pub days_min: u32,
    /// In how many of a hundred slots the suggested units are to be enough.
    pub level_pct: u8,
    /// The slot that is under way and those of the two hours after it: as days of the same name were, once there are three, or
    /// else as all were. Absent until there are enough days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<ExpectedView>>,
}

/// What will be asked of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExpectedView {
    /// When it begins, in milliseconds since the Unix epoch.
    pub starts_at: i64,
    /// Units that will be asked for, on average, to two places.
    pub expected: f64,
    /// Units that it should have; at least one.
    pub suggested: u32,
}

impl ForecastView {
    /// The view of these slots, the present one first, each `slot_ms` long.
    fn new(channel: &Channel, slots: &[Timestamp], slot_ms: Millis, level_pct: u8) -> Self {
        let outlook = outlook(channel, slots, slot_ms, f64::from(level_pct) / 100.0);
        let count = |days: usize| u32::try_from(days).unwrap_or(u32::MAX);
        let view = |slot: Expected| ExpectedView {
            starts_at: slot.starts_at.as_ms(),
            expected: (slot.units * 100.0).round() / 100.0,
            suggested: slot.capacity,
        };
        Self {
            days: count(outlook.days),
            days_min: count(HISTORY_DAYS_MIN),
            level_pct,
            slots: outlook.slots.map(|slots| slots.into_iter().map(view).collect()),
        }
    }
}

/// How far ahead utilisation is shown, and in how many slots at most.
const AHEAD: Millis = Millis::from_mins(120);
const AHEAD_SLOTS_MAX: u64 = 120;

impl UtilisationView {
    /// The view of a channel's slots from `now` on, each `slot_ms` long.
    pub fn new(channel: &Channel, now: Timestamp, slot_ms: Millis) -> Self {
        let mut slots = slots_from(now, slot_ms).map(|at| SlotView::new(channel, at, channel.ledger.used(at)));
        let present = slots.next().unwrap_or_default();
        let ahead: Vec<SlotView> = slots.collect();
        Self {
            slot_ms: slot_ms.0,
            present_pm: taken_pm(&[present]),
            present,
            ahead_pm: taken_pm(&ahead),
            ahead,
        }
    }
}

/// When the slot under way began, and those of the two hours after it will.
fn slots_from(now: Timestamp, slot_ms: Millis) -> impl Iterator<Item = Timestamp> {
    let length_ms = slot_ms.0.max(1);
    let first = slot_of(now, slot_ms);
    let slots = 0..=(AHEAD.0 / length_ms).clamp(1, AHEAD_SLOTS_MAX);
    slots.map(move |slot| Timestamp(first.0.saturating_add_unsigned(slot * length_ms)))
}

/// How many of a thousand units are taken. Where there are none, all are.
fn taken_pm(slots: &[SlotView]) -> u32 {
    let sum = |of: fn(&SlotView) -> u32| slots.iter().map(|slot| u64::from(of(slot))).sum::<u64>();
    let (used, free) = (sum(|slot| slot.used), sum(|slot| slot.free));
    let share = (1_000 * used).checked_div(used + free).unwrap_or(1_000);
    u32::try_from(share).unwrap_or(1_000)
}

impl SlotView {
    fn new(channel: &Channel, starts_at: Timestamp, used: u32) -> Self {
        Self {
            starts_at: starts_at.as_ms(),
            used,
            free: channel.config.capacity_per_slot.saturating_sub(used),
        }
    }
}

impl CapacityView {
    /// The view of a channel's ledger at `now`, in slots of `slot_ms`, with capacity suggested that is enough for so many of a
    /// hundred. The same as long as the channel and the slot under way are.
    pub fn new(channel: &Channel, now: Timestamp, slot_ms: Millis, level_pct: u8) -> Self {
        let slots: Vec<Timestamp> = slots_from(now, slot_ms).collect();
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
            utilisation: UtilisationView::new(channel, now, slot_ms),
            forecast: ForecastView::new(channel, &slots, slot_ms, level_pct),
            slots: channel
                .ledger
                .slots()
                .map(|(starts_at, used)| SlotView::new(channel, starts_at, used))
                .collect(),
            claims: claims.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel_fixture::channel;

    /// Two units from minute 2 on, one from minute 4 on.
    const TAKEN: [(i64, u32); 2] = [(120_000, 2), (240_000, 1)];

    #[test]
    fn a_channel_says_how_full_it_is_and_will_be() {
        let view =
            |capacity, now_ms| UtilisationView::new(&channel(capacity, &TAKEN), Timestamp(now_ms), Millis(60_000));
        let full = view(4, 150_000);
        assert_eq!(
            (full.present.starts_at, full.present.used, full.present_pm),
            (120_000, 2, 500)
        );
        assert_eq!((full.ahead.len(), full.ahead[0].starts_at), (120, 180_000));
        assert_eq!((full.ahead[1].used, full.ahead[1].free), (1, 3));
        assert_eq!(full.ahead_pm, 2, "one of 480, in whole parts of a thousand");
        assert_eq!(
            (view(2, 150_000).present_pm, view(0, 150_000).present_pm),
            (1_000, 1_000)
        );
        let long = UtilisationView::new(&channel(4, &TAKEN), Timestamp(0), Millis::from_mins(600));
        assert_eq!(long.ahead.len(), 1, "one slot at least, however long");
    }
}
