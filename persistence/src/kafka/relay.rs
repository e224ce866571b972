//! The relay: publishes every public event of every committed row, at least once and in order.
//!
//! It follows the position lines and moves a line's cursor past a row only when all events of all rows up to it are
//! acknowledged. Order rests on four things: one order's rows are on one line and go to one partition; an order's row is
//! sent when the one before it has arrived (see `turns`); the producer is idempotent, so its retries change neither order
//! nor number; and it may leave no gap: the first message that is not delivered ends the producer with all that it still
//! holds. A new one then begins, on every line, with the first row
//! that is not done. What comes twice that way comes in the same order and with the same `ce_id`s.
//!
//! When a shard goes to another node, the relay there begins at the cursor: what this one sends behind it comes twice, and
//! again each of the two writes a run without gaps that begins no later than the first event that is not acknowledged.
//!
//! *Architecture invariant*: nothing here waits for Kafka but the relay itself. While Kafka is away, what is sent stays
//! within the bounds of the [`Window`], and the rows stay in the store.

mod figures;
mod link;
mod turns;
mod window;

use super::envelope::Envelope;
use super::options::KafkaOptions;
use super::topics;
use crate::follower::Follower;
use crate::tail::{Tail, TailRow};
use domain::order::public_events;
use domain::ports::{Store, StoreError};
pub use figures::RelayStatus;

use figures::{Counts, Figures};
use link::{Link, Report, Unsent};
use rdkafka::error::KafkaError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use turns::{Turns, Waiting};
use window::{Ticket, Window};

/// The follower's name: under it the store keeps the cursors.
const NAME: &str = "relay";
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 512;
/// The pause between two looks, in which rows and acknowledgements gather: each look costs as much as a few rows.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the cursors are saved.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The pause after the first failure; it doubles with each further one, until something is delivered.
const BACKOFF: Duration = Duration::from_millis(200);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// What ending costs beyond what is granted for delivery: a last save, and the end of the producer's threads.
const END_MAX: Duration = Duration::from_secs(3);

/// A running relay. Dropped, it ends at once and saves nothing: what it did since the last save comes again.
pub struct Relay {
    stop_tx: watch::Sender<Option<Instant>>,
    task: JoinHandle<bool>,
    counts: Arc<Counts>,
}

impl Relay {
    /// The follower's name: under it the store keeps how far the relay is.
    pub const FOLLOWER: &'static str = NAME;

    /// Starts to relay what the tail holds now and later. Kafka may be away: the relay goes on trying.
    ///
    /// Must be called within a tokio runtime, and after the metrics recorder was installed. One relay for each tail: two
    /// of them would both publish everything.
    pub fn start(tail: &Arc<Tail>, store: &Arc<dyn Store>, options: KafkaOptions) -> Self {
        let (stop_tx, stop_rx) = watch::channel(None);
        let counts = Arc::new(Counts::default());
        let task = Task {
            tail: Arc::clone(tail),
            store: Arc::clone(store),
            options,
            stop_rx,
            backoff: BACKOFF,
            figures: Figures::new(Arc::clone(&counts)),
        };
        Self {
            stop_tx,
            task: tokio::spawn(task.run()),
            counts,
        }
    }

    /// What it has done since it was started.
    pub fn status(&self) -> RelayStatus {
        self.counts.status()
    }

    /// Delivers what is committed by now, for as long as `within`, saves the cursors and ends. Whether nothing is left;
    /// what is left comes at the next start.
    pub async fn stop(mut self, within: Duration) -> bool {
        self.stop_tx.send_replace(Some(Instant::now() + within));
        match tokio::time::timeout(within + END_MAX, &mut self.task).await {
            Ok(Ok(complete)) => complete,
            Ok(Err(error)) => {
                tracing::error!(%error, "the relay died");
                false
            }
            Err(_) => false,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What ends the use of a producer.
enum End {
    /// It is asked to, and this is whether nothing is left.
    Stopped(bool),
    /// A message was not delivered, or cannot be sent.
    Failed(KafkaError),
}

/// All that outlives a producer.
struct Task {
    tail: Arc<Tail>,
    store: Arc<dyn Store>,
    options: KafkaOptions,
    stop_rx: watch::Receiver<Option<Instant>>,
    backoff: Duration,
    figures: Figures,
}

impl Task {
    async fn run(mut self) -> bool {
        let Some(mut follower) = self.follow().await else {
            return false;
        };
        while let Some(link) = self.connect().await {
            let mut pass = Pass {
                link,
                window: Window::default(),
                unsent: VecDeque::new(),
                reports: Vec::new(),
                envelope: Envelope::default(),
                turns: Turns::default(),
                figures: &self.figures,
                delivered: false,
            };
            let end = pass.run(&mut follower, &mut self.stop_rx).await;
            if pass.delivered {
                self.backoff = BACKOFF;
            }
            for shard in pass.window.lines() {
                follower.rewind(shard);
            }
            pass.link.end().await;
            self.figures.in_flight(0);
            match end {
                End::Stopped(complete) => return complete,
                End::Failed(error) => {
                    self.figures.failed();
                    tracing::warn!(%error, "an event was not delivered: relaying again from the cursors");
                    self.pause().await;
                }
            }
        }
        if let Err(error) = follower.save().await {
            tracing::warn!(%error, "cursors not saved");
        }
        follower.lag_rows() == 0
    }

    /// The follower at its cursors; `None` if the relay's time is up first.
    async fn follow(&mut self) -> Option<Follower> {
        while !self.expired() {
            match Follower::start(&self.tail, &self.store, NAME).await {
                Ok(follower) => {
                    self.backoff = BACKOFF;
                    return Some(follower);
                }
                Err(error) => tracing::warn!(%error, "the relay cannot read its cursors"),
            }
            self.pause().await;
        }
        None
    }

    /// A producer whose topic is there; `None` if the relay's time is up first.
    async fn connect(&mut self) -> Option<Link> {
        while !self.expired() {
            let topic = self.options.orders_topic.as_str();
            let topics = [topic];
            let mut stop_rx = self.stop_rx.clone();
            let made = tokio::select! {
                made = topics::ensure(&self.options, &topics) => made,
                () = time_is_up(&mut stop_rx) => return None,
            };
            match made.and_then(|()| Link::new(&self.options.producer(), topic)) {
                Ok(link) => return Some(link),
                Err(error) => {
                    self.figures.failed();

                    tracing::warn!(%error, "the relay does not reach Kafka");
                }
            }
            self.pause().await;
        }
        None
    }

    /// Whether the relay was stopped and has had the time that it was granted.
    fn expired(&self) -> bool {
        self.stop_rx.borrow().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits a while after a failure, longer after each further one, and no longer than there is time.
    async fn pause(&mut self) {
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(BACKOFF_MAX);
        let mut stop_rx = self.stop_rx.clone();
        let _ = tokio::time::timeout(backoff, time_is_up(&mut stop_rx)).await;
    }
}

/// Resolves when the relay was stopped and has had the time that it was granted.
async fn time_is_up(stop_rx: &mut watch::Receiver<Option<Instant>>) {
    let asked = stop_rx.wait_for(Option::is_some).await.map(|deadline| *deadline);
    match asked {
        Ok(Some(deadline)) => tokio::time::sleep_until(deadline).await,
        // Nobody can ask any more: then the task is ended from outside.
        _ => std::future::pending().await,
    }
}

/// The use of one producer, from its start to its first failure.
struct Pass<'a> {
    link: Link,
    window: Window,
    /// Events that the producer has no room for yet, in order.
    unsent: VecDeque<Waiting>,
    reports: Vec<Report>,
    envelope: Envelope,
    turns: Turns,
    figures: &'a Figures,
    delivered: bool,
}

impl Pass<'_> {
    async fn run(&mut self, follower: &mut Follower, stop_rx: &mut watch::Receiver<Option<Instant>>) -> End {
        let mut save = save_interval();
        loop {
            if let Err(error) = self.settle(follower).and_then(|()| self.send(follower)) {
                return End::Failed(error);
            }
            let deadline = *stop_rx.borrow_and_update();
            if let Some(deadline) = deadline {
                let complete = follower.lag_rows() == 0;
                if complete || Instant::now() >= deadline {
                    self.save(follower).await;
                    return End::Stopped(complete);
                }
            }
            let room = self.unsent.is_empty() && self.window.has_room();
            let mut many = false;
            tokio::select! {
                biased;
                () = self.link.reported() => {}
                _ = save.tick() => self.save(follower).await,
                _ = stop_rx.changed(), if deadline.is_none() => {}
                () = until(deadline) => {}
                rows = follower.next(ROWS_AT_ONCE), if room => many = self.take(follower, rows).await,
            }
            if many {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Takes rows in: those without public events are done as soon as those before them are. Whether there may be more.
    async fn take(&mut self, follower: &mut Follower, rows: Result<Vec<Arc<TailRow>>, StoreError>) -> bool {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "the relay cannot read rows");
                tokio::time::sleep(BACKOFF).await;
                return false;
            }
        };
        for shard in follower.forgotten() {
            // Its next owner begins at the cursor, and so does this node if it is that again.
            self.window.forget(shard);
            self.turns.forget(shard);
            self.unsent.retain(|(ticket, _)| ticket.shard() != shard);
        }
        for row in &rows {
            let events = public_events(&row.row).unwrap_or_else(|error| {
                self.figures.passed_over();
                let (stream, seq, position) = (row.row.stream, row.row.seq.0, row.row.position.0);
                tracing::error!(%error, %stream, seq, shard = %row.shard, position, "a row cannot be read: not relayed");
                Vec::new()
            });
            let ticket = self.window.ticket(row.shard, row.row.position);
            if self.window.open(ticket, events.len(), row.committed) {
                follower.done(row.shard, row.row.position);
            }
            self.unsent.extend(events.into_iter().map(|event| (ticket, event)));
        }
        rows.len() >= ROWS_AT_ONCE
    }

    /// Sends what is unsent, as far as the producer has room for it.
    fn send(&mut self, follower: &mut Follower) -> Result<(), KafkaError> {
        while let Some((ticket, event)) = self.unsent.pop_front() {
            let Some(event) = self.turns.admit(ticket, event) else {
                continue;
            };
            let poison = match self.envelope.write(&event) {
                Ok(headers) => match self.link.send(&self.envelope, headers, ticket) {
                    Ok(()) => None,
                    Err(Unsent::NoRoom) => {
                        self.unsent.push_front((ticket, event));
                        break;
                    }
                    Err(Unsent::TooLarge(error)) => Some(error.to_string()),
                    Err(Unsent::Failed(error)) => return Err(error),
                },
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = poison {
                self.figures.passed_over();
                tracing::error!(error, id = event.id(), "an event cannot be sent: not relayed");
                self.acknowledge(follower, ticket);
            } else {
                self.window.sent(ticket, self.envelope.size());
            }
        }
        let held = self.unsent.len() + self.turns.waiting();
        self.figures.in_flight(self.window.events() - held);
        Ok(())
    }

    /// Takes note of what was delivered, and of the first that was not.
    fn settle(&mut self, follower: &mut Follower) -> Result<(), KafkaError> {
        let mut reports = std::mem::take(&mut self.reports);
        self.link.take_reports(&mut reports);
        let now = Instant::now();
        let mut failed = None;
        let mut delivered = 0;
        for report in reports.drain(..) {
            if let Some(code) = report.failure {
                failed = failed.or(Some(KafkaError::MessageProduction(code)));
                continue;
            }
            delivered += 1;
            if let Some(committed) = self.acknowledge(follower, report.ticket) {
                self.figures.delivery.record(now.duration_since(committed));
            }
        }
        self.figures.acknowledged(delivered);
        self.delivered |= delivered > 0;
        self.reports = reports;
        failed.map_or(Ok(()), Err)
    }

    fn acknowledge(&mut self, follower: &mut Follower, ticket: Ticket) -> Option<Instant> {
        let acknowledged = self.window.acknowledge(ticket)?;
        if acknowledged.row {
            // In front: what is unsent came later.
            for waiting in self.turns.arrived(ticket).into_iter().rev() {
                self.unsent.push_front(waiting);
            }
        }
        if let Some(position) = acknowledged.done {
            follower.done(ticket.shard(), position);
        }
        acknowledged.committed
    }

    async fn save(&self, follower: &mut Follower) {
        if let Err(error) = follower.save().await {
            // It is tried again in a moment; until then more comes again after a crash, and nothing else.
            tracing::warn!(%error, "cursors not saved");
        }
    }
}

fn save_interval() -> Interval {
    let mut interval = tokio::time::interval(SAVE_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
