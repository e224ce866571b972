//! `/v1/orders`: submit, read, cancel, repair.

use super::conditions::{PREFERENCE_APPLIED, etag, is_unchanged, preferred_wait};
use super::extract::{Change, Id, UnreadChange};
use super::problem::{AnyProblem, Problem};
use super::submissions::{Submissions, response};
use super::{Gateway, versioned};
use crate::api::{CancelBody, OrderBody, OrderView, ResolveBody, StatusView};
use crate::reports;
use actors::{Front, Pending, Placed, Versioned};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::OrderId;
use domain::order::{Order, OrderStatus};
use domain::saga::{Command, Step};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body that says nothing: `{}`, or absent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Submits an order. It is durable when the answer comes; its quote follows with routing. With the same
/// `Idempotency-Key` and body the first answer comes again (`Idempotent-Replayed: true`). With `Prefer: wait=N` the
/// answer comes when the order is confirmed or over, or after N seconds (at most 30), and shows it as it is then.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", request_body = OrderBody,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the outcome is known, at most N seconds later"),
    ),
    responses((status = 201, description = "the order, and where it is", body = OrderView), AnyProblem))]
pub(super) async fn submit(State(gateway): State<Gateway>, change: UnreadChange) -> Result<Response, Problem> {
    let patience = Patience::of(&gateway, &change.headers);
    let wait = patience.as_ref().map_or(Duration::ZERO, |patience| patience.wait);
    let submitting = gateway
        .platform()
        .submit(change.bytes.into(), change.key.as_ref(), wait);
    let mut submitted = submitting.await?;
    let patience = patience.filter(|_| submitted.status == StatusCode::CREATED);
    if let (Some(patience), Some(pending)) = (&patience, submitted.pending) {
        // It is accepted, whether it can be read now or not.
        if let Ok(order) = patience.outcome_of(&gateway, pending).await {
            let replayed = pending.replayed;
            submitted = Submissions.accepted(&Placed { order, replayed });
        }
    }
    let mut response = response(submitted);
    if patience.is_some()
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// A client that waits for its order's outcome. As many may wait as there are permits.
struct Patience<'a> {
    wait: Duration,
    until: Instant,
    _permit: SemaphorePermit<'a>,
}

impl<'a> Patience<'a> {
    /// `None`: it does not want to wait, or as many as may wait do so already.
    fn of(gateway: &'a Gateway, headers: &HeaderMap) -> Option<Self> {
        let wait = preferred_wait(headers)?;
        Some(Self {
            wait,
            until: Instant::now() + wait,
            _permit: gateway.waits.try_acquire().ok()?,
        })
    }

    /// The order once it is confirmed or over, or as it is when patience is at its end.
    async fn outcome_of(&self, gateway: &Gateway, pending: Pending) -> Result<Versioned<Order>, Problem> {
        let (platform, id) = (gateway.platform(), pending.order);
        // Subscribed before it is read, so that no change falls between the two.
        let mut changes = platform.subscribe_after(id, pending.seq);
        let now = if pending.replayed {
            // It may be over for long, and have no actor that would tell of it.
            platform.order(id).await.ok()
        } else {
            // Elsewhere, its owner is asked for what came after.
            platform.live_order(id)
        };
        if let Some(order) = now.filter(|now| now.state.has_outcome()) {
            return Ok(order);
        }
        let known = changes.wait_for(|change| change.as_ref().is_some_and(|change| change.state.has_outcome()));
        tokio::select! {
            outcome = timeout_at(self.until, known) => {
                if let Ok(Ok(outcome)) = outcome && let Some(outcome) = outcome.as_ref() {
                    return Ok(outcome.clone());
                }
            }
            () = gateway.stopping.cancelled() => {}
        }
        Ok(platform.order(id).await?)
    }
}

fn answer(status: StatusCode, order: &Versioned<Order>) -> Response {
    versioned(status, order.seq, &OrderView::new(&order.state, order.seq))
}

/// An order as it stands.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders",
    params(("id" = String, Path, description = "the order"),
        ("If-None-Match" = Option<String>, Header, description = "an ETag: 304 if the order is still at that version")),
    responses((status = 200, description = "the order", body = OrderView),
        (status = 304, description = "it is as it was"), AnyProblem))]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = gateway.platform().order(id).await?;
    if is_unchanged(&headers, order.seq) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(order.seq))]).into_response());
    }
    Ok(answer(StatusCode::OK, &order))
}

/// An order's status alone, made to be asked often. Never older than what was acknowledged before.
#[utoipa::path(get, path = "/v1/orders/{id}/status", tag = "orders",
    params(("id" = String, Path, description = "the order"),
        ("If-None-Match" = Option<String>, Header, description = "an ETag: 304 if the order is still at that version")),
    responses((status = 200, description = "its status", body = StatusView),
        (status = 304, description = "it is as it was"), AnyProblem))]
pub(super) async fn status(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entry = gateway.app.statuses.of(gateway.platform(), id).await?;
    let tag = [(ETAG, etag(entry.version))];
    if is_unchanged(&headers, entry.version) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, [(CONTENT_TYPE, JSON)], entry.body).into_response())
}

/// Cancels an order: allowed until it is picked up, and done once everything done is undone. Asking again is harmless.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders", request_body = Option<CancelBody>,
    params(("id" = String, Path, description = "the order"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes asking again safe")),
    responses((status = 200, description = "it is cancelled", body = OrderView),
        (status = 202, description = "it is being undone", body = OrderView), AnyProblem))]
pub(super) async fn cancel(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    change: Change<Option<CancelBody>>,
) -> Result<Response, Problem> {
    let options = change.options();
    let reason = change
        .body
        .and_then(|body| body.reason)
        .unwrap_or_else(|| "cancelled by request".to_owned());
    check_text("/reason", &reason)?;
    let applied = gateway
        .platform()
        .command(id, Command::Cancel { reason }, options)
        .await?;
    let over = applied.entity.state.status == OrderStatus::Cancelled;
    Ok(answer(
        if over { StatusCode::OK } else { StatusCode::ACCEPTED },
        &applied.entity,
    ))
}

/// Tries everything that is stuck once more.
#[utoipa::path(post, path = "/v1/orders/{id}/retry", tag = "orders",
    params(("id" = String, Path, description = "the order"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes asking again safe")),
    responses((status = 202, description = "it is being tried", body = OrderView), AnyProblem))]
pub(super) async fn retry(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    change: Change<Option<Nothing>>,
) -> Result<Response, Problem> {
    let applied = gateway.platform().command(id, Command::Retry, change.options()).await?;
    Ok(answer(StatusCode::ACCEPTED, &applied.entity))
}

/// Declares something that is stuck to be settled, by an operator's word.
#[utoipa::path(post, path = "/v1/orders/{id}/resolve", tag = "orders", request_body = ResolveBody,
    params(("id" = String, Path, description = "the order"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes asking again safe")),
    responses((status = 200, description = "it is settled, and nothing else is pending", body = OrderView),
        (status = 202, description = "it is settled; other things are pending", body = OrderView), AnyProblem))]
pub(super) async fn resolve(
    State(gateway): State<Gateway>,
    Id(id): Id<OrderId>,
    change: Change<ResolveBody>,
) -> Result<Response, Problem> {
    let options = change.options();
    let ResolveBody { step, round, note } = change.body;
    let Some(step) = Step::ALL.into_iter().find(|known| known.as_str() == step) else {
        let known: Vec<_> = Step::ALL.iter().map(|step| step.as_str()).collect();
        return Err(Problem::field(
            "/step",
            format!("is no step; steps are {}", known.join(", ")),
        ));
    };
    if note.trim().is_empty() {
        return Err(Problem::field("/note", "must not be empty: say how it was settled"));
    }
    check_text("/note", &note)?;
    let applied = gateway
        .platform()
        .command(id, Command::Resolve { step, round, note }, options)
        .await?;
    let over = applied.entity.state.is_settled();
    Ok(answer(
        if over { StatusCode::OK } else { StatusCode::ACCEPTED },
        &applied.entity,
    ))
}

/// Checks a text that is kept with an order.
pub(super) fn check_text(pointer: &str, text: &str) -> Result<(), Problem> {
    reports::check_text(pointer, text).map_err(|error| Problem::invalid(vec![error]))
}
