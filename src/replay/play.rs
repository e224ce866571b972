//! Plays a day: one task an order, which submits it at its minute and follows it until it is settled.

use super::outcome::{End, Outcome};
use super::polls::Customers;
use super::progress::{Tally, Ticker};
use super::schedule::{Planned, Schedule};
use super::{Day, TimeLine};
use crate::api::{CancelBody, OrderView};
use crate::client::{Client, ClientError, RetryPolicy};
use domain::time::Timestamp;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Submissions and cancels under way at once.
const SUBMISSIONS_MAX: usize = 512;
/// Reads under way at once.
const POLLS_MAX: usize = 64;
/// Business time that orders get after the day's last event.
const AFTER_HOURS_MINUTES: u32 = 4 * 60;
/// Wall time that an order gets at least, from its acceptance and from the last placement.
const SETTLE_MIN: Duration = Duration::from_mins(1);
/// Pauses between two reads of an open order.
const POLL_PAUSE_MIN: Duration = Duration::from_secs(1);
const POLL_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What all orders of a day share.
struct Player {
    client: Client,
    day: Day,
    line: TimeLine,
    submissions: Semaphore,
    polls: Semaphore,
    tally: Arc<Tally>,
    /// Who looks at their orders' status, if anybody does.
    customers: Option<Arc<Customers>>,
    /// When what is open is given up, at the earliest.
    deadline: Instant,
}

/// Plays the orders and returns their outcomes in the schedule's order.
pub(super) async fn play(
    client: &Client,
    day: Day,
    line: TimeLine,
    schedule: Schedule,
    customers: Option<Arc<Customers>>,
) -> Vec<Outcome> {
    let after_hours = line.wall(line.at(schedule.last_minute + AFTER_HOURS_MINUTES));
    let last_minute = schedule.orders.last().map_or(0, |planned| planned.order.placed_minute);
    let player = Arc::new(Player {
        client: client.clone(),
        submissions: Semaphore::new(SUBMISSIONS_MAX),
        polls: Semaphore::new(POLLS_MAX),
        tally: Arc::new(Tally::new(schedule.orders.len())),
        customers,
        deadline: after_hours.max(line.wall(line.at(last_minute)) + SETTLE_MIN),
        day,
        line,
    });
    let ticker = Ticker::start(Arc::clone(&player.tally), line);
    let mut tasks = JoinSet::new();
    for (n, planned) in schedule.orders.into_iter().enumerate() {
        let player = Arc::clone(&player);
        tasks.spawn(async move { (n, player.play(planned).await) });
    }
    let mut outcomes = tasks.join_all().await;
    ticker.stop();
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

impl Player {
    async fn play(&self, planned: Planned) -> Outcome {
        let key = self.day.name(&planned.order.id);
        let due = self.line.wall(self.line.at(planned.order.placed_minute));
        sleep_until(due).await;
        let body = self.day.order(&planned.order);
        let permit = turn(&self.submissions).await;
        let asked = Instant::now();
        let submitted = self.client.submit(&body, Some(&key), None).await;
        let mut outcome = Outcome {
            order: planned.order.id.clone(),
            key,
            id: submitted.as_ref().ok().map(|view| view.id.clone()),
            end: End::Unknown,
            submit: asked.elapsed(),
            lag: asked.duration_since(due),
            duplicate_id: None,
            cancel_granted: None,
        };
        match submitted {
            Err(error) => outcome.end = End::NotAccepted(error.to_string()),
            Ok(view) => {
                self.tally.accepted();
                if planned.duplicate {
                    let again = self.client.submit(&body, Some(&outcome.key), None).await;
                    // What is no id can be no order's: the summary shows it as a second one.
                    outcome.duplicate_id = Some(again.map_or_else(|error| error.to_string(), |view| view.id));
                }
                drop(permit);
                let cancel_at = planned.cancel_minute.map(|minute| self.line.wall(self.line.at(minute)));
                let id = view.id.clone();
                let followed = self.follow(view, cancel_at, &mut outcome.cancel_granted, &outcome.key);
                // Whoever looks stops by itself, or when the order's time is over.
                outcome.end = match &self.customers {
                    None => followed.await,
                    Some(customers) => tokio::select! {
                        end = followed => end,
                        never = watched(customers, &id) => match never {},
                    },
                };
            }
        }
        self.tally.ended(&outcome);
        outcome
    }

    /// Follows an order until it is settled or its time is over, and cancels it on the way if that is planned.
    async fn follow(
        &self,
        mut view: OrderView,
        mut cancel_at: Option<Instant>,
        cancel_granted: &mut Option<bool>,
        key: &str,
    ) -> End {
        let deadline = self.deadline.max(Instant::now() + SETTLE_MIN);
        // Less patient than submissions: the next read comes anyway.
        let reader = self.client.with_retry(RetryPolicy {
            give_up: POLL_PAUSE_MAX,
            ..RetryPolicy::PATIENT
        });
        while !view.settled {
            let now = Instant::now();
            if now >= deadline {
                return End::Open(Box::new(view));
            }
            let next = (now + self.poll_pause(&view, now)).min(deadline);
            if let Some(at) = cancel_at.filter(|at| *at <= next) {
                sleep_until(at).await;
                cancel_at = None;
                *cancel_granted = self.cancel(&view.id, key).await;
                continue;
            }
            sleep_until(next).await;
            let permit = turn(&self.polls).await;
            match reader.order(&view.id).await {
                Ok(seen) => view = seen,
                Err(error) if error.status() == Some(404) => return End::Unknown,
                // Whatever it is, the deadline ends it.
                Err(_) => {}
            }
            drop(permit);
        }
        End::Settled(Box::new(view))
    }

    /// Cancels an order; `None` when the server could not be asked.
    async fn cancel(&self, id: &str, key: &str) -> Option<bool> {
        let _permit = turn(&self.submissions).await;
        let body = CancelBody {
            reason: Some("cancelled by the replay".to_owned()),
        };
        let cancelled: Result<(), ClientError> = self.client.cancel(id, &body, Some(&format!("{key}-cancel"))).await;
        match cancelled {
            Ok(()) => Some(true),
            Err(error) => error.status().map(|_| false),
        }
    }

    fn poll_pause(&self, view: &OrderView, now: Instant) -> Duration {
        let due = view.quote.as_ref().map_or(view.placed_at, |quote| quote.delivered_at);
        poll_pause(self.line.wall_between(self.line.business(now), Timestamp(due)))
    }
}

/// A customer who looks at its order, and at nothing once it is settled.
async fn watched(customers: &Customers, id: &str) -> Infallible {
    customers.watch(id).await;
    std::future::pending().await
}

/// How long to wait before an order that should be delivered after `left` is read again: half of it, within limits.
fn poll_pause(left: Duration) -> Duration {
    (left / 2).clamp(POLL_PAUSE_MIN, POLL_PAUSE_MAX)
}

/// A turn at something of which only so much may be under way.
async fn turn(semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    // None only when the semaphore is closed, which these never are.
    semaphore.acquire().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_far_from_its_end_is_read_less_often() {
        let pause = |seconds| poll_pause(Duration::from_secs(seconds)).as_secs();
        assert_eq!(
            [pause(0), pause(1), pause(8), pause(20), pause(3_600)],
            [1, 1, 4, 10, 10]
        );
    }
}
