//! Puts load on a server: open (arrivals at their own pace, whatever the server does) or closed (customers who wait for
//! one order before they place the next).
//!
//! In an open load every latency counts from the moment at which the order was to arrive, never from the moment at
//! which it could be sent: while all connections are busy, or this process is, time goes on. So a stall shows in all the
//! orders that it held up, not only in those that were under way.

#[cfg(test)]
mod tests;

use super::arrivals::Arrivals;
use super::tally::Tally;
use futures::future::join_all;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a submission may take.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a submission that waits for its outcome may take: the server lets it wait for 30 s.
const WAIT_TIMEOUT: Duration = Duration::from_secs(65);
/// How long arrivals that found no connection are still sent after the load's end.
const LATE_MAX: Duration = Duration::from_secs(15);

/// An order's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it was to be.
    pub(super) at: Instant,
    /// Whether its submission waits for the outcome.
    pub(super) wait: bool,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection to be had.
    #[error("connect")]
    Connect,
    /// The connection had been closed before anything was sent on it.
    #[error("stale connection")]
    Stale,
    /// The connection broke.
    #[error("broken connection")]
    Broken,
    /// There was no answer in time.
    #[error("timeout")]
    Timeout,
    /// It was not sent: all connections were busy until after the load's end.
    #[error("not sent")]
    NotSent,
}

/// An answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The order exists.
    Accepted {
        /// Its id.
        id: Uuid,
        /// For a submission that waited: the status it then had. `None` when the server did not let it wait.
        status: Option<String>,
    },
    /// It does not.
    Refused {
        /// The answer's status.
        status: u16,
        /// What kind of problem.
        problem: String,
    },
}

/// How orders get to the server.
pub(super) trait Transport: Send + Sync + 'static {
    /// A connection.
    type Line: Send;

    /// Opens a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Line, Failure>> + Send;

    /// Submits an order of its own making.
    fn place(&self, line: &mut Self::Line, wait: bool) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Places one order, on the line if there is one.
pub(super) async fn place<T: Transport>(
    transport: &T,
    line: &mut Option<T::Line>,
    wait: bool,
) -> Result<Answer, Failure> {
    let limit = if wait { WAIT_TIMEOUT } else { SUBMIT_TIMEOUT };
    let placed = timeout(limit, async {
        let fresh = line.is_none();
        let kept = match line {
            Some(line) => line,
            None => line.insert(transport.connect().await?),
        };
        match transport.place(kept, wait).await {
            // A server closes connections that nobody used for a while; the next one is as good.
            Err(Failure::Stale) if !fresh => transport.place(line.insert(transport.connect().await?), wait).await,
            placed => placed,
        }
    });
    let placed = placed.await.unwrap_or(Err(Failure::Timeout));
    if placed.is_err() {
        *line = None;
    }
    placed
}

/// Lets orders arrive from `begin` until `end`, over at most so many connections for those that wait and as many for the
/// others, and returns when all are answered or given up. The transports get arrivals in turn, however they fare, and equal
/// shares of the connections: nobody steps in for one that is slow.
pub(super) async fn open<T: Transport>(
    transports: &[Arc<T>],
    tally: &Arc<Tally>,
    arrivals: Arrivals,
    connections_max: usize,
    (begin, end): (Instant, Instant),
) {
    let share = connections_max / transports.len().max(1);
    let lines = || -> Vec<_> {
        let lines = |transport| Lines::new(Arc::clone(transport), Arc::clone(tally), share);
        transports.iter().map(lines).collect()
    };
    // Of their own, so that those that wait hold up nobody else.
    let (submitting, waiting) = (lines(), lines());
    let (mut next_submitting, mut next_waiting) = (submitting.iter().cycle(), waiting.iter().cycle());
    for offset in arrivals {
        let arrival = Arrival {
            at: begin + offset.at,
            wait: offset.wait,
        };
        if arrival.at >= end {
            break;
        }
        if arrival.at > Instant::now() {
            sleep_until(arrival.at).await;
        }
        let next = if arrival.wait {
            next_waiting.next()
        } else {
            next_submitting.next()
        };
        if let Some(lines) = next {
            lines.offer(arrival);
        }
    }
    sleep_until(end).await;
    join_all(submitting.iter().chain(&waiting).map(|lines| lines.finish())).await;
}

/// Lets so many customers place one order after the other from `begin` until `end`; `waits` says for each order whether
/// it waits for its outcome. The transports have the same number of customers, but for one.
pub(super) async fn closed<T: Transport>(
    transports: &[Arc<T>],
    tally: &Arc<Tally>,
    customers: usize,
    waits: impl Fn(usize) -> Arrivals,
    (begin, end): (Instant, Instant),
) {
    sleep_until(begin).await;
    let tracker = TaskTracker::new();
    for (n, transport) in (0..customers).zip(transports.iter().cycle()) {
        let (transport, tally) = (Arc::clone(transport), Arc::clone(tally));
        let mut draws = waits(n);
        tracker.spawn(async move {
            let mut line = None;
            while Instant::now() < end {
                let wait = draws.next().is_some_and(|offset| offset.wait);
                let arrival = Arrival {
                    at: Instant::now(),
                    wait,
                };
                let placed = place(&*transport, &mut line, wait).await;
                let failed = placed.is_err();
                tally.record(arrival, placed, Instant::now());
                if failed {
                    // A server that is not there must not keep this machine busy.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    tracker.close();
    tracker.wait().await;
}

/// Connections that take arrivals in turn: an idle one if there is one, else a new one, else the first that gets free.
struct Lines<T: Transport> {
    transport: Arc<T>,
    tally: Arc<Tally>,
    connections_max: usize,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    /// Arrivals that found no connection, in order. As many as arrive while the server stalls: bounded by the load.
    late: VecDeque<Arrival>,
    /// Connections without work, the last used at the end.
    idle: Vec<oneshot::Sender<Arrival>>,
    open: usize,
    closed: bool,
}

impl<T: Transport> Lines<T> {
    fn new(transport: Arc<T>, tally: Arc<Tally>, connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            transport,
            tally,
            connections_max: connections_max.max(1),
            state: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// The state is whole at every moment, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(self: &Arc<Self>, mut arrival: Arrival) {
        let mut state = self.state();
        while let Some(idle) = state.idle.pop() {
            match idle.send(arrival) {
                Ok(()) => return,
                Err(back) => arrival = back,
            }
        }
        if state.open == self.connections_max {
            state.late.push_back(arrival);
            return;
        }
        state.open += 1;
        let lines = Arc::clone(self);
        self.tasks.spawn(async move { lines.carry(arrival).await });
    }

    /// A connection's life: one arrival after the other.
    async fn carry(&self, first: Arrival) {
        self.tally.began(first, Instant::now());
        let mut line = None;
        let mut next = Some(first);
        while let Some(arrival) = next {
            let placed = place(&*self.transport, &mut line, arrival.wait).await;
            self.tally.record(arrival, placed, Instant::now());
            next = self.next().await;
        }
    }

    async fn next(&self) -> Option<Arrival> {
        let given = {
            let mut state = self.state();
            if let Some(arrival) = state.late.pop_front() {
                return Some(arrival);
            }
            if state.closed {
                return None;
            }
            let (idle, given) = oneshot::channel();
            state.idle.push(idle);
            given
        };
        let arrival = given.await.ok()?;
        self.tally.began(arrival, Instant::now());
        Some(arrival)
    }

    /// Sends what still waits, for a while, and returns when everything under way is answered or given up.
    async fn finish(&self) {
        {
            let mut state = self.state();
            state.closed = true;
            state.idle.clear();
        }
        self.tasks.close();
        if timeout_at(Instant::now() + LATE_MAX, self.tasks.wait()).await.is_ok() {
            return;
        }
        let late = std::mem::take(&mut self.state().late);
        for arrival in late {
            self.tally.record(arrival, Err(Failure::NotSent), Instant::now());
        }
        // Bounded by the time-outs of those that are under way.
        self.tasks.wait().await;
    }
}
