//! What handlers take from a request: bodies, ids and queries, each refused with a problem that helps.

use super::Gateway;
use super::conditions::{IfMatch, idempotency_key};
use super::json;
use super::problem::{Kind, Problem};
use actors::{CommandOptions, IdempotencyKey};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use domain::ids::InvalidId;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// Up to how many times the limit a body that is too large is read to its end.
const DISCARDED_FACTOR: usize = 16;

/// A body as it came, checked for its size and its media type.
pub(super) struct RawBody {
    method: Method,
    path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Bytes,
}

impl FromRequest<Gateway> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let limits = gateway.app.limits;
        let (parts, body) = request.into_parts();
        let is_json = is_json(&parts.headers);
        if !is_json && parts.headers.contains_key(CONTENT_TYPE) {
            return Err(unsupported());
        }
        let reading = read(body, limits.body_bytes_max);
        let in_time = tokio::time::timeout(Duration::from_millis(limits.body_read_ms_max), reading).await;
        let bytes = in_time.unwrap_or_else(|_| {
            let text = format!("the body did not arrive within {} ms", limits.body_read_ms_max);
            Err(Problem::new(Kind::RequestTimeout, text))
        })?;
        if !is_json && !bytes.is_empty() {
            return Err(unsupported());
        }
        let path = parts.uri.path().to_owned();
        Ok(Self {
            method: parts.method,
            path,
            headers: parts.headers,
            bytes,
        })
    }
}

/// Whether the body says it is JSON: `application/json`, or another type built on it.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unsupported() -> Problem {
    Problem::new(
        Kind::UnsupportedMediaType,
        "the body must be JSON: send it with Content-Type: application/json",
    )
}

/// Reads a body up to the limit. What lies a little beyond it is read too and thrown away: who still sends when the
/// connection closes may never see the answer.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut parts = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Problem::new(Kind::MalformedRequest, "the body ended before its time"))?;
        length += part.len();
        if length <= bytes_max {
            bytes.extend_from_slice(&part);
        } else if length > bytes_max.saturating_mul(DISCARDED_FACTOR) {
            break;
        }
    }
    if length > bytes_max {
        let text = format!("the body is too large; at most {bytes_max} bytes are allowed");
        return Err(Problem::new(Kind::BodyTooLarge, text));
    }
    Ok(bytes.into())
}

/// A change that somebody asks for, whose body nobody has read yet, and its conditions.
pub(super) struct UnreadChange {
    /// What is asked, as it came.
    pub bytes: Bytes,
    /// The key that makes asking again safe.
    pub key: Option<IdempotencyKey>,
    /// The version it is meant for.
    pub if_match: IfMatch,
    /// All headers.
    pub headers: HeaderMap,
}

impl FromRequest<Gateway> for UnreadChange {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let RawBody {
            method,
            path,
            headers,
            bytes,
        } = RawBody::from_request(request, gateway).await?;
        Ok(Self {
            key: idempotency_key(&headers, &method, &path, &bytes)?,
            if_match: IfMatch::of(&headers)?,
            bytes,
            headers,
        })
    }
}

/// A change that somebody asks for: its body and its conditions. A body that may be absent is an `Option`.
pub(super) struct Change<T> {
    /// What is asked.
    pub body: T,
    /// The key that makes asking again safe.
    pub key: Option<IdempotencyKey>,
    /// The version it is meant for.
    pub if_match: IfMatch,
}

impl<T> Change<T> {
    /// The conditions of a command.
    pub(super) fn options(&self) -> CommandOptions {
        CommandOptions {
            if_match: self.if_match.version(),
            key: self.key.clone(),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Gateway> for Change<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let change = UnreadChange::from_request(request, gateway).await?;
        Ok(Self {
            body: json::parse(&change.bytes)?,
            key: change.key,
            if_match: change.if_match,
        })
    }
}

/// The id in the path.
pub(super) struct Id<T>(pub T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err = InvalidId>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::MalformedId, "the id in the path is not UTF-8"))?;
        text.parse().map(Self).map_err(|error: InvalidId| {
            // A UUID that is none of ours is nobody's; everything else is no id at all.
            let kind = if Uuid::parse_str(&text).is_ok() {
                Kind::NotFound
            } else {
                Kind::MalformedId
            };
            Problem::new(kind, error.to_string())
        })
    }
}

/// The query, read strictly.
pub(super) struct QueryOf<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::new(Kind::MalformedRequest, rejection.body_text()))?;
        Ok(Self(query))
    }
}
