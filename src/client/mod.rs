//! A typed client of the HTTP interface, for the command line, the replay of days and tests.
//!
//! Requests that may be repeated are: reads and `PUT`s always, a `POST` only with an `Idempotency-Key`. They are
//! repeated when the server cannot be reached, does not answer in time, breaks the connection or asks for patience
//! (408, 429, 502, 503, 504, or 409 while an earlier attempt under the same key is under way), with growing pauses and until a total time is used up: see [`RetryPolicy`].

mod error;
mod retry;
mod sse;
#[cfg(test)]
mod tests;
mod transport;
mod watch;
mod webhooks;

pub use error::{ClientError, Problem};
pub use retry::RetryPolicy;

use crate::api::{
    CancelBody, CapacityView, ChannelBody, ChannelList, ChannelView, ClockView, CourierBody, EventsView, MenuBody,
    OrderBody, OrderList, OrderView, StatusView,
};
use actors::ClusterStatus;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use transport::Call;

/// How many things a page of a list is to hold, the most that servers give.
const PAGE_LIMIT: &str = "1000";

/// The same for lists of orders.
const ORDER_PAGE_LIMIT: usize = 200;

/// A client of one server. Clones share connections and figures.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    retry: RetryPolicy,
    figures: Arc<Figures>,
}

/// What a client and its clones have done so far.
#[derive(Debug, Default)]
struct Figures {
    /// Attempts after the first of a request.
    retries: AtomicU64,
    /// Pauses spread so far, see [`retry::spread`].
    spread: AtomicU64,
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:8080`. Connects when it is first used.
    ///
    /// # Errors
    /// [`ClientError::Address`] when `url` is not an `http` or `https` address.
    pub fn new(url: &str, retry: RetryPolicy) -> Result<Self, ClientError> {
        let base = transport::parse_base(url)?;
        let http = transport::build(&base)?;
        Ok(Self {
            http,
            base,
            retry,
            figures: Arc::default(),
        })
    }

    /// The same client, less or more patient. Shares connections and figures.
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self { retry, ..self.clone() }
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// How many attempts after the first this client and its clones have made.
    pub fn retries(&self) -> u64 {
        self.figures.retries.load(Ordering::Relaxed)
    }

    /// Waits until the server says that it is ready.
    ///
    /// # Errors
    /// When it does not within the policy's patience.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.send(&Call::get(&["readyz"])).await.map(drop)
    }

    /// The server's business time and its pace.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer is not understood.
    pub async fn clock(&self) -> Result<ClockView, ClientError> {
        self.read(&["v1", "clock"]).await
    }

    /// Submits an order. With a key it is repeated until it is accepted or refused, and creates one order however often
    /// it is repeated. With `wait_s` the server answers when the order is confirmed or failed, or after so many seconds.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong, or a failure of the transport.
    pub async fn submit(
        &self,
        order: &OrderBody,
        key: Option<&str>,
        wait_s: Option<u32>,
    ) -> Result<OrderView, ClientError> {
        let path = ["v1", "orders"];
        let call = Call {
            key,
            wait_s,
            body: Some(encode(order)?),
            ..Call::of(Method::POST, &path)
        };
        self.send(&call).await?.decode()
    }

    /// An order as it stands.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know it.
    pub async fn order(&self, id: &str) -> Result<OrderView, ClientError> {
        self.read(&["v1", "orders", id]).await
    }

    /// An order's status alone: made to be asked often.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know it.
    pub async fn status(&self, id: &str) -> Result<StatusView, ClientError> {
        self.read(&["v1", "orders", id, "status"]).await
    }

    /// The cluster as the server, one of its nodes, sees it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when it is not a node of a cluster.
    pub async fn cluster(&self) -> Result<ClusterStatus, ClientError> {
        self.read(&["v1", "cluster"]).await
    }

    /// Takes the server, a node of a cluster, out of service. Returns once it owns nothing. Idempotent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when it is not a node of a cluster.
    pub async fn drain(&self) -> Result<(), ClientError> {
        let path = ["v1", "cluster", "drain"];
        self.send(&Call::of(Method::POST, &path)).await.map(drop)
    }

    /// Takes the server, a node of a cluster, back into service. Idempotent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when it is not a node of a cluster.
    pub async fn rebalance(&self) -> Result<(), ClientError> {
        let path = ["v1", "cluster", "rebalance"];
        self.send(&Call::of(Method::POST, &path)).await.map(drop)
    }

    /// The server's figures, in Prometheus' text format.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn figures(&self) -> Result<String, ClientError> {
        Ok(self.send(&Call::get(&["metrics"])).await?.text())
    }

    /// An order's whole history.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know it.
    pub async fn events(&self, id: &str) -> Result<EventsView, ClientError> {
        self.read(&["v1", "orders", id, "events"]).await
    }

    /// Asks for an order's cancellation. The order says later whether it was granted.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is too late, with the reason.
    pub async fn cancel(&self, id: &str, cancel: &CancelBody, key: Option<&str>) -> Result<(), ClientError> {
        let path = ["v1", "orders", id, "cancel"];
        let call = Call {
            key,
            body: Some(encode(cancel)?),
            ..Call::of(Method::POST, &path)
        };
        self.send(&call).await.map(drop)
    }

    /// Creates or changes a channel. Idempotent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong, or a failure of the transport.
    pub async fn put_channel(&self, id: &str, channel: &ChannelBody) -> Result<(), ClientError> {
        self.put(&["v1", "channels", id], channel).await
    }

    /// Replaces a channel's menu. Idempotent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong, or a failure of the transport.
    pub async fn put_menu(&self, id: &str, menu: &MenuBody) -> Result<(), ClientError> {
        self.put(&["v1", "channels", id, "menu"], menu).await
    }

    /// Creates or changes a courier. Idempotent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong, or a failure of the transport.
    pub async fn put_courier(&self, id: &str, courier: &CourierBody) -> Result<(), ClientError> {
        self.put(&["v1", "couriers", id], courier).await
    }

    /// All channels, by id: reads page after page.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer is not understood.
    pub async fn channels(&self) -> Result<Vec<ChannelView>, ClientError> {
        self.all(&["v1", "channels"], |page: ChannelList| (page.channels, page.next))
            .await
    }

    /// All items of a list, page after page.
    async fn all<P: DeserializeOwned, T>(
        &self,
        path: &[&str],
        split: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, ClientError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE_LIMIT)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let call = Call {
                query: &query,
                ..Call::get(path)
            };
            let (page, next) = split(self.send(&call).await?.decode()?);
            // A page without anything on it leads nowhere, whatever it says.
            cursor = next.filter(|_| !page.is_empty());
            items.extend(page);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// The newest orders that match, at most `limit`: reads page after page. The filter is names and values as in the
    /// query of `GET /v1/orders`. Its `next` says whether there are more.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong with the filter, or a failure of the transport.
    pub async fn orders(&self, filter: &[(&str, &str)], limit: usize) -> Result<OrderList, ClientError> {
        let mut all = OrderList::default();
        loop {
            let page_limit = (limit - all.orders.len()).min(ORDER_PAGE_LIMIT).to_string();
            let mut query = filter.to_vec();
            query.push(("limit", &page_limit));
            query.extend(all.next.as_deref().map(|cursor| ("cursor", cursor)));
            let call = Call {
                query: &query,
                ..Call::get(&["v1", "orders"])
            };
            let page: OrderList = self.send(&call).await?.decode()?;
            let is_empty = page.orders.is_empty();
            // The first page is the oldest view of the whole.
            all.as_of = if all.orders.is_empty() { page.as_of } else { all.as_of };
            all.orders.extend(page.orders);
            all.next = page.next;
            // A page without anything on it leads nowhere, whatever it says.
            if all.next.is_none() || is_empty || all.orders.len() >= limit {
                return Ok(all);
            }
        }
    }

    /// A channel's capacity ledger.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know the channel.
    pub async fn capacity(&self, id: &str) -> Result<CapacityView, ClientError> {
        self.read(&["v1", "channels", id, "capacity"]).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.send(&Call::get(path)).await?.decode()
    }

    async fn put(&self, path: &[&str], body: &impl Serialize) -> Result<(), ClientError> {
        let call = Call {
            body: Some(encode(body)?),
            ..Call::of(Method::PUT, path)
        };
        self.send(&call).await.map(drop)
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(ClientError::Body)
}
