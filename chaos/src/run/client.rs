//! Reading what the server says.

use super::RunError;
use crate::evidence::{CapacitySeen, CourierSeen, EventView, OrderSeen, OrderView};
use domain::ids::OrderId;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long one answer may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// How long an answer is waited for in all.
const GIVE_UP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// How often an order is read again that changed between its view and its history.
const READS_MAX: u32 = 10;

/// A reader of the server's interface.
pub(super) struct Reader {
    http: reqwest::Client,
    url: String,
}

#[derive(Deserialize)]
struct History {
    events: Vec<EventView>,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Couriers {
    couriers: Vec<CourierSeen>,
}

#[derive(Deserialize)]
struct Actors {
    counts: BTreeMap<String, BTreeMap<String, usize>>,
}

/// The server's clock.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct ClockSeen {
    pub(super) now: i64,
}

impl Reader {
    pub(super) fn new(url: &str) -> Result<Self, RunError> {
        let http = reqwest::Client::builder().timeout(ATTEMPT_MAX).no_proxy().build();
        Ok(Self {
            http: http.map_err(|source| RunError::Http {
                path: String::new(),
                source,
            })?,
            url: url.to_owned(),
        })
    }

    /// Reads a path; `None` when there is nothing.
    async fn once<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, reqwest::Error> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        response.error_for_status()?.json().await.map(Some)
    }

    /// Reads a path until it is answered.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, RunError> {
        let began = Instant::now();
        loop {
            match self.once(path).await {
                Ok(found) => return Ok(found),
                Err(source) if began.elapsed() >= GIVE_UP || source.is_decode() => {
                    return Err(RunError::Http {
                        path: path.to_owned(),
                        source,
                    });
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn found<T: DeserializeOwned>(&self, path: &str) -> Result<T, RunError> {
        self.read(path)
            .await?
            .ok_or_else(|| RunError::Missing { path: path.to_owned() })
    }

    /// An order with its whole history, both at the same version; `None` when the server does not know it.
    pub(super) async fn order(&self, id: OrderId) -> Result<Option<OrderSeen>, RunError> {
        let mut reads = 0;
        loop {
            let Some(view) = self.view(id).await? else {
                return Ok(None);
            };
            let events = self.read::<History>(&format!("/v1/orders/{id}/events")).await?;
            let events = events.map_or_else(Vec::new, |history| history.events);
            reads += 1;
            let same = events.last().is_some_and(|event| event.version == view.version);
            if same || reads >= READS_MAX {
                return Ok(Some(OrderSeen { view, events }));
            }
        }
    }

    /// An order's view; `None` when the server does not know it.
    pub(super) async fn view(&self, id: OrderId) -> Result<Option<OrderView>, RunError> {
        self.read(&format!("/v1/orders/{id}")).await
    }

    /// Has everything stuck of an order tried again, as an operator would. That it is not taken is seen by the next view.
    pub(super) async fn retry(&self, id: OrderId) {
        let path = format!("{}/v1/orders/{id}/retry", self.url);
        let _ = self.http.post(path).send().await;
    }

    /// The capacity ledgers of all channels.
    pub(super) async fn channels(&self) -> Result<Vec<CapacitySeen>, RunError> {
        let channels: Channels = self.found("/v1/channels").await?;
        let mut seen = Vec::with_capacity(channels.channels.len());
        for Named { id } in channels.channels {
            seen.push(self.found(&format!("/v1/channels/{id}/capacity")).await?);
        }
        Ok(seen)
    }

    /// All couriers.
    pub(super) async fn couriers(&self) -> Result<Vec<CourierSeen>, RunError> {
        Ok(self.found::<Couriers>("/v1/couriers").await?.couriers)
    }

    /// The server's clock.
    pub(super) async fn clock(&self) -> Result<ClockSeen, RunError> {
        self.found("/v1/clock").await
    }

    /// How many orders are in flight in each status; nothing when the server does not answer at once.
    pub(super) async fn in_flight(&self) -> BTreeMap<String, usize> {
        let read = self.once::<Actors>("/v1/actors?kind=order&limit=0").await;
        let counts = read
            .ok()
            .flatten()
            .and_then(|mut actors| actors.counts.remove("order"))
            .unwrap_or_default();
        let over = ["DELIVERED", "CANCELLED", "FAILED"];
        counts
            .into_iter()
            .filter(|(status, _)| !over.contains(&status.as_str()))
            .collect()
    }

    /// The sum of a figure over its labels, as `/metrics` has it; 0 when it is not there.
    pub(super) async fn figure(&self, name: &str) -> u64 {
        let text = async {
            self.http
                .get(format!("{}/metrics", self.url))
                .send()
                .await?
                .text()
                .await
        };
        let text = text.await.unwrap_or_default();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = text
            .lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }
}
