//! A writer: the task that commits the rows of its shards.

use super::batch::{Backoff, Batch};
use super::figures::Figures;
use super::ownership::Ownership;
use super::trouble::Trouble;
use super::{JournalOptions, Pending, Task};
use crate::record::shards_of;
use crate::tail::Tail;
use domain::ids::Position;
use domain::lines::{Again, Apart, Lines, Others, Section, TakenAgain, sections};
use domain::pace::{Linger, Pace};
use domain::ports::{Append, AppendError, CommitError, OnAppended, Refusal, Row, RowOutcome, Store};
use domain::shard::{OwnedShard, ShardId};
use fail::fail_point;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// A commit costs the database some tenths of a millisecond whatever is in it, as much as thirty rows do.
const LINGER: Linger = Linger {
    wait: Duration::from_millis(2),
    wait_max: Duration::from_millis(2),
    enough: 32,
};

pub(super) struct Writer {
    store: Arc<dyn Store>,
    node: String,
    lines: Lines,
    ownership: Arc<Ownership>,
    figures: Figures,
    tail: Arc<Tail>,
    trouble: Arc<Trouble>,
    options: JournalOptions,
}

/// A writer that panics gives its shards up: the node must not believe in them any longer.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for shard in self.lines.shards() {
                self.tail.lose(shard);
                self.ownership.lose(shard);
            }
        }
    }
}

impl Writer {
    /// A writer without shards.
    pub(super) fn new(
        store: &Arc<dyn Store>,
        node: &str,
        ownership: &Arc<Ownership>,
        figures: &Figures,
        tail: &Arc<Tail>,
        trouble: &Arc<Trouble>,
        options: &JournalOptions,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            node: node.to_owned(),
            lines: Lines::default(),
            ownership: Arc::clone(ownership),
            figures: figures.clone(),
            tail: Arc::clone(tail),
            trouble: Arc::clone(trouble),
            options: options.clone(),
        }
    }

    /// Does what comes until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue_rx: mpsc::Receiver<Task>, mut closing_rx: watch::Receiver<bool>) {
        let mut tasks = Vec::new();
        let (mut pace, begun_at) = (Pace::new(LINGER), Instant::now());
        let batch_rows_max = self.options.batch_rows_max.max(1);
        let mut backoff = Backoff::new(self.options.backoff_max);
        let mut listening = true;
        loop {
            tokio::select! {
                count = queue_rx.recv_many(&mut tasks, batch_rows_max) => {
                    if count == 0 {
                        return;
                    }
                }
                closing = closing_rx.changed(), if listening => {
                    listening = false;
                    if closing.is_ok() {
                        queue_rx.close();
                    }
                    continue;
                }
            }
            if let Some(wait) = pace.wait(begun_at.elapsed(), tasks.len()) {
                sleep(wait).await;
                while tasks.len() < batch_rows_max
                    && let Ok(task) = queue_rx.try_recv()
                {
                    tasks.push(task);
                }
            }
            pace.took(begun_at.elapsed(), tasks.len());
            if self.work_off(&mut tasks).await {
                backoff = Backoff::new(self.options.backoff_max);
            } else {
                backoff.pause().await;
            }
        }
    }

    /// Does what was taken from the queue, rows that are next to each other together. False when the store is away.
    async fn work_off(&mut self, tasks: &mut Vec<Task>) -> bool {
        let mut reached = true;
        let mut rows = Vec::with_capacity(tasks.len());
        for task in tasks.drain(..) {
            match task {
                Task::Append(row) => rows.push(row),
                Task::Adopt(owned, done_tx) => {
                    reached &= self.commit_rows(&mut rows).await;
                    for line in owned {
                        self.adopt(&line);
                    }
                    let _ = done_tx.send(());
                }
                Task::Release(shards, done_tx) => {
                    reached &= self.commit_rows(&mut rows).await;
                    for shard in shards {
                        self.release(shard);
                    }
                    let _ = done_tx.send(());
                }
            }
        }
        reached & self.commit_rows(&mut rows).await
    }

    async fn commit_rows(&mut self, rows: &mut Vec<Pending>) -> bool {
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.figures.queue_rows.decrement(count);
        self.commit_all(Batch::of(rows.drain(..))).await
    }

    /// Takes a shard in, for whose line nobody else numbers rows from now on.
    pub(super) fn adopt(&mut self, owned: &OwnedShard) {
        let generation = self.tail.adopt(owned.shard, owned.position);
        if generation == 0 {
            return;
        }
        self.lines.adopt(owned, generation);
        self.ownership.hold(owned.shard, generation);
    }

    /// Gives a shard up. Nothing of it is under way: rows are committed one batch after the other.
    fn release(&mut self, shard: ShardId) {
        if self.lines.remove(shard) {
            self.ownership.give_up(shard);
            self.tail.lose(shard);
        }
    }

    /// Commits a batch, or every part of it that can be. False when the store is away.
    async fn commit_all(&mut self, batch: Batch) -> bool {
        // What is still to do, the next at the end.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let part = self.stamp(part);
            if part.len() == 0 {
                continue;
            }
            fail_point!("journal::commit");
            let begun = Instant::now();
            let result = self.store.commit(&part.appends).await;
            self.figures
                .batch_rows
                .record(u32::try_from(part.len()).unwrap_or(u32::MAX));
            self.figures.commit_seconds.record(begun.elapsed());
            match result {
                Ok(outcomes) => {
                    fail_point!("journal::committed");
                    self.trouble.ended();
                    self.settle(part, &outcomes);
                }
                Err(CommitError::Refused(refusal)) => parts.extend(self.isolate(part, refusal).await),
                Err(CommitError::Unavailable(problem)) => {
                    self.figures.unavailable.increment(1);
                    self.trouble.began(&problem);
                    tracing::warn!(%problem, rows = part.len(), "the store cannot commit");
                    parts.push(part);
                    for part in parts {
                        part.answer(&Err(AppendError::Unavailable(problem.clone())));
                    }
                    return false;
                }
                Err(CommitError::Unknown(problem)) => {
                    self.figures.unknown.increment(1);
                    tracing::warn!(%problem, rows = part.len(), "the outcome of a commit is unknown; finding out");
                    let lost = self.find_out(part).await;
                    parts.extend(again(lost, problem));
                }
            }
        }
        true
    }

    /// Writes epoch and position on each row; answers those whose shard is lost. Positions become final only when the
    /// batch is committed, so the numbers of one that was not are free again.
    fn stamp(&self, batch: Batch) -> Batch {
        let attempts = batch.attempts;
        let mut numbering = self.lines.numbering();
        let mut stamped = Vec::with_capacity(batch.len());
        for mut row in batch.into_rows() {
            let Some((epoch, position)) = numbering.next(row.append.shard, row.generation) else {
                self.figures.fenced_here.increment(1);
                (row.on_appended)(Err(AppendError::Fenced));
                continue;
            };
            (row.append.epoch, row.append.position) = (epoch, position);
            stamped.push(row);
        }
        let mut stamped = Batch::of(stamped);
        stamped.attempts = attempts;
        stamped
    }

    /// Answers a batch that the store has taken.
    fn settle(&mut self, batch: Batch, outcomes: &[RowOutcome]) {
        assert_eq!(batch.len(), outcomes.len(), "a store must say what became of each row");
        let mut committed = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for (row, outcome) in batch.into_rows().zip(outcomes) {
            match outcome {
                RowOutcome::Committed => {
                    self.lines.committed(row.append.shard, row.append.position);
                    replies.push(row.on_appended);
                    committed.push(row.append);
                }
                RowOutcome::Fenced => {
                    self.lose(row.append.shard);
                    self.figures.fenced_there.increment(1);
                    (row.on_appended)(Err(AppendError::Fenced));
                }
            }
        }
        self.acknowledge(committed, replies);
    }

    /// Tells what is durable: those who follow the lines first, so that whoever is answered finds it there.
    fn acknowledge(&self, committed: Vec<Append>, replies: Vec<OnAppended>) {
        self.figures.committed.increment(count(committed.len()));
        self.tail.push(committed);
        for on_appended in replies {
            on_appended(Ok(()));
        }
    }

    /// Tells apart what the store refused together; the last of what is returned comes next.
    async fn isolate(&self, batch: Batch, refusal: Refusal) -> Vec<Batch> {
        let whole = batch.len();
        match Apart::of(whole, &refusal) {
            Apart::Refused => {
                self.refuse(batch, refusal);
                Vec::new()
            }
            Apart::LookUp => {
                let others = self.without_used_keys(batch).await;
                match Others::after(whole - others.len()) {
                    Others::Together => vec![others],
                    Others::InHalves => in_halves(others),
                }
            }
            Apart::InHalves => in_halves(batch),
        }
    }

    /// Answers the rows whose key the store has already, and returns the others. A store that cannot be read finds none.
    async fn without_used_keys(&self, batch: Batch) -> Batch {
        let keys: Vec<_> = batch.appends.iter().filter_map(key_of).collect();
        let mut found = self.store.claims(&keys).await.unwrap_or_default().into_iter();
        // In the order of the rows that have a key.
        let is_used = |append: &Append| append.claim.is_some() && found.next().flatten().is_some();
        let (refused, others) = batch.split(is_used);
        self.refuse(refused, Refusal::DuplicateKey);
        others
    }

    fn refuse(&self, batch: Batch, refusal: Refusal) {
        let refused = match refusal {
            Refusal::DuplicateKey => &self.figures.duplicate_keys,
            Refusal::DuplicateSeq => &self.figures.duplicate_versions,
            Refusal::Poison(_) => &self.figures.poison,
        };
        refused.increment(count(batch.len()));
        batch.answer(&Err(AppendError::Refused(refusal)));
    }

    /// Finds out what became of a batch whose answer was lost, and answers what was committed. Returns the rows that
    /// certainly were not.
    ///
    /// Taking the shards again waits out whoever still works on the lost batch, and fences it: what the position lines
    /// hold from then on is the truth. Of a shard that is another's by now the same is true, since who took it has done
    /// the same. Waits for the store as long as it takes: before, there is no answer.
    ///
    /// Since no two processes have the same name, a shard whose owner is still called like this node was nobody else's
    /// in between, however often its epoch was incremented by attempts whose answer was lost as well: what the actors
    /// here believe of it is still so.
    async fn find_out(&mut self, batch: Batch) -> Batch {
        let shards = shards_of(&batch.appends);
        let owned = self.take_again(&shards).await;
        let mut committed: HashSet<(ShardId, Position)> = HashSet::new();
        let places = batch.appends.iter().map(|append| (append.shard, append.position));
        for (shard, section) in sections(places) {
            let found = self.rows_at(shard, section).await;
            let rows = batch.appends.iter().filter(|append| append.shard == shard);
            let same = rows.filter(|append| found.iter().any(|row| is_row_of(row, append)));
            committed.extend(same.map(|append| (shard, append.position)));
        }
        let TakenAgain { lost, shorter } = self.lines.taken_again(shards, &owned);
        for (line, end) in shorter {
            tracing::error!(shard = %line.shard, ?end, found = ?line.position, "the store has lost committed rows");
        }
        for shard in lost {
            self.lose(shard);
        }
        let (done, lost) = batch.split(|append| committed.contains(&(append.shard, append.position)));
        let (committed, replies) = done.into_rows().map(|row| (row.append, row.on_appended)).unzip();
        self.acknowledge(committed, replies);
        lost
    }

    /// Takes the shards once more that are still this node's.
    async fn take_again(&self, shards: &[ShardId]) -> Vec<OwnedShard> {
        let mut backoff = Backoff::new(self.options.backoff_max);
        loop {
            match self.store.reacquire(&self.node, shards).await {
                Ok(owned) => return owned,
                Err(error) => tracing::warn!(%error, "waiting for the store to find out about a commit"),
            }
            backoff.pause().await;
        }
    }

    /// What the store holds there.
    async fn rows_at(&self, shard: ShardId, section: Section) -> Vec<Row> {
        let mut backoff = Backoff::new(self.options.backoff_max);
        loop {
            match self.store.positions(shard, section.after, section.rows).await {
                Ok(found) => return found,
                Err(error) => tracing::warn!(%error, %shard, "waiting for the store to find out about a commit"),
            }
            backoff.pause().await;
        }
    }

    fn lose(&mut self, shard: ShardId) {
        self.lines.remove(shard);
        self.tail.lose(shard);
        self.ownership.lose(shard);
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn is_row_of(row: &Row, append: &Append) -> bool {
    row.position == append.position
        && row.stream == append.stream
        && row.seq == append.seq
        && row.events == append.events
}

/// Both halves; the first comes next.
fn in_halves(batch: Batch) -> Vec<Batch> {
    let (first, second) = batch.halves();
    vec![second, first]
}

/// What is to be sent again of rows whose commit was lost and has not happened.
fn again(mut lost: Batch, problem: String) -> Vec<Batch> {
    match Again::of(lost.len(), lost.attempts) {
        Again::InHalves => in_halves(lost),
        Again::AsItIs => {
            lost.attempts += 1;
            vec![lost]
        }
        Again::Never => {
            lost.answer(&Err(AppendError::Unavailable(problem)));
            Vec::new()
        }
    }
}

/// The idempotency key that a row uses up, and the shard that it belongs to.
fn key_of(append: &Append) -> Option<(ShardId, &str)> {
    append.claimed().map(|(home, claim)| (home, &*claim.key))
}
