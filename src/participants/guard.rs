//! A guard for each participant (one for payments, one for each channel): a concurrency limit and a circuit breaker.
//!
//! A participant that is *busy* is waited for: first come, first served, as a part of the time that the effect has anyway
//! (the effector drops a call that takes longer, and with it its place in the queue). So a backlog, as there is one after an
//! outage, is worked off at the participant's pace, and no order fails for having come with many others. A call that waited
//! longer than it was under way when it was dropped says nothing of the participant, and is not held against it.
//!
//! A *closed door* (an open circuit, or as many waiting as may) answers at once, and what it answers depends on what is
//! asked. A ticket that is *offered* (see [`Kitchens::offer`]: none of its attempts has ever left) is refused, so that the
//! alternate is tried at once. Everything else is answered as *unsent* and is tried again later: a refusal would say that it
//! did not happen, and an earlier attempt, of this process or of one before it, may have got through. For the same reason
//! only offers are turned away when too many wait; how many others there can be is bounded by the orders under way.

use super::breaker::{Breaker, BreakerLimits, Passage};
use async_trait::async_trait;
use dashmap::DashMap;
use domain::circuit::{Circuit, CircuitState};
use domain::ports::{Kitchens, Payments};
use domain::saga::{Answer, PaymentRequest, Refused, TicketAction, TicketRequest};
use domain::time::{Millis, Timestamp};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Most guards kept; beyond it, guards that nothing is known of are dropped.
const GUARDS_MAX: usize = 10_000;

/// The limits of calls to one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Most calls to one participant at a time; more wait.
    pub concurrent_max: usize,
    /// Most calls that may wait for one participant before new tickets are refused, so that an alternate is tried.
    pub waiting_max: usize,
    /// So many failures in a row open the circuit.
    pub failures_max: u32,
    /// How long an open circuit lets nothing through, in wall milliseconds.
    pub open_ms: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            concurrent_max: 64,
            waiting_max: 10_000,
            failures_max: 5,
            open_ms: 30_000,
        }
    }
}

struct Guard {
    participant: String,
    /// Fair: whoever asks first gets the next one.
    permits: Semaphore,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
    turned_away: AtomicU64,
    figures: Figures,
}

struct Figures {
    done: Counter,
    pending: Counter,
    refused: Counter,
    failed: Counter,
    dropped: Counter,
    turned_away: Counter,
    opened: Counter,
    /// 1 while the circuit is not closed.
    open: Gauge,
    seconds: Histogram,
}

impl Figures {
    fn of(participant: &str) -> Self {
        let answers = |answer: &'static str| counter!("participant_answers_total", "participant" => participant.to_owned(), "answer" => answer);
        Self {
            done: answers("done"),
            pending: answers("pending"),
            refused: answers("refused"),
            failed: answers("failed"),
            dropped: answers("none"),
            turned_away: answers("turned_away"),
            opened: counter!("participant_circuit_opened_total", "participant" => participant.to_owned()),
            open: gauge!("participant_circuit_open", "participant" => participant.to_owned()),
            seconds: histogram!("participant_call_seconds", "participant" => participant.to_owned()),
        }
    }

    fn count(&self, answer: &Answer) {
        match answer {
            Answer::Done(_) => self.done.increment(1),
            Answer::Pending => self.pending.increment(1),
            Answer::Refused(_) => self.refused.increment(1),
            Answer::Failed(_) | Answer::Unsent(_) => self.failed.increment(1),
        }
    }
}

impl Guard {
    fn new(participant: &str, config: GuardConfig) -> Self {
        let limits = BreakerLimits {
            failures_max: config.failures_max.max(1),
            open_ms: Millis(config.open_ms),
        };
        let figures = Figures::of(participant);
        // So that there is something to compare with before the first failure.
        figures.opened.increment(0);
        figures.open.set(0.0);
        Self {
            participant: participant.to_owned(),
            permits: Semaphore::new(config.concurrent_max.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(limits)),
            turned_away: AtomicU64::new(0),
            figures,
        }
    }

    /// Does something with the breaker, and says what became of it.
    fn operate<T>(&self, operation: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker();
        let before = breaker.state();
        let result = operation(&mut breaker);
        let after = breaker.state();
        drop(breaker);
        if before != after {
            self.tell(after);
        }
        result
    }

    fn tell(&self, state: CircuitState) {
        let participant = &self.participant;
        match state {
            CircuitState::Open => {
                tracing::warn!(participant, "a participant fails again and again: its circuit is open");
                self.figures.opened.increment(1);
                self.figures.open.set(1.0);
            }
            CircuitState::HalfOpen => tracing::info!(participant, "a call goes out to a participant that failed"),
            CircuitState::Closed => {
                tracing::info!(participant, "a participant answers again: its circuit is closed");
                self.figures.open.set(0.0);
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_away<T>(&self, answer: T) -> T {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        self.figures.turned_away.increment(1);
        answer
    }

    /// Waits for its turn.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = Waiting::begin(&self.waiting);
        // Never closed.
        self.permits.acquire().await.ok()
    }

    /// Whether so many wait that another one had better be told so.
    fn is_crowded(&self, waiting_max: usize) -> bool {
        self.permits.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) >= waiting_max
    }

    fn is_idle(&self, concurrent_max: usize) -> bool {
        let breaker = self.breaker();
        breaker.failures() == 0 && self.permits.available_permits() >= concurrent_max
    }
}

/// Somebody who waits, counted for as long as this is.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a call: it decides what a closed door answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// No attempt of it ever left: it can be refused.
    First,
    /// One may have got through.
    Again,
}

impl Asked {
    fn no(self, code: &str, detail: String) -> Answer {
        match self {
            Self::First => Answer::Refused(Refused::new(code, detail)),
            Self::Again => Answer::Unsent(detail),
        }
    }
}

/// A call that was let through: an answer settles it; without one (the caller gave up waiting) it counts as failed.
struct Call<'a> {
    guard: &'a Guard,
    passage: Passage,
    /// How long it had waited for its turn.
    waited: Duration,
    since: Instant,
    born: Instant,
    answered: bool,
}

impl Call<'_> {
    fn settle(&self, succeeded: bool) {
        let now = since(self.born);
        self.guard
            .operate(|breaker| breaker.settle(&self.passage, succeeded, now));
    }

    fn answer(mut self, answer: Answer) -> Answer {
        self.answered = true;
        self.settle(!matches!(answer, Answer::Failed(_)));
        self.guard.figures.count(&answer);
        self.guard.figures.seconds.record(self.since.elapsed());
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if self.waited > self.since.elapsed() {
            let now = since(self.born);
            self.guard.operate(|breaker| breaker.abandon(&self.passage, now));
        } else {
            self.settle(false);
        }
        self.guard.figures.dropped.increment(1);
    }
}

/// A breaker's time: wall milliseconds since the guards began.
fn since(born: Instant) -> Timestamp {
    Timestamp(i64::try_from(born.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// Participants behind guards. `P` may be `dyn Payments` or `dyn Kitchens`.
pub struct Guarded<P: ?Sized> {
    inner: Arc<P>,
    config: GuardConfig,
    born: Instant,
    guards: DashMap<String, Arc<Guard>>,
}

impl<P: ?Sized> Guarded<P> {
    /// Puts guards before a participant. All begin closed.
    pub fn new(inner: Arc<P>, config: GuardConfig) -> Self {
        Self {
            inner,
            config,
            born: Instant::now(),
            guards: DashMap::new(),
        }
    }

    /// What the guards are at. Does not wait for any call.
    pub fn observe(&self) -> Vec<Circuit> {
        let now = since(self.born);
        let mut states: Vec<_> = self
            .guards
            .iter()
            .map(|entry| self.state(entry.key(), entry.value(), now))
            .collect();
        states.sort_by(|a, b| a.participant.cmp(&b.participant));
        states
    }

    fn state(&self, participant: &str, guard: &Guard, now: Timestamp) -> Circuit {
        let breaker = guard.breaker();
        Circuit {
            participant: participant.to_owned(),
            circuit: breaker.state(),
            failures: breaker.failures(),
            open_for_ms: breaker.open_for_ms(now),
            opened: breaker.opened(),
            in_flight: self
                .config
                .concurrent_max
                .saturating_sub(guard.permits.available_permits()),
            concurrent_max: self.config.concurrent_max,
            waiting: guard.waiting.load(Ordering::Relaxed),
            turned_away: guard.turned_away.load(Ordering::Relaxed),
        }
    }

    fn guard(&self, participant: &str) -> Arc<Guard> {
        if let Some(guard) = self.guards.get(participant) {
            return Arc::clone(&guard);
        }
        if self.guards.len() >= GUARDS_MAX {
            self.guards
                .retain(|_, guard| !guard.is_idle(self.config.concurrent_max));
        }
        let new = || Arc::new(Guard::new(participant, self.config));
        Arc::clone(&self.guards.entry(participant.to_owned()).or_insert_with(new))
    }

    /// Waits for its turn and asks; answers at once where the door is closed.
    async fn pass(&self, participant: &str, asked: Asked, call: impl Future<Output = Answer>) -> Answer {
        let guard = self.guard(participant);
        let open = || {
            asked.no(
                "circuit_open",
                format!("the circuit of {participant} is open: not asked"),
            )
        };
        if !guard.breaker().admits(since(self.born)) {
            return guard.turn_away(open());
        }
        if asked == Asked::First && guard.is_crowded(self.config.waiting_max) {
            let detail = format!("{} calls wait for {participant}", self.config.waiting_max);
            return guard.turn_away(asked.no("busy", detail));
        }
        let began = Instant::now();
        let Some(_permit) = guard.place().await else {
            return guard.turn_away(asked.no("busy", format!("{participant} takes no more calls")));
        };
        // It may have opened meanwhile.
        match self.enter(&guard, began.elapsed()) {
            Some(entered) => entered.answer(call.await),
            None => guard.turn_away(open()),
        }
    }

    fn enter<'a>(&self, guard: &'a Guard, waited: Duration) -> Option<Call<'a>> {
        let passage = guard.operate(|breaker| breaker.enter(since(self.born)))?;
        Some(Call {
            guard,
            passage,
            waited,
            since: Instant::now(),
            born: self.born,
            answered: false,
        })
    }
}

#[async_trait]
impl<P: Kitchens + ?Sized> Kitchens for Guarded<P> {
    async fn offer(&self, request: &TicketRequest) -> Answer {
        if request.action != TicketAction::Place {
            return self.request(request).await;
        }
        let call = self.inner.offer(request);
        self.pass(request.channel.as_str(), Asked::First, call).await
    }

    async fn request(&self, request: &TicketRequest) -> Answer {
        let call = self.inner.request(request);
        self.pass(request.channel.as_str(), Asked::Again, call).await
    }

    fn circuits(&self) -> Vec<Circuit> {
        self.observe()
    }
}

#[async_trait]
impl<P: Payments + ?Sized> Payments for Guarded<P> {
    async fn request(&self, request: &PaymentRequest) -> Answer {
        self.pass("payments", Asked::Again, self.inner.request(request)).await
    }

    fn circuits(&self) -> Vec<Circuit> {
        self.observe()
    }
}

#[cfg(test)]
mod tests;
