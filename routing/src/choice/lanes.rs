//! What orders that come together can have: slots of channels, as lanes of an [`assignment`].
//!
//! Of what an order could have only the cheapest matters, and only so much is looked at: however many channels there are, an
//! order among `n` others has a wish for `n` units at most.

use super::assignment;
use super::offer::{Offer, UNITS};
use super::usage::Usage;
use super::{Assignment, Offers};
use domain::channel::ChoiceWeights;
use domain::entity::Context;
use domain::time::Timestamp;
use std::collections::{BinaryHeap, HashMap};

/// A slot of a channel, by its number.
type Lane = (usize, Timestamp);

/// A lane that an order would like.
struct Wish<'a> {
    lane: Lane,
    offer: &'a Offer<'a>,
    /// Units that are taken of it, and that are free.
    used: u32,
    room: u32,
    /// What it costs the order, but for the load.
    own_minor: i64,
    /// What it costs the order if nobody else takes of it.
    cost_minor: i64,
}

/// The assignment of least cost.
pub(super) fn assign(group: &[&Offers<'_>], usage: &Usage<'_>, context: &Context<'_>) -> Vec<Assignment> {
    let weights = &context.policy.choice;
    let wishes: Vec<Vec<Wish<'_>>> = group
        .iter()
        .map(|offers| wishes(offers, group.len(), usage, context))
        .collect();
    let mut numbers: HashMap<Lane, usize> = HashMap::new();
    let mut prices: Vec<Vec<i64>> = Vec::new();
    let mut number = |wish: &Wish<'_>| {
        *numbers.entry(wish.lane).or_insert_with(|| {
            prices.push(wish.prices(weights).collect());
            prices.len() - 1
        })
    };
    let mut row = |wishes: &Vec<Wish<'_>>| -> Vec<(usize, i64)> {
        wishes.iter().map(|wish| (number(wish), wish.own_minor)).collect()
    };
    let rows: Vec<Vec<(usize, i64)>> = wishes.iter().map(&mut row).collect();
    let found = assignment::assign(&rows, &prices);
    let mut taken = vec![0; prices.len()];
    let assigned = found
        .into_iter()
        .zip(rows.iter().zip(&wishes))
        .map(|(lane, (row, wishes))| {
            let lane = lane?;
            let wish = &wishes[row.iter().position(|(number, _)| *number == lane)?];
            let (n, slot) = wish.lane;
            let quote = wish.offer.quote(slot, wish.used + taken[lane] * UNITS, weights);
            taken[lane] += 1;
            Some((n, quote))
        });
    assigned.collect()
}

impl Wish<'_> {
    /// What its free units cost besides, one after the other.
    fn prices(&self, weights: &ChoiceWeights) -> impl Iterator<Item = i64> {
        (0..self.room).map(|nth| self.offer.load_minor(self.used + nth * UNITS, weights))
    }
}

/// The costs of the cheapest units of all that were shown, so many at most.
struct Cheapest {
    /// The dearest on top.
    costs: BinaryHeap<i64>,
    most: usize,
}

impl Cheapest {
    /// Whether what costs so much is none of them.
    fn is_dear(&self, cost: i64) -> bool {
        self.costs.len() >= self.most && self.costs.peek().is_none_or(|dearest| cost >= *dearest)
    }

    fn add(&mut self, cost: i64) {
        self.costs.push(cost);
        if self.costs.len() > self.most {
            self.costs.pop();
        }
    }
}

/// The lanes that can matter to an order among so many, cheapest first: in a cheapest assignment nobody has less than its
/// so-many-eth best unit, since one of the better ones would be free.
fn wishes<'a>(offers: &'a Offers<'a>, orders: usize, usage: &Usage<'_>, context: &Context<'_>) -> Vec<Wish<'a>> {
    let weights = &context.policy.choice;
    let mut cheapest = Cheapest {
        costs: BinaryHeap::with_capacity(orders + 1),
        most: orders,
    };
    let mut wishes: Vec<Wish<'a>> = Vec::new();
    let room_max = u32::try_from(orders).unwrap_or(u32::MAX);
    for offer in offers.iter().filter_map(|(_, _, offer)| offer.as_ref().ok()) {
        for (slot, used) in offer.slots(usage, context) {
            let own_minor = offer.unloaded_minor(slot, weights);
            // Later slots only cost more waiting.
            if cheapest.is_dear(own_minor) {
                break;
            }
            let wish = Wish {
                lane: (offer.n, slot),
                offer,
                used,
                room: (offer.capacity().saturating_sub(used) / UNITS).min(room_max),
                own_minor,
                cost_minor: own_minor.saturating_add(offer.load_minor(used, weights)),
            };
            let costs = wish.prices(weights).map(|price| own_minor.saturating_add(price));
            for cost in costs {
                if cheapest.is_dear(cost) {
                    break;
                }
                cheapest.add(cost);
            }
            wishes.push(wish);
        }
    }
    if let Some(dearest) = cheapest.costs.peek() {
        wishes.retain(|wish| wish.cost_minor <= *dearest);
    }
    let delivered_at = |wish: &Wish<'_>| wish.lane.1.max(wish.offer.earliest()) + wish.offer.way_ms;
    wishes.sort_by(|a, b| {
        let by_name = || a.offer.channel.id.cmp(&b.offer.channel.id);
        let costs = (a.cost_minor, delivered_at(a)).cmp(&(b.cost_minor, delivered_at(b)));
        costs.then_with(by_name)
    });
    wishes
}
