//! An assignment of orders to units of capacity at least cost: a linear assignment problem, solved by the algorithm of Jonker
//! and Volgenant ("A shortest augmenting path algorithm for dense and sparse linear assignment problems", 1987).
//!
//! A column is one unit of a slot; the k-th unit of a slot is dearer than the one before, as the load is. The cheapest
//! units go first, so what is assigned costs the same in any order.

use super::Offers;
use super::offer::{Offer, Quote, UNITS};
use super::usage::Usage;
use domain::entity::Context;
use domain::time::Timestamp;
use lapjv::{Matrix, lapjv};
use std::collections::BTreeMap;

/// Most units to choose from: with the rows of those who get nothing, a square of at most so many and the orders.
const COLUMNS_MAX: usize = 256;
/// What costs more is taken to cost this.
const COST_MAX: i64 = 10_000_000_000;
/// What it costs to have nothing: more than anything that can be saved by it.
const NOTHING: f64 = 1e12;
/// What an order cannot have: dearer than nothing, of which there is enough for all. Sums of these are still exact.
const FORBIDDEN: f64 = 4e12;

/// A slot of a channel, by its number.
type Lane = (usize, Timestamp);

/// What an order can have: each lane, with its offer and the units of it that are taken.
type Lanes<'a> = BTreeMap<Lane, (&'a Offer<'a>, u32)>;

/// The assignment of least cost; `None`: there are too many units to choose from.
pub(super) fn assign(
    group: &[&Offers<'_>],
    usage: &Usage<'_>,
    context: &Context<'_>,
) -> Option<Vec<Option<(usize, Quote)>>> {
    let weights = &context.policy.choice;
    let lanes: Vec<Lanes<'_>> = group.iter().map(|offers| lanes(offers, usage, context)).collect();
    let mut columns: BTreeMap<Lane, u32> = BTreeMap::new();
    for lanes in &lanes {
        for (lane, units) in wanted(lanes, group.len(), usage, context) {
            let most = columns.entry(lane).or_default();
            *most = units.max(*most);
        }
    }
    let units: usize = columns.values().map(|units| *units as usize).sum();
    if units > COLUMNS_MAX {
        return None;
    }
    let (orders, size) = (group.len(), units + group.len());
    let mut costs = Matrix::zeros((size, size));
    for (row, lanes) in lanes.iter().enumerate() {
        let mut cells = columns.iter().flat_map(|(lane, units)| {
            let found = lanes.get(lane);
            (0..*units).map(move |nth| {
                let (offer, used) = found?;
                Some(offer.total_minor(&offer.quote(lane.1, used + nth * UNITS, weights)))
            })
        });
        for column in 0..units {
            costs[(row, column)] = cells.next().flatten().map_or(FORBIDDEN, minor);
        }
        for column in units..size {
            costs[(row, column)] = NOTHING;
        }
    }
    let (column_of, _) = lapjv(&costs).ok()?;
    let units_of: Vec<(Lane, u32)> = columns
        .into_iter()
        .flat_map(|(lane, units)| (0..units).map(move |nth| (lane, nth)))
        .collect();
    let assigned = column_of.iter().take(orders).zip(&lanes).map(|(&column, lanes)| {
        let (lane, nth) = units_of.get(column)?;
        let (offer, used) = lanes.get(lane)?;
        Some((lane.0, offer.quote(lane.1, used + nth * UNITS, weights)))
    });
    Some(assigned.collect())
}

/// Whole numbers this small are exact.
#[allow(clippy::cast_precision_loss)]
fn minor(total: i64) -> f64 {
    total.clamp(0, COST_MAX) as f64
}

fn lanes<'a>(offers: &'a Offers<'a>, usage: &Usage<'_>, context: &Context<'_>) -> Lanes<'a> {
    let offers = offers.iter().filter_map(|(_, _, offer)| offer.as_ref().ok());
    let lanes = offers.flat_map(|offer| {
        let slots = offer.slots(usage, context).unwrap_or_default();
        let lane = |slot| ((offer.n, slot), (offer, usage.used(offer.n, offer.channel, slot)));
        slots.into_iter().map(lane).collect::<Vec<_>>()
    });
    lanes.collect()
}

/// How many units of which lanes can matter to an order among so many: in a cheapest assignment nobody has less than its
/// so-many-eth best unit, since one of the better ones would be free.
fn wanted(lanes: &Lanes<'_>, orders: usize, usage: &Usage<'_>, context: &Context<'_>) -> BTreeMap<Lane, u32> {
    let weights = &context.policy.choice;
    let cost = |offer: &Offer<'_>, slot, used| offer.total_minor(&offer.quote(slot, used, weights));
    let mut firsts: Vec<(i64, Lane)> = lanes
        .iter()
        .map(|(&lane, (offer, used))| (cost(offer, lane.1, *used), lane))
        .collect();
    firsts.sort_unstable();
    firsts.truncate(orders);
    let most = u32::try_from(orders).unwrap_or(u32::MAX);
    let mut units: Vec<(i64, Lane, u32)> = Vec::new();
    for (_, lane) in firsts {
        let (offer, used) = lanes[&lane];
        let room = offer.room(lane.1, usage) / UNITS;
        units.extend((0..room.min(most)).map(|nth| (cost(offer, lane.1, used + nth * UNITS), lane, nth)));
    }
    units.sort_unstable();
    units.truncate(orders);
    let mut wanted = BTreeMap::new();
    for (_, lane, nth) in units {
        let units = wanted.entry(lane).or_insert(0);
        *units = (nth + 1).max(*units);
    }
    wanted
}
