//! Orders that come together: assigned together, so that scarce capacity is not spent on the first comer.

use super::memo::Memo;
use super::offer::UNITS;
use super::usage::{Promised, Usage};
use super::{Assignment, Choice, Offers, lanes, offers, ranked};
use domain::channel::Channel;
use domain::entity::Context;
use domain::order::Details;
use std::sync::Arc;

/// Most orders that are assigned together; of more, each so many by themselves.
pub const BATCH_MAX: usize = 64;
/// Most offers that are weighed in one batch: whoever waits for it waits for all of them.
const OFFERS_MAX: usize = 3_200;

/// How many of the orders that wait should be assigned together, the first ones, by how many channels serve each: at most
/// [`BATCH_MAX`], and fewer where many channels serve them, so that no batch takes long. At least one, if any waits.
pub fn batch_len(serving: impl Iterator<Item = usize>) -> usize {
    let mut offers = 0;
    let fits = |(at, channels): &(usize, usize)| {
        offers += channels;
        *at == 0 || offers <= OFFERS_MAX
    };
    serving.take(BATCH_MAX).enumerate().take_while(fits).count()
}

/// Chooses for orders that come together, as [`super::choose`] does for one: a channel and slot for each such that
/// together they cost least, and never more than if each in its turn had taken what is best for it. What is promised is
/// not given away again. Pure, and the same for the same arguments; choices are in the order of `orders`.
pub fn choose_batch(
    orders: &[&Details],
    channels: &[Arc<Channel>],
    promised: &Promised,
    context: &Context<'_>,
) -> Vec<Choice> {
    let memo = Memo::new(channels.len(), orders);
    let offers: Vec<Offers<'_>> = orders
        .iter()
        .map(|details| offers(details, channels, &memo, context))
        .collect();
    let mut usage = Usage::of_many(promised, channels.len());
    let mut assigned: Vec<Assignment> = vec![None; orders.len()];
    // Who has no rival takes what is best for it.
    for group in rivals(&offers, channels.len()).iter().filter(|group| group.len() > 1) {
        for part in group.chunks(BATCH_MAX) {
            let theirs: Vec<&Offers<'_>> = part.iter().map(|&order| &offers[order]).collect();
            let found = lanes::assign(&theirs, &usage, context);
            for found in &found {
                take(*found, channels, &mut usage);
            }
            for (&order, found) in part.iter().zip(found) {
                assigned[order] = found;
            }
        }
    }
    let choices = offers.iter().zip(&assigned).map(|(offers, own)| {
        // As the others leave it.
        give_back(*own, channels, &mut usage);
        let choice = ranked(offers, &usage, context, *own);
        take(*own, channels, &mut usage);
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

fn take(assigned: Assignment, channels: &[Arc<Channel>], usage: &mut Usage<'_>) {
    if let Some((n, quote)) = assigned {
        usage.take(n, &channels[n], quote.slot, UNITS);
    }
}

fn give_back(assigned: Assignment, channels: &[Arc<Channel>], usage: &mut Usage<'_>) {
    if let Some((n, quote)) = assigned {
        usage.give_back(n, &channels[n], quote.slot, UNITS);
    }
}
