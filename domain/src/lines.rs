//! The position lines that a writer keeps: which rows are let in, under which epoch and number, and what becomes of a batch
//! whose commit was lost or refused. The journal and the simulator follow it.

use crate::ids::{Epoch, Position};
use crate::ports::Refusal;
use crate::shard::{OwnedShard, ShardId};
use std::collections::{BTreeMap, HashMap};

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

    /// The shards of a lost batch were taken once more, those at least that are still this node's (`owned`): what their lines
    /// hold is the truth from now on, under the new epochs. The others are to be given up.
    ///
    /// Since no two processes have the same name, a shard whose owner is still called like this node was nobody else's
    /// in between, however often its epoch was incremented by attempts whose answer was lost as well.
    pub fn taken_again(&mut self, shards: impl IntoIterator<Item = ShardId>, owned: &[OwnedShard]) -> TakenAgain {
        let mut taken = TakenAgain::default();
        for shard in shards {
            match owned.iter().find(|line| line.shard == shard) {
                Some(line) => taken.shorter.extend(self.renew(line).map(|end| (*line, end))),
                None => taken.lost.push(shard),
            }
        }
        taken
    }

    /// Returns where the line was thought to end if it ends before that.
    fn renew(&mut self, owned: &OwnedShard) -> Option<Position> {
        let line = self.lines.get_mut(&owned.shard)?;
        let lost = Some(line.end).filter(|end| owned.position < *end);
        (line.epoch, line.end) = (owned.epoch, owned.position);
        lost
    }
}

/// What became of shards that were taken once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenAgain {
    /// They are another's by now.
    pub lost: Vec<ShardId>,
    /// Lines that end before where they were thought to end: the store has lost committed rows.
    pub shorter: Vec<(OwnedShard, Position)>,
}

/// A part of a shard's position line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The position before its first row.
    pub after: Position,
    /// How many rows it has.
    pub rows: usize,
}

/// Where the rows of a lost batch are, if it was committed: what the lines hold there tells what became of it. The rows of
/// each shard have been numbered without gaps.
pub fn sections(places: impl IntoIterator<Item = (ShardId, Position)>) -> BTreeMap<ShardId, Section> {
    let mut sections = BTreeMap::new();
    for (shard, position) in places {
        let after = Position(position.0.saturating_sub(1));
        let section = sections.entry(shard).or_insert(Section { after, rows: 0 });
        section.after = section.after.min(after);
        section.rows += 1;
    }
    sections
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

/// What is done with rows that the store refused together: it takes all of a batch or nothing, and says why, not because of
/// which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The row is alone, so it is the one: whoever appended it is told.
    Refused,
    /// The keys of all rows are looked up, and those whose key is used are told; [`Others`] says what is done with the rest.
    LookUp,
    /// They are sent in halves, the first one first.
    InHalves,
}

impl Apart {
    /// For so many rows. Used keys are looked up since clients that retry send many of them at a time; of anything else there
    /// is one row, as a rule.
    pub const fn of(rows: usize, refusal: &Refusal) -> Self {
        match refusal {
            _ if rows <= 1 => Self::Refused,
            Refusal::DuplicateKey => Self::LookUp,
            Refusal::DuplicateSeq | Refusal::Poison(_) => Self::InHalves,
        }
    }
}

/// What is done with the others when those whose key is used have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They are sent together.
    Together,
    /// They are sent in halves, the first one first.
    InHalves,
}

impl Others {
    /// After so many were told. If there was none, two rows of the batch have the same key, or the store could not be read.
    pub const fn after(told: usize) -> Self {
        if told > 0 { Self::Together } else { Self::InHalves }
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
        let (mine, other) = (ShardId(1), ShardId(2));
        let taken = lines.taken_again([mine, other], &[owned(1, 8, 12)]);
        assert_eq!((taken.lost, taken.shorter), (vec![other], vec![]));
        assert_eq!(lines.numbering().next(ShardId(1), 3), Some((Epoch(8), Position(13))));
        let taken = lines.taken_again([mine], &[owned(1, 9, 11), owned(2, 1, 1)]);
        assert_eq!(taken.shorter, [(owned(1, 9, 11), Position(12))], "a row is lost");
        assert_eq!(lines.shards().collect::<Vec<_>>(), [mine], "none of ours");
    }

    #[test]
    fn rows_are_looked_for_where_they_would_be() {
        let places = [(2, 1), (1, 8), (2, 2), (1, 7), (1, 9)];
        let sections = sections(places.map(|(shard, position)| (ShardId(shard), Position(position))));
        let section = |after, rows| Section {
            after: Position(after),
            rows,
        };
        assert_eq!(
            sections,
            BTreeMap::from([(ShardId(1), section(6, 3)), (ShardId(2), section(0, 2))])
        );
    }

    #[test]
    fn lost_rows_are_sent_again_in_halves_and_alone_a_few_times() {
        assert_eq!(Again::of(2, 9), Again::InHalves);
        let alone: Vec<Again> = (0..3).map(|attempts| Again::of(1, attempts)).collect();
        assert_eq!(alone, [Again::AsItIs, Again::AsItIs, Again::Never]);
    }
    #[test]
    fn a_refused_row_that_is_alone_is_told_whatever_the_reason() {
        for refusal in [
            Refusal::DuplicateKey,
            Refusal::DuplicateSeq,
            Refusal::Poison(String::new()),
        ] {
            assert_eq!(Apart::of(1, &refusal), Apart::Refused, "{refusal}");
        }
    }

    #[test]
    fn refused_rows_in_company_are_told_apart_by_their_keys_or_by_halves() {
        assert_eq!(Apart::of(2, &Refusal::DuplicateKey), Apart::LookUp);
        assert_eq!(Apart::of(2, &Refusal::DuplicateSeq), Apart::InHalves);
        assert_eq!(
            Apart::of(1_024, &Refusal::Poison("a strange character".into())),
            Apart::InHalves
        );
        assert_eq!(Others::after(1), Others::Together);
        assert_eq!(
            Others::after(0),
            Others::InHalves,
            "together they would be refused for ever"
        );
    }
}
