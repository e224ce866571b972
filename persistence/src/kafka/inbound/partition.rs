//! The worker of one partition: its messages in lanes by key, each lane one after the other.

use super::assignment::Place;
use super::dead_letters::DeadLetters;
use super::progress::Progress;
use super::{Consumer, Handled, InboundHandler, InboundMessage, InboundOptions, Poison, stopped};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio::time::sleep;

/// What all partitions share.
pub(super) struct Shared<H> {
    pub(super) handler: H,
    pub(super) dead_letters: DeadLetters,
    /// A place for each message that is with the handler.
    pub(super) concurrent: Semaphore,
    pub(super) options: InboundOptions,
}

/// What waits for a worker or is with it.
#[derive(Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The worker of a partition, as seen from outside.
pub(super) struct Worker {
    messages: mpsc::UnboundedSender<InboundMessage>,
    load: Arc<Load>,
    stop: watch::Sender<bool>,
    finished: watch::Receiver<bool>,
    running: JoinHandle<()>,
    waiting_max: usize,
}

impl Worker {
    pub(super) fn start<H: InboundHandler>(shared: Arc<Shared<H>>, consumer: Arc<Consumer>, place: Place) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by pausing the partition: see `is_full`"
        )]
        let (messages, received) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let (finished_tx, finished) = watch::channel(false);
        let load = Arc::new(Load::default());
        let waiting_max = shared.options.waiting_max;
        let lanes = Lanes {
            waiting: (0..shared.options.lanes.max(1)).map(|_| None).collect(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            progress: Progress::default(),
            load: Arc::clone(&load),
            shared,
            consumer,
            place,
            stopping,
        };
        let running = tokio::spawn(async move {
            lanes.work(received).await;
            finished_tx.send_replace(true);
        });
        Self {
            messages,
            load,
            stop,
            finished,
            running,
            waiting_max,
        }
    }

    /// Hands it a message.
    pub(super) fn send(&self, message: InboundMessage) {
        self.load.messages.fetch_add(1, Ordering::Relaxed);
        self.load.bytes.fetch_add(message.bytes(), Ordering::Relaxed);
        // An error means that it is stopping: the message is not dealt with, so it comes again.
        let _ = self.messages.send(message);
    }

    /// Whether it has enough to do.
    pub(super) fn is_full(&self, options: &InboundOptions) -> bool {
        self.load.messages.load(Ordering::Relaxed) >= options.waiting_max
            || self.load.bytes.load(Ordering::Relaxed) >= options.waiting_bytes_max
    }

    /// Whether it has done most of what it had.
    pub(super) fn has_room(&self) -> bool {
        self.load.messages.load(Ordering::Relaxed) <= self.waiting_max / 2
    }

    /// Begins nothing further; the answer becomes true when all is done that is under way.
    pub(super) fn finish(&mut self) -> watch::Receiver<bool> {
        self.stop.send_replace(true);
        self.finished.clone()
    }

    /// Ends it where it is, without waiting.
    pub(super) fn let_go(self) {
        self.running.abort();
    }

    /// Ends it where it is.
    pub(super) async fn abort(self) {
        self.running.abort();
        // It is cancelled or has ended.
        let _ = self.running.await;
    }
}

/// What became of a message in the end.
enum Settled {
    /// It is dealt with.
    Done,
    /// The worker stops: the message comes again.
    Left,
}

struct Lanes<H> {
    /// What waits in each lane; `None`: the lane is free.
    waiting: Vec<Option<VecDeque<Arc<InboundMessage>>>>,
    tasks: JoinSet<Settled>,
    running: HashMap<task::Id, (usize, Arc<InboundMessage>)>,
    progress: Progress,
    load: Arc<Load>,
    shared: Arc<Shared<H>>,
    consumer: Arc<Consumer>,
    place: Place,
    stopping: watch::Receiver<bool>,
}

impl<H: InboundHandler> Lanes<H> {
    async fn work(mut self, mut received: mpsc::UnboundedReceiver<InboundMessage>) {
        let stopping = self.stopping.clone();
        let stop = stopped(&stopping);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                message = received.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
            }
        }
        // What was not begun comes again; nothing takes its place in the lanes.
        self.waiting.iter_mut().flatten().for_each(VecDeque::clear);
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Messages of one key meet in one lane. Those without a key may belong together, for all we know.
    fn lane(&self, message: &InboundMessage) -> usize {
        let Some(key) = &message.key else { return 0 };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lanes = u64::try_from(self.waiting.len()).unwrap_or(1);
        usize::try_from(hasher.finish() % lanes).unwrap_or(0)
    }

    fn take(&mut self, message: InboundMessage) {
        self.progress.begin(message.offset);
        let (lane, message) = (self.lane(&message), Arc::new(message));
        match &mut self.waiting[lane] {
            Some(waiting) => waiting.push_back(message),
            free => {
                *free = Some(VecDeque::new());
                self.begin(lane, message);
            }
        }
    }

    fn begin(&mut self, lane: usize, message: Arc<InboundMessage>) {
        let settling = settle(Arc::clone(&self.shared), Arc::clone(&message), self.stopping.clone());
        let id = self.tasks.spawn(settling).id();
        self.running.insert(id, (lane, message));
    }

    fn ended(&mut self, ended: Result<(task::Id, Settled), JoinError>) {
        let (id, settled) = match ended {
            Ok((id, settled)) => (id, Some(settled)),
            Err(error) => (error.id(), None),
        };
        let Some((lane, message)) = self.running.remove(&id) else {
            return;
        };
        match settled {
            Some(Settled::Done) => self.done(&message),
            // Nothing of this lane may overtake it.
            Some(Settled::Left) => return,
            None => return self.crashed(lane, message),
        }
        let next = self.waiting[lane].as_mut().and_then(VecDeque::pop_front);
        match next {
            Some(next) => self.begin(lane, next),
            None => self.waiting[lane] = None,
        }
    }

    fn done(&mut self, message: &InboundMessage) {
        self.load.messages.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(message.bytes(), Ordering::Relaxed);
        let Some(offset) = self.progress.done(message.offset) else {
            return;
        };
        let (topic, partition) = &self.place;
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(topic, *partition, Offset::Offset(offset + 1))
            .and_then(|()| self.consumer.store_offsets(&list));
        if let Err(error) = stored {
            // The partition has gone meanwhile: whoever has it now deals with the message once more.
            tracing::debug!(topic, partition, offset, %error, "an offset is not stored");
        }
    }

    /// The handler panicked over a message, and would do so again.
    fn crashed(&mut self, lane: usize, message: Arc<InboundMessage>) {
        let poison = Poison {
            code: "crashed",
            detail: "handling it ended in a crash; the log has the cause".into(),
        };
        let (shared, stopping) = (Arc::clone(&self.shared), self.stopping.clone());
        let dead = Arc::clone(&message);
        let burying = async move { bury(&shared, &dead, &poison, &stopping).await };
        let id = self.tasks.spawn(burying).id();
        self.running.insert(id, (lane, message));
    }
}

fn count(message: &InboundMessage, outcome: &'static str) {
    metrics::counter!("uoop_inbound_events_total", "topic" => message.topic.clone(), "outcome" => outcome).increment(1);
}

/// Deals with a message, for as long as it takes.
async fn settle<H: InboundHandler>(
    shared: Arc<Shared<H>>,
    message: Arc<InboundMessage>,
    stopping: watch::Receiver<bool>,
) -> Settled {
    let mut backoff = shared.options.retry_backoff;
    loop {
        let handled = {
            // Never closed, so an error cannot be.
            let _permit = shared.concurrent.acquire().await.ok();
            shared.handler.handle(&message).await
        };
        let outcome = match handled {
            Handled::Applied => "applied",
            Handled::Duplicate => "duplicate",
            Handled::Ignored => "ignored",
            Handled::Poison(poison) => return bury(&shared, &message, &poison, &stopping).await,
            Handled::Again(why) => {
                count(&message, "retried");
                let InboundMessage {
                    topic,
                    partition,
                    offset,
                    ..
                } = &*message;
                tracing::debug!(topic, partition, offset, why, "an event cannot be taken yet");
                tokio::select! {
                    () = sleep(backoff) => {}
                    () = stopped(&stopping) => return Settled::Left,
                }
                backoff = (backoff * 2).min(shared.options.retry_backoff_max);
                continue;
            }
        };
        count(&message, outcome);
        return Settled::Done;
    }
}

/// Writes a message to the dead-letter topic, for as long as it takes.
async fn bury<H>(
    shared: &Shared<H>,
    message: &InboundMessage,
    poison: &Poison,
    stopping: &watch::Receiver<bool>,
) -> Settled {
    tokio::select! {
        () = shared.dead_letters.write(message, poison) => {
            count(message, "dead_letter");
            Settled::Done
        }
        () = stopped(stopping) => Settled::Left,
    }
}
