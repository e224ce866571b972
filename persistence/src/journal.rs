//! The journal: many actors' appends in few commits.
//!
//! Writer tasks, each with its own shards, take what waits in their queue while the last commit ran, and commit it as
//! one batch. There is no linger: an idle journal commits a lone row at once, a busy one commits hundreds together.
//!
//! The journal owns the epochs and the positions: it stamps both on each row. A shard that turns out to be fenced is
//! dropped, reported through [`JournalHandle::next_fenced`], and every later append to it is answered at once.

mod batch;
mod figures;
mod writer;

use crate::tail::Tail;
use async_trait::async_trait;
use domain::ports::{Append, AppendError, Journal, Store};
use domain::shard::{OwnedShard, ShardId};
use figures::Figures;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use writer::{Line, Writer};

/// How a journal gathers.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Writer tasks, among which the shards are split; at least 1. More than two gain nothing on two cores.
    pub writers: usize,
    /// The most rows in one commit.
    pub batch_rows_max: usize,
    /// The most rows waiting for each writer; beyond it, [`Journal::append`] waits for a place.
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
    queues: Vec<mpsc::Sender<Pending>>,
    owned: Arc<Ownership>,
    figures: Figures,
    tail: Arc<Tail>,
}

/// Runs the writers: tells which shards were lost, and ends the journal.
pub struct JournalHandle {
    journal: Arc<GroupJournal>,
    fenced_rx: mpsc::Receiver<ShardId>,
    closing_tx: watch::Sender<bool>,
    writers: Vec<JoinHandle<()>>,
}

/// A row in a queue, and whom to answer.
struct Pending {
    append: Append,
    reply_tx: Reply,
}

/// Where an append is answered.
type Reply = oneshot::Sender<Result<(), AppendError>>;

/// Which shards the journal may still write to, by number; shared between those who append and the writers.
struct Ownership {
    shards: Vec<AtomicBool>,
    fenced_tx: mpsc::Sender<ShardId>,
}

impl Ownership {
    fn holds(&self, shard: ShardId) -> bool {
        self.shards
            .get(usize::from(shard.0))
            .is_some_and(|held| held.load(Ordering::Acquire))
    }

    /// Gives a shard up and reports it, once.
    fn lose(&self, shard: ShardId) {
        let held = self.shards.get(usize::from(shard.0));
        if held.is_some_and(|held| held.swap(false, Ordering::AcqRel)) {
            tracing::warn!(%shard, "fenced: another node owns the shard");
            // There is room for each shard once; and if nobody listens any more, nobody needs to know.
            let _ = self.fenced_tx.try_send(shard);
        }
    }
}

impl GroupJournal {
    /// Starts the writers over shards that were just acquired from the store for `node`.
    ///
    /// Must be called within a tokio runtime. Install the metrics recorder first: the figures are looked up once, here.
    pub fn start(store: &Arc<dyn Store>, owned: &[OwnedShard], node: &str, options: &JournalOptions) -> JournalHandle {
        let writers = options.writers.max(1);
        let (fenced_tx, fenced_rx) = mpsc::channel(owned.len().max(1));
        let (closing_tx, closing_rx) = watch::channel(false);
        let ownership = Ownership {
            shards: store.shard_map().all().map(|_| AtomicBool::new(false)).collect(),
            fenced_tx,
        };
        for line in owned {
            if let Some(held) = ownership.shards.get(usize::from(line.shard.0)) {
                held.store(true, Ordering::Release);
            }
        }
        let ownership = Arc::new(ownership);
        let figures = Figures::new();
        let tail = Arc::new(Tail::new(store, owned, options.tail_bytes_max));
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..writers {
            let (queue_tx, queue_rx) = mpsc::channel(options.queue_rows_max.max(1));
            let mine = owned.iter().filter(|line| writer_of(line.shard, writers) == number);
            let writer = Writer {
                store: store.clone(),
                node: node.to_owned(),
                lines: mine
                    .map(|line| {
                        (
                            line.shard,
                            Line {
                                epoch: line.epoch,
                                end: line.position,
                            },
                        )
                    })
                    .collect(),
                ownership: ownership.clone(),
                figures: figures.clone(),
                tail: tail.clone(),
                options: options.clone(),
            };
            tasks.push(tokio::spawn(writer.run(queue_rx, closing_rx.clone())));
            queues.push(queue_tx);
        }
        let journal = Arc::new(Self {
            queues,
            owned: ownership,
            figures,
            tail,
        });
        JournalHandle {
            journal,
            fenced_rx,
            closing_tx,
            writers: tasks,
        }
    }
}

fn writer_of(shard: ShardId, writers: usize) -> usize {
    usize::from(shard.0) % writers
}

#[async_trait]
impl Journal for GroupJournal {
    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let closed = || AppendError::Unavailable("the journal is closed".into());
        if !self.owned.holds(append.shard) {
            self.figures.fenced.increment(1);
            return Err(AppendError::Fenced);
        }
        let queue_tx = self
            .queues
            .get(writer_of(append.shard, self.queues.len()))
            .ok_or_else(closed)?;
        let (reply_tx, reply_rx) = oneshot::channel();
        let place = queue_tx.reserve().await.map_err(|_| closed())?;
        self.figures.queue_rows.increment(1);
        place.send(Pending { append, reply_tx });
        match reply_rx.await {
            Ok(answer) => answer,
            // The writer died with the row in its hands (it panicked, or the runtime is ending), so nobody can say
            // what became of it. No answer is better than a wrong one.
            Err(_) => std::future::pending().await,
        }
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

    /// The next shard that was found fenced; each is reported once. `None` when the journal has ended. Cancel safe.
    pub async fn next_fenced(&mut self) -> Option<ShardId> {
        self.fenced_rx.recv().await
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
