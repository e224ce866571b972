//! What was taken in and is not done: per line, in order, how many events of each row are still to be acknowledged.

use domain::ids::Position;
use domain::shard::ShardId;
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

/// Beyond this many events nothing more is taken in.
const EVENTS_MAX: usize = 16_384;
/// Beyond this many bytes of messages nothing more is taken in.
const BYTES_MAX: usize = 32 << 20;
/// Beyond this many rows nothing more is taken in: one event may hold up many rows without any.
const ROWS_MAX: usize = 131_072;

/// A ticket goes with a message through the producer in the place of a pointer.
const _: () = assert!(usize::BITS >= 64, "a ticket holds a shard, a turn and a position");
const POSITION_BITS: u32 = 44;
const TURN_BITS: u32 = 8;

/// Names a row as it was taken in: its shard, its position, and how often the line had been forgotten by then (of which
/// the last bits are enough). There are at most 2^12 shards, and no line ever gets as long as 2^44 rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(usize);

impl Ticket {
    fn of(shard: ShardId, turn: u8, position: Position) -> Self {
        let position = usize::try_from(position.0).unwrap_or(usize::MAX) & ((1 << POSITION_BITS) - 1);
        let line = (usize::from(shard.0) << TURN_BITS) | usize::from(turn);
        Self((line << POSITION_BITS) | position)
    }

    pub(super) const fn from_opaque(opaque: usize) -> Self {
        Self(opaque)
    }

    pub(super) const fn opaque(self) -> usize {
        self.0
    }

    pub(super) fn shard(self) -> ShardId {
        ShardId(u16::try_from(self.0 >> (POSITION_BITS + TURN_BITS)).unwrap_or(u16::MAX))
    }

    fn turn(self) -> u8 {
        u8::try_from((self.0 >> POSITION_BITS) & ((1 << TURN_BITS) - 1)).unwrap_or(u8::MAX)
    }

    fn position(self) -> Position {
        Position((self.0 & ((1 << POSITION_BITS) - 1)) as u64)
    }
}

/// What an acknowledgement brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Whether all of the row has arrived.
    pub(super) row: bool,
    /// The line is done up to here, if that changed.
    pub(super) done: Option<Position>,
    /// When the row's commit was known.
    pub(super) committed: Option<Instant>,
}

struct OpenRow {
    position: Position,
    /// Events that are not acknowledged yet, sent or not.
    pending: usize,
    bytes: usize,
    committed: Option<Instant>,
}

/// The open rows of a line, and how often it was forgotten.
#[derive(Default)]
struct Line {
    turn: u8,
    rows: VecDeque<OpenRow>,
}

/// The rows that are under way.
#[derive(Default)]
pub(super) struct Window {
    lines: HashMap<ShardId, Line>,
    rows: usize,
    events: usize,
    bytes: usize,
}

impl Window {
    /// The ticket of a row that is about to be taken in.
    pub(super) fn ticket(&self, shard: ShardId, position: Position) -> Ticket {
        Ticket::of(shard, self.lines.get(&shard).map_or(0, |line| line.turn), position)
    }

    /// Takes a row in, the next of its line, with so many events. Whether the line is done up to it already: it has none,
    /// and nothing before it is open.
    pub(super) fn open(&mut self, ticket: Ticket, events: usize, committed: Option<Instant>) -> bool {
        let rows = &mut self.lines.entry(ticket.shard()).or_default().rows;
        if events == 0 && rows.is_empty() {
            return true;
        }
        rows.push_back(OpenRow {
            position: ticket.position(),
            pending: events,
            bytes: 0,
            committed,
        });
        self.rows += 1;
        self.events += events;
        false
    }

    /// Forgets a line that was lost: its tickets are void, and its next row may be any.
    pub(super) fn forget(&mut self, shard: ShardId) {
        let Some(line) = self.lines.get_mut(&shard) else { return };
        line.turn = line.turn.wrapping_add(1);
        for row in line.rows.drain(..) {
            self.rows -= 1;
            self.events -= row.pending;
            self.bytes -= row.bytes;
        }
    }

    /// An event of the row was sent, as so many bytes.
    pub(super) fn sent(&mut self, ticket: Ticket, bytes: usize) {
        if let Some(row) = row(&mut self.lines, ticket) {
            row.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// An event of the row is delivered. `None` if the row is not open.
    pub(super) fn acknowledge(&mut self, ticket: Ticket) -> Option<Acknowledged> {
        let row = row(&mut self.lines, ticket).filter(|row| row.pending > 0)?;
        row.pending -= 1;
        self.events -= 1;
        let committed = row.committed;
        if row.pending > 0 {
            return Some(Acknowledged {
                row: false,
                done: None,
                committed,
            });
        }
        self.bytes -= std::mem::take(&mut row.bytes);
        let rows = &mut self.lines.entry(ticket.shard()).or_default().rows;
        let mut done = None;
        while rows.front().is_some_and(|row| row.pending == 0) {
            done = rows.pop_front().map(|row| row.position);
            self.rows -= 1;
        }
        Some(Acknowledged {
            row: true,
            done,
            committed,
        })
    }

    /// Whether more may be taken in.
    pub(super) const fn has_room(&self) -> bool {
        self.events < EVENTS_MAX && self.bytes < BYTES_MAX && self.rows < ROWS_MAX
    }

    /// Events that are not acknowledged yet.
    pub(super) const fn events(&self) -> usize {
        self.events
    }

    /// The lines that have open rows.
    pub(super) fn lines(&self) -> impl Iterator<Item = ShardId> {
        let open = self.lines.iter().filter(|(_, line)| !line.rows.is_empty());
        open.map(|(shard, _)| *shard)
    }
}

/// An open row. A line has no gaps, so its place follows from its position.
fn row(lines: &mut HashMap<ShardId, Line>, ticket: Ticket) -> Option<&mut OpenRow> {
    let line = lines
        .get_mut(&ticket.shard())
        .filter(|line| line.turn == ticket.turn())?;
    let first = line.rows.front()?.position;
    let place = ticket.position().0.checked_sub(first.0)?;
    line.rows.get_mut(usize::try_from(place).ok()?)
}

#[cfg(test)]
mod tests;
