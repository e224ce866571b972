//! Which rows still have messages on their way: neither taken by their endpoints nor kept in the store.
//!
//! A follower's cursor may only move past a row when everything of it is settled. Messages settle in any order, since one
//! endpoint is quicker than another; only the rows that still have some are remembered, and the queues bound those.

use domain::ids::Position;
use domain::shard::ShardId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// A row, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: ShardId,
    pub(super) position: Position,
}

/// The rows with messages on their way, and how many each has.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<HashMap<ShardId, BTreeMap<Position, usize>>>);

impl Unsettled {
    /// A message of a row is on its way.
    pub(super) fn add(&self, place: Place) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *lines.entry(place.shard).or_default().entry(place.position).or_default() += 1;
    }

    /// A message of a row is taken, or kept in the store.
    pub(super) fn settle(&self, place: Place) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&place.shard) else {
            return;
        };
        if let Some(count) = line.get_mut(&place.position) {
            *count -= 1;
            if *count == 0 {
                line.remove(&place.position);
            }
        }
    }

    /// Up to where everything is settled, when rows were looked at up to `read`.
    pub(super) fn settled_up_to(&self, shard: ShardId, read: Position) -> Position {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = lines.get(&shard).and_then(BTreeMap::first_key_value);
        first.map_or(read, |(position, _)| read.min(Position(position.0.saturating_sub(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shard: u16, position: u64) -> Place {
        Place {
            shard: ShardId(shard),
            position: Position(position),
        }
    }

    #[test]
    fn a_line_is_settled_up_to_the_first_row_that_is_not() {
        let unsettled = Unsettled::default();
        let upto = |shard, read| unsettled.settled_up_to(ShardId(shard), Position(read)).0;
        assert_eq!(upto(1, 9), 9, "nothing is on its way");
        for position in [3, 5, 5, 8] {
            unsettled.add(place(1, position));
        }
        assert_eq!((upto(1, 9), upto(1, 1), upto(2, 9)), (2, 1, 9));
        unsettled.settle(place(1, 8));
        assert_eq!(upto(1, 9), 2, "later rows do not matter");
        unsettled.settle(place(1, 3));
        assert_eq!(upto(1, 9), 4);
        unsettled.settle(place(1, 5));
        assert_eq!(upto(1, 9), 4, "one of its messages is still on its way");
        unsettled.settle(place(1, 5));
        assert_eq!(upto(1, 9), 9);
        unsettled.settle(place(1, 5));
        unsettled.settle(place(7, 1));
        assert_eq!(upto(1, 9), 9, "settled twice is settled");
    }
}
