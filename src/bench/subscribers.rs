//! Many subscribers of order streams at a time, each following an order of its own until all have heard of theirs.

use super::connection::{Line, Target};
use super::latency::{Latencies, Quantiles};
use super::load::{Answer, Failure, place};
use super::numbers::{float, rounded};
use super::orders::Http;
use super::session::Session;
use crate::client::{Client, ClientError};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use hyper::body::Bytes;
use hyper::{Method, Uri};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Customers who place the orders, one after the other each.
const CUSTOMERS: usize = 32;
/// How often the server's clock is read: the quickest answer is the most exact.
const CLOCK_READINGS: usize = 9;
/// How long subscribers are waited for once all orders are placed.
const HEARD_MAX: Duration = Duration::from_mins(1);
/// How often it is looked whether all have heard.
const GLANCE: Duration = Duration::from_millis(50);
/// Longest event that is read whole, in bytes.
const EVENT_BYTES_MAX: usize = 64 << 10;
const MIB: f64 = 1_048_576.0;

/// What subscribers got.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamReport {
    /// Servers.
    pub nodes: usize,
    /// Subscribers that there were to be.
    pub subscribers: usize,
    /// Streams that the server opened.
    pub opened: usize,
    /// Subscribers that heard that their order is CONFIRMED.
    pub confirmed: usize,
    /// Orders or streams that came to nothing, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Streams that were open when the last subscriber had heard.
    pub open_at_end: usize,
    /// From the confirmation, by the server's clock (whole milliseconds), to the event's arrival.
    pub pushed_ms: Quantiles,
    /// From the request for a stream to its first event.
    pub first_event_ms: Quantiles,
    /// The server's memory before the first stream, in MiB; of several servers, of all together.
    pub rss_before_mb: Option<f64>,
    /// The same with all of them open.
    pub rss_mb: Option<f64>,
}

impl StreamReport {
    /// Whether every subscriber heard of its order's confirmation.
    pub const fn is_complete(&self) -> bool {
        self.confirmed == self.subscribers
    }
}

impl fmt::Display for StreamReport {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["subscribers", &self.subscribers.to_string()]);
        let mut row = |what: &str, value: String| {
            table.add_row([what.to_owned(), value]);
        };
        row("streams opened", self.opened.to_string());
        row("heard CONFIRMED", self.confirmed.to_string());
        row("streams open at the end", self.open_at_end.to_string());
        for (kind, count) in &self.errors {
            row(&format!("error: {kind}"), count.to_string());
        }
        for (what, quantiles) in [
            ("to first event", self.first_event_ms),
            ("from confirmation", self.pushed_ms),
        ] {
            let values = [
                quantiles.p50,
                quantiles.p90,
                quantiles.p99,
                quantiles.p999,
                quantiles.max,
            ];
            let values = values.map(|ms| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}")));
            row(
                &format!("{what}, p50 / p90 / p99 / p99.9 / max"),
                format!("{} ms", values.join(" / ")),
            );
        }
        let memory = [self.rss_before_mb, self.rss_mb];
        let memory = memory.map(|mb| mb.map_or_else(|| "-".to_owned(), |mb| format!("{mb:.0} MiB")));
        row("server's memory before, with all of them", memory.join(", "));
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

/// A moment by the server's clock.
#[derive(Clone, Copy)]
struct ServerClock {
    wall: Instant,
    now_ms: i64,
    scale: u64,
}

impl ServerClock {
    async fn read(client: &Client) -> Result<Self, ClientError> {
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..CLOCK_READINGS {
            let asked = Instant::now();
            let clock = client.clock().await?;
            let took = asked.elapsed();
            if best.is_none_or(|(least, _)| took < least) {
                let clock = Self {
                    wall: asked + took / 2,
                    now_ms: clock.now,
                    scale: clock.time_scale.max(1),
                };
                best = Some((took, clock));
            }
        }
        let unread = Self {
            wall: Instant::now(),
            now_ms: 0,
            scale: 1,
        };
        Ok(best.map_or(unread, |(_, clock)| clock))
    }

    /// How long before `now` a moment of the server's clock was; nothing when it lies ahead.
    fn since(&self, at_ms: i64, now: Instant) -> Duration {
        let business_ms = u64::try_from(at_ms.saturating_sub(self.now_ms)).unwrap_or(0);
        let at = self.wall + Duration::from_millis(business_ms / self.scale);
        now.saturating_duration_since(at)
    }
}

/// What all subscribers share.
struct Crowd {
    clock: ServerClock,
    opened: AtomicUsize,
    open: AtomicUsize,
    confirmed: AtomicUsize,
    figures: Mutex<Figures>,
}

struct Figures {
    pushed: Latencies,
    first_event: Latencies,
    errors: BTreeMap<String, u64>,
}

impl Crowd {
    /// The figures are whole at every moment, so a panic elsewhere does not spoil them.
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, kind: String) {
        *self.figures().errors.entry(kind).or_default() += 1;
    }

    fn confirmed(&self) -> usize {
        self.confirmed.load(Ordering::Relaxed)
    }

    fn failures(&self) -> usize {
        let failures: u64 = self.figures().errors.values().sum();
        usize::try_from(failures).unwrap_or(usize::MAX)
    }

    /// Follows an order's stream for as long as it lasts.
    async fn subscribe(&self, target: &Target, id: Uuid) {
        let followed = async {
            let uri: Uri = format!("/v1/orders/{id}/stream").parse().map_err(|_| Failure::Broken)?;
            let mut line = Line::open(target).await?;
            let mut hearer = Hearer::new(self);
            let request = target.request(Method::GET, uri, Bytes::new());
            let followed = line.follow(request, |status, data| hearer.take(status, data)).await;
            if hearer.is_open {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
            followed
        };
        match followed.await {
            Ok(status) => self.failed(format!("stream {status}")),
            Err(failure) => self.failed(format!("stream: {failure}")),
        }
    }
}

/// One subscriber's reading of its stream.
struct Hearer<'a> {
    crowd: &'a Crowd,
    asked: Instant,
    is_open: bool,
    has_confirmed: bool,
    /// What came of an event that is not whole yet.
    partial: Vec<u8>,
}

impl<'a> Hearer<'a> {
    fn new(crowd: &'a Crowd) -> Self {
        Self {
            crowd,
            asked: Instant::now(),
            is_open: false,
            has_confirmed: false,
            partial: Vec::new(),
        }
    }

    fn take(&mut self, status: u16, data: &[u8]) -> ControlFlow<()> {
        if status != 200 {
            return ControlFlow::Break(());
        }
        if !self.is_open {
            self.is_open = true;
            self.crowd.opened.fetch_add(1, Ordering::Relaxed);
            self.crowd.open.fetch_add(1, Ordering::Relaxed);
        }
        if self.has_confirmed || data.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.partial.is_empty() {
            let took = self.asked.elapsed();
            self.crowd.figures().first_event.record(took);
        }
        self.partial.extend_from_slice(data);
        if let Some(confirmed_at) = confirmed_at(&self.partial) {
            self.has_confirmed = true;
            self.partial = Vec::new();
            let took = self.crowd.clock.since(confirmed_at, Instant::now());
            self.crowd.figures().pushed.record(took);
            self.crowd.confirmed.fetch_add(1, Ordering::Relaxed);
        } else if self.partial.len() > EVENT_BYTES_MAX {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// When the order was confirmed, if a whole event among these bytes says so.
fn confirmed_at(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (whole, _) = text.rsplit_once("\n\n")?;
    let (_, after) = whole.rsplit_once("\"confirmed_at\":")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Places an order for each subscriber, lets it follow at the server that took it, and waits until all have heard of
/// their order's confirmation, or a minute has passed since the last was placed. All streams stay open until then.
pub(super) async fn follow(session: &Session, subscribers: usize) -> Result<StreamReport, ClientError> {
    let crowd = Arc::new(Crowd {
        clock: ServerClock::read(session.client()).await?,
        opened: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        confirmed: AtomicUsize::new(0),
        figures: Mutex::new(Figures {
            pushed: Latencies::new(),
            first_event: Latencies::new(),
            errors: BTreeMap::new(),
        }),
    });
    let rss_before = session.memory_bytes();
    let mut streams = place_all(session.https(), &crowd, subscribers).await;
    let deadline = Instant::now() + HEARD_MAX;
    while crowd.confirmed() + crowd.failures() < subscribers && Instant::now() < deadline {
        sleep(GLANCE).await;
    }
    let mb = |bytes: Option<u64>| bytes.map(|bytes| rounded(float(bytes) / MIB));
    let (opened, open_at_end) = (crowd.opened.load(Ordering::Relaxed), crowd.open.load(Ordering::Relaxed));
    let rss = session.memory_bytes();
    let figures = crowd.figures();
    let report = StreamReport {
        nodes: session.https().len(),
        subscribers,
        opened,
        confirmed: crowd.confirmed(),
        errors: figures.errors.clone(),
        open_at_end,
        pushed_ms: figures.pushed.quantiles(),
        first_event_ms: figures.first_event.quantiles(),
        rss_before_mb: mb(rss_before),
        rss_mb: mb(rss),
    };
    drop(figures);
    streams.abort_all();
    Ok(report)
}

/// Places the orders; each one's subscriber begins as soon as the order is accepted, and goes on by itself.
async fn place_all(https: &[Arc<Http>], crowd: &Arc<Crowd>, subscribers: usize) -> JoinSet<()> {
    let streams = Arc::new(Mutex::new(JoinSet::new()));
    let left = Arc::new(AtomicUsize::new(subscribers));
    let customers = TaskTracker::new();
    for http in https.iter().cycle().take(CUSTOMERS) {
        let (http, crowd, streams, left) = (
            Arc::clone(http),
            Arc::clone(crowd),
            Arc::clone(&streams),
            Arc::clone(&left),
        );
        customers.spawn(async move {
            let mut line = None;
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                match place(&*http, &mut line, false).await {
                    Ok(Answer::Accepted { id, .. }) => {
                        let (crowd, http) = (Arc::clone(&crowd), Arc::clone(&http));
                        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                        streams.spawn(async move { crowd.subscribe(http.target(), id).await });
                    }
                    Ok(Answer::Refused { status, problem }) => crowd.failed(format!("order {status} {problem}")),
                    Err(failure) => crowd.failed(format!("order: {failure}")),
                }
            }
        });
    }
    customers.close();
    // Each placement has a time-out of its own; this only says that there is an end.
    let _ = timeout_at(Instant::now() + Duration::from_hours(1), customers.wait()).await;
    let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_event_is_believed() {
        let pending = b"event: order\nid: 1\ndata: {\"status\":\"PENDING\",\"placed_at\":5}\n\n";
        assert_eq!(confirmed_at(pending), None);
        let mut bytes = pending.to_vec();
        bytes.extend_from_slice(b"event: order\nid: 6\ndata: {\"confirmed_at\":1700000000");
        assert_eq!(confirmed_at(&bytes), None);
        bytes.extend_from_slice(b"123,\"version\":6}\n\n: alive\n\n");
        assert_eq!(confirmed_at(&bytes), Some(1_700_000_000_123));
    }

    #[test]
    fn the_servers_clock_is_read_at_its_own_pace() {
        let clock = ServerClock {
            wall: Instant::now(),
            now_ms: 1_000_000,
            scale: 60,
        };
        // A minute of business later is a second of the wall's.
        let now = clock.wall + Duration::from_millis(1_250);
        assert_eq!(clock.since(1_060_000, now), Duration::from_millis(250));
        assert_eq!(clock.since(2_000_000, now), Duration::ZERO);
    }
}
