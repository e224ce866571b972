//! `GET /v1/orders/{id}/stream`: an order's changes as server-sent events.
//!
//! Each event is the order as it stood at one version; its id is that version. Versions come in order and, unless the
//! store is away, without gaps: what a slow subscriber missed, and what a returning one asks for with `Last-Event-ID`,
//! is folded from the committed rows. The stream ends once the order is settled; a subscriber that comes back for more
//! is answered 204, which tells browsers to stop.

use super::Gateway;
use super::events::rows_after;
use super::extract::Id;
use super::problem::{AnyProblem, Kind, Problem};
use crate::api::OrderView;
use actors::{Platform, Versioned};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::entity::fold;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::Row;
use futures::stream::unfold;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The pause before an order whose announcements ended is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Follows an order until it is settled. `Last-Event-ID` resumes after that version.
#[utoipa::path(get, path = "/v1/orders/{id}/stream", tag = "orders",
    params(("id" = String, Path, description = "the order"),
        ("Last-Event-ID" = Option<u64>, Header, description = "the version after which to go on")),
    responses(
        (status = 200, description = "server-sent events: `order`, with the order as data and its version as id",
            body = OrderView, content_type = "text/event-stream"),
        (status = 204, description = "the order is settled, and that was seen"), AnyProblem))]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let permit = Arc::clone(&gateway.streams).try_acquire_owned().map_err(|_| {
        metrics::counter!("http_requests_refused_total", "bound" => "streams").increment(1);
        let text = "as many streams as the server keeps at a time are open; GET /v1/orders/{id} tells the same";
        Problem::new(Kind::Overloaded, text).retry_after(5)
    })?;
    let after = last_event_id(&headers)?;
    let platform = gateway.platform().clone();
    // Subscribed before it is read, so that no change falls between the two.
    let changes = platform.subscribe(id);
    let order = platform.order(id).await?;
    let waiting = match after {
        Some(after) if after >= order.seq && order.state.is_settled() => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Some(after) => replay(&rows_after(&platform, id, Seq(0)).await?, after).unwrap_or_else(|| vec![order.clone()]),
        None => vec![order.clone()],
    };
    let seen = if waiting.is_empty() { Some(order) } else { None };
    let stopping = gateway.stopping.clone();
    let feed = Feed {
        platform,
        id,
        changes,
        seen,
        waiting: waiting.into(),
        stopping,
        _permit: permit,
    };
    let events = unfold(feed, |mut feed| async {
        let order = feed.next().await?;
        Some((Ok::<_, Infallible>(event(&order)), feed))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"));
    Ok(([(ACCEL_BUFFERING, HeaderValue::from_static("no"))], stream).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let version = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let malformed = || {
        Problem::new(
            Kind::MalformedRequest,
            "Last-Event-ID must be a version: the id of an earlier event",
        )
    };
    version.map(|version| Some(Seq(version))).ok_or_else(malformed)
}

fn event(order: &Versioned<Order>) -> Event {
    let event = Event::default().id(order.seq.to_string()).event("order");
    let view = OrderView::new(&order.state, order.seq);
    // Serializing a view does not fail: it holds no map with other keys than strings.
    event.json_data(view).unwrap_or_default()
}

/// The order at each version after `after`, from all of its rows; `None` if they cannot be read.
fn replay(rows: &[Row], after: Seq) -> Option<Vec<Versioned<Order>>> {
    let mut states = onward(None, rows)?;
    states.retain(|order| order.seq > after);
    Some(states)
}

/// The order at each of the rows' versions, from the state before them; `None` if they cannot be read.
fn onward(mut state: Option<Order>, rows: &[Row]) -> Option<Vec<Versioned<Order>>> {
    let mut states = Vec::with_capacity(rows.len());
    for row in rows {
        let events: Vec<domain::order::Event> = serde_json::from_str(&row.events).ok()?;
        state = fold(state, &events, row.at).ok()?;
        states.push(Versioned {
            seq: row.seq,
            state: Arc::new(state.clone()?),
        });
    }
    Some(states)
}

/// What one subscriber gets next.
struct Feed {
    platform: Platform,
    id: OrderId,
    changes: watch::Receiver<Option<Versioned<Order>>>,
    /// The last version that was sent, or that the subscriber had seen before.
    seen: Option<Versioned<Order>>,
    /// Versions to send before anything new is looked for.
    waiting: VecDeque<Versioned<Order>>,
    stopping: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next version; `None` once the order is settled or the server stops.
    async fn next(&mut self) -> Option<Versioned<Order>> {
        loop {
            if let Some(order) = self.waiting.pop_front() {
                self.seen = Some(order.clone());
                return Some(order);
            }
            let seen = self.seen.clone()?;
            if seen.state.is_settled() {
                return None;
            }
            let stopping = self.stopping.clone();
            let newest = tokio::select! {
                newest = self.newest() => newest?,
                () = stopping.cancelled() => return None,
            };
            if newest.seq > seen.seq {
                self.waiting = self.between(&seen, newest).await.into();
            }
        }
    }

    /// The order after the next change that is announced; `None` when it cannot be had any more.
    async fn newest(&mut self) -> Option<Versioned<Order>> {
        loop {
            if self.changes.changed().await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
                self.changes = self.platform.subscribe(self.id);
                return self.platform.order(self.id).await.ok();
            }
            if let Some(order) = self.changes.borrow_and_update().clone() {
                return Some(order);
            }
        }
    }

    /// The versions after one up to another: from the rows between them if there are any, and if they can be read.
    async fn between(&self, seen: &Versioned<Order>, newest: Versioned<Order>) -> Vec<Versioned<Order>> {
        if seen.seq.next() == newest.seq {
            return vec![newest];
        }
        let rows = rows_after(&self.platform, self.id, seen.seq).await.unwrap_or_default();
        let missed = onward(Some(Order::clone(&seen.state)), &rows).filter(|missed| !missed.is_empty());
        missed.unwrap_or_else(|| vec![newest])
    }
}
