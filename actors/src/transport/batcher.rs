//! Sends what waits for a peer: all that waits at a time in one frame, within bounds; a lone item at once, unless more are
//! about to come.

use super::figures::count_bytes;
use super::gateway::GatewayMessage;
use super::hub::Hub;
use super::link::{Link, lock};
use super::wire::{self, Head, Item};
use domain::pace::{Linger, Pace};
use ractor::ActorRef;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// A frame costs both nodes as much as some ten items do: the session's actors, the system calls, a wake-up. Each link has
/// only its share of what is said, so without waiting most frames hold one item.
const LINGER: Linger = Linger {
    wait: Duration::from_millis(2),
    wait_max: Duration::from_millis(5),
    enough: 32,
};

pub(super) struct Batcher {
    hub: Arc<Hub>,
    link: Arc<Link>,
    gateway: ActorRef<GatewayMessage>,
    words_rx: mpsc::Receiver<Item>,
    answers_rx: mpsc::Receiver<Item>,
    /// What did not fit into the frame before.
    held: Option<Item>,
    pace: Pace,
    begun_at: Instant,
}

impl Batcher {
    pub(super) fn new(
        hub: &Arc<Hub>,
        link: Arc<Link>,
        gateway: ActorRef<GatewayMessage>,
        words_rx: mpsc::Receiver<Item>,
        answers_rx: mpsc::Receiver<Item>,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            link,
            gateway,
            words_rx,
            answers_rx,
            held: None,
            pace: Pace::new(LINGER),
            begun_at: Instant::now(),
        }
    }

    /// Runs until the link is closed, which aborts it, or the peer's gateway is gone. The first beat is the greeting.
    pub(super) async fn run(mut self) {
        let mut beat = interval(self.hub.options.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let open = self.link.is_open();
            let held = self.held.is_some();
            let sent = tokio::select! {
                biased;
                _ = beat.tick() => self.send(&[]),
                () = self.link.acknowledgement_due.notified() => self.acknowledge(),
                () = self.link.window_opened.notified(), if !open => true,
                () = std::future::ready(()), if open && held => {
                    let first = self.held.take();
                    self.batch(first)
                }
                Some(item) = self.answers_rx.recv(), if open => self.linger(item).await,
                Some(item) = self.words_rx.recv(), if open => self.linger(item).await,
            };
            if !sent {
                let (node, number) = (self.link.node.to_string(), self.link.number);
                self.hub.tell_gateway(GatewayMessage::Broken { node, number });
                return;
            }
            if held {
                // The branch above never waits, and others have work, too.
                tokio::task::yield_now().await;
            }
        }
    }

    fn acknowledge(&self) -> bool {
        // A frame may have said it meanwhile.
        let due = lock(&self.link.intake).is_due();
        !due || self.send(&[])
    }

    /// Sends a frame that begins with this item, after a moment if more are about to come.
    async fn linger(&mut self, first: Item) -> bool {
        let waiting = 1 + self.answers_rx.len() + self.words_rx.len();
        if let Some(wait) = self.pace.wait(self.begun_at.elapsed(), waiting) {
            sleep(wait).await;
        }
        self.batch(Some(first))
    }

    /// Sends a frame of what waits, answers and words in turn, so that neither waits for all of the other.
    fn batch(&mut self, mut next: Option<Item>) -> bool {
        let (items_max, bytes_max) = (self.hub.options.batch_items_max, self.hub.options.batch_bytes_max);
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut requests = 0;
        let mut answers_turn = false;
        while let Some(item) = next.take() {
            if !items.is_empty() && bytes + item.bytes() > bytes_max {
                self.held = Some(item);
                break;
            }
            match &item {
                Item::Request { id, .. } if !self.link.claim(*id) => {}
                _ => {
                    requests += u64::from(matches!(item, Item::Request { .. }));
                    bytes += item.bytes();
                    items.push(item);
                }
            }
            if items.len() >= items_max {
                break;
            }
            next = self.waiting(answers_turn);
            answers_turn = !answers_turn;
        }
        if items.is_empty() {
            return true;
        }
        self.pace.took(self.begun_at.elapsed(), items.len());
        self.link.figures.requests.fetch_add(requests, Ordering::Relaxed);
        self.link.figures.batches.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("uoop_peer_requests_total", "direction" => "out").increment(requests);
        metrics::counter!("uoop_peer_batches_total", "direction" => "out").increment(1);
        self.send(&items)
    }

    fn waiting(&mut self, answers_first: bool) -> Option<Item> {
        if answers_first {
            self.answers_rx.try_recv().or_else(|_| self.words_rx.try_recv()).ok()
        } else {
            self.words_rx.try_recv().or_else(|_| self.answers_rx.try_recv()).ok()
        }
    }

    fn send(&self, items: &[Item]) -> bool {
        let taken = lock(&self.link.intake).tell();
        let head = Head {
            versions: self.hub.versions,
            link: self.link.number,
            taken,
            from: self.hub.options.name.clone(),
        };
        let frame = wire::encode(&head, items);
        self.link.sent(frame.len());
        count_bytes("out", frame.len());
        self.gateway.cast(GatewayMessage::Frame(frame)).is_ok()
    }
}
