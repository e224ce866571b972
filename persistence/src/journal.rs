//! The journal: many actors' appends in few commits.
//!
//! Writer tasks, each with its own shards, take what waits in their queue while the last commit ran, and commit it as
//! one batch. An idle journal commits a lone row at once, a busy one commits hundreds together; in between
//! a writer lingers for a moment when more is about to come ([`domain::pace`]).
//!
//! The journal owns the epochs and the positions: it stamps both on each row. A shard that turns out to be fenced is
//! dropped, reported through [`JournalHandle::next_fenced`], and every later append to it is answered at once.
//!
//! In a cluster shards come and go: [`Journal::adopt`] and [`Journal::release`] go through the writers' queues like rows,
//! so that what was appended before and after is treated accordingly.

mod batch;
mod figures;
mod ownership;
mod trouble;
mod writer;

use crate::tail::Tail;
use async_trait::async_trait;
use domain::ports::{Append, AppendError, Journal, OnAppended, Store};
use domain::shard::{OwnedShard, ShardId};
use figures::Figures;
use ownership::Ownership;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use trouble::Trouble;
use writer::Writer;

/// How a journal gathers.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Writer tasks, among which the shards are split; at least 1. More than two gain nothing on two cores.
    pub writers: usize,
    /// The most rows in one commit.
    pub batch_rows_max: usize,
    /// The most rows waiting for each writer; beyond it, rows wait for a place.
    pub queue_rows_max: usize,
    /// The longest pause between attempts while the store is away.
    pub backoff_max: Duration,
    /// About how many bytes of committed rows are kept in memory for followers.
    pub tail_bytes_max: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            writers: 2,
            batch_rows_max: 1_024,
            queue_rows_max: 8_192,
            backoff_max: Duration::from_secs(1),
            tail_bytes_max: 64 << 20,
        }
    }
}

/// The append side of the journal, shared by all actors.
///
/// Appends of one stream are committed in the order in which they were made, but one that is refused does not stop the
/// next: who appends waits for the answer before the stream's next row, as its version demands anyway.
pub struct GroupJournal {
    queues: Vec<mpsc::Sender<Task>>,
    owned: Arc<Ownership>,
    figures: Figures,
    tail: Arc<Tail>,
    trouble: Arc<Trouble>,
}

/// Runs the writers: tells which shards were lost, and ends the journal.
pub struct JournalHandle {
    journal: Arc<GroupJournal>,
    closing_tx: watch::Sender<bool>,
    writers: Vec<JoinHandle<()>>,
}

/// What a writer has to do, in the order in which it comes.
enum Task {
    /// A row.
    Append(Pending),
    /// Shards come in.
    Adopt(Vec<OwnedShard>, Done),
    /// Shards go.
    Release(Vec<ShardId>, Done),
}

/// A row in a queue, and whom to answer.
struct Pending {
    append: Append,
    /// The adoption of the shard that the row was appended under. A row that was on its way while its shard was given
    /// up and adopted again was decided by an actor of before, and is fenced.
    generation: u64,
    on_appended: OnAppended,
}

/// Where it is said that shards have come or gone.
type Done = oneshot::Sender<()>;

impl GroupJournal {
    /// Starts the writers over shards that were just acquired from the store for `node`; none, in a cluster.
    ///
    /// The node's name is what tells its own shards from those that another has taken, so no two processes may ever have
    /// the same in one store. Must be called within a tokio runtime. Install the metrics recorder first: the figures are
    /// looked up once, here.
    pub fn start(store: &Arc<dyn Store>, owned: &[OwnedShard], node: &str, options: &JournalOptions) -> JournalHandle {
        let writers = options.writers.max(1);
        let (closing_tx, closing_rx) = watch::channel(false);
        let ownership = Arc::new(Ownership::new(store.shard_map()));
        let figures = Figures::new();
        let tail = Arc::new(Tail::new(store, options.tail_bytes_max));
        let trouble = Arc::new(Trouble::default());
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..writers {
            let (queue_tx, queue_rx) = mpsc::channel(options.queue_rows_max.max(1));
            let mut writer = Writer::new(store, node, &ownership, &figures, &tail, &trouble, options);
            for line in owned.iter().filter(|line| writer_of(line.shard, writers) == number) {
                writer.adopt(line);
            }
            tasks.push(tokio::spawn(writer.run(queue_rx, closing_rx.clone())));
            queues.push(queue_tx);
        }
        let journal = Arc::new(Self {
            queues,
            owned: ownership,
            figures,
            tail,
            trouble,
        });
        JournalHandle {
            journal,
            closing_tx,
            writers: tasks,
        }
    }

    /// Appends one row; returns once it is durable, or certainly not written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, append: Append) -> Result<(), AppendError> {
        let (tx, rx) = oneshot::channel();
        self.submit(append, Box::new(move |result| drop(tx.send(result))));
        match rx.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }

    /// The queue of a shard's writer.
    fn queue(&self, shard: ShardId) -> Option<&mpsc::Sender<Task>> {
        self.queues.get(writer_of(shard, self.queues.len()))
    }

    /// Splits something among the writers, by shard.
    fn by_writer<T>(&self, items: impl Iterator<Item = T>, shard: impl Fn(&T) -> ShardId) -> BTreeMap<usize, Vec<T>> {
        let mut parts: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        for item in items {
            parts
                .entry(writer_of(shard(&item), self.queues.len()))
                .or_default()
                .push(item);
        }
        parts
    }

    /// Hands each writer its part at once, and waits until all have done theirs. A writer that has ended is passed over.
    async fn tell<T>(&self, parts: BTreeMap<usize, Vec<T>>, task: impl Fn(Vec<T>, Done) -> Task) {
        let mut answers = Vec::new();
        for (writer, part) in parts {
            let (done_tx, done_rx) = oneshot::channel();
            let Some(queue_tx) = self.queues.get(writer) else {
                continue;
            };
            if queue_tx.send(task(part, done_tx)).await.is_ok() {
                answers.push(done_rx);
            }
        }
        for done_rx in answers {
            let _ = done_rx.await;
        }
    }
}

fn closed() -> Result<(), AppendError> {
    Err(AppendError::Unavailable("the journal is closed".into()))
}

fn writer_of(shard: ShardId, writers: usize) -> usize {
    usize::from(shard.0) % writers
}

#[async_trait]
impl Journal for GroupJournal {
    fn submit(&self, append: Append, on_appended: OnAppended) {
        let Some(generation) = self.owned.generation(append.shard) else {
            self.figures.fenced_here.increment(1);
            return on_appended(Err(AppendError::Fenced));
        };
        let Some(queue_tx) = self.queue(append.shard) else {
            return on_appended(closed());
        };
        let row = Pending {
            append,
            generation,
            on_appended,
        };
        match queue_tx.try_reserve() {
            Ok(place) => self.figures.enqueue(place, row),
            Err(TrySendError::Closed(())) => (row.on_appended)(closed()),
            // Only then does somebody wait in a task of their own.
            Err(TrySendError::Full(())) => {
                let (queue_tx, figures) = (queue_tx.clone(), self.figures.clone());
                tokio::spawn(async move {
                    match queue_tx.reserve().await {
                        Ok(place) => figures.enqueue(place, row),
                        Err(_) => (row.on_appended)(closed()),
                    }
                });
            }
        }
    }

    /// A shard that this journal may still hold must be released before it is taken from the store again: until then the
    /// writer may itself take it once more, to find out about a commit.
    async fn adopt(&self, owned: &[OwnedShard]) {
        let parts = self.by_writer(owned.iter().copied(), |line| line.shard);
        self.tell(parts, Task::Adopt).await;
        for line in owned {
            if self.queue(line.shard).is_none_or(mpsc::Sender::is_closed) {
                // The writer has died, or is about to end: nobody writes to the shard.
                self.owned.report(line.shard);
            }
        }
    }

    /// Waits for the store if the outcome of a commit is still unknown. After [`JournalHandle::close`] was called there
    /// is nothing to give up: then it is the end of that call that says that nothing is under way.
    async fn release(&self, shards: &[ShardId]) {
        self.tell(self.by_writer(shards.iter().copied(), |shard| *shard), Task::Release)
            .await;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.now()
    }
}

impl JournalHandle {
    /// The journal, to append to.
    pub fn journal(&self) -> Arc<GroupJournal> {
        self.journal.clone()
    }

    /// What was committed last, to follow.
    pub fn tail(&self) -> Arc<Tail> {
        self.journal.tail.clone()
    }

    /// The next shard that was found fenced, and is still: each loss is reported once, unless the shard was adopted again
    /// before anybody asked. Cancel safe.
    pub async fn next_fenced(&mut self) -> Option<ShardId> {
        self.journal.owned.next_fenced().await
    }

    /// Takes no more appends, commits what is queued, and ends. Waits for the store if an outcome is still unknown:
    /// whoever cannot wait that long drops this future, and the rows stay unanswered.
    pub async fn close(self) {
        self.closing_tx.send_replace(true);
        for writer in self.writers {
            if let Err(error) = writer.await {
                tracing::error!(%error, "a journal writer died");
            }
        }
    }
}

#[cfg(test)]
mod tests;
