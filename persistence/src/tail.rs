//! The tail: the end of each shard's position line, kept in memory for those who follow it (relay, projection,
//! webhooks), so that what was just committed need not be read back. Whoever is further behind reads the store.
//!
//! *Architecture invariant*: a row is here only after its commit, and a line has no gaps.

use domain::ids::Position;
use domain::ports::{Append, Row, Store, StoreError};
use domain::shard::ShardId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a row costs in memory beside its events, roughly.
const ROW_BYTES: usize = 160;

/// A committed row as a follower gets it.
#[derive(Debug)]
pub struct TailRow {
    /// The shard whose line it is on.
    pub shard: ShardId,
    /// The row.
    pub row: Row,
    /// When this process learned of its commit; `None` when it was read from the store.
    pub committed: Option<Instant>,
}

/// The ends of the lines that this node owns. Written by the journal alone.
pub struct Tail {
    store: Arc<dyn Store>,
    lines: Box<[Mutex<Line>]>,
    line_bytes_max: usize,
    changed_tx: watch::Sender<()>,
}

/// A line that this node owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldLine {
    pub(crate) shard: ShardId,
    /// How often this node has adopted the shard. Between two adoptions others may have owned it, so what was known about
    /// those who follow it is void.
    pub(crate) generation: u64,
    /// Where it ends.
    pub(crate) end: Position,
}

#[derive(Default)]
struct Line {
    /// Whether this node owns the shard, and so knows where its line ends.
    held: bool,
    generation: u64,
    end: Position,
    recent: VecDeque<Arc<TailRow>>,
    bytes: usize,
}

/// Where the rows after a position are.
enum Place {
    Nowhere,
    Memory(Vec<Arc<TailRow>>),
    Store,
}

impl Tail {
    /// A tail of a node that owns no shards yet, which keeps about `bytes_max` bytes of rows if it owns all.
    pub(crate) fn new(store: &Arc<dyn Store>, bytes_max: usize) -> Self {
        let map = store.shard_map();
        Self {
            store: Arc::clone(store),
            lines: map.all().map(|_| Mutex::default()).collect(),
            line_bytes_max: bytes_max / usize::from(map.len()),
            changed_tx: watch::Sender::new(()),
        }
    }

    /// A line is this node's, and ends there. Says how often it has been by now; 0: the store has no such line.
    pub(crate) fn adopt(&self, shard: ShardId, end: Position) -> u64 {
        let generation = self.line(shard).map_or(0, |mut line| {
            // What was committed before under another epoch may be missing here.
            *line = Line {
                held: true,
                generation: line.generation + 1,
                end,
                ..Line::default()
            };
            line.generation
        });
        // Those who follow may be far from its end.
        self.changed_tx.send_replace(());
        generation
    }

    /// A line is no longer this node's: nobody here follows it any more.
    pub(crate) fn lose(&self, shard: ShardId) {
        if let Some(mut line) = self.line(shard) {
            *line = Line {
                generation: line.generation,
                ..Line::default()
            };
        }
        self.changed_tx.send_replace(());
    }

    /// Rows were committed; in position order within each shard.
    pub(crate) fn push(&self, rows: impl IntoIterator<Item = Append>) {
        let now = Instant::now();
        for append in rows {
            let Some(mut line) = self.line(append.shard) else {
                continue;
            };
            if line.held {
                line.push(append, now, self.line_bytes_max);
            }
        }
        self.changed_tx.send_replace(());
    }

    /// Resolves when something was committed, or a line adopted or lost, after the last look.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed_tx.subscribe()
    }

    /// The lines that this node owns, and where they end.
    pub fn ends(&self) -> Vec<(ShardId, Position)> {
        self.held().map(|line| (line.shard, line.end)).collect()
    }

    /// The lines that this node owns, by shard.
    pub(crate) fn held(&self) -> impl Iterator<Item = HeldLine> {
        self.store.shard_map().all().filter_map(|shard| {
            let line = self.line(shard).filter(|line| line.held)?;
            Some(HeldLine {
                shard,
                generation: line.generation,
                end: line.end,
            })
        })
    }

    /// Rows after a position in position order, at most `limit`; none for a line that is not this node's. At once
    /// unless the follower is so far behind that the store must be read.
    ///
    /// # Errors
    /// The store must be read and is away or corrupt.
    pub async fn read(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Arc<TailRow>>, StoreError> {
        match self.place(shard, after, limit) {
            Place::Nowhere => Ok(Vec::new()),
            Place::Memory(rows) => Ok(rows),
            Place::Store => {
                let rows = self.store.positions(shard, after, limit).await?;
                let found = |row| {
                    Arc::new(TailRow {
                        shard,
                        row,
                        committed: None,
                    })
                };
                Ok(rows.into_iter().map(found).collect())
            }
        }
    }

    /// Rows after a position as far as they are in memory; `None` when the store must be read for them.
    pub(crate) fn recent(&self, shard: ShardId, after: Position, limit: usize) -> Option<Vec<Arc<TailRow>>> {
        match self.place(shard, after, limit) {
            Place::Nowhere => Some(Vec::new()),
            Place::Memory(rows) => Some(rows),
            Place::Store => None,
        }
    }

    fn place(&self, shard: ShardId, after: Position, limit: usize) -> Place {
        let Some(line) = self.line(shard).filter(|line| line.held && line.end > after) else {
            return Place::Nowhere;
        };
        let first = line
            .recent
            .front()
            .map_or(Position(u64::MAX), |first| first.row.position);
        if first.0 > after.0 + 1 {
            return Place::Store;
        }
        let skipped = usize::try_from(after.0 + 1 - first.0).unwrap_or(usize::MAX);
        Place::Memory(line.recent.iter().skip(skipped).take(limit).cloned().collect())
    }

    fn line(&self, shard: ShardId) -> Option<MutexGuard<'_, Line>> {
        let line = self.lines.get(usize::from(shard.0))?;
        Some(line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    fn push(&mut self, append: Append, now: Instant, bytes_max: usize) {
        if append.position.0 != self.end.0 + 1 {
            // What lies between is in the store, not here.
            self.recent.clear();
            self.bytes = 0;
        }
        self.end = append.position;
        self.bytes += append.events.len() + ROW_BYTES;
        self.recent.push_back(Arc::new(TailRow {
            shard: append.shard,
            row: Row {
                stream: append.stream,
                kind: append.kind,
                seq: append.seq,
                position: append.position,
                at: append.at,
                events: append.events,
            },
            committed: Some(now),
        }));
        while self.bytes > bytes_max {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.bytes -= oldest.row.events.len() + ROW_BYTES;
        }
    }
}

#[cfg(test)]
mod tests;
