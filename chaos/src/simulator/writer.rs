//! The journal's writer as a machine without input or output: what it is told goes in, what it wants of the store comes
//! out. The protocol is that of `persistence/src/journal/writer.rs`, and what is let in, numbered, told apart and sent again is
//! decided by the same code ([`domain::lines`]); a batch whose commit is unknown is found out about under a new epoch.

use super::Broken;
use super::queue::Time;
use super::store::{Append, CommitError, Key, LineRow, Reply, Request};
use domain::ids::Position;
use domain::lines::{Again, Apart, Lines, Others, sections};
use domain::ports::{Refusal, RowOutcome};
use domain::shard::{OwnedShard, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most rows of a batch.
const BATCH_ROWS_MAX: usize = 1_024;
const BACKOFF_FIRST_MS: Time = 20;
const BACKOFF_MS_MAX: Time = 1_000;

/// What becomes of an append. Always certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    Committed,
    Fenced,
    Refused(Refusal),
    Unavailable,
}

/// What the writer wants next.
#[derive(Debug)]
pub(super) enum Want {
    Nothing,
    Ask(Request),
    Pause(Time),
}

#[derive(Debug, Default)]
struct Batch {
    rows: Vec<Append>,
    attempts: u32,
}

impl Batch {
    const fn of(rows: Vec<Append>) -> Self {
        Self { rows, attempts: 0 }
    }

    fn shards(&self) -> Vec<ShardId> {
        let shards: BTreeSet<_> = self.rows.iter().map(|row| row.shard).collect();
        shards.into_iter().collect()
    }

    fn halves(mut self) -> (Self, Self) {
        let second = self.rows.split_off(self.rows.len().div_ceil(2));
        (Self::of(self.rows), Self::of(second))
    }
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Committing(Batch),
    Acquiring(Batch),
    Reading(Batch, Vec<OwnedShard>),
    /// Looking up which keys of a refused batch are used.
    LookingUp(Batch),
    /// Until the pause is over; then what was wanted is wanted again.
    Pausing(Option<Box<Phase>>),
}

impl Phase {
    /// The rows that it is about.
    fn rows(&self) -> &[Append] {
        match self {
            Self::Idle | Self::Pausing(None) => &[],
            Self::Committing(batch) | Self::Acquiring(batch) | Self::Reading(batch, _) | Self::LookingUp(batch) => {
                &batch.rows
            }
            Self::Pausing(Some(then)) => then.rows(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    lines: Lines,
    /// Under which adoption each shard is held.
    adopted: BTreeMap<ShardId, u64>,
    adoptions: u64,
    queue: VecDeque<Append>,
    /// What is still to do, the next at the end.
    parts: Vec<Batch>,
    phase: Phase,
    backoff: u32,
    broken: Option<Broken>,
    /// What was answered, to be fetched.
    pub(super) answers: Vec<(Append, Appended)>,
    /// Shards that turned out to be another's, to be fetched.
    pub(super) lost: Vec<ShardId>,
}

impl Writer {
    pub(super) fn new(broken: Option<Broken>) -> Self {
        Self {
            broken,
            ..Self::default()
        }
    }

    pub(super) fn adopt(&mut self, owned: &[OwnedShard]) {
        for line in owned {
            self.adoptions += 1;
            self.adopted.insert(line.shard, self.adoptions);
            self.lines.adopt(line, self.adoptions);
        }
    }

    /// What is appended from now on is fenced.
    pub(super) fn release(&mut self, shard: ShardId) {
        self.adopted.remove(&shard);
        self.lines.remove(shard);
    }

    pub(super) fn push(&mut self, mut append: Append) {
        if let Some(generation) = self.adopted.get(&append.shard) {
            append.generation = *generation;
            self.queue.push_back(append);
        } else {
            self.answers.push((append, Appended::Fenced));
        }
    }

    /// Whether a row for which this holds is still under way: nobody can say yet what becomes of it.
    pub(super) fn has(&self, is_it: impl Fn(&Append) -> bool) -> bool {
        let parts = self.parts.iter().flat_map(|part| &part.rows);
        self.queue.iter().chain(parts).chain(self.phase.rows()).any(is_it)
    }

    /// What to do now, if nothing is under way.
    pub(super) fn next(&mut self) -> Want {
        while matches!(self.phase, Phase::Idle) {
            let Some(part) = self.parts.pop() else {
                if self.queue.is_empty() {
                    return Want::Nothing;
                }
                let count = self.queue.len().min(BATCH_ROWS_MAX);
                self.parts.push(Batch::of(self.queue.drain(..count).collect()));
                continue;
            };
            let part = self.stamp(part);
            if !part.rows.is_empty() {
                let rows = part.rows.clone();
                self.phase = Phase::Committing(part);
                return Want::Ask(Request::Commit(rows));
            }
        }
        Want::Nothing
    }

    /// Writes epoch and position on each row; answers those whose shard is lost.
    fn stamp(&mut self, batch: Batch) -> Batch {
        let mut numbering = self.lines.numbering();
        let mut rows = Vec::with_capacity(batch.rows.len());
        for mut row in batch.rows {
            match numbering.next(row.shard, row.generation) {
                Some((epoch, position)) => {
                    (row.epoch, row.position) = (epoch, position);
                    rows.push(row);
                }
                None => self.answers.push((row, Appended::Fenced)),
            }
        }
        Batch {
            rows,
            attempts: batch.attempts,
        }
    }

    /// The store's answer to what was wanted last.
    pub(super) fn heard(&mut self, reply: Reply) -> Want {
        match (std::mem::take(&mut self.phase), reply) {
            (Phase::Committing(batch), reply) => {
                let result = match reply {
                    Reply::Committed(result) => result,
                    Reply::Unavailable => Err(CommitError::Unavailable),
                    _ => Err(CommitError::Unknown),
                };
                self.committed(batch, result)
            }
            (Phase::Acquiring(batch), Reply::Owned(owned)) => self.read(batch, owned),
            (Phase::Reading(batch, owned), Reply::Lines(found)) => {
                self.resolve(batch, &owned, &found);
                self.next()
            }
            (phase @ (Phase::Acquiring(_) | Phase::Reading(..)), _) => self.pause(Some(phase)),
            (Phase::LookingUp(batch), reply) => self.looked_up(batch, reply),
            (phase, _) => {
                self.phase = phase;
                Want::Nothing
            }
        }
    }

    fn pause(&mut self, then: Option<Phase>) -> Want {
        let pause = (BACKOFF_FIRST_MS << self.backoff.min(6)).min(BACKOFF_MS_MAX);
        self.backoff += 1;
        self.phase = Phase::Pausing(then.map(Box::new));
        Want::Pause(pause)
    }

    /// The pause is over.
    pub(super) fn resumed(&mut self) -> Want {
        match std::mem::take(&mut self.phase) {
            Phase::Pausing(Some(then)) => match *then {
                Phase::Acquiring(batch) => self.acquire(batch),
                Phase::Reading(batch, owned) => self.read(batch, owned),
                _ => self.next(),
            },
            Phase::Pausing(None) => self.next(),
            phase => {
                self.phase = phase;
                Want::Nothing
            }
        }
    }

    fn committed(&mut self, batch: Batch, result: Result<Vec<RowOutcome>, CommitError>) -> Want {
        match result {
            Ok(outcomes) => {
                self.backoff = 0;
                self.settle(batch, &outcomes);
            }
            Err(CommitError::Refused(refusal)) => match Apart::of(batch.rows.len(), &refusal) {
                Apart::Refused => self.refuse(batch.rows, &refusal),
                Apart::LookUp => return self.look_up(batch),
                Apart::InHalves => self.in_halves(batch),
            },
            Err(CommitError::Unavailable) => {
                self.parts.push(batch);
                let rows = std::mem::take(&mut self.parts).into_iter().flat_map(|part| part.rows);
                self.answers.extend(rows.map(|row| (row, Appended::Unavailable)));
                return self.pause(None);
            }
            Err(CommitError::Unknown) if self.broken == Some(Broken::Unknown) => {
                let rows = batch.rows.into_iter();
                self.answers.extend(rows.map(|row| (row, Appended::Unavailable)));
                return self.pause(None);
            }
            Err(CommitError::Unknown) => return self.acquire(batch),
        }
        self.next()
    }

    fn refuse(&mut self, rows: Vec<Append>, refusal: &Refusal) {
        let refused = rows.into_iter().map(|row| (row, Appended::Refused(refusal.clone())));
        self.answers.extend(refused);
    }

    fn in_halves(&mut self, batch: Batch) {
        let (first, second) = batch.halves();
        self.parts.extend([second, first]);
    }

    fn look_up(&mut self, batch: Batch) -> Want {
        let keys = batch.rows.iter().filter_map(|row| row.claim.clone()).collect();
        self.phase = Phase::LookingUp(batch);
        Want::Ask(Request::Claims(keys))
    }

    /// A store that cannot be read finds no key.
    fn looked_up(&mut self, batch: Batch, reply: Reply) -> Want {
        let found = if let Reply::Claims(found) = reply {
            found
        } else {
            Vec::new()
        };
        let keyed = batch.rows.iter().filter_map(|row| row.claim.as_ref());
        let used = keyed.zip(found).filter_map(|(key, used)| used.map(|_| key.clone()));
        let used: BTreeSet<Key> = used.collect();
        let is_used = |row: &Append| row.claim.as_ref().is_some_and(|key| used.contains(key));
        let (refused, others): (Vec<_>, Vec<_>) = batch.rows.into_iter().partition(is_used);
        match Others::after(refused.len()) {
            Others::Together => self.parts.push(Batch::of(others)),
            Others::InHalves => self.in_halves(Batch::of(others)),
        }
        self.refuse(refused, &Refusal::DuplicateKey);
        self.next()
    }

    fn settle(&mut self, batch: Batch, outcomes: &[RowOutcome]) {
        for (row, outcome) in batch.rows.into_iter().zip(outcomes) {
            match outcome {
                RowOutcome::Committed => {
                    self.lines.committed(row.shard, row.position);
                    self.answers.push((row, Appended::Committed));
                }
                RowOutcome::Fenced => {
                    self.lose(row.shard);
                    self.answers.push((row, Appended::Fenced));
                }
            }
        }
    }

    fn acquire(&mut self, batch: Batch) -> Want {
        let shards = batch.shards();
        self.phase = Phase::Acquiring(batch);
        Want::Ask(Request::Reacquire(shards))
    }

    fn read(&mut self, batch: Batch, owned: Vec<OwnedShard>) -> Want {
        let wanted = sections(batch.rows.iter().map(|row| (row.shard, row.position)));
        let wanted = wanted
            .into_iter()
            .map(|(shard, section)| (shard, section.after, section.rows))
            .collect();
        self.phase = Phase::Reading(batch, owned);
        Want::Ask(Request::Lines(wanted))
    }

    /// Answers what the lines hold, sends again what they do not. Shards that were left out of `owned` are another's.
    fn resolve(&mut self, batch: Batch, owned: &[OwnedShard], found: &[LineRow]) {
        let mut committed: BTreeSet<(ShardId, Position)> = BTreeSet::new();
        let is_row_of = |row: &LineRow, append: &Append| {
            (row.shard, row.position, row.stream, row.seq) == (append.shard, append.position, append.stream, append.seq)
                && row.facts == append.facts
        };
        for append in &batch.rows {
            if found.iter().any(|row| is_row_of(row, append)) {
                committed.insert((append.shard, append.position));
            }
        }
        let taken = self.lines.taken_again(batch.shards(), owned);
        for shard in taken.lost {
            self.lose(shard);
        }
        let before = batch.attempts;
        let (done, lost): (Vec<_>, Vec<_>) = batch
            .rows
            .into_iter()
            .partition(|row| committed.contains(&(row.shard, row.position)));
        self.answers
            .extend(done.into_iter().map(|row| (row, Appended::Committed)));
        self.again(lost, before);
    }

    fn again(&mut self, rows: Vec<Append>, attempts: u32) {
        if rows.is_empty() {
            return;
        }
        match Again::of(rows.len(), attempts) {
            Again::InHalves => self.in_halves(Batch::of(rows)),
            Again::AsItIs => self.parts.push(Batch {
                rows,
                attempts: attempts + 1,
            }),
            Again::Never => {
                let rows = rows.into_iter();
                self.answers.extend(rows.map(|row| (row, Appended::Unavailable)));
            }
        }
    }

    fn lose(&mut self, shard: ShardId) {
        if self.lines.remove(shard) {
            self.adopted.remove(&shard);
            self.lost.push(shard);
        }
    }
}
