//! A follower: somebody who handles each committed row at least once, in position order within each shard, and keeps a
//! cursor in the store so that it goes on after a restart where it was.

use crate::tail::{Tail, TailRow};
use domain::ids::Position;
use domain::ports::{Store, StoreError};
use domain::shard::ShardId;
use metrics::{Gauge, Unit, describe_gauge, gauge};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Lines that are read from the store in one round: whoever is far behind catches up a few lines at a time.
const STORE_READS_MAX: usize = 8;

/// One follower's place on every line. Owned by the task that handles the rows.
pub struct Follower {
    tail: Arc<Tail>,
    store: Arc<dyn Store>,
    name: &'static str,
    changed_rx: watch::Receiver<()>,
    places: HashMap<ShardId, Place>,
    /// Rows that were read and not handed out yet.
    gathered: Vec<Arc<TailRow>>,
    /// Which line is looked at first, so that none waits behind the others for ever.
    first: usize,
    /// Whether the last look found nothing that it did not hand out.
    is_level: bool,
    lag: Gauge,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Handed out so far.
    read: Position,
    /// Handled so far.
    done: Position,
    /// The cursor in the store.
    saved: Position,
}

impl Follower {
    /// A follower of that name, at the cursors that the store holds for it (at the beginning, if there are none).
    ///
    /// # Errors
    /// The store is away.
    pub async fn start(tail: &Arc<Tail>, store: &Arc<dyn Store>, name: &'static str) -> Result<Self, StoreError> {
        let cursors = store.cursors(name).await?;
        Ok(Self::at(tail, store, name, cursors))
    }

    /// A follower of that name at cursors that it keeps elsewhere, together with what it makes of the rows; lines that
    /// are left out are at their beginning. It has nothing to [`save`](Self::save).
    pub fn at(
        tail: &Arc<Tail>,
        store: &Arc<dyn Store>,
        name: &'static str,
        cursors: impl IntoIterator<Item = (ShardId, Position)>,
    ) -> Self {
        describe_gauge!(
            "uoop_follower_lag_rows",
            Unit::Count,
            "Committed rows that a follower has not handled yet"
        );
        let at = |position| Place {
            read: position,
            done: position,
            saved: position,
        };
        Self {
            changed_rx: tail.changes(),
            tail: Arc::clone(tail),
            store: Arc::clone(store),
            name,
            places: cursors
                .into_iter()
                .map(|(shard, position)| (shard, at(position)))
                .collect(),
            gathered: Vec::new(),
            first: 0,
            is_level: false,
            lag: gauge!("uoop_follower_lag_rows", "follower" => name),
        }
    }

    /// The next rows, about `rows_max` of them, from as many lines as have some; waits until there are any. Rows of one
    /// shard are in position order and without gaps. Cancel safe.
    ///
    /// # Errors
    /// The store must be read and is away or corrupt; the call may be repeated.
    pub async fn next(&mut self, rows_max: usize) -> Result<Vec<Arc<TailRow>>, StoreError> {
        loop {
            // Seen before the lines are looked at: what is committed meanwhile brings another look.
            self.changed_rx.borrow_and_update();
            self.gather(rows_max).await?;
            if !self.gathered.is_empty() {
                return Ok(std::mem::take(&mut self.gathered));
            }
            if self.changed_rx.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next rows as [`next`](Self::next) gives them, or none if there are none. Cancel safe.
    ///
    /// # Errors
    /// The store must be read and is away or corrupt; the call may be repeated.
    pub async fn look(&mut self, rows_max: usize) -> Result<Vec<Arc<TailRow>>, StoreError> {
        self.gather(rows_max).await?;
        Ok(std::mem::take(&mut self.gathered))
    }

    /// Whether all that was there when the last look began is handed out.
    pub const fn is_level(&self) -> bool {
        self.is_level
    }

    async fn gather(&mut self, rows_max: usize) -> Result<(), StoreError> {
        let ends = self.tail.ends();
        self.show_lag(&ends);
        self.is_level = false;
        self.gather_from(&ends, rows_max).await?;
        let is_read = |(shard, end): &(ShardId, Position)| self.places.get(shard).map_or(0, |at| at.read.0) >= end.0;
        self.is_level = ends.iter().all(is_read);
        Ok(())
    }

    async fn gather_from(&mut self, ends: &[(ShardId, Position)], rows_max: usize) -> Result<(), StoreError> {
        if ends.is_empty() {
            return Ok(());
        }
        self.first = (self.first + 1) % ends.len();
        let mut store_reads = 0;
        for (shard, end) in ends.iter().cycle().skip(self.first).take(ends.len()) {
            let room = rows_max.saturating_sub(self.gathered.len());
            if room == 0 {
                break;
            }
            let after = self.places.entry(*shard).or_default().read;
            if after >= *end {
                continue;
            }
            let rows = match self.tail.recent(*shard, after, room) {
                Some(rows) => rows,
                None if store_reads == STORE_READS_MAX => continue,
                None => {
                    store_reads += 1;
                    self.tail.read(*shard, after, room).await?
                }
            };
            if let Some(last) = rows.last() {
                self.places.entry(*shard).or_default().read = last.row.position;
            }
            self.gathered.extend(rows);
        }
        Ok(())
    }

    /// Everything of a shard up to this position is handled.
    pub fn done(&mut self, shard: ShardId, position: Position) {
        let place = self.places.entry(shard).or_default();
        place.done = place.done.max(position);
    }

    /// Hands the rows of a shard that are not handled out again.
    pub fn rewind(&mut self, shard: ShardId) {
        self.gathered.retain(|row| row.shard != shard);
        let place = self.places.entry(shard).or_default();
        place.read = place.done;
    }

    /// Keeps in the store what is handled. Rows handled since the last call come again after a crash.
    ///
    /// # Errors
    /// The store is away; the call may be repeated.
    pub async fn save(&mut self) -> Result<(), StoreError> {
        let moved: Vec<(ShardId, Position)> = self
            .places
            .iter()
            .filter(|(_, place)| place.done > place.saved)
            .map(|(shard, place)| (*shard, place.done))
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        self.store.advance(self.name, &moved).await?;
        for (shard, position) in moved {
            self.places.entry(shard).or_default().saved = position;
        }
        Ok(())
    }

    /// Committed rows that are not handled yet, over all lines.
    pub fn lag_rows(&self) -> u64 {
        self.lag_behind(&self.tail.ends())
    }

    fn lag_behind(&self, ends: &[(ShardId, Position)]) -> u64 {
        let done = |shard| self.places.get(shard).map_or(0, |place| place.done.0);
        ends.iter().map(|(shard, end)| end.0.saturating_sub(done(shard))).sum()
    }

    fn show_lag(&self, ends: &[(ShardId, Position)]) {
        self.lag.set(u32::try_from(self.lag_behind(ends)).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests;
