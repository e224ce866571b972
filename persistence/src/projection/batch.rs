//! Changes that are gathered, and what is made of them.

use super::change::OrderChange;
use super::stuck::StuckOrders;
use domain::ids::{OrderId, Position, Seq, StreamId};
use domain::ports::Row;
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How far a batch moves a line's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMove {
    /// Which line.
    pub shard: ShardId,
    /// From here: the batch holds what comes after it.
    pub from: Position,
    /// To here, inclusive.
    pub to: Position,
    /// The stream of the row there. With its version it names the row for ever, so that a copy of another line, or of
    /// this one from before a restored backup, can be told from it.
    pub stream: StreamId,
    /// That row's version.
    pub seq: Seq,
}

/// What is written at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// One change for each order, by id.
    pub orders: Vec<OrderChange>,
    /// The lines that it moves, by shard.
    pub lines: Vec<LineMove>,
}

/// Rows on their way into a batch: at once reduced to what they change, one change for each order.
#[derive(Debug, Default)]
pub struct Pending {
    orders: HashMap<OrderId, OrderChange>,
    lines: BTreeMap<ShardId, LineMove>,
    rows: u64,
    poison: u64,
    oldest: Option<Timestamp>,
}

impl Pending {
    /// Takes a row in. Rows of one line come in position order and without leaving one out; the first comes `after` where
    /// the projection is on that line, which need not be the position before: what lay between may be deleted since. One
    /// that cannot be read is logged, counted and passed over. `stuck`: the orders of the line that are stuck before it,
    /// and then those after it.
    pub fn take_in(&mut self, shard: ShardId, after: Position, row: &Row, stuck: &mut StuckOrders) {
        let (position, stream, seq) = (row.position, row.stream, row.seq);
        let line = self.lines.entry(shard).or_insert(LineMove {
            shard,
            from: after,
            to: position,
            stream,
            seq,
        });
        (line.to, line.stream, line.seq) = (position, stream, seq);
        self.rows += 1;
        self.oldest = Some(self.oldest.map_or(row.at, |oldest| oldest.min(row.at)));
        match OrderChange::of(row, stuck.get(&OrderId(row.stream))) {
            Ok(None) => {}
            Ok(Some(change)) => {
                match &change.stuck {
                    Some(none) if none.is_empty() => drop(stuck.remove(&change.order)),
                    Some(some) => drop(stuck.insert(change.order, some.clone())),
                    None => {}
                }
                if let Some(known) = self.orders.get_mut(&change.order) {
                    known.then(change);
                } else {
                    self.orders.insert(change.order, change);
                }
            }
            Err(error) => {
                self.poison += 1;
                tracing::error!(%shard, position = position.0, %stream, %error, "a row cannot be projected and is passed over");
            }
        }
    }

    /// Forgets what was taken in of some lines, since others own them now. The figures of rows stay.
    pub fn forget(&mut self, shards: &BTreeSet<ShardId>, map: ShardMap) {
        if self.lines.keys().any(|shard| shards.contains(shard)) {
            self.lines.retain(|shard, _| !shards.contains(shard));
            self.orders
                .retain(|order, _| !shards.contains(&map.shard_of(order.stream())));
        }
    }

    /// How many orders are changed.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// How many rows were taken in.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// How many of them could not be read.
    pub const fn poison(&self) -> u64 {
        self.poison
    }

    /// When the oldest of them was decided.
    pub const fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The batch.
    pub fn into_batch(self) -> Batch {
        let mut orders: Vec<OrderChange> = self.orders.into_values().collect();
        orders.sort_unstable_by_key(|change| change.order);
        Batch {
            orders,
            lines: self.lines.into_values().collect(),
        }
    }
}
