//! The clients of the generated load: each orders once, at a moment that no answer moves, and remembers every answer.
//!
//! A client goes to a node that says that it is ready. When a request fails in a way that passes (no connection, no answer
//! in time, 503, or 409 while an earlier attempt is under way), it goes to another node with the same key, until it is
//! answered. Some submit a second time, some cancel, and those that submit twice also read their order at yet another node.

use super::city::{City, Wish};
use super::front::Front;
use crate::evidence::Submitted;
use crate::run::Shares;
use domain::ids::OrderId;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long an answer is waited for before another node is asked. Longer than a slow machine takes: a request that was not
/// answered in so much time was lost.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);
/// How long a client insists.
const INSIST_MAX: Duration = Duration::from_mins(2);
/// The pause before another node is asked; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Most clients at a time; those beyond wait to begin.
const CLIENTS_MAX: usize = 8_192;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// It orders.
    Submit,
    /// It orders again with the same key.
    Repeat,
    /// It reads what it ordered.
    Read,
    /// It cancels.
    Cancel,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What was asked for, or that it is too late for it.
    Good,
    /// Another answer: its status, and its problem's kind.
    Refused(u16, String),
    /// No answer in time.
    TimedOut,
    /// Nobody listens there.
    Unreachable,
    /// The connection broke.
    Broken,
}

impl Said {
    /// Whether a client may meet it while something is broken, and is answered when it asks again.
    fn passes(&self) -> bool {
        match self {
            Self::Good => false,
            Self::Refused(409, kind) => kind.ends_with(":in-progress"),
            Self::Refused(status, _) => matches!(status, 408 | 429 | 502 | 503 | 504),
            Self::TimedOut | Self::Unreachable | Self::Broken => true,
        }
    }

    /// The kind, for counts.
    fn name(&self) -> String {
        match self {
            Self::Good => "good".to_owned(),
            Self::Refused(status, kind) => {
                let kind = kind.rsplit(':').next().unwrap_or_default();
                format!("{status} {kind}").trim().to_owned()
            }
            Self::TimedOut => "timed out".to_owned(),
            Self::Unreachable => "unreachable".to_owned(),
            Self::Broken => "broken".to_owned(),
        }
    }
}

/// A request to a node, and its answer.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The client.
    pub(super) n: u64,
    pub(super) ask: Ask,
    pub(super) node: usize,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    pub(super) said: Said,
}

/// What a client was told of its order.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) key: String,
    /// When it first asked.
    pub(super) begun: Instant,
    /// When it was told that it has ordered.
    pub(super) acknowledged: Option<Instant>,
    pub(super) submitted: Submitted,
    /// What it was never answered.
    pub(super) unanswered: Vec<Ask>,
}

/// Everything that the clients were told.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) attempts: Vec<Attempt>,
    pub(super) orders: Vec<Told>,
}

impl History {
    /// How often each error came.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for attempt in self.attempts.iter().filter(|attempt| attempt.said != Said::Good) {
            *errors.entry(attempt.said.name()).or_default() += 1;
        }
        errors
    }

    /// What no client may ever be told, and what no client was told at last.
    pub(super) fn strange(&self) -> Vec<String> {
        let strange = self
            .attempts
            .iter()
            .filter(|attempt| attempt.said != Said::Good && !attempt.said.passes());
        let told = strange.map(|attempt| {
            let (n, ask, node) = (attempt.n, attempt.ask, attempt.node + 1);
            format!(
                "client {n} asked node {node} to {ask:?} and was told {}",
                attempt.said.name()
            )
        });
        let unanswered = self.orders.iter().filter(|told| !told.unanswered.is_empty());
        let unanswered = unanswered.map(|told| {
            let within = INSIST_MAX.as_secs();
            format!("{} was not answered within {within} s: {:?}", told.key, told.unanswered)
        });
        told.chain(unanswered).collect()
    }

    /// The attempts that failed and were begun between two moments. Those that never reached anybody, because nobody
    /// listened any more where a moment before somebody was ready, are counted by themselves: nothing was asked of the
    /// platform.
    pub(super) fn failed_between(&self, from: Instant, until: Instant) -> (Vec<&Attempt>, u64) {
        let between = self
            .attempts
            .iter()
            .filter(|attempt| (from..until).contains(&attempt.begun));
        let failed = between.filter(|attempt| attempt.said != Said::Good);
        let (unreachable, failed): (Vec<_>, Vec<_>) = failed.partition(|attempt| attempt.said == Said::Unreachable);
        (failed, u64::try_from(unreachable.len()).unwrap_or(u64::MAX))
    }
}

/// Where the numbers of those begin that come in crowds.
const CROWDS: u64 = 1 << 40;

/// Those who come all at once.
pub(super) struct Crowd {
    clients: Arc<Clients>,
    next: u64,
}

impl Crowd {
    /// So many order from one kitchen at once; returns when all are answered.
    pub(super) async fn come(&mut self, kitchen: u32, count: u32) {
        let mut under_way = JoinSet::new();
        for n in (self.next..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let clients = Arc::clone(&self.clients);
            under_way.spawn(async move { clients.live(n, Some(kitchen)).await });
        }
        self.next += u64::from(count);
        under_way.join_all().await;
    }
}

struct Clients {
    front: Arc<Front>,
    http: Client,
    city: City,
    shares: Shares,
    history: Mutex<History>,
    is_over: AtomicBool,
}

/// A load that runs until it is [ended](Self::end).
pub(super) struct Load {
    clients: Arc<Clients>,
    ordering: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Begins: so many orders a second.
    pub(super) fn start(front: &Arc<Front>, city: City, rate: u32, shares: Shares) -> Result<Self, reqwest::Error> {
        let http = Client::builder().timeout(ATTEMPT_MAX).no_proxy().build()?;
        let clients = Arc::new(Clients {
            front: Arc::clone(front),
            http,
            city,
            shares,
            history: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let ordering = tokio::spawn(order(Arc::clone(&clients), rate));
        Ok(Self { clients, ordering })
    }

    /// Those who may come beside it.
    pub(super) fn crowd(&self) -> Crowd {
        Crowd {
            clients: Arc::clone(&self.clients),
            next: CROWDS,
        }
    }

    /// No new clients; waits until all are answered, and tells what they were told.
    pub(super) async fn end(self) -> History {
        self.clients.is_over.store(true, Ordering::Release);
        // A panic of a client is one of ours; what it had noted is there.
        let _ = self.ordering.await;
        std::mem::take(&mut self.clients.history())
    }
}

async fn order(clients: Arc<Clients>, rate: u32) {
    let mut under_way = JoinSet::new();
    let begun = Instant::now();
    for n in 0_u64.. {
        sleep_until(begun + Duration::from_micros(n * 1_000_000 / u64::from(rate.max(1)))).await;
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= CLIENTS_MAX {
            under_way.join_next().await;
        }
        if clients.is_over.load(Ordering::Acquire) {
            break;
        }
        let clients = Arc::clone(&clients);
        under_way.spawn(async move { clients.live(n, None).await });
    }
    under_way.join_all().await;
}

impl Clients {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client's life.
    async fn live(&self, n: u64, kitchen: Option<u32>) {
        let Wish {
            key,
            body,
            cancel,
            repeat,
        } = self.city.wish(n, kitchen, self.shares.cancels, self.shares.duplicates);
        let submit = |url: &str| {
            let post = self.http.post(format!("{url}/v1/orders"));
            post.header("idempotency-key", &key).json(&body)
        };
        let mut told = Told {
            key: key.clone(),
            begun: Instant::now(),
            acknowledged: None,
            submitted: Submitted {
                order: key.clone(),
                key: key.clone(),
                id: None,
                repeated: None,
                cancel_granted: None,
            },
            unanswered: Vec::new(),
        };
        let answer = self.insist(n, Ask::Submit, submit).await;
        match answer.as_ref().and_then(id) {
            None => told.unanswered.push(Ask::Submit),
            Some(id) => {
                told.acknowledged = Some(Instant::now());
                told.submitted.id = Some(id);
                if repeat {
                    self.repeat(n, id, submit, &mut told).await;
                }
                if let Some(after) = cancel {
                    sleep(after).await;
                    self.cancel(n, id, &mut told).await;
                }
            }
        }
        self.history().orders.push(told);
    }

    async fn repeat(&self, n: u64, id: OrderId, submit: impl Fn(&str) -> RequestBuilder, told: &mut Told) {
        let again = self.insist(n, Ask::Repeat, submit).await;
        match again.as_ref().and_then(self::id) {
            Some(again) => told.submitted.repeated = Some(again.to_string()),
            None => told.unanswered.push(Ask::Repeat),
        }
        let read = |url: &str| self.http.get(format!("{url}/v1/orders/{id}"));
        if self.insist(n, Ask::Read, read).await.is_none() {
            told.unanswered.push(Ask::Read);
        }
    }

    async fn cancel(&self, n: u64, id: OrderId, told: &mut Told) {
        let cancel = |url: &str| {
            let post = self.http.post(format!("{url}/v1/orders/{id}/cancel"));
            post.header("idempotency-key", format!("cancel-{n}"))
                .json(&json!({"reason": "hungry no more"}))
        };
        match self.insist(n, Ask::Cancel, cancel).await {
            Some((status, _)) => told.submitted.cancel_granted = Some(status != 409),
            None => told.unanswered.push(Ask::Cancel),
        }
    }

    /// Asks one node after the other until the answer is one that stays; `None`: there was none in time, or a strange one.
    async fn insist(&self, n: u64, ask: Ask, request: impl Fn(&str) -> RequestBuilder) -> Option<(u16, Value)> {
        let (since, mut pause, mut before) = (Instant::now(), PAUSE_MIN, None);
        loop {
            let node = self.front.turn(before);
            let begun = Instant::now();
            let (said, answer) = exchange(ask, request(self.front.node(node))).await;
            let passes = said.passes();
            self.history().attempts.push(Attempt {
                n,
                ask,
                node,
                begun,
                ended: Instant::now(),
                said,
            });
            if answer.is_some() {
                return answer;
            }
            if !passes || since.elapsed() >= INSIST_MAX {
                return None;
            }
            before = Some(node);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn exchange(ask: Ask, request: RequestBuilder) -> (Said, Option<(u16, Value)>) {
    let answered = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.bytes().await?))
    };
    match answered.await {
        Ok((status, bytes)) => {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let kind = body["type"].as_str().unwrap_or_default().to_owned();
            let good = match ask {
                Ask::Submit | Ask::Repeat => status == 201,
                Ask::Read => status == 200,
                Ask::Cancel => matches!(status, 200 | 202) || (status == 409 && kind.ends_with(":not-allowed")),
            };
            if good {
                (Said::Good, Some((status, body)))
            } else {
                (Said::Refused(status, kind), None)
            }
        }
        Err(error) if error.is_connect() && !error.is_timeout() => (Said::Unreachable, None),
        Err(error) if error.is_timeout() => (Said::TimedOut, None),
        Err(_) => (Said::Broken, None),
    }
}

fn id(answer: &(u16, Value)) -> Option<OrderId> {
    answer.1["id"].as_str()?.parse().ok()
}
