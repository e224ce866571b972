//! A steady load over HTTP that remembers what became of every request.

use crate::rig::PATIENCE;
use futures::StreamExt;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// How many channels the orders go to in turn.
pub(crate) const CHANNELS: u64 = 10;
/// The most requests under way at once; an arrival beyond waits until there is room.
const UNDER_WAY_MAX: usize = 4_096;
/// Of the orders that are not acknowledged, every so manieth is sent again at once and until it is; the others at the end.
const INSISTENT: u64 = 8;
/// The pause before a request is sent again; it doubles with each further one, so that those who insist are no storm.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest such pause.
const AGAIN_MAX: Duration = Duration::from_secs(8);
/// How many requests are under way at once when every order is sent again.
const AGAIN_AT_ONCE: usize = 16;
/// Longer than the server lets a request take, so that it is the server who says that time is over.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// Polls of statuses each second.
const POLLS_PER_S: u64 = 50;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// 201 (an order, by its id), or 200 (a status).
    Acknowledged(String),
    /// Another answer: its status, and its problem's kind and detail.
    Refused(u16, String, String),
    /// No answer in time.
    TimedOut,
    /// No connection, or one that broke.
    Broken(String),
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Of the how manieth order.
    pub(crate) n: u64,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) said: Said,
}

impl Answer {
    pub(crate) const fn is_good(&self) -> bool {
        matches!(self.said, Said::Acknowledged(_))
    }
}

/// All answers so far.
#[derive(Default)]
struct Record {
    submissions: Vec<Answer>,
    polls: Vec<Answer>,
    /// The id of each order that was acknowledged.
    orders: BTreeMap<u64, String>,
    /// Orders whose key was answered with two different ids, which must not be (SG-2).
    split: Vec<(u64, String, String)>,
    /// The newest version of each order that a poll has shown, and those whose next one was older.
    versions: BTreeMap<String, u64>,
    stale: Vec<String>,
}

struct Shared {
    url: String,
    http: Client,
    record: Mutex<Record>,
    offered: AtomicU64,
    is_over: AtomicBool,
}

/// A load that runs until it is [ended](Self::end).
pub(crate) struct Load {
    shared: Arc<Shared>,
    submitting: JoinHandle<()>,
    polling: JoinHandle<()>,
}

impl Load {
    /// Begins to submit so many orders a second, each with a key and a customer of its own, and to poll their statuses.
    pub(crate) fn start(url: &str, rate: u32) -> Self {
        let http = Client::builder().timeout(ANSWER_MAX).no_proxy().build();
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            http: http.expect("a client"),
            record: Mutex::default(),
            offered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        Self {
            submitting: tokio::spawn(submit(Arc::clone(&shared), rate)),
            polling: tokio::spawn(poll(Arc::clone(&shared))),
            shared,
        }
    }

    /// Every answer to a submission so far.
    pub(crate) fn submissions(&self) -> Vec<Answer> {
        self.shared.record().submissions.clone()
    }

    /// Every answer to a poll so far.
    pub(crate) fn polls(&self) -> Vec<Answer> {
        self.shared.record().polls.clone()
    }

    /// Orders that were submitted at or after a moment, and acknowledged by now.
    pub(crate) fn acknowledged_since(&self, moment: Instant) -> Vec<String> {
        let record = self.shared.record();
        let fresh = record.submissions.iter().filter(|answer| answer.begun >= moment);
        fresh
            .filter_map(|answer| match &answer.said {
                Said::Acknowledged(id) => Some(id.clone()),
                _ => None,
            })
            .collect()
    }

    /// How long after a moment the first order was acknowledged; for people.
    pub(crate) fn accepted_again_after(&self, moment: Instant) -> Duration {
        let record = self.shared.record();
        let good = record.submissions.iter().filter(|answer| answer.is_good());
        let ended = good.map(|answer| answer.ended).filter(|ended| *ended >= moment).min();
        ended.map_or(Duration::MAX, |ended| ended - moment)
    }

    /// Orders that were submitted and are not answered yet.
    pub(crate) fn under_way(&self) -> u64 {
        let first_answers: BTreeSet<u64> = self.shared.record().submissions.iter().map(|answer| answer.n).collect();
        let answered = u64::try_from(first_answers.len()).expect("few");
        self.shared.offered.load(Ordering::Acquire) - answered
    }

    /// Waits until the server answers as if nothing had been: nothing but good answers to whatever was begun within the
    /// last second, and some of them, and nobody left who insists on an order from before (they all come back at once, which
    /// is more than a server takes). Returns when that second began.
    pub(crate) async fn recovered(&self) -> Instant {
        const QUIET: Duration = Duration::from_secs(1);
        let end = Instant::now() + PATIENCE;
        loop {
            let since = Instant::now() - QUIET;
            let answers = self.submissions();
            let fresh: Vec<_> = answers.iter().filter(|answer| answer.ended >= since).collect();
            let good = fresh.iter().filter(|answer| answer.begun >= since && answer.is_good());
            // One that was asked for a status just after the last refused submission may have been refused as well.
            let polls = self.polls();
            let polled_well = polls.iter().all(|poll| poll.ended < since || poll.is_good());
            let well = polled_well && fresh.iter().all(|answer| answer.is_good());
            if good.count() > 0 && well && !self.is_awaited(&answers) {
                return since;
            }
            assert!(
                Instant::now() < end,
                "orders are never accepted again: {:?}",
                answers.last()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether somebody still insists on an order that was refused.
    fn is_awaited(&self, answers: &[Answer]) -> bool {
        let record = self.shared.record();
        let mut refused = answers.iter().filter(|answer| !answer.is_good());
        refused.any(|answer| answer.n.is_multiple_of(INSISTENT) && !record.orders.contains_key(&answer.n))
    }

    /// Stops, waits for what is under way, and sends every order again with its key (SG-2). Returns the id of each order:
    /// all are acknowledged now, and each by one id.
    pub(crate) async fn end(&mut self) -> Vec<String> {
        self.shared.is_over.store(true, Ordering::Release);
        (&mut self.submitting).await.expect("the load goes on");
        (&mut self.polling).await.expect("the polls go on");
        let offered = self.shared.offered.load(Ordering::Acquire);
        futures::stream::iter(0..offered)
            .for_each_concurrent(AGAIN_AT_ONCE, async |n| {
                let end = Instant::now() + PATIENCE;
                while !self.shared.submit(n).await {
                    assert!(Instant::now() < end, "order {n} is never accepted");
                    sleep(AGAIN).await;
                }
            })
            .await;
        let record = self.shared.record();
        assert_eq!(record.split, [], "a key has two orders (SG-2)");
        assert_eq!(record.stale, [""; 0], "a status was older than one seen before");
        assert_eq!(u64::try_from(record.orders.len()).expect("few"), offered);
        record.orders.values().cloned().collect()
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits an order; whether it is acknowledged.
    async fn submit(&self, n: u64) -> bool {
        let request = self.http.post(format!("{}/v1/orders", self.url));
        let request = request.header("idempotency-key", format!("load-{n}")).json(&order(n));
        let (answer, _) = exchange(n, request, 201).await;
        let good = answer.is_good();
        let mut record = self.record();
        if let Said::Acknowledged(id) = &answer.said {
            let known = record.orders.entry(n).or_insert_with(|| id.clone()).clone();
            if known != *id {
                record.split.push((n, known, id.clone()));
            }
        }
        record.submissions.push(answer);
        good
    }

    async fn poll(&self, n: u64, id: &str) {
        let request = self.http.get(format!("{}/v1/orders/{id}/status", self.url));
        let (answer, body) = exchange(n, request, 200).await;
        let mut record = self.record();
        if answer.is_good() {
            let version = body["version"].as_u64().expect("a version");
            let newest = record.versions.entry(id.to_owned()).or_default();
            let is_stale = version < *newest;
            *newest = version.max(*newest);
            if is_stale {
                record.stale.push(id.to_owned());
            }
        }
        record.polls.push(answer);
    }
}

/// Submits orders at their moments, however the server fares.
async fn submit(shared: Arc<Shared>, rate: u32) {
    let mut under_way = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for n in 0_u64.. {
        sleep_until(begun + Duration::from_secs(n) / rate).await;
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.join_next().await;
        }
        if shared.is_over.load(Ordering::Acquire) {
            break;
        }
        shared.offered.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::clone(&shared);
        under_way.spawn(async move {
            let mut pause = AGAIN;
            while !shared.submit(n).await && n.is_multiple_of(INSISTENT) && !shared.is_over.load(Ordering::Acquire) {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(AGAIN_MAX);
            }
        });
    }
    under_way.join_all().await;
}

/// Polls the statuses of acknowledged orders, new and old.
async fn poll(shared: Arc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(POLLS_PER_S).expect("few"));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for tick in 0_u64.. {
        ticks.tick().await;
        if shared.is_over.load(Ordering::Acquire) {
            break;
        }
        let known: Option<(u64, String)> = {
            let orders = &shared.record().orders;
            let newest = orders.last_key_value().map_or(0, |(n, _)| *n);
            // Half of them among the newest, the others anywhere.
            let at = if tick.is_multiple_of(2) {
                newest.saturating_sub(tick % 20)
            } else {
                tick * 7_919 % (newest + 1)
            };
            orders.range(at..).next().map(|(n, id)| (*n, id.clone()))
        };
        if let Some((n, id)) = known {
            shared.poll(n, &id).await;
        }
    }
}

/// Sends a request of the `n`-th order. What was answered, and the body.
async fn exchange(n: u64, request: RequestBuilder, good: u16) -> (Answer, Value) {
    let begun = Instant::now();
    let answered = async {
        let response: Response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.bytes().await?))
    };
    let (said, body) = match answered.await {
        Ok((status, bytes)) => {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let said = if status == good {
                Said::Acknowledged(text("id"))
            } else {
                Said::Refused(status, text("type"), text("detail"))
            };
            (said, body)
        }
        Err(error) if error.is_timeout() => (Said::TimedOut, Value::Null),
        Err(error) => (Said::Broken(causes(&error)), Value::Null),
    };
    let ended = Instant::now();
    (Answer { n, begun, ended, said }, body)
}

/// An error and what caused it.
fn causes(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The `n`-th order.
fn order(n: u64) -> Value {
    json!({
        "customer_id": format!("load-{n}"),
        "restaurant_id": format!("load-{}", n % CHANNELS),
        "items": [{"sku": "cheeseburger", "name": "Cheeseburger", "quantity": 2, "unit_price_minor": 950}],
        "currency": "USD",
        "delivery_location": {"lat": 41.886, "lng": -87.63, "address": "1 Lake St"},
        "payment_token": "tok_visa",
    })
}
