//! A follower: somebody who handles each committed row at least once, in position order within each shard, and keeps a
//! cursor in the store so that it goes on after a restart where it was.
//!
//! Lines come and go with the shards of this node. A line that was lost is forgotten: others may move its cursor on. When
//! it is adopted again it begins where its cursor is then. So on every line each owner begins where the last one is known
//! to have been, and a row is passed over only by somebody who said that it is [`done`](Follower::done).

use crate::tail::{HeldLine, Tail, TailRow};
use domain::ids::Position;
use domain::ports::{Store, StoreError};
use domain::shard::ShardId;
use metrics::{Gauge, Unit, describe_gauge, gauge};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Lines that are read from the store in one round: whoever is far behind catches up a few lines at a time.
const STORE_READS_MAX: usize = 8;

/// One follower's place on every line. Owned by the task that handles the rows.
pub struct Follower {
    tail: Arc<Tail>,
    store: Arc<dyn Store>,
    name: &'static str,
    cursors: Cursors,
    changed_rx: watch::Receiver<()>,
    places: HashMap<ShardId, Place>,
    /// What was done on lines that were lost before it was saved.
    parting: BTreeMap<ShardId, Position>,
    /// Lines that were forgotten, until somebody asks.
    forgotten: BTreeSet<ShardId>,
    /// Rows that were read and not handed out yet.
    gathered: Vec<Arc<TailRow>>,
    /// Which line is looked at first, so that none waits behind the others for ever.
    first: usize,
    /// Whether the last look found nothing that it did not hand out.
    is_level: bool,
    lag: Gauge,
}

/// Who keeps the cursors.
enum Cursors {
    /// The store; and which lines they are being read for. Reading goes on when a look is given up half-way: whoever
    /// looks again and again for a moment would never learn them otherwise.
    InStore(Option<Reading>),
    /// Whoever made the follower, who places the lines.
    Elsewhere,
}

struct Reading {
    lines: Vec<Unplaced>,
    cursors: JoinHandle<Result<Vec<(ShardId, Position)>, StoreError>>,
}

/// A line of which the follower does not know yet where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplaced {
    shard: ShardId,
    generation: u64,
}

impl Unplaced {
    /// Which line.
    pub const fn shard(self) -> ShardId {
        self.shard
    }
}

#[derive(Clone, Copy)]
struct Place {
    /// The adoption of the line that it is of.
    generation: u64,
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
        let mut follower = Self::new(tail, store, name, Cursors::InStore(None));
        let held = follower.held();
        follower.read_cursors(&held).await?;
        Ok(follower)
    }

    /// A follower of that name whose cursors are kept elsewhere, together with what is made of the rows. Nothing of a
    /// line is handed out before it has its [`place`](Self::place), and there is nothing to [`save`](Self::save).
    pub fn at(tail: &Arc<Tail>, store: &Arc<dyn Store>, name: &'static str) -> Self {
        Self::new(tail, store, name, Cursors::Elsewhere)
    }

    fn new(tail: &Arc<Tail>, store: &Arc<dyn Store>, name: &'static str, cursors: Cursors) -> Self {
        describe_gauge!(
            "uoop_follower_lag_rows",
            Unit::Count,
            "Committed rows that a follower has not handled yet"
        );
        Self {
            changed_rx: tail.changes(),
            tail: Arc::clone(tail),
            store: Arc::clone(store),
            name,
            cursors,
            places: HashMap::new(),
            parting: BTreeMap::new(),
            forgotten: BTreeSet::new(),
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

    /// Lines that were lost since this was asked last, also if they are this node's again: what was handed out of them and
    /// is not done was handed out in vain, and comes again to whoever owns them. They are noticed when rows are looked
    /// for, so whoever remembers rows asks between that and taking the new ones.
    pub fn forgotten(&mut self) -> BTreeSet<ShardId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Lines that wait to be told where they begin. Their cursors must be read after this was asked.
    pub fn unplaced(&mut self) -> Vec<Unplaced> {
        let held = self.held();
        self.without_place(&held)
    }

    /// Begins a line behind this position.
    pub fn place(&mut self, line: Unplaced, position: Position) {
        let place = Place {
            generation: line.generation,
            read: position,
            done: position,
            saved: position,
        };
        self.places.insert(line.shard, place);
    }

    /// The lines that are this node's now, by shard. Forgets what was known of others, or of an earlier adoption.
    fn held(&mut self) -> Vec<HeldLine> {
        let held: Vec<HeldLine> = self.tail.held().collect();
        let generation = |shard| {
            let at = held.binary_search_by_key(&shard, |line: &HeldLine| line.shard).ok()?;
            held.get(at).map(|line| line.generation)
        };
        self.places.retain(|shard, place| {
            let is_same = generation(*shard) == Some(place.generation);
            if !is_same {
                self.forgotten.insert(*shard);
                if place.done > place.saved {
                    let parting = self.parting.entry(*shard).or_default();
                    *parting = place.done.max(*parting);
                }
            }
            is_same
        });
        if !self.forgotten.is_empty() {
            self.gathered.retain(|row| self.places.contains_key(&row.shard));
        }
        held
    }

    fn without_place(&self, held: &[HeldLine]) -> Vec<Unplaced> {
        let unplaced = |line: &HeldLine| Unplaced {
            shard: line.shard,
            generation: line.generation,
        };
        let is_unplaced = |line: &&HeldLine| self.place_of(line).is_none();
        held.iter().filter(is_unplaced).map(unplaced).collect()
    }

    /// Places the lines that have none, if the store keeps the cursors. Cancel safe.
    async fn read_cursors(&mut self, held: &[HeldLine]) -> Result<(), StoreError> {
        // More than once if lines were adopted while the cursors of others were read.
        loop {
            let lines = self.without_place(held);
            let Cursors::InStore(reading) = &mut self.cursors else {
                return Ok(());
            };
            if lines.is_empty() && reading.is_none() {
                return Ok(());
            }
            let (store, name) = (&self.store, self.name);
            let reading_now = reading.get_or_insert_with(|| Reading {
                lines,
                cursors: tokio::spawn({
                    let store = Arc::clone(store);
                    async move { store.cursors(name).await }
                }),
            });
            let read = (&mut reading_now.cursors).await;
            let lines = std::mem::take(&mut reading_now.lines);
            *reading = None;
            let died = |error| StoreError::Unavailable(format!("cursors could not be read: {error}"));
            let cursors: HashMap<ShardId, Position> = read.map_err(died)??.into_iter().collect();
            for line in lines {
                self.place(line, cursors.get(&line.shard).copied().unwrap_or_default());
            }
        }
    }

    async fn gather(&mut self, rows_max: usize) -> Result<(), StoreError> {
        self.is_level = false;
        let held = self.held();
        self.read_cursors(&held).await?;
        self.show_lag(&held);
        self.gather_from(&held, rows_max).await?;
        let is_read = |line: &HeldLine| self.place_of(line).is_some_and(|at| at.read >= line.end);
        self.is_level = held.iter().all(is_read);
        Ok(())
    }

    /// The place on a line, if it is of the same adoption.
    fn place_of(&self, line: &HeldLine) -> Option<&Place> {
        let place = self.places.get(&line.shard);
        place.filter(|place| place.generation == line.generation)
    }

    async fn gather_from(&mut self, held: &[HeldLine], rows_max: usize) -> Result<(), StoreError> {
        if held.is_empty() {
            return Ok(());
        }
        self.first = (self.first + 1) % held.len();
        let mut store_reads = 0;
        for line in held.iter().cycle().skip(self.first).take(held.len()) {
            let room = rows_max.saturating_sub(self.gathered.len());
            if room == 0 {
                break;
            }
            let Some(after) = self.place_of(line).map(|place| place.read) else {
                continue;
            };
            if after >= line.end {
                continue;
            }
            let rows = match self.tail.recent(line.shard, after, room) {
                Some(rows) => rows,
                None if store_reads == STORE_READS_MAX => continue,
                None => {
                    store_reads += 1;
                    self.tail.read(line.shard, after, room).await?
                }
            };
            if let (Some(last), Some(place)) = (rows.last(), self.places.get_mut(&line.shard)) {
                place.read = last.row.position;
            }
            self.gathered.extend(rows);
        }
        Ok(())
    }

    /// Everything of a shard up to this position is handled. That stays true when its line is lost, so its cursor is then
    /// still moved: the new owner's may be behind.
    pub fn done(&mut self, shard: ShardId, position: Position) {
        let done = match self.places.get_mut(&shard) {
            Some(place) => &mut place.done,
            None => self.parting.entry(shard).or_default(),
        };
        *done = position.max(*done);
    }

    /// Hands the rows of a shard that are not handled out again.
    pub fn rewind(&mut self, shard: ShardId) {
        self.gathered.retain(|row| row.shard != shard);
        if let Some(place) = self.places.get_mut(&shard) {
            place.read = place.done;
        }
    }

    /// Keeps in the store what is handled. Rows handled since the last call come again after a crash. No cursor moves
    /// backward, so whoever owned a line before does its new owner no harm.
    ///
    /// # Errors
    /// The store is away; the call may be repeated.
    pub async fn save(&mut self) -> Result<(), StoreError> {
        // Whoever can take no more rows for now does not look for them, and lags all the same.
        let held = self.held();
        self.show_lag(&held);
        if matches!(self.cursors, Cursors::Elsewhere) {
            self.parting.clear();
            return Ok(());
        }
        let moved = self.places.iter().filter(|(_, place)| place.done > place.saved);
        let mut moved: BTreeMap<ShardId, Position> = moved.map(|(shard, place)| (*shard, place.done)).collect();
        for (shard, position) in &self.parting {
            let to = moved.entry(*shard).or_default();
            *to = (*to).max(*position);
        }
        if moved.is_empty() {
            return Ok(());
        }
        let moved: Vec<(ShardId, Position)> = moved.into_iter().collect();
        self.store.advance(self.name, &moved).await?;
        self.parting.clear();
        for (shard, position) in moved {
            if let Some(place) = self.places.get_mut(&shard) {
                place.saved = position.max(place.saved);
            }
        }
        Ok(())
    }

    /// Committed rows that are not handled yet, over all lines of this node. Of a line whose cursor is not known yet: all
    /// that it ever held.
    pub fn lag_rows(&self) -> u64 {
        let done = |line: &HeldLine| self.place_of(line).map_or(0, |place| place.done.0);
        self.tail
            .held()
            .map(|line| line.end.0.saturating_sub(done(&line)))
            .sum()
    }

    fn show_lag(&self, held: &[HeldLine]) {
        let lag = |line: &HeldLine| Some(line.end.0.saturating_sub(self.place_of(line)?.done.0));
        let rows: u64 = held.iter().filter_map(lag).sum();
        self.lag.set(u32::try_from(rows).unwrap_or(u32::MAX));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Cursors::InStore(Some(reading)) = &self.cursors {
            reading.cursors.abort();
        }
    }
}

#[cfg(test)]
mod tests;
