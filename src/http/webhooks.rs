//! `/v1/webhooks` and `/v1/dead-letters`: who is told of public events, and what could not be delivered.

use super::conditions::{IfMatch, etag, is_unchanged};
use super::extract::{Change, Id, QueryOf};
use super::pages::{NextLink, PageQuery};
use super::problem::{AnyProblem, Kind, Problem};
use super::{Gateway, versioned};
use crate::api::{DeadLetterList, DeadLetterView, WebhookBody, WebhookList, WebhookView};
use crate::webhooks::{Subscription, WebhookError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::Seq;
use domain::rejection::Rejection;
use persistence::WebhookId;
use serde::Deserialize;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Webhook subscriptions, by id, a page at a time: `Link: rel="next"` leads to the next one.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, description = "a page of the subscriptions", body = WebhookList), AnyProblem))]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<(NextLink, Json<WebhookList>), Problem> {
    let page = query.page(gateway.app.webhooks.list().await?, |one| &one.id)?;
    let link = page.link("/v1/webhooks");
    let list = WebhookList {
        webhooks: page.items.into_iter().map(WebhookView::from).collect(),
        next: page.next,
    };
    Ok((link, Json(list)))
}

/// A webhook subscription as it stands, without its secrets.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "the subscription"),
        ("If-None-Match" = Option<String>, Header, description = "an ETag: 304 if it is still at that version")),
    responses((status = 200, description = "the subscription", body = WebhookView),
        (status = 304, description = "it is as it was"), AnyProblem))]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Id(id): Id<WebhookId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let subscription = find(&gateway, &id).await?;
    let version = Seq(subscription.version);
    if is_unchanged(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(version))]).into_response());
    }
    Ok(versioned(StatusCode::OK, version, &WebhookView::from(subscription)))
}

async fn find(gateway: &Gateway, id: &WebhookId) -> Result<Subscription, Problem> {
    gateway.app.webhooks.get(id).await.map_err(|error| unknown(error, id))
}

fn unknown(error: WebhookError, id: &WebhookId) -> Problem {
    match error {
        WebhookError::Rejected(Rejection::NotFound(_)) => Problem::new(
            Kind::NotFound,
            format!("there is no webhook '{id}': PUT /v1/webhooks/{id} creates it"),
        ),
        error => error.into(),
    }
}

/// Creates a subscription or changes it. Every public event that is committed after the answer, and that it wants, is
/// posted to its URL at least once.
///
/// A message is `{"type", "timestamp", "data": {"order_id", "version", …}}` with the headers of Standard Webhooks 1.0:
/// `webhook-id` (the same over all attempts: tell repetitions by it), `webhook-timestamp`, and `webhook-signature` by each
/// of the secrets. Messages of one order may come out of order: go by `version`. 2xx takes it; 410 switches the
/// subscription off; everything else, redirects too, is a failure, and it is attempted again by the configured schedule,
/// not before `Retry-After`. After the last attempt it is a dead letter.
#[utoipa::path(put, path = "/v1/webhooks/{id}", tag = "webhooks", request_body = WebhookBody,
    params(("id" = String, Path, description = "the subscription: 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for, or * for any"),
        ("If-None-Match" = Option<String>, Header, description = "*: create, do not change")),
    responses((status = 200, description = "it is changed, or was so already", body = WebhookView),
        (status = 201, description = "it is created; the secret that was made is shown this once", body = WebhookView),
        AnyProblem))]
pub(super) async fn put(
    State(gateway): State<Gateway>,
    Id(id): Id<WebhookId>,
    change: Change<WebhookBody>,
) -> Result<Response, Problem> {
    let webhooks = &gateway.app.webhooks;
    must_exist(&gateway, &id, change.if_match).await?;
    let put = webhooks.put(&id, change.body.into(), change.if_match.version()).await?;
    let (version, created) = (Seq(put.subscription.version), put.created);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = versioned(status, version, &WebhookView::from(put));
    if created && let Ok(location) = HeaderValue::from_str(&format!("/v1/webhooks/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `If-Match: *` is about something that is there.
async fn must_exist(gateway: &Gateway, id: &WebhookId, if_match: IfMatch) -> Result<(), Problem> {
    if if_match != IfMatch::Exists {
        return Ok(());
    }
    match gateway.app.webhooks.get(id).await {
        Err(WebhookError::Rejected(_)) => {
            let text = format!("there is no webhook '{id}' yet");
            Err(Problem::new(Kind::PreconditionFailed, text))
        }
        found => Ok(found.map(drop)?),
    }
}

/// Removes a subscription with everything that is kept for it, dead letters too. Nothing more is delivered, except
/// attempts that are under way.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "the subscription"),
        ("If-Match" = Option<String>, Header, description = "the version it is meant for, or * for any")),
    responses((status = 204, description = "it is removed"), AnyProblem))]
pub(super) async fn delete(
    State(gateway): State<Gateway>,
    Id(id): Id<WebhookId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let expected = IfMatch::of(&headers)?.version();
    let removed = gateway.app.webhooks.remove(&id, expected).await;
    removed.map_err(|error| unknown(error, &id))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which dead letters.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLetterQuery {
    /// Only those of this subscription.
    webhook_id: Option<String>,
    /// At most so many, 1 to 1000; 100 when absent.
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

/// Messages that were given up, by subscription and id, a page at a time: `Link: rel="next"` leads to the next one.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "webhooks", params(DeadLetterQuery),
    responses((status = 200, description = "a page of the dead letters", body = DeadLetterList), AnyProblem))]
pub(super) async fn dead_letters(
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<DeadLetterQuery>,
) -> Result<(NextLink, Json<DeadLetterList>), Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let text = format!("limit is {limit}; it must be 1 to {LIMIT_MAX}, and next leads on");
        return Err(Problem::new(Kind::MalformedRequest, text));
    }
    let of: Option<WebhookId> =
        query
            .webhook_id
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error: domain::ids::InvalidId| {
                Problem::new(Kind::MalformedRequest, format!("webhook_id: {error}"))
            })?;
    let after = query.cursor.as_deref().map(place).transpose()?;
    let after = after.as_ref().map(|(webhook, id)| (webhook, id.as_str()));
    // One more than shown says whether there is a next page.
    let mut found = gateway.app.webhooks.dead_letters(of.as_ref(), after, limit + 1).await?;
    let has_next = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_next);
    let next = next.map(|last| URL_SAFE_NO_PAD.encode(format!("{} {}", last.subscription, last.id)));
    let parameters = [
        ("webhook_id", query.webhook_id.as_deref()),
        ("limit", Some(&*limit.to_string())),
        ("cursor", next.as_deref()),
    ];
    let link = NextLink::when(has_next, "/v1/dead-letters", &parameters);
    let dead_letters = found.into_iter().map(DeadLetterView::from).collect();
    Ok((link, Json(DeadLetterList { dead_letters, next })))
}

/// Where a page ended: the subscription and the id of its last dead letter.
fn place(cursor: &str) -> Result<(WebhookId, String), Problem> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (webhook, id) = text.split_once(' ')?;
        // Postgres has no text with NUL in it.
        Some((
            webhook.parse().ok()?,
            Some(id.to_owned()).filter(|id| !id.contains('\0'))?,
        ))
    };
    read().ok_or_else(|| {
        let text = "the cursor is none of ours: take it from the Link or the next of the page before";
        Problem::new(Kind::MalformedRequest, text)
    })
}

/// Delivers a dead letter after all: it is attempted at once, and again by the schedule if that fails. Its subscription
/// must be on for that; while it is off, the message waits.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", tag = "webhooks",
    params(("id" = String, Path, description = "the dead letter")),
    responses((status = 202, description = "it waits for an attempt"), AnyProblem))]
pub(super) async fn replay(State(gateway): State<Gateway>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    gateway.app.webhooks.replay(&id).await.map_err(|error| match error {
        WebhookError::Rejected(Rejection::NotFound(_)) => Problem::new(
            Kind::NotFound,
            "there is no such dead letter (any more): GET /v1/dead-letters lists them",
        ),
        error => error.into(),
    })?;
    Ok(StatusCode::ACCEPTED)
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Rejected(rejection) => rejection.into(),
            WebhookError::Store(cause) => {
                tracing::warn!(%cause, "the store of webhooks is away");
                let text = "the store is away: what was asked may have been done or not, and may be asked again";
                Self::new(Kind::Unavailable, text).retry_after(2)
            }
        }
    }
}
