//! What must always hold, looked at with the eyes of the store: at every commit, and at the end. The predicates are those
//! of `domain::invariants`, where there are any.

use super::kinds::{Facts, State};
use super::participants::Participants;
use super::store::{Append, Store};
use domain::channel::Channel;
use domain::ids::{Epoch, OrderId, Seq, StreamId};
use domain::invariants::{self, Deed, Invariant, Violation};
use domain::order::{self, Order};
use domain::ports::StreamKind;
use domain::saga::{EffectKey, Step};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use domain::time::Timestamp;
use domain::zone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
struct Head {
    state: State,
    rows: u64,
    /// The last activation that committed.
    activation: u64,
}

#[derive(Debug)]
pub(super) struct Checker {
    heads: BTreeMap<StreamId, Head>,
    unsettled: BTreeSet<StreamId>,
    settled: BTreeSet<OrderId>,
    /// The last epoch of each shard, and who had each.
    epochs: Vec<Epoch>,
    owners: BTreeMap<(ShardId, Epoch), Arc<str>>,
    /// Which order a key brought about.
    keys: BTreeMap<String, StreamId>,
    /// The last activation of a stream that each process has begun from the store.
    begun: BTreeMap<(StreamId, Arc<str>), u64>,
    acknowledged: BTreeMap<String, StreamId>,
    capacity: u32,
    pub(super) found: Vec<Violation>,
}

impl Checker {
    pub(super) fn new(map: ShardMap, capacity: u32) -> Self {
        Self {
            heads: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            settled: BTreeSet::new(),
            epochs: map.all().map(|_| Epoch(0)).collect(),
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            begun: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            capacity,
            found: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, invariant: Invariant, detail: String) {
        self.found.push(Violation { invariant, detail });
    }

    pub(super) fn state(&self, stream: StreamId) -> Option<&State> {
        self.heads.get(&stream).map(|head| &head.state)
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Order> {
        self.unsettled.iter().filter_map(|stream| self.state(*stream)?.order())
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = order::OrderStatus> {
        let orders = self.heads.values().filter_map(|head| head.state.order());
        orders.map(|order| order.status)
    }

    /// The store has given shards to a process. LS-1.
    pub(super) fn owned(&mut self, name: &Arc<str>, owned: &[OwnedShard]) {
        for line in owned {
            let last = &mut self.epochs[usize::from(line.shard.0)];
            if line.epoch <= *last {
                let detail = format!("shard {} went from epoch {} to {}", line.shard, last.0, line.epoch.0);
                self.found.push(Violation {
                    invariant: Invariant::Ls1,
                    detail,
                });
            }
            *last = line.epoch;
            self.owners.insert((line.shard, line.epoch), name.clone());
        }
    }

    /// A row is about to be written. LS-2, LS-3, SG-2, SG-4, EV-1, CP-1, CP-2, and the order's own ledger. Returns the state
    /// after it.
    pub(super) fn row(&mut self, from: &Arc<str>, row: &Append, epoch: Epoch, end: u64) -> Option<State> {
        if row.epoch != epoch {
            let detail = format!(
                "{from} writes shard {} in epoch {} of {}",
                row.shard, row.epoch.0, epoch.0
            );
            self.report(Invariant::Ls2, detail);
        }
        if self.owners.get(&(row.shard, row.epoch)) != Some(from) {
            let detail = format!("{from} writes shard {} in an epoch that is another's", row.shard);
            self.report(Invariant::Ls3, detail);
        }
        if row.position.0 != end + 1 {
            let detail = format!("shard {}: position {} after {end}", row.shard, row.position.0);
            self.report(Invariant::Ev2, detail);
        }
        let head = self.heads.get(&row.stream);
        let (known, last) = head.map_or((0, 0), |head| (head.rows, head.activation));
        let before = head.map(|head| head.state.clone());
        if row.seq.0 != known + 1 {
            self.report(
                Invariant::Sg4,
                format!("{} has version {} after {known}", row.stream, row.seq),
            );
        }
        if row.activation < last {
            let detail = format!("{}: activation {} writes after {last}", row.stream, row.activation);
            self.report(Invariant::Ls3, detail);
        }
        if let Some(begun) = self
            .begun
            .get(&(row.stream, from.clone()))
            .filter(|begun| row.activation < **begun)
        {
            let detail = format!(
                "{}: activation {} writes what {begun} of {from} did not find",
                row.stream, row.activation
            );
            self.report(Invariant::Ls3, detail);
        }
        let state = match State::after(before.as_ref(), &row.facts, row.at) {
            Ok(state) => state,
            Err(illegal) => {
                self.report(Invariant::Sg4, illegal.to_string());
                return None;
            }
        };
        if let Some(snapshot) = &row.snapshot
            && *snapshot != state
        {
            self.report(
                Invariant::Ev1,
                format!("{}: the snapshot of {} is another state", row.stream, row.seq),
            );
        }
        self.key(row);
        self.transitions(before.as_ref(), row);
        self.heads.insert(
            row.stream,
            Head {
                state: state.clone(),
                rows: row.seq.0,
                activation: row.activation,
            },
        );
        match &state {
            State::Order(order) => self.order(order),
            State::Channel(channel) => self.channel(channel),
            State::Zone(_) => {}
        }
        Some(state)
    }

    fn key(&mut self, row: &Append) {
        let Some((_, key)) = &row.claim else { return };
        if let Some(first) = self.keys.get(key).filter(|first| **first != row.stream) {
            let detail = format!("key {key} brought about {first} and {}", row.stream);
            self.report(Invariant::Sg2, detail);
        }
        self.keys.insert(key.clone(), row.stream);
    }

    /// SG-4: each event's change of status is one of the table.
    fn transitions(&mut self, before: Option<&State>, row: &Append) {
        let Facts::Order(events) = &*row.facts else { return };
        let mut state = before.cloned();
        for event in events {
            let was = state.as_ref().and_then(State::order).map(|order| order.status);
            let one = Facts::Order(vec![event.clone()]);
            let Ok(next) = State::after(state.as_ref(), &one, row.at) else {
                return;
            };
            let is = next.order().map(|order| order.status);
            if let (Some(was), Some(is)) = (was, is)
                && was != is
                && !was.may_become(is)
            {
                self.report(Invariant::Sg4, format!("{}: {was} became {is}", row.stream));
            }
            state = Some(next);
        }
    }

    fn order(&mut self, order: &Arc<Order>) {
        let stream = order.id.stream();
        if order.is_settled() {
            self.unsettled.remove(&stream);
            self.settled.insert(order.id);
            self.found.extend(invariants::ledger(order));
            self.reserved(&BTreeSet::from([order.id]));
        } else {
            self.unsettled.insert(stream);
        }
        let channels = self.heads.values().filter_map(|head| head.state.channel());
        let found = channels.flat_map(|channel| invariants::nothing_for_refused(channel, order));
        self.found.extend(found.collect::<Vec<_>>());
    }

    fn channel(&mut self, channel: &Channel) {
        self.found.extend(invariants::capacity(channel, self.capacity));
        self.found.extend(invariants::nothing_reserved(channel, &self.settled));
        let taking = channel.ledger.claims().filter(|(_, claim)| claim.state.takes());
        let orders: BTreeSet<OrderId> = taking.map(|(key, _)| key.order).collect();
        let orders = orders.iter().filter_map(|order| self.state(order.stream())?.order());
        let found = orders.flat_map(|order| invariants::nothing_for_refused(channel, order));
        self.found.extend(found.collect::<Vec<_>>());
    }

    /// CP-2: no channel keeps anything for these.
    fn reserved(&mut self, settled: &BTreeSet<OrderId>) {
        let channels = self.heads.values().filter_map(|head| head.state.channel());
        let found = channels.flat_map(|channel| invariants::nothing_reserved(channel, settled));
        self.found.extend(found.collect::<Vec<_>>());
    }

    /// An activation of a process asks for its stream: from now on those before it write no more. LS-3.
    pub(super) fn begun(&mut self, name: &Arc<str>, stream: StreamId, activation: u64) {
        self.begun.insert((stream, name.clone()), activation);
    }

    /// Somebody loads a stream. EV-1: what is read is what was written.
    pub(super) fn loaded(&mut self, loaded: Option<&(State, Seq, Seq)>) {
        let Some((state, seq, _)) = loaded else { return };
        let stream = match state {
            State::Order(order) => order.id.stream(),
            State::Channel(channel) => channel.id.stream(),
            State::Zone(zone) => zone.id.stream(),
        };
        let fits = self
            .heads
            .get(&stream)
            .is_some_and(|head| head.state == *state && head.rows == seq.0);
        if !fits {
            self.report(
                Invariant::Ev1,
                format!("{stream} is read as another state than was written"),
            );
        }
    }

    /// A client was told that its order is accepted. SG-1, SG-2.
    pub(super) fn acknowledged(&mut self, key: &str, stream: StreamId) {
        if !self.heads.contains_key(&stream) {
            self.report(Invariant::Sg1, format!("{stream} was acknowledged and does not exist"));
        }
        let first = *self.acknowledged.entry(key.to_owned()).or_insert(stream);
        if first != stream {
            self.report(
                Invariant::Sg2,
                format!("key {key} was answered with {first} and {stream}"),
            );
        }
    }

    /// When everything should be over.
    pub(super) fn finish(&mut self, store: &Store, participants: &Participants) {
        let mut found: Vec<Violation> = Vec::new();
        let mut settled: BTreeSet<OrderId> = BTreeSet::new();
        let mut orders: Vec<&Order> = Vec::new();
        for (stream, head) in &self.heads {
            let rows = store.streams.get(stream).map_or(&[][..], |stream| &stream.rows[..]);
            let rows: Vec<(Timestamp, Facts)> = rows.iter().map(|row| (row.at, (*row.facts).clone())).collect();
            found.extend(head.state.replays(&rows).err());
            let Some(order) = head.state.order() else { continue };
            orders.push(order);
            settled.insert(order.id);
            found.extend(invariants::settled(order));
            let events: Vec<order::Event> = order_events(&rows);
            found.extend(invariants::reverse_order(order, &events));
            let seqs: Vec<Seq> = (1..=rows.len() as u64).map(Seq).collect();
            found.extend(invariants::gapless(order.id, &seqs));
        }
        found.extend(self.books(store, participants, &orders));
        for head in self.heads.values() {
            if let Some(channel) = head.state.channel() {
                let reserved = invariants::nothing_reserved(channel, &settled);
                found.extend(reserved);
            }
            if let Some(zone) = head.state.zone()
                && let Some((key, _)) = zone.jobs.iter().next()
            {
                found.push(Violation {
                    invariant: Invariant::Pt1,
                    detail: format!("a courier still has {key}"),
                });
            }
        }
        for stream in self
            .acknowledged
            .values()
            .filter(|stream| !self.heads.contains_key(stream))
        {
            found.push(Violation {
                invariant: Invariant::Sg1,
                detail: format!("{stream} was acknowledged and does not exist"),
            });
        }
        self.found.extend(found);
    }

    /// PT-1, PY-1: what the participants did is what the orders know of.
    fn books(&self, store: &Store, participants: &Participants, orders: &[&Order]) -> Vec<Violation> {
        let deeds = participants.deeds();
        let jobs = jobs(store);
        let mut found = Vec::new();
        for order in orders {
            let of = |deeds: &BTreeMap<EffectKey, Deed>| -> BTreeMap<EffectKey, Deed> {
                let mine = deeds.iter().filter(|(key, _)| key.order == order.id);
                mine.map(|(key, deed)| (*key, *deed)).collect()
            };
            let (outside, zone) = (of(&deeds), of(&jobs));
            for step in [Step::Authorize, Step::Capture, Step::PlaceTicket] {
                found.extend(invariants::agrees(order, step, &outside));
            }
            found.extend(invariants::agrees(order, Step::Dispatch, &zone));
        }
        let strangers = deeds.keys().filter(|key| !self.heads.contains_key(&key.order.stream()));
        found.extend(strangers.map(|key| Violation {
            invariant: Invariant::Pt1,
            detail: format!("{key} was done for an order that does not exist"),
        }));
        found
    }
}

fn order_events(rows: &[(Timestamp, Facts)]) -> Vec<order::Event> {
    let events = rows.iter().filter_map(|(_, facts)| match facts {
        Facts::Order(events) => Some(events.clone()),
        _ => None,
    });
    events.flatten().collect()
}

/// What the zones did, by their own logs.
fn jobs(store: &Store) -> BTreeMap<EffectKey, Deed> {
    let mut deeds: BTreeMap<EffectKey, Deed> = BTreeMap::new();
    let zones = store.streams.values().filter(|stream| stream.kind == StreamKind::Zone);
    for row in zones.flat_map(|stream| &stream.rows) {
        let Facts::Zone(events) = &*row.facts else { continue };
        for event in events {
            match event {
                zone::Event::JobAssigned { key, .. } => deeds.entry(*key).or_default().done += 1,
                zone::Event::JobOver {
                    key, delivered: false, ..
                } => {
                    // Called off again after it was forgotten, there is nothing left to undo.
                    let deed = deeds.entry(*key).or_default();
                    deed.undone = deed.done;
                }
                _ => {}
            }
        }
    }
    deeds
}
