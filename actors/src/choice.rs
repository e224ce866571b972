//! Channel choice on this node: at once where capacity is plentiful, together with whoever else comes where it is scarce.
//!
//! Routing is settled in the order's first turn, and costs no row and no wait (ADR 0015). Only an order that could go to
//! several channels, and whose best one is nearly full, waits a moment for others, so that the last units go to those for
//! whom they save most (ADR 0023). What was promised counts as taken until this node sees it in the channel's ledger, or the
//! channel has refused it, and for a few seconds at most: the ledgers decide, and who finds a slot full goes on to the next
//! candidate.

use crate::ask::Versioned;
use crate::node::Node;
use dashmap::DashMap;
use domain::channel::Channel;
use domain::ids::{ChannelId, OrderId, Seq};
use domain::order::{Details, Order};
use domain::saga::{Answer, Candidate, Receipt, Refused};
use domain::time::Timestamp;
use routing::{Choice, Promised, batch_len};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Promises of a channel below this number are never looked through for those that have lapsed.
const PROMISES_MIN: usize = 64;

/// What this node has promised, and who waits to be assigned.
#[derive(Default)]
pub(crate) struct Chooser {
    promises: DashMap<ChannelId, Promises>,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    order: OrderId,
    details: Arc<Details>,
    reply: oneshot::Sender<Answer>,
}

/// A unit of capacity that an order was told to hold.
struct Promise {
    slot: Timestamp,
    units: u32,
    /// When it counts no more, whatever became of it.
    until: Timestamp,
    /// The version of the channel that has it in its ledger.
    kept_at: Option<Seq>,
}

/// The promises of one channel.
#[derive(Default)]
struct Promises {
    open: HashMap<OrderId, Promise>,
    by_slot: BTreeMap<Timestamp, u32>,
    /// How many there may be before they are looked through.
    most: usize,
}

impl Promises {
    fn units(&self, slot: Timestamp) -> u32 {
        self.by_slot.get(&slot).copied().unwrap_or(0)
    }

    fn add(&mut self, order: OrderId, promise: Promise, seen: Seq, now: Timestamp) {
        if self.open.len() >= self.most {
            self.forget(seen, now, &[]);
            self.most = PROMISES_MIN.max(2 * self.open.len());
        }
        self.end(order);
        *self.by_slot.entry(promise.slot).or_default() += promise.units;
        self.open.insert(order, promise);
    }

    fn end(&mut self, order: OrderId) {
        let Some(promise) = self.open.remove(&order) else {
            return;
        };
        if let Some(units) = self.by_slot.get_mut(&promise.slot) {
            *units = units.saturating_sub(promise.units);
        }
    }

    /// Forgets what is kept as of the version that is seen, what has lapsed, and the promises to some orders.
    fn forget(&mut self, seen: Seq, now: Timestamp, orders: &[OrderId]) {
        self.open.retain(|order, promise| {
            let counts = promise.until > now && promise.kept_at.is_none_or(|kept_at| kept_at > seen);
            counts && !orders.contains(order)
        });
        self.by_slot.clear();
        for promise in self.open.values() {
            *self.by_slot.entry(promise.slot).or_default() += promise.units;
        }
    }
}

impl Chooser {
    /// Promises a candidate to an order.
    fn promise(&self, node: &Node, order: OrderId, candidate: &Candidate, seen: Seq) {
        let now = node.ports.clock.now();
        let promise = Promise {
            slot: candidate.slot,
            units: candidate.units,
            until: now + node.ports.policy.internal.timeout_ms,
            kept_at: None,
        };
        let mut promises = self.promises.entry(candidate.channel.clone()).or_default();
        promises.add(order, promise, seen, now);
    }

    /// The channel has answered whether it keeps what the order was promised, if it was. `kept_at`: the version of the channel
    /// that does.
    pub(crate) fn answered(&self, node: &Node, channel: &ChannelId, order: OrderId, kept_at: Option<Seq>) {
        let Some(mut promises) = self.promises.get_mut(channel) else {
            return;
        };
        let seen = node.directory.channel(channel).map_or(Seq(0), |channel| channel.seq);
        match kept_at.filter(|kept_at| *kept_at > seen) {
            Some(kept_at) => {
                if let Some(promise) = promises.open.get_mut(&order) {
                    promise.kept_at = Some(kept_at);
                }
            }
            None => promises.end(order),
        }
    }

    /// Whether a candidate would leave less of its slot than the policy calls plenty.
    fn is_scarce(&self, node: &Node, candidate: &Candidate, channel: &Versioned<Channel>) -> bool {
        let (seen, channel) = (channel.seq, &*channel.state);
        let scarce_pct = node.ports.policy.choice.scarce_pct;
        let taken = u64::from(channel.ledger.used(candidate.slot) + candidate.units);
        let leaves_little = |promised: u32| channel.leaves_little(taken + u64::from(promised), scarce_pct);
        let Some(mut promises) = self.promises.get_mut(&channel.id) else {
            return leaves_little(0);
        };
        if !leaves_little(promises.units(candidate.slot)) {
            return false;
        }
        // Some of them may be in the ledger by now.
        promises.forget(seen, node.ports.clock.now(), &[]);
        leaves_little(promises.units(candidate.slot))
    }

    fn promised(&self, channels: &[Versioned<Channel>], orders: &[OrderId], now: Timestamp) -> Promised {
        let mut promised = Promised::default();
        for channel in channels {
            let id = &channel.state.id;
            let Some(mut open) = self.promises.get_mut(id) else {
                continue;
            };
            // An order that asks again has no use for what it was promised before.
            open.forget(channel.seq, now, orders);
            for (&slot, &units) in &open.by_slot {
                promised.add(id, slot, units);
            }
        }
        promised
    }
}

/// Chooses the channels that can make an order, and asks nobody; `None`: capacity is scarce, and others may come who need
/// it more. See [`together`].
pub(crate) fn at_once(node: &Node, order: &Order) -> Option<Answer> {
    let begun = Instant::now();
    let serving = serving(node, &order.details);
    let choice = routing::choose(&order.details, &states(&serving), &node.context());
    // Who has no alternate has nothing to leave to others.
    if let [first, _, ..] = choice.candidates.as_slice()
        && let Some(channel) = find(&serving, first)
    {
        if node.chooser.is_scarce(node, first, channel) {
            return None;
        }
        node.chooser.promise(node, order.id, first, channel.seq);
    }
    count("alone", 1, begun);
    Some(answer(choice))
}

/// Chooses for an order together with those that come within the same moment.
pub(crate) async fn together(node: &Arc<Node>, order: &Order) -> Answer {
    let (reply, answered) = oneshot::channel();
    let waiting = Waiting {
        order: order.id,
        details: Arc::clone(&order.details),
        reply,
    };
    let first = {
        let mut queue = node.chooser.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(waiting);
        queue.len() == 1
    };
    if first {
        // A task of its own: whoever came first may give up, and the others must not wait for it.
        let node = Arc::clone(node);
        tokio::spawn(async move {
            tokio::time::sleep(node.options.gather).await;
            assign(&node).await;
        });
    }
    answered
        .await
        .unwrap_or_else(|_| Answer::Failed("the assignment was not made".to_owned()))
}

/// Assigns everybody who waits, a bounded number at a time.
async fn assign(node: &Arc<Node>) {
    let mut queue = {
        let mut waiting = node.chooser.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    };
    while !queue.is_empty() {
        let serving = queue.iter().map(|waiting| serving(node, &waiting.details).len());
        let rest = queue.split_off(batch_len(serving));
        assign_batch(node, std::mem::replace(&mut queue, rest));
        tokio::task::yield_now().await;
    }
}

fn assign_batch(node: &Node, batch: Vec<Waiting>) {
    let begun = Instant::now();
    let mut channels: Vec<Versioned<Channel>> = batch
        .iter()
        .flat_map(|waiting| serving(node, &waiting.details))
        .collect();
    channels.sort_by(|a, b| a.state.id.cmp(&b.state.id));
    channels.dedup_by(|a, b| a.state.id == b.state.id);
    let context = node.context();
    let ids: Vec<OrderId> = batch.iter().map(|waiting| waiting.order).collect();
    let promised = node.chooser.promised(&channels, &ids, context.now);
    let details: Vec<&Details> = batch.iter().map(|waiting| &*waiting.details).collect();
    let choices = routing::choose_batch(&details, &states(&channels), &promised, &context);
    count("together", ids.len(), begun);
    for (waiting, choice) in batch.into_iter().zip(choices) {
        if let Some(first) = choice.candidates.first()
            && let Some(channel) = find(&channels, first)
        {
            node.chooser.promise(node, waiting.order, first, channel.seq);
        }
        // Whoever gave up asks again.
        let _ = waiting.reply.send(answer(choice));
    }
}

fn count(how: &'static str, orders: usize, begun: Instant) {
    let orders = u32::try_from(orders).unwrap_or(u32::MAX);
    metrics::counter!("uoop_channel_choices_total", "how" => how).increment(u64::from(orders));
    metrics::histogram!("uoop_channel_choice_seconds", "how" => how).record(begun.elapsed().as_secs_f64());
}

fn serving(node: &Node, details: &Details) -> Vec<Versioned<Channel>> {
    node.directory.serving(&details.restaurant_id)
}

fn states(channels: &[Versioned<Channel>]) -> Vec<Arc<Channel>> {
    channels.iter().map(|channel| Arc::clone(&channel.state)).collect()
}

fn find<'a>(channels: &'a [Versioned<Channel>], candidate: &Candidate) -> Option<&'a Versioned<Channel>> {
    channels.iter().find(|channel| channel.state.id == candidate.channel)
}

fn answer(choice: Choice) -> Answer {
    if choice.candidates.is_empty() {
        let why: Vec<String> = choice
            .infeasible
            .iter()
            .map(|no| format!("{} {}", no.channel, no.why))
            .collect();
        let detail = if why.is_empty() {
            "no channel serves the restaurant".to_owned()
        } else {
            why.join("; ")
        };
        return Answer::Refused(Refused::new("no_channel", detail));
    }
    Answer::Done(Receipt::Routed {
        candidates: choice.candidates.into(),
        infeasible: choice.infeasible.into(),
    })
}
