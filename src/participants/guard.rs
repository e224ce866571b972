//! A guard for each participant (one for payments, one for each channel): a concurrency limit and a circuit breaker.
//!
//! What a closed door answers depends on what is asked. A ticket that is *offered* (see [`Kitchens::offer`]: none of its
//! attempts has ever left) is refused at once, so that the alternate is tried at once. Everything else fails at once and is
//! tried again later: a refusal would say that it did not happen, and an earlier attempt, of this process or of one before
//! it, may have got through.

use super::breaker::{Breaker, BreakerLimits, BreakerState, Passage};
use async_trait::async_trait;
use dashmap::DashMap;
use domain::ports::{Kitchens, Payments};
use domain::saga::{Answer, PaymentRequest, Refused, TicketAction, TicketRequest};
use domain::time::{Millis, Timestamp};
use metrics::{Counter, Histogram, counter, histogram};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most guards kept; beyond it, guards that nothing is known of are dropped.
const GUARDS_MAX: usize = 10_000;

/// The limits of calls to one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Most calls to one participant at a time.
    pub concurrent_max: usize,
    /// So many failures in a row open the circuit.
    pub failures_max: u32,
    /// How long an open circuit lets nothing through, in wall milliseconds.
    pub open_ms: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            concurrent_max: 64,
            failures_max: 5,
            open_ms: 30_000,
        }
    }
}

/// What a guard shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardState {
    /// Whose: `payments`, or the channel's id.
    pub participant: String,
    /// The circuit.
    pub circuit: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// How long the circuit stays open yet, in wall milliseconds.
    pub open_for_ms: u64,
    /// How often the circuit opened.
    pub opened: u64,
    /// Calls under way.
    pub in_flight: usize,
    /// Most calls at a time.
    pub concurrent_max: usize,
    /// Calls that were not let through.
    pub turned_away: u64,
}

struct Guard {
    permits: Semaphore,
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
            seconds: histogram!("participant_call_seconds", "participant" => participant.to_owned()),
        }
    }

    fn count(&self, answer: &Answer) {
        match answer {
            Answer::Done(_) => self.done.increment(1),
            Answer::Pending => self.pending.increment(1),
            Answer::Refused(_) => self.refused.increment(1),
            Answer::Failed(_) => self.failed.increment(1),
        }
    }
}

impl Guard {
    fn new(participant: &str, config: GuardConfig) -> Self {
        let limits = BreakerLimits {
            failures_max: config.failures_max.max(1),
            open_ms: Millis(config.open_ms),
        };
        Self {
            permits: Semaphore::new(config.concurrent_max.clamp(1, Semaphore::MAX_PERMITS)),
            breaker: Mutex::new(Breaker::new(limits)),
            turned_away: AtomicU64::new(0),
            figures: Figures::of(participant),
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

    fn is_idle(&self, concurrent_max: usize) -> bool {
        let breaker = self.breaker();
        breaker.failures() == 0 && self.permits.available_permits() >= concurrent_max
    }
}

/// A call that was let through: an answer settles it; without one (the caller gave up waiting) it counts as failed.
struct Call<'a> {
    guard: &'a Guard,
    passage: Passage,
    since: Instant,
    born: Instant,
    answered: bool,
}

impl Call<'_> {
    fn settle(&self, succeeded: bool) {
        self.guard.breaker().settle(&self.passage, succeeded, since(self.born));
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
        if !self.answered {
            self.settle(false);
            self.guard.figures.dropped.increment(1);
        }
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
    pub fn observe(&self) -> Vec<GuardState> {
        let now = since(self.born);
        let mut states: Vec<_> = self
            .guards
            .iter()
            .map(|entry| self.state(entry.key(), entry.value(), now))
            .collect();
        states.sort_by(|a, b| a.participant.cmp(&b.participant));
        states
    }

    fn state(&self, participant: &str, guard: &Guard, now: Timestamp) -> GuardState {
        let breaker = guard.breaker();
        GuardState {
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

    /// Waits for a free place; fails at once while the circuit is open.
    async fn insist(&self, participant: &str, call: impl Future<Output = Answer>) -> Answer {
        let guard = self.guard(participant);
        let open = || Answer::Failed(format!("the circuit of {participant} is open: not asked"));
        if !guard.breaker().admits(since(self.born)) {
            return guard.turn_away(open());
        }
        let Ok(_permit) = guard.permits.acquire().await else {
            return Answer::Failed(format!("{participant} takes no more calls"));
        };
        match self.enter(&guard) {
            Some(entered) => entered.answer(call.await),
            None => guard.turn_away(open()),
        }
    }

    /// Refuses at once when there is no free place or the circuit is open.
    async fn offer_or_refuse(&self, participant: &str, call: impl Future<Output = Answer>) -> Answer {
        let guard = self.guard(participant);
        let Ok(_permit) = guard.permits.try_acquire() else {
            let detail = format!("{} calls to {participant} are under way", self.config.concurrent_max);
            return guard.turn_away(Answer::Refused(Refused::new("busy", detail)));
        };
        let Some(entered) = self.enter(&guard) else {
            let detail = format!("the circuit of {participant} is open");
            return guard.turn_away(Answer::Refused(Refused::new("circuit_open", detail)));
        };
        entered.answer(call.await)
    }

    fn enter<'a>(&self, guard: &'a Guard) -> Option<Call<'a>> {
        let passage = guard.breaker().enter(since(self.born))?;
        Some(Call {
            guard,
            passage,
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
        self.offer_or_refuse(request.channel.as_str(), self.inner.offer(request))
            .await
    }

    async fn request(&self, request: &TicketRequest) -> Answer {
        self.insist(request.channel.as_str(), self.inner.request(request)).await
    }
}

#[async_trait]
impl<P: Payments + ?Sized> Payments for Guarded<P> {
    async fn request(&self, request: &PaymentRequest) -> Answer {
        self.insist("payments", self.inner.request(request)).await
    }
}

#[cfg(test)]
mod tests;
