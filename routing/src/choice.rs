//! Which channel makes an order: the feasible one that promises the earliest delivery, the cheaper one when two promise
//! the same minute.

use crate::menu::{Obstacle, obstacle};
use domain::channel::{Availability, Channel, SLOTS_AHEAD_MAX, slot_of};
use domain::entity::Context;
use domain::order::Details;
use domain::saga::{Candidate, Infeasible};
use domain::time::{Millis, Timestamp};
use domain::zone::travel_ms;
use std::sync::Arc;

/// Most alternates kept with an order.
const CANDIDATES_MAX: usize = 5;
/// Most refusals kept with an order.
const INFEASIBLE_MAX: usize = 10;
/// What a courier is assumed to cover, in metres a minute, until its own speed is known.
const METRES_PER_MIN: u32 = 320;
/// Pick-up and drop-off, each half of this.
const SERVICE_MS: Millis = Millis::from_mins(4);
/// An order takes one unit of capacity.
const UNITS: u32 = 1;

/// What was chosen, and why the others were not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// The feasible channels, best first, at most five.
    pub candidates: Vec<Candidate>,
    /// The others, at most ten, with the reason.
    pub infeasible: Vec<Infeasible>,
}

/// Chooses among the channels that serve the order's restaurant; those that do not are passed over. Pure; the time is
/// linear in the number of channels.
pub fn choose(details: &Details, channels: &[Arc<Channel>], context: &Context<'_>) -> Choice {
    let mut choice = Choice::default();
    for channel in channels
        .iter()
        .filter(|channel| channel.config.serves.contains(&details.restaurant_id))
    {
        match quote(details, channel, context) {
            Ok(candidate) => choice.candidates.push(candidate),
            Err(why) => choice.infeasible.push(Infeasible {
                channel: channel.id.clone(),
                why,
            }),
        }
    }
    let minute = |at: Timestamp| at.0.div_euclid(60_000);
    choice.candidates.sort_by(|a, b| {
        let key = |c: &Candidate| (minute(c.delivered_at), c.cost_minor);
        key(a).cmp(&key(b)).then_with(|| a.channel.cmp(&b.channel))
    });
    choice.candidates.truncate(CANDIDATES_MAX);
    choice.infeasible.truncate(INFEASIBLE_MAX);
    choice
}

/// What a channel promises, or why it cannot make the order.
fn quote(details: &Details, channel: &Channel, context: &Context<'_>) -> Result<Candidate, String> {
    let config = &channel.config;
    let dropoff = details.delivery_location.place();
    let metres = config.location.metres_to(dropoff);
    if channel.availability == Availability::Paused {
        return Err("takes no orders at present".into());
    }
    if config.currency != details.total.currency {
        return Err(format!("trades in {}", config.currency));
    }
    if metres > f64::from(config.radius_m) {
        return Err(format!(
            "delivers within {} m, and the customer is {metres:.0} m away",
            config.radius_m
        ));
    }
    if let Some((item, obstacle)) = details
        .items
        .iter()
        .find_map(|item| Some((item, obstacle(channel, item)?)))
    {
        return Err(match obstacle {
            Obstacle::Unknown => format!("does not sell '{}'", item.sku),
            Obstacle::Price(price) => format!("sells '{}' at {price}", item.sku),
            Obstacle::SoldOut => format!("has sold out of '{}'", item.sku),
        });
    }
    let prep_ms = channel.prep_ms(details.items.iter().map(|item| item.sku.as_str()));
    let way_ms = travel_ms(config.location, dropoff, METRES_PER_MIN) + SERVICE_MS;
    let wanted = details.requested_for.map_or(context.now, |at| at - way_ms);
    let earliest = wanted.max(context.now + prep_ms);
    let (slot, ready_at) = free_slot(channel, earliest, context).ok_or("has no capacity left")?;
    if !channel.is_open(ready_at) || !channel.is_open(context.now.max(ready_at - prep_ms)) {
        return Err("is closed at that time".into());
    }
    Ok(Candidate {
        channel: channel.id.clone(),
        zone: config.zone.clone(),
        pickup: config.location,
        slot,
        units: UNITS,
        prep_ms,
        ready_at,
        delivered_at: ready_at + way_ms,
        cost_minor: config.cost_minor,
    })
}

/// The first slot from `earliest` on that has room, and when the food is ready in it.
fn free_slot(channel: &Channel, earliest: Timestamp, context: &Context<'_>) -> Option<(Timestamp, Timestamp)> {
    let length = context.policy.slot_ms;
    let first = slot_of(earliest, length);
    let slots = (0..=u64::from(SLOTS_AHEAD_MAX)).map(|n| first + length.times(n));
    slots
        .map(|slot| (slot, earliest.max(slot)))
        .find(|(slot, _)| channel.free_units(*slot) >= UNITS)
}
