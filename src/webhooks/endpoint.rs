//! One endpoint: a task that delivers to one subscription, what has just happened and what waits for another attempt.
//!
//! Every subscription has a task, a queue and attempts of its own and shares nothing with the others but the store. So
//! one that is slow or dead cannot hold up another, and the attempts altogether are bounded by the number of
//! subscriptions times `concurrency_max`.

use super::figures;
use super::hub::{Hub, Stopped};
use super::message::Told;
use super::sender::Outcome;
use super::subscription::{Subscription, Target};
use super::unsettled::Place;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use persistence::{Attempted, Delivery, WebhookId};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// After how many failures in a row an endpoint counts as down: then nothing is attempted at once any more, what happens
/// is kept and attempted by its schedule, until one attempt succeeds.
const DOWN_AFTER: u32 = 5;
/// How long the task sleeps at most when it knows of nothing that is due: what another node left behind is found then.
const LOOK_AGAIN_MS: i64 = 5_000;
/// How long a claimed delivery stays claimed beyond the longest attempt, in milliseconds: by so much the nodes' clocks may
/// differ before two of them attempt the same one.
const CLAIM_MARGIN_MS: i64 = 5_000;
/// How long attempts that are under way may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What others know of an endpoint.
pub(super) struct Endpoint {
    id: WebhookId,
    target: ArcSwap<Target>,
    queue_tx: mpsc::Sender<Fresh>,
    /// Failures in a row.
    failures: AtomicU32,
    /// About how many deliveries are kept for it.
    kept: AtomicU64,
    /// When the next kept delivery is due, as far as known here; wall time in milliseconds.
    due: AtomicI64,
    wake: Notify,
    stop: CancellationToken,
}

/// A message that has not been attempted yet, and is not in the store.
pub(super) struct Fresh {
    pub(super) told: Arc<Told>,
    /// The row that it comes from.
    pub(super) place: Place,
}

/// What is attempted.
enum Source {
    Fresh { id: String, fresh: Fresh },
    Kept(Delivery),
}

type Flight = BoxFuture<'static, (Source, Outcome)>;

/// What a round of attempts leaves to be written.
#[derive(Default)]
struct Outcomes {
    keep: Vec<Delivery>,
    update: Vec<Attempted>,
    delivered: Vec<String>,
    settled: Vec<Place>,
    gone: bool,
}

impl Endpoint {
    /// Starts delivering to a target.
    pub(super) fn start(target: Target, hub: &Arc<Hub>) -> Arc<Self> {
        let (queue_tx, queue_rx) = mpsc::channel(hub.options.queue_max.max(1));
        let endpoint = Arc::new(Self {
            id: target.subscription.id.clone(),
            target: ArcSwap::from_pointee(target),
            queue_tx,
            failures: AtomicU32::new(0),
            kept: AtomicU64::new(0),
            // At once: what waited when the process ended.
            due: AtomicI64::new(i64::MIN),
            wake: Notify::new(),
            stop: CancellationToken::new(),
        });
        let task = Task {
            endpoint: Arc::clone(&endpoint),
            hub: Arc::clone(hub),
            flights: FuturesUnordered::new(),
        };
        // Whoever set the subscription may be a request, whose threads end before deliveries do.
        hub.tasks.spawn_on(task.run(queue_rx), &hub.runtime);
        endpoint
    }

    pub(super) const fn id(&self) -> &WebhookId {
        &self.id
    }

    pub(super) fn target(&self) -> Arc<Target> {
        self.target.load_full()
    }

    /// Whether it delivers as this subscription says. One that was removed and made anew can have the same version again.
    pub(super) fn is_of(&self, subscription: &Subscription) -> bool {
        self.target.load().subscription == *subscription
    }

    /// The subscription was changed: from the next attempt on, as it is now.
    pub(super) fn retarget(&self, target: Target) {
        self.target.store(Arc::new(target));
        // It may lead somewhere else now.
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Ends the task: what is queued is kept, what is under way is finished.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.target.load().subscription.wants(name)
    }

    pub(super) fn is_down(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= DOWN_AFTER
    }

    /// Hands a message over for an attempt at once. False: there is no room, and it must be kept.
    pub(super) fn offer(&self, fresh: Fresh) -> bool {
        self.queue_tx.try_send(fresh).is_ok()
    }

    /// So many deliveries more were kept, the first of them due at that time.
    pub(super) fn kept_more(&self, count: usize, due: i64) {
        self.kept
            .fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.wake_at(due);
    }

    pub(super) fn count_kept(&self, count: u64) {
        self.kept.store(count, Ordering::Relaxed);
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// A delivery is due at that time.
    pub(super) fn wake_at(&self, due: i64) {
        self.due.fetch_min(due, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// A message as it is kept when it has not been attempted: due at once, or, while the endpoint is down, after the
    /// first delay of the schedule.
    pub(super) fn put_off(&self, told: &Told, hub: &Hub) -> Delivery {
        let delay_ms = if self.is_down() {
            hub.schedule.delay_ms(1, None, hub.ids.random()).unwrap_or(0)
        } else {
            0
        };
        self.delivery(told, told.id_for(&self.id), after(hub.now(), delay_ms))
    }

    fn delivery(&self, told: &Told, id: String, next_at: i64) -> Delivery {
        Delivery {
            id,
            subscription: self.id.clone(),
            event: told.name.to_owned(),
            body: told.body.clone(),
            attempts: 0,
            next_at,
            dead_at: None,
            error: String::new(),
            committed_at: told.committed_at,
        }
    }
}

/// The task of an endpoint.
struct Task {
    endpoint: Arc<Endpoint>,
    hub: Arc<Hub>,
    flights: FuturesUnordered<Flight>,
}

impl Task {
    async fn run(mut self, mut queue_rx: mpsc::Receiver<Fresh>) {
        let endpoint = Arc::clone(&self.endpoint);
        let hub = Arc::clone(&self.hub);
        let ended = loop {
            if endpoint.is_down() && self.put_off_queue(&mut queue_rx).await.is_err() {
                break Err(Stopped);
            }
            let free = self.free();
            tokio::select! {
                () = hub.stopping.cancelled() => break Err(Stopped),
                () = endpoint.stop.cancelled() => break Ok(()),
                Some(done) = self.flights.next() => {
                    if self.conclude(done).await.is_err() {
                        break Err(Stopped);
                    }
                }
                Some(fresh) = queue_rx.recv(), if free > 0 => self.attempt_fresh(fresh),
                () = until(self.endpoint.due.load(Ordering::Relaxed), hub.now()), if free > 0 => self.claim(free).await,
                () = endpoint.wake.notified() => {}
            }
        };
        // From here on nobody can hand anything over; what was handed over is kept.
        queue_rx.close();
        match ended {
            Ok(()) => self.wind_up(&mut queue_rx).await,
            // What is neither delivered nor kept is not settled, so it comes again at the next start.
            Err(Stopped) => {
                let _ = tokio::time::timeout(DRAIN, self.finish()).await;
            }
        }
    }

    fn free(&self) -> usize {
        self.hub.options.concurrency_max.saturating_sub(self.flights.len())
    }

    /// The subscription is switched off or removed: keeps what is queued (which does nothing if it was removed) and
    /// finishes what is under way.
    async fn wind_up(&mut self, queue_rx: &mut mpsc::Receiver<Fresh>) {
        if self.put_off_queue(queue_rx).await.is_ok() {
            self.finish().await;
        }
    }

    async fn finish(&mut self) {
        while let Some(done) = self.flights.next().await {
            if self.conclude(done).await.is_err() {
                return;
            }
        }
    }

    /// Keeps everything that is queued.
    async fn put_off_queue(&mut self, queue_rx: &mut mpsc::Receiver<Fresh>) -> Result<(), Stopped> {
        let mut fresh = Vec::new();
        while let Ok(one) = queue_rx.try_recv() {
            fresh.push(one);
        }
        let put_off = |one: &Fresh| self.endpoint.put_off(&one.told, &self.hub);
        let deliveries: Vec<Delivery> = fresh.iter().map(put_off).collect();
        self.hub.keep(&deliveries).await?;
        figures::outcomes("put_off", deliveries.len());
        if let Some(due) = deliveries.iter().map(|one| one.next_at).min() {
            self.endpoint.kept_more(deliveries.len(), due);
        }
        for one in fresh {
            self.hub.unsettled.settle(one.place);
        }
        Ok(())
    }

    fn attempt_fresh(&mut self, fresh: Fresh) {
        let id = fresh.told.id_for(&self.endpoint.id);
        self.attempt(Source::Fresh { id, fresh });
    }

    fn attempt(&mut self, source: Source) {
        let (hub, target) = (Arc::clone(&self.hub), self.endpoint.target());
        let flight = async move {
            let (id, body) = match &source {
                Source::Fresh { id, fresh } => (id, &fresh.told.body),
                Source::Kept(delivery) => (&delivery.id, &delivery.body),
            };
            let outcome = hub.sender.attempt(&target, id, body).await;
            (source, outcome)
        };
        self.flights.push(flight.boxed());
    }

    /// Takes what is due from the store and attempts it.
    async fn claim(&mut self, free: usize) {
        let now = self.hub.now();
        let timeout_ms = i64::try_from(self.hub.options.timeout.as_millis()).unwrap_or(i64::MAX);
        let until = now.saturating_add(timeout_ms).saturating_add(CLAIM_MARGIN_MS);
        // Whoever keeps something from here on makes it earlier again.
        self.endpoint.due.store(now + LOOK_AGAIN_MS, Ordering::Relaxed);
        let claimed = self.hub.store.claim(&self.endpoint.id, now, until, free).await;
        let next = match claimed {
            Ok(claimed) => {
                for delivery in claimed {
                    self.attempt(Source::Kept(delivery));
                }
                self.hub.store.next_due(&self.endpoint.id).await
            }
            Err(error) => Err(error),
        };
        match next {
            Ok(Some(due)) => _ = self.endpoint.due.fetch_min(due, Ordering::Relaxed),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, webhook = %self.endpoint.id, "what is due cannot be read at present");
                self.endpoint.due.fetch_min(now + 1_000, Ordering::Relaxed);
            }
        }
    }

    /// Writes down what this attempt and those that ended with it came to.
    async fn conclude(&mut self, first: (Source, Outcome)) -> Result<(), Stopped> {
        let mut outcomes = Outcomes::default();
        let mut next = Some(first);
        while let Some((source, outcome)) = next {
            self.judge(source, outcome, &mut outcomes);
            next = self.flights.next().now_or_never().flatten();
        }
        let hub = &self.hub;
        hub.keep(&outcomes.keep).await?;
        if !outcomes.update.is_empty() {
            hub.persist("updated", || hub.store.update(&outcomes.update)).await?;
        }
        if !outcomes.delivered.is_empty() {
            let ids: Vec<&str> = outcomes.delivered.iter().map(String::as_str).collect();
            hub.persist("forgotten", || hub.store.forget(&ids)).await?;
        }
        let updated = outcomes.update.iter().map(|one| &one.delivery);
        let changed = outcomes.keep.iter().chain(updated);
        let waiting = changed.filter(|one| one.dead_at.is_none()).map(|one| one.next_at);
        self.endpoint
            .kept_more(outcomes.keep.len(), waiting.min().unwrap_or(i64::MAX));
        for place in outcomes.settled {
            hub.unsettled.settle(place);
        }
        if outcomes.gone {
            let target = self.endpoint.target();
            let reason = "the endpoint answered 410: it wants no more messages";
            if let Err(error) = hub.disable(&target.subscription, reason).await {
                tracing::warn!(%error, webhook = %self.endpoint.id, "a subscription cannot be switched off at present");
            }
        }
        Ok(())
    }

    fn judge(&self, source: Source, outcome: Outcome, outcomes: &mut Outcomes) {
        let now = self.hub.now();
        if let Source::Fresh { fresh, .. } = &source {
            outcomes.settled.push(fresh.place);
        }
        let (error, asked_ms, gone) = match outcome {
            Outcome::Delivered => {
                self.endpoint.failures.store(0, Ordering::Relaxed);
                delivered(source, now, outcomes);
                return;
            }
            Outcome::Failed { error, asked_ms } => (error, asked_ms, false),
            Outcome::Gone => ("answered 410".to_owned(), None, true),
        };
        outcomes.gone |= gone;
        self.endpoint.failures.fetch_add(1, Ordering::Relaxed);
        let (mut delivery, claim) = match source {
            Source::Fresh { id, fresh } => (self.endpoint.delivery(&fresh.told, id, now), None),
            Source::Kept(delivery) => {
                let claim = delivery.next_at;
                (delivery, Some(claim))
            }
        };
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.error = error;
        let delay_ms = self
            .hub
            .schedule
            .delay_ms(delivery.attempts, asked_ms, self.hub.ids.random());
        match delay_ms.filter(|_| !gone) {
            Some(delay_ms) => delivery.next_at = after(now, delay_ms),
            None => delivery.dead_at = Some(now),
        }
        figures::outcome(match delivery.dead_at {
            _ if gone => "gone",
            Some(_) => "dead",
            None => "failed",
        });
        match claim {
            None => outcomes.keep.push(delivery),
            Some(claim) => outcomes.update.push(Attempted { delivery, claim }),
        }
    }
}

/// A message was taken: what remains to be done about it.
fn delivered(source: Source, now: i64, outcomes: &mut Outcomes) {
    figures::outcome("delivered");
    match source {
        Source::Fresh { fresh, .. } => {
            if let Some(committed) = fresh.told.committed {
                figures::took(committed.elapsed());
            }
        }
        Source::Kept(delivery) => {
            if let Some(committed_at) = delivery.committed_at {
                let ms = u64::try_from(now.saturating_sub(committed_at)).unwrap_or(0);
                figures::took(Duration::from_millis(ms));
            }
            outcomes.delivered.push(delivery.id);
        }
    }
}

/// A moment so many milliseconds later.
fn after(now: i64, delay_ms: u64) -> i64 {
    now.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX))
}

/// Waits until a moment of wall time.
async fn until(due: i64, now: i64) {
    let ms = due.saturating_sub(now).clamp(0, LOOK_AGAIN_MS);
    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
}
