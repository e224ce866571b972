//! What one channel can do for one order: whether it can make it, in which slots, and at what cost in all.

use super::memo::Look;
use super::usage::Usage;
use crate::menu::Obstacle;
use domain::channel::{Availability, Channel, ChoiceWeights, SLOTS_AHEAD_MAX, slot_of};
use domain::entity::Context;
use domain::order::Details;
use domain::saga::{Candidate, Drawbacks};
use domain::time::{Millis, Timestamp};
use domain::zone::way_ms;

/// What a courier is assumed to cover, in metres a minute, until its own speed is known.
const METRES_PER_MIN: u32 = 320;
/// Pick-up and drop-off, each half of this.
const SERVICE_MS: Millis = Millis::from_mins(4);
/// The third power of what is no more than this, times any weight, has room in 64 bits, whose division is many times as fast.
const SMALL: u64 = 1 << 10;
/// An order takes one unit of capacity.
pub(super) const UNITS: u32 = 1;

/// All of a channel's side of an order but the slot.
pub(super) struct Offer<'a> {
    pub(super) channel: &'a Channel,
    /// The channel's place among all.
    pub(super) n: usize,
    pub(super) way_ms: Millis,
    prep_ms: Millis,
    menu_prep_ms: Millis,
    /// When the food can be ready at the earliest, and need not be earlier.
    earliest: Timestamp,
    /// From when on the customer waits.
    wanted_at: Timestamp,
    risk_minor: i64,
}

/// A slot of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) slot: Timestamp,
    pub(super) ready_at: Timestamp,
    pub(super) wait_minor: i64,
    pub(super) load_minor: i64,
}

impl<'a> Offer<'a> {
    /// What a channel can do for an order; `Err`: why it cannot make it.
    pub(super) fn new(
        details: &Details,
        channel: &'a Channel,
        n: usize,
        look: &Look<'_>,
        context: &Context<'_>,
    ) -> Result<Self, String> {
        let config = &channel.config;
        let metres = config.location.metres_to(details.delivery_location.place());
        refusal(details, channel, metres)?;
        let menu_prep_ms = menu_prep_ms(details, channel, n, look)?;
        let weights = &context.policy.choice;
        let way_ms = way_ms(metres, METRES_PER_MIN) + SERVICE_MS;
        let wanted = details.requested_for.map_or(context.now, |at| at - way_ms);
        let begins_at = context.now.max(wanted - menu_prep_ms);
        let prep_ms = look.memo.likely_prep_ms(n, channel, menu_prep_ms, begins_at, context);
        Ok(Self {
            channel,
            n,
            way_ms,
            prep_ms,
            menu_prep_ms,
            earliest: wanted.max(context.now + prep_ms),
            wanted_at: details.requested_for.map_or(context.now, |at| at.max(context.now)),
            risk_minor: risk_minor(channel, weights),
        })
    }

    /// The slots that still have room, in their order, each with the units that are taken of it; none, if the kitchen is closed
    /// for the first.
    pub(super) fn slots(&self, usage: &Usage<'_>, context: &Context<'_>) -> impl Iterator<Item = (Timestamp, u32)> {
        let mut free = self.free(usage, context).peekable();
        let is_open = free.peek().is_some_and(|(first, _)| self.is_open_for(*first));
        free.filter(move |(slot, _)| is_open && self.is_open_for(*slot))
    }

    fn free(&self, usage: &Usage<'_>, context: &Context<'_>) -> impl Iterator<Item = (Timestamp, u32)> {
        let length = context.policy.slot_ms;
        let first = slot_of(self.earliest, length);
        let slots = (0..=u64::from(SLOTS_AHEAD_MAX)).map(move |n| first + length.times(n));
        let with_usage = slots.map(move |slot| (slot, usage.used(self.n, self.channel, slot)));
        with_usage.filter(move |(_, used)| self.capacity().saturating_sub(*used) >= UNITS)
    }

    /// Units that each slot has.
    pub(super) fn capacity(&self) -> u32 {
        self.channel.config.capacity_per_slot
    }

    /// When the food can be ready at the earliest.
    pub(super) const fn earliest(&self) -> Timestamp {
        self.earliest
    }

    /// Whether the kitchen is open from the first stir to the last, with the food ready in a slot.
    fn is_open_for(&self, slot: Timestamp) -> bool {
        let ready_at = self.earliest.max(slot);
        self.channel.is_open(ready_at) && self.channel.is_open(ready_at - self.prep_ms)
    }

    /// The slot that costs least: mostly the first that has room, but the next one when it is about to begin and the first
    /// is nearly full.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn best(&self, usage: &Usage<'_>, context: &Context<'_>) -> Result<Quote, String> {
        let mut free = self.free(usage, context);
        let (first, used) = free.next().ok_or("has no capacity left")?;
        if !self.is_open_for(first) {
            return Err("is closed at that time".into());
        }
        let weights = &context.policy.choice;
        let mut best = self.quote(first, used, weights);
        for (slot, used) in free {
            // Waiting only grows; once it alone is more than the best, nothing better comes.
            let wait_minor = self.wait_minor(self.earliest.max(slot), weights);
            if wait_minor >= best.wait_minor + best.load_minor {
                break;
            }
            let next = self.quote(slot, used, weights);
            if next.wait_minor + next.load_minor < best.wait_minor + best.load_minor && self.is_open_for(slot) {
                best = next;
            }
        }
        Ok(best)
    }

    /// The quote for a slot of which so many units are taken.
    pub(super) fn quote(&self, slot: Timestamp, used: u32, weights: &ChoiceWeights) -> Quote {
        let ready_at = self.earliest.max(slot);
        Quote {
            slot,
            ready_at,
            wait_minor: self.wait_minor(ready_at, weights),
            load_minor: self.load_minor(used, weights),
        }
    }

    /// What a unit of a slot counts of which so many are taken.
    pub(super) fn load_minor(&self, used: u32, weights: &ChoiceWeights) -> i64 {
        load_minor(used, self.capacity(), weights)
    }

    /// What a slot costs at least, however little of it is taken.
    pub(super) fn unloaded_minor(&self, slot: Timestamp, weights: &ChoiceWeights) -> i64 {
        let fixed = self.channel.config.cost_minor.saturating_add(self.risk_minor);
        fixed.saturating_add(self.wait_minor(self.earliest.max(slot), weights))
    }

    fn wait_minor(&self, ready_at: Timestamp, weights: &ChoiceWeights) -> i64 {
        let wait_ms = (ready_at + self.way_ms).ms_since(self.wanted_at);
        let minor = wait_ms.saturating_mul(u64::from(weights.wait_minor_per_min)) / 60_000;
        i64::try_from(minor).unwrap_or(i64::MAX / 8)
    }

    /// What speaks against the channel in all.
    pub(super) fn total_minor(&self, quote: &Quote) -> i64 {
        let fixed = self.channel.config.cost_minor.saturating_add(self.risk_minor);
        fixed.saturating_add(quote.wait_minor).saturating_add(quote.load_minor)
    }

    /// The offer as it is kept with the order.
    pub(super) fn candidate(&self, quote: &Quote) -> Candidate {
        let config = &self.channel.config;
        Candidate {
            channel: self.channel.id.clone(),
            zone: config.zone.clone(),
            pickup: config.location,
            slot: quote.slot,
            units: UNITS,
            prep_ms: self.prep_ms,
            ready_at: quote.ready_at,
            delivered_at: quote.ready_at + self.way_ms,
            cost_minor: config.cost_minor,
            menu_prep_ms: (self.menu_prep_ms != self.prep_ms).then_some(self.menu_prep_ms),
            drawbacks: Drawbacks {
                wait_minor: quote.wait_minor,
                load_minor: quote.load_minor,
                risk_minor: self.risk_minor,
            },
        }
    }
}

/// Why a channel that many metres away cannot make an order, whatever the time and whatever is ordered.
fn refusal(details: &Details, channel: &Channel, metres: f64) -> Result<(), String> {
    let config = &channel.config;
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
    Ok(())
}

/// How long cooking is likely to take that by the menu takes so long and begins at a moment.
pub(super) fn likely_prep_ms(
    channel: &Channel,
    expected_ms: Millis,
    begins_at: Timestamp,
    context: &Context<'_>,
) -> Millis {
    channel.likely_prep_ms(expected_ms, begins_at, context.policy.choice.prep_quantile_pct)
}

/// How long what is ordered takes to cook by menu and settings: the longest of it, and the channel's delay. Or why the channel
/// does not sell it.
fn menu_prep_ms(details: &Details, channel: &Channel, n: usize, look: &Look<'_>) -> Result<Millis, String> {
    let mut longest = None;
    for (item, found) in look.articles(n, channel, details) {
        let prep_ms = found.map_err(|obstacle| match obstacle {
            Obstacle::Unknown => format!("does not sell '{}'", item.sku),
            Obstacle::Price(price) => format!("sells '{}' at {price}", item.sku),
            Obstacle::SoldOut => format!("has sold out of '{}'", item.sku),
        })?;
        longest = longest.max(prep_ms);
    }
    Ok(channel.prep_ms_of(longest))
}

/// What a unit of a slot is worth to those who come later, `used` units being taken: the third power of how full the slot
/// is with it. Such a price, convex and highest at the end, is what keeps an assignment that does not know the future
/// from giving scarce capacity to whoever comes first (after Buchbinder and Naor, "The design of competitive online
/// algorithms via a primal-dual approach", 2009, who have an exponential one).
fn load_minor(used: u32, capacity: u32, weights: &ChoiceWeights) -> i64 {
    let (taken, capacity) = (u64::from(used) + u64::from(UNITS), u64::from(capacity.max(1)));
    if taken.max(capacity) <= SMALL {
        let minor = u64::from(weights.load_minor) * taken.pow(3) / capacity.pow(3);
        return i64::try_from(minor).unwrap_or(i64::MAX / 8);
    }
    let minor = u128::from(weights.load_minor) * u128::from(taken).pow(3) / u128::from(capacity).pow(3);
    i64::try_from(minor).unwrap_or(i64::MAX / 8)
}

/// What the channel's unreliability costs on average.
fn risk_minor(channel: &Channel, weights: &ChoiceWeights) -> i64 {
    let learned = &channel.learned;
    let cost = |share_pm: u32, minor: u32| i64::from(share_pm) * i64::from(minor) / 1_000;
    cost(learned.lost_pm(), weights.lost_minor) + cost(learned.late_pm(), weights.late_minor)
}
