//! The position lines that a writer keeps: which rows are let in, under which epoch and number, and what is sent again when a
//! commit was lost. The journal and the simulator follow it.

use crate::ids::{Epoch, Position};
use crate::shard::{OwnedShard, ShardId};
use std::collections::HashMap;

/// How often a row that is alone is sent while its commit is lost and turns out not to have happened.
const LONE_ATTEMPTS_MAX: u32 = 3;

/// The end of a shard's position line, and the epoch under which it is written.
#[derive(Clone, Copy, Debug)]
struct Line {
    epoch: Epoch,
    end: Position,
    /// Which of the writer's adoptions of the shard it is.
    generation: u64,
}

/// The lines of the shards that a writer has.
#[derive(Debug, Default)]
pub struct Lines {
    lines: HashMap<ShardId, Line>,
}

impl Lines {
    /// Takes a shard in, for whose line nobody else numbers rows from now on. `generation` tells this adoption from those
    /// before it.
    pub fn adopt(&mut self, owned: &OwnedShard, generation: u64) {
        let line = Line {
            epoch: owned.epoch,
            end: owned.position,
            generation,
        };
        self.lines.insert(owned.shard, line);
    }

    /// Gives a shard up: its rows are let in no more. Whether it was there.
    pub fn remove(&mut self, shard: ShardId) -> bool {
        self.lines.remove(&shard).is_some()
    }

    /// The shards that are there, in no order.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.lines.keys().copied()
    }

    /// Numbers the rows of one batch. They become final only when it is committed ([`Lines::committed`]), so the numbers of
    /// one that was not are free again.
    pub fn numbering(&self) -> Numbering<'_> {
        Numbering {
            lines: self,
            ends: HashMap::new(),
        }
    }

    /// The row of a batch at this position is committed. In the order of the positions.
    pub fn committed(&mut self, shard: ShardId, position: Position) {
        if let Some(line) = self.lines.get_mut(&shard) {
            line.end = position;
        }
    }

    /// The shard was taken once more, to find out about a commit: what the line holds is the truth from now on, under the
    /// new epoch. Returns where the line was thought to end if it ends before that: the store has lost committed rows.
    ///
    /// Since no two processes have the same name, a shard whose owner is still called like this node was nobody else's
    /// in between, however often its epoch was incremented by attempts whose answer was lost as well.
    pub fn renew(&mut self, owned: &OwnedShard) -> Option<Position> {
        let line = self.lines.get_mut(&owned.shard)?;
        let lost = Some(line.end).filter(|end| owned.position < *end);
        (line.epoch, line.end) = (owned.epoch, owned.position);
        lost
    }
}

/// The numbers of a batch's rows, as they are given out.
#[derive(Debug)]
pub struct Numbering<'a> {
    lines: &'a Lines,
    ends: HashMap<ShardId, Position>,
}

impl Numbering<'_> {
    /// Epoch and position of the next row of a shard that was appended under this adoption of it; `None` if the shard is
    /// not there, or was gone in between.
    pub fn next(&mut self, shard: ShardId, generation: u64) -> Option<(Epoch, Position)> {
        let line = self.lines.lines.get(&shard)?;
        if line.generation != generation {
            return None;
        }
        let end = self.ends.entry(shard).or_insert(line.end);
        end.0 += 1;
        Some((line.epoch, *end))
    }
}

/// What is done with rows whose commit was lost and has not happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They are sent in halves, so that one that ends its connection each time is soon alone.
    InHalves,
    /// It is sent as it is.
    AsItIs,
    /// It is not written; it could be later.
    Never,
}

impl Again {
    /// For so many rows, which were sent and lost so many times before while they were as few as they are.
    pub const fn of(rows: usize, attempts: u32) -> Self {
        if rows > 1 {
            Self::InHalves
        } else if attempts + 1 < LONE_ATTEMPTS_MAX {
            Self::AsItIs
        } else {
            Self::Never
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(shard: u16, epoch: u64, position: u64) -> OwnedShard {
        OwnedShard {
            shard: ShardId(shard),
            epoch: Epoch(epoch),
            position: Position(position),
        }
    }

    #[test]
    fn numbers_follow_each_other_and_are_free_again_until_they_are_committed() {
        let mut lines = Lines::default();
        lines.adopt(&owned(1, 5, 10), 1);
        lines.adopt(&owned(2, 7, 0), 1);
        for _ in 0..2 {
            let mut numbering = lines.numbering();
            assert_eq!(numbering.next(ShardId(1), 1), Some((Epoch(5), Position(11))));
            assert_eq!(numbering.next(ShardId(2), 1), Some((Epoch(7), Position(1))));
            assert_eq!(numbering.next(ShardId(1), 1), Some((Epoch(5), Position(12))));
        }
        lines.committed(ShardId(1), Position(11));
        assert_eq!(lines.numbering().next(ShardId(1), 1), Some((Epoch(5), Position(12))));
    }

    #[test]
    fn rows_of_shards_that_went_are_not_let_in_even_if_they_came_back() {
        let mut lines = Lines::default();
        assert_eq!(lines.numbering().next(ShardId(1), 1), None);
        lines.adopt(&owned(1, 5, 10), 1);
        assert!(lines.remove(ShardId(1)) && !lines.remove(ShardId(1)));
        lines.adopt(&owned(1, 6, 10), 2);
        assert_eq!(lines.numbering().next(ShardId(1), 1), None);
        assert_eq!(lines.numbering().next(ShardId(1), 2), Some((Epoch(6), Position(11))));
    }

    #[test]
    fn a_line_that_was_taken_again_goes_on_where_it_is() {
        let mut lines = Lines::default();
        lines.adopt(&owned(1, 5, 10), 3);
        assert_eq!(lines.renew(&owned(1, 8, 12)), None);
        assert_eq!(lines.numbering().next(ShardId(1), 3), Some((Epoch(8), Position(13))));
        assert_eq!(lines.renew(&owned(1, 9, 11)), Some(Position(12)), "a row is lost");
        assert_eq!(lines.renew(&owned(2, 1, 1)), None, "none of ours");
    }

    #[test]
    fn lost_rows_are_sent_again_in_halves_and_alone_a_few_times() {
        assert_eq!(Again::of(2, 9), Again::InHalves);
        let alone: Vec<Again> = (0..3).map(|attempts| Again::of(1, attempts)).collect();
        assert_eq!(alone, [Again::AsItIs, Again::AsItIs, Again::Never]);
    }
}
