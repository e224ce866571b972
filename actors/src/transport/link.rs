//! One link with a peer, from the session's beginning to its end: what waits to be sent, what waits for an answer, and
//! what bounds both. A new session is a new link.

use super::AskError;
use super::batcher::Batcher;
use super::figures::Figures;
use super::gateway::GatewayMessage;
use super::hub::Hub;
use super::wire::{Item, Taken};
use ractor::ActorRef;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

/// Notices that may wait to be sent, beside the requests.
const NOTICES_MAX: usize = 4_096;
/// Frames that may be under way unacknowledged. ractor queues without bound, so this, and not the socket, is what holds
/// a sender back; and while it does, batches fill.
const FRAMES_MAX: usize = 16;
/// Bytes that may be under way unacknowledged; one frame may exceed it.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// After so many frames an acknowledgement is sent by itself.
const ACKNOWLEDGE_EVERY: u64 = 4;

/// What was taken in of a peer's frames, over all links.
#[derive(Debug, Default)]
pub(super) struct Intake {
    link: u64,
    frames: u64,
    told: u64,
}

impl Intake {
    /// Takes in a frame of the peer's link of this number; `false` if it is of a link before the latest.
    pub(super) fn take(&mut self, link: u64) -> bool {
        if link > self.link {
            *self = Self {
                link,
                ..Self::default()
            };
        }
        let current = link == self.link;
        self.frames += u64::from(current);
        current
    }

    /// Whether the peer should be told without waiting for something else to say.
    pub(super) fn is_due(&self) -> bool {
        self.frames - self.told >= ACKNOWLEDGE_EVERY
    }

    /// What to tell it.
    pub(super) fn tell(&mut self) -> Taken {
        self.told = self.frames;
        Taken {
            link: self.link,
            frames: self.frames,
        }
    }
}

/// What was sent and is not acknowledged.
#[derive(Debug, Default)]
struct Window {
    sent: u64,
    acknowledged: u64,
    under_way: VecDeque<usize>,
    bytes: usize,
}

/// Requests that wait for an answer.
#[derive(Default)]
struct Pending {
    closed: bool,
    asks: HashMap<u64, Waiting>,
}

struct Waiting {
    sent: bool,
    answer_tx: oneshot::Sender<Result<Vec<u8>, AskError>>,
}

pub(super) struct Link {
    pub(super) node: Arc<str>,
    /// Told in every frame; higher with each link of this node.
    pub(super) number: u64,
    pub(super) figures: Arc<Figures>,
    pub(super) intake: Arc<Mutex<Intake>>,
    /// Requests of the peer that may be answered at a time.
    pub(super) answering: Arc<Semaphore>,
    pub(super) answers_tx: mpsc::Sender<Item>,
    pub(super) acknowledgement_due: Notify,
    pub(super) window_opened: Notify,
    /// The version of the wire that both speak, once the link is up.
    version: AtomicU16,
    requests_max: usize,
    outstanding: Semaphore,
    words_tx: mpsc::Sender<Item>,
    pending: Mutex<Pending>,
    window: Mutex<Window>,
    batcher: Mutex<Option<AbortHandle>>,
}

impl Link {
    /// Begins to talk to a peer's gateway; first of all it is greeted.
    pub(super) fn start(
        hub: &Arc<Hub>,
        node: &str,
        figures: Arc<Figures>,
        intake: Arc<Mutex<Intake>>,
        gateway: ActorRef<GatewayMessage>,
    ) -> Arc<Self> {
        let requests_max = hub.options.requests_max;
        let (words_tx, words_rx) = mpsc::channel(requests_max + NOTICES_MAX);
        let (answers_tx, answers_rx) = mpsc::channel(4 * requests_max);
        let link = Arc::new(Self {
            node: Arc::from(node),
            number: hub.links_made.fetch_add(1, Ordering::Relaxed) + 1,
            figures,
            intake,
            answering: Arc::new(Semaphore::new(2 * requests_max)),
            answers_tx,
            acknowledgement_due: Notify::new(),
            window_opened: Notify::new(),
            version: AtomicU16::new(hub.versions.min),
            requests_max,
            outstanding: Semaphore::new(requests_max),
            words_tx,
            pending: Mutex::default(),
            window: Mutex::default(),
            batcher: Mutex::default(),
        });
        let batcher = Batcher::new(hub, Arc::clone(&link), gateway, words_rx, answers_rx);
        let task = tokio::spawn(batcher.run());
        *lock(&link.batcher) = Some(task.abort_handle());
        link
    }

    /// Settles which version of the wire is spoken; nothing is said before.
    pub(super) fn speak(&self, version: u16) {
        self.version.store(version, Ordering::Release);
    }

    /// The version of the wire that both speak.
    pub(super) fn version(&self) -> u16 {
        self.version.load(Ordering::Acquire)
    }

    /// Asks the peer. `id` is unique to the request.
    pub(super) async fn ask(&self, id: u64, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, AskError> {
        let _permit = self.outstanding.try_acquire().map_err(|_| AskError::Overloaded)?;
        let (answer_tx, mut answer_rx) = oneshot::channel();
        let entry = self.expect(id, answer_tx)?;
        self.words_tx
            .try_send(Item::Request { id, body })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => AskError::Unreachable,
            })?;
        if let Ok(outcome) = tokio::time::timeout(timeout, &mut answer_rx).await {
            return outcome.unwrap_or(Err(AskError::Lost));
        }
        match entry.take() {
            Some(waiting) if waiting.sent => Err(AskError::Lost),
            // It still waits here, and the batcher passes over what nobody waits for.
            Some(_) => Err(AskError::Overloaded),
            // The answer came in this very moment.
            None => answer_rx.try_recv().unwrap_or(Err(AskError::Lost)),
        }
    }

    /// Queues a notice; `false` if there is no room.
    pub(super) fn tell(&self, notice: Vec<u8>) -> bool {
        self.words_tx.try_send(Item::Notice(notice)).is_ok()
    }

    /// Requests that wait for an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.requests_max - self.outstanding.available_permits()
    }

    /// Marks a request as sent; `false` if nobody waits for it any more, so that it need not be sent.
    pub(super) fn claim(&self, id: u64) -> bool {
        match lock(&self.pending).asks.get_mut(&id) {
            Some(waiting) => {
                waiting.sent = true;
                true
            }
            None => false,
        }
    }

    /// The outcome of a request is there. One that nobody waits for is dropped.
    pub(super) fn settle(&self, id: u64, outcome: Result<Vec<u8>, AskError>) {
        let waiting = lock(&self.pending).asks.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.answer_tx.send(outcome);
        }
    }

    /// Whether another frame may be sent now.
    pub(super) fn is_open(&self) -> bool {
        let window = lock(&self.window);
        window.under_way.len() < FRAMES_MAX && window.bytes < FRAME_BYTES_MAX
    }

    /// A frame of so many bytes is sent.
    pub(super) fn sent(&self, bytes: usize) {
        let mut window = lock(&self.window);
        window.sent += 1;
        window.under_way.push_back(bytes);
        window.bytes += bytes;
    }

    /// The peer has taken in frames.
    pub(super) fn acknowledged(&self, taken: Taken) {
        if taken.link != self.number {
            return;
        }
        let mut window = lock(&self.window);
        let frames = taken.frames.min(window.sent);
        while window.acknowledged < frames {
            window.acknowledged += 1;
            let bytes = window.under_way.pop_front().unwrap_or(0);
            window.bytes -= bytes;
        }
        drop(window);
        self.window_opened.notify_one();
    }

    /// Whether all that was given to it has been sent and taken in.
    pub(super) fn is_drained(&self) -> bool {
        self.words_tx.capacity() == self.words_tx.max_capacity()
            && self.answers_tx.capacity() == self.answers_tx.max_capacity()
            && lock(&self.window).under_way.is_empty()
    }

    /// The link is at its end: whoever waits is told, and nothing more is sent. Idempotent.
    pub(super) fn close(&self) {
        if let Some(batcher) = lock(&self.batcher).take() {
            batcher.abort();
        }
        let asks = {
            let mut pending = lock(&self.pending);
            pending.closed = true;
            std::mem::take(&mut pending.asks)
        };
        for waiting in asks.into_values() {
            let error = if waiting.sent {
                AskError::Lost
            } else {
                AskError::Unreachable
            };
            let _ = waiting.answer_tx.send(Err(error));
        }
    }

    fn expect(&self, id: u64, answer_tx: oneshot::Sender<Result<Vec<u8>, AskError>>) -> Result<Entry<'_>, AskError> {
        let mut pending = lock(&self.pending);
        if pending.closed {
            return Err(AskError::Unreachable);
        }
        pending.asks.insert(id, Waiting { sent: false, answer_tx });
        Ok(Entry { link: self, id })
    }
}

/// Takes a request out of those that wait when whoever asks is done, or gone.
struct Entry<'a> {
    link: &'a Link,
    id: u64,
}

impl Entry<'_> {
    fn take(&self) -> Option<Waiting> {
        lock(&self.link.pending).asks.remove(&self.id)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

/// A panic elsewhere leaves nothing half done under these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
