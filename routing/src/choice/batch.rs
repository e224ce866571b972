//! Orders that come together: assigned together, so that scarce capacity is not spent on the first comer.

use super::offer::{Quote, UNITS};
use super::usage::{Promised, Usage};
use super::{Choice, Offers, lanes, offers, ranked};
use domain::channel::Channel;
use domain::entity::Context;
use domain::order::Details;
use std::sync::Arc;

/// Most orders that are assigned together; of more, each so many by themselves.
pub const BATCH_MAX: usize = 64;

/// What an order is given: a channel, by its number, and a slot of it; `None`: nothing is left.
type Assignment = Option<(usize, Quote)>;

/// Chooses for orders that come together, as [`super::choose`] does for one: a channel and slot for each such that
/// together they cost least, and never more than if each in its turn had taken what is best for it. What is promised is
/// not given away again. Pure, and the same for the same arguments; choices are in the order of `orders`.
pub fn choose_batch(
    orders: &[&Details],
    channels: &[Arc<Channel>],
    promised: &Promised,
    context: &Context<'_>,
) -> Vec<Choice> {
    let offers: Vec<Offers<'_>> = orders
        .iter()
        .map(|details| offers(details, channels, context))
        .collect();
    let mut usage = Usage::new(promised);
    let mut assigned: Vec<Assignment> = vec![None; orders.len()];
    for group in rivals(&offers, channels.len()) {
        for part in group.chunks(BATCH_MAX) {
            let theirs: Vec<&Offers<'_>> = part.iter().map(|&order| &offers[order]).collect();
            let found = assign(&theirs, &mut usage, context);
            take(&found, &mut usage);
            for (&order, found) in part.iter().zip(found) {
                assigned[order] = found;
            }
        }
    }
    let choices = offers.iter().zip(&assigned).map(|(offers, own)| {
        // As the others leave it.
        give_back(std::slice::from_ref(own), &mut usage);
        let choice = ranked(offers, &usage, context, *own);
        take(std::slice::from_ref(own), &mut usage);
        choice
    });
    choices.collect()
}

/// The orders in groups that have no channel in common with each other.
fn rivals(offers: &[Offers<'_>], channels: usize) -> Vec<Vec<usize>> {
    let mut group_of_channel: Vec<Option<usize>> = vec![None; channels];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (order, offers) in offers.iter().enumerate() {
        let theirs = offers.iter().filter(|(_, _, offer)| offer.is_ok()).map(|(n, ..)| *n);
        let theirs: Vec<usize> = theirs.collect();
        let mut met: Vec<usize> = theirs.iter().filter_map(|&n| group_of_channel[n]).collect();
        met.sort_unstable();
        met.dedup();
        let into = met.first().copied().unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        for &other in met.iter().skip(1) {
            let moved = std::mem::take(&mut groups[other]);
            groups[into].extend(moved);
        }
        groups[into].push(order);
        for group in group_of_channel
            .iter_mut()
            .flatten()
            .filter(|group| met.contains(group))
        {
            *group = into;
        }
        for n in theirs {
            group_of_channel[n] = Some(into);
        }
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn take(assigned: &[Assignment], usage: &mut Usage<'_>) {
    for (n, quote) in assigned.iter().flatten() {
        usage.take(*n, quote.slot, UNITS);
    }
}

fn give_back(assigned: &[Assignment], usage: &mut Usage<'_>) {
    for (n, quote) in assigned.iter().flatten() {
        usage.give_back(*n, quote.slot, UNITS);
    }
}

/// The better of first come, first served, and of an assignment of all at once.
fn assign(group: &[&Offers<'_>], usage: &mut Usage<'_>, context: &Context<'_>) -> Vec<Assignment> {
    let alone: Vec<Assignment> = group.iter().map(|offers| best(offers, usage, context)).collect();
    let in_turn = one_by_one(group, usage, context);
    let cost_in_turn = cost(group, &in_turn);
    // Everybody has what each would have if it were alone: nothing can be better.
    if cost_in_turn == cost(group, &alone) {
        return in_turn;
    }
    let at_once = all_at_once(group, usage, context);
    if cost(group, &at_once) < cost_in_turn {
        at_once
    } else {
        in_turn
    }
}

/// What is best for one order as things stand.
fn best(offers: &Offers<'_>, usage: &Usage<'_>, context: &Context<'_>) -> Assignment {
    let found = offers.iter().filter_map(|(n, channel, offer)| {
        let offer = offer.as_ref().ok()?;
        let quote = offer.best(usage, context).ok()?;
        Some((
            (offer.total_minor(&quote), quote.ready_at + offer.way_ms, &channel.id),
            (*n, quote),
        ))
    });
    found.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, found)| found)
}

fn one_by_one(group: &[&Offers<'_>], usage: &mut Usage<'_>, context: &Context<'_>) -> Vec<Assignment> {
    let mut assigned = Vec::with_capacity(group.len());
    for offers in group {
        let found = best(offers, usage, context);
        take(&[found], usage);
        assigned.push(found);
    }
    give_back(&assigned, usage);
    assigned
}

/// An assignment of least cost; in halves, one after the other, when there is too much to choose from.
fn all_at_once(group: &[&Offers<'_>], usage: &mut Usage<'_>, context: &Context<'_>) -> Vec<Assignment> {
    if group.len() < 2 {
        return one_by_one(group, usage, context);
    }
    if let Some(assigned) = lanes::assign(group, usage, context) {
        return assigned;
    }
    let (first, second) = group.split_at(group.len() / 2);
    let mut assigned = all_at_once(first, usage, context);
    take(&assigned, usage);
    let rest = all_at_once(second, usage, context);
    give_back(&assigned, usage);
    assigned.extend(rest);
    assigned
}

/// How many have nothing, and what the others cost in all.
fn cost(group: &[&Offers<'_>], assigned: &[Assignment]) -> (usize, i64) {
    let costs = group.iter().zip(assigned).filter_map(|(offers, assigned)| {
        let (n, quote) = (*assigned)?;
        let (_, _, offer) = offers.iter().find(|(other, ..)| *other == n)?;
        Some(offer.as_ref().ok()?.total_minor(&quote))
    });
    let nothing = assigned.iter().filter(|assigned| assigned.is_none()).count();
    (nothing, costs.fold(0_i64, i64::saturating_add))
}
