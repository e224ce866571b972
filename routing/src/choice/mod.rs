//! Which channel makes an order: the feasible one that costs least in all, counting what it costs us, the customer's
//! waiting, the capacity it takes from others, and how far it can be relied on.

mod assignment;
mod batch;
mod lanes;
mod memo;
mod offer;
mod usage;

pub use batch::{BATCH_MAX, batch_len, choose_batch};
pub use usage::Promised;

use domain::channel::Channel;
use domain::entity::Context;
use domain::order::Details;
use domain::saga::{Candidate, Infeasible};
use memo::Memo;
use offer::{Offer, Quote};
use std::sync::Arc;
use usage::Usage;

/// Most candidates kept with an order: the chosen one and its alternates.
const CANDIDATES_MAX: usize = 5;
/// Most channels kept with an order that are not among them.
const OTHERS_MAX: usize = 100;

/// What was chosen, and why the others were not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// The feasible channels, best first, at most five.
    pub candidates: Vec<Candidate>,
    /// The others, at most a hundred, with the reason.
    pub infeasible: Vec<Infeasible>,
}

/// Chooses among the channels that serve the order's restaurant; those that do not are passed over. Pure; the time is
/// linear in the number of channels.
pub fn choose(details: &Details, channels: &[Arc<Channel>], context: &Context<'_>) -> Choice {
    let promised = Promised::default();
    let usage = Usage::new(&promised);
    let memo = Memo::new(0, &[]);
    ranked(&offers(details, channels, &memo, context), &usage, context, None)
}

/// Each serving channel's offer, or why it makes none, by its place among the channels.
type Offers<'a> = Vec<(usize, &'a Channel, Result<Offer<'a>, String>)>;

fn offers<'a>(details: &Details, channels: &'a [Arc<Channel>], memo: &Memo<'_>, context: &Context<'_>) -> Offers<'a> {
    let look = memo.of(details);
    let serving = channels
        .iter()
        .enumerate()
        .filter(|(_, channel)| channel.config.serves.contains(&details.restaurant_id));
    serving
        .map(|(n, channel)| (n, &**channel, Offer::new(details, channel, n, &look, context)))
        .collect()
}

/// What an order is given: a channel, by its number, and a slot of it; `None`: nothing is left.
type Assignment = Option<(usize, Quote)>;

/// A channel's best slot as things stand.
struct Bid<'a> {
    offer: &'a Offer<'a>,
    quote: Quote,
    total_minor: i64,
}

/// The choice as things stand; `taken`: the channel and slot that the order has already, which come first.
fn ranked(offers: &Offers<'_>, usage: &Usage<'_>, context: &Context<'_>, taken: Assignment) -> Choice {
    let mut choice = Choice::default();
    let mut bids = Vec::with_capacity(offers.len());
    for (n, channel, offer) in offers {
        let bid = offer.as_ref().map_err(Clone::clone).and_then(|offer| {
            let own = taken.filter(|(taken, _)| taken == n).map(|(_, quote)| quote);
            let quote = own.map_or_else(|| offer.best(usage, context), Ok)?;
            let total_minor = offer.total_minor(&quote);
            Ok(Bid {
                offer,
                quote,
                total_minor,
            })
        });
        match bid {
            Ok(bid) => bids.push(bid),
            Err(why) => choice.infeasible.push(Infeasible {
                channel: channel.id.clone(),
                why,
            }),
        }
    }
    let is_taken = |bid: &Bid<'_>| taken.is_some_and(|(n, _)| n == bid.offer.n);
    // The same sum twice: the earlier of them; the same moment twice: by name, so that nothing is left to chance.
    bids.sort_by(|a, b| {
        let key = |bid: &Bid<'_>| (!is_taken(bid), bid.total_minor, bid.quote.ready_at + bid.offer.way_ms);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.offer.channel.id.cmp(&b.offer.channel.id))
    });
    choice.infeasible.truncate(OTHERS_MAX);
    let best = bids.first().map_or(0, |bid| bid.total_minor);
    let (chosen, others) = bids.split_at(bids.len().min(CANDIDATES_MAX));
    choice.candidates = chosen.iter().map(|bid| bid.offer.candidate(&bid.quote)).collect();
    let room = OTHERS_MAX - choice.infeasible.len();
    choice.infeasible.extend(others.iter().take(room).map(|bid| {
        let total = bid.total_minor;
        Infeasible {
            channel: bid.offer.channel.id.clone(),
            why: format!("could make it, but counts {total} against {best}"),
        }
    }));
    choice
}
