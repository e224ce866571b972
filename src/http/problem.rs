//! Problems (RFC 9457): how every refusal and every failure leaves the gateway, as `application/problem+json`.
//!
//! Which error becomes what:
//!
//! | error | status | kind |
//! | --- | --- | --- |
//! | not JSON, nested too deeply, a header or query that cannot be read | 400 | `malformed-request` |
//! | an id in the path that can be nobody's id | 400 | `malformed-id` |
//! | a webhook signature that is missing or wrong | 401 | `bad-signature` |
//! | `Rejection::NotFound`, an unknown route | 404 | `not-found` |
//! | a known route, another method | 405 | `method-not-allowed` |
//! | the body did not arrive in time | 408 | `request-timeout` |
//! | `Rejection::NotAllowed`, `Rejection::Stale` | 409 | `not-allowed` |
//! | `Rejection::Exists` | 409 | `exists` |
//! | `CallError::InProgress` | 409, `Retry-After` | `in-progress` |
//! | `Rejection::WrongVersion`, `If-Match` or `If-None-Match` not met | 412 | `precondition-failed` |
//! | too many bytes | 413 | `body-too-large` |
//! | no JSON by its `Content-Type` | 415 | `unsupported-media-type` |
//! | `Rejection::Invalid`, JSON of another shape | 422 | `invalid-request`, with `errors` |
//! | `CallError::KeyReused` | 422 | `idempotency-key-reused` |
//! | more requests of one client than it may make | 429, `Retry-After` | `too-many-requests` |
//! | `CallError::Parked` | 500 | `parked` |
//! | a panic | 500 | `internal` |
//! | `CallError::Overloaded`, a limit of the gateway | 503, `Retry-After` | `overloaded` |
//! | `CallError::Fenced`, `CallError::Unavailable` | 503, `Retry-After` | `unavailable` |
//! | `CallError::TimedOut`, the gateway's own time limit | 503, `Retry-After` | `outcome-unknown` |
//!
//! A detail never holds a stack, SQL or a secret: causes from within go to the log, here, once.

use actors::CallError;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use domain::ports::DISK_FULL;
use domain::rejection::{FieldError, Rejection};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as ApiResponse, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What kind of problem it is. The slugs are part of the interface: programs tell problems apart by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    MalformedRequest,
    MalformedId,
    BadSignature,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    NotAllowed,
    Exists,
    InProgress,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidRequest,
    KeyReused,
    TooManyRequests,
    Parked,
    Internal,
    Overloaded,
    Unavailable,
    OutcomeUnknown,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                StatusCode::BAD_REQUEST,
                "malformed-request",
                "The request cannot be read",
            ),
            Self::MalformedId => (StatusCode::BAD_REQUEST, "malformed-id", "The id is malformed"),
            Self::BadSignature => (
                StatusCode::UNAUTHORIZED,
                "bad-signature",
                "The signature is missing or wrong",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not allowed here",
            ),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "The request came too slowly",
            ),
            Self::NotAllowed => (
                StatusCode::CONFLICT,
                "not-allowed",
                "The present state does not allow it",
            ),
            Self::Exists => (StatusCode::CONFLICT, "exists", "It exists already"),
            Self::InProgress => (StatusCode::CONFLICT, "in-progress", "The same request is under way"),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "The precondition is not met",
            ),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The media type is not supported",
            ),
            Self::InvalidRequest => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-request",
                "The request is not valid",
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key is used",
            ),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::Parked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "parked",
                "It is parked and needs an operator",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something broke"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much to do"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not available at present",
            ),
            Self::OutcomeUnknown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome-unknown",
                "The outcome is unknown",
            ),
        }
    }

    /// The kind of an answer that something else than our own code gave, such as the router's 405.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::BadSignature,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::CONFLICT => Self::NotAllowed,
            StatusCode::PRECONDITION_FAILED => Self::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::InvalidRequest,
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }
}

/// A refusal or a failure, on its way out.
#[derive(Clone, Debug)]
pub(super) struct Problem(Arc<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
}

/// A problem as it is sent (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// What kind of problem it is: `urn:uoop:problem:` and a word that never changes.
    #[serde(rename = "type")]
    #[schema(example = "urn:uoop:problem:invalid-request")]
    kind: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time, and what would be right.
    detail: &'a str,
    /// The path of the request.
    #[serde(skip_serializing_if = "str::is_empty")]
    instance: &'a str,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "<[ProblemField]>::is_empty")]
    errors: Vec<ProblemField<'a>>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemField<'a> {
    /// Where, as a JSON pointer (RFC 6901).
    #[schema(example = "/items/0/quantity")]
    pointer: &'a str,
    /// What is wrong and what would be right.
    detail: &'a str,
}

impl Problem {
    /// A problem of a kind.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let parts = Parts {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
        };
        Self(Arc::new(parts))
    }

    /// A request whose fields are not valid.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => one.detail.clone(),
            [one] => format!("{} {}", one.pointer, one.detail),
            several => format!("{} fields are not valid: see errors", several.len()),
        };
        Self(Arc::new(Parts {
            errors,
            ..Parts::clone(&Self::new(Kind::InvalidRequest, detail).0)
        }))
    }

    /// A request of which one field is not valid.
    pub(super) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(pointer, detail)])
    }

    /// The same, worth another try after so many seconds.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self(Arc::new(Parts {
            retry_after_s: Some(seconds),
            ..Parts::clone(&self.0)
        }))
    }

    /// The same with every pointer moved below `prefix`: for a body that wraps what was checked.
    pub(super) fn under(self, prefix: &str) -> Self {
        if self.0.errors.is_empty() {
            return self;
        }
        let moved = |error: &FieldError| FieldError::new(format!("{prefix}{}", error.pointer), error.detail.clone());
        Self::invalid(self.0.errors.iter().map(moved).collect())
    }

    /// The same with one pointer called otherwise: for a body whose field has another name than what was checked.
    pub(super) fn renamed(self, from: &str, to: &str) -> Self {
        if self.0.errors.is_empty() {
            return self;
        }
        let moved = |error: &FieldError| {
            let pointer = if error.pointer == from { to } else { &error.pointer };
            FieldError::new(pointer, error.detail.clone())
        };
        Self::invalid(self.0.errors.iter().map(moved).collect())
    }

    /// The problem that an answer without a body of ours stands for.
    pub(super) fn of_status(status: StatusCode, method: &str, path: &str) -> Self {
        let kind = Kind::of_status(status);
        let detail = match kind {
            Kind::NotFound => format!("there is nothing at {path}; /api/docs lists what there is"),
            Kind::MethodNotAllowed => format!("{path} does not take {method}; the Allow header lists what it takes"),
            Kind::Internal => "the request could not be completed; the log has the cause".to_owned(),
            kind => kind.parts().2.to_lowercase(),
        };
        Self::new(kind, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.kind.parts().0
    }

    /// The body, for a request of this path.
    pub(super) fn render(&self, instance: &str) -> Vec<u8> {
        let (status, slug, title) = self.0.kind.parts();
        let field = |error| {
            let FieldError { pointer, detail }: &FieldError = error;
            ProblemField { pointer, detail }
        };
        let body = ProblemBody {
            kind: format!("urn:uoop:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.0.detail,
            instance,
            errors: self.0.errors.iter().map(field).collect(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Makes `response` say this problem, which came of a request of this path.
    pub(super) fn write_to(&self, response: &mut Response<Body>, instance: &str) {
        *response.body_mut() = Body::from(self.render(instance));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        for (name, value) in self.headers() {
            headers.insert(name, value);
        }
    }

    /// The headers that come with it.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let retry_after = self.0.retry_after_s.map(|seconds| (RETRY_AFTER, seconds.into()));
        let signs = self.0.kind == Kind::BadSignature;
        let scheme = signs.then(|| (WWW_AUTHENTICATE, HeaderValue::from_static("StandardWebhooks")));
        let media_type = (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        [Some(media_type), retry_after, scheme].into_iter().flatten()
    }
}

impl IntoResponse for Problem {
    /// The problem without its instance; the outermost layer finds it among the extensions and adds that.
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        self.write_to(&mut response, "");
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let text = rejection.to_string();
        match rejection {
            Rejection::NotFound(_) => Self::new(Kind::NotFound, text),
            Rejection::Exists(_) => Self::new(Kind::Exists, text),
            Rejection::Invalid(errors) => Self::invalid(errors),
            Rejection::NotAllowed(_) | Rejection::Stale => Self::new(Kind::NotAllowed, text),
            Rejection::WrongVersion { expected, actual } => {
                Self::new(Kind::PreconditionFailed, wrong_version(expected, actual))
            }
        }
    }
}

fn wrong_version(expected: u64, actual: u64) -> String {
    match (expected, actual) {
        (0, actual) => format!("it exists already, at version {actual}"),
        (expected, 0) => format!("it does not exist, so it has no version {expected}"),
        (expected, actual) => {
            format!("it is at version {actual}, not {expected}: read it again and decide on what it is now")
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rejected(rejection) => rejection.into(),
            CallError::KeyReused | CallError::KeyUsed => Self::new(
                Kind::KeyReused,
                "the Idempotency-Key was used before, with another request: send a new key for a new request",
            ),
            CallError::InProgress => {
                let text = "the request with this Idempotency-Key is still under way: ask again in a moment";
                Self::new(Kind::InProgress, text).retry_after(1)
            }
            CallError::Overloaded { what } => Self::new(
                Kind::Overloaded,
                format!("{what} has too much to do; this request did nothing: send it again in a moment"),
            )
            .retry_after(1),
            CallError::Parked(cause) => {
                tracing::error!(cause, "a request met a parked actor");
                let text = "it keeps crashing and is parked, its data is safe: an operator finds the cause in the log \
                            and its actor under /v1/actors";
                Self::new(Kind::Parked, text)
            }
            CallError::Fenced => {
                let text = "another node is taking this over; nothing was done: ask again in a moment";
                Self::new(Kind::Unavailable, text).retry_after(1)
            }
            CallError::Unavailable(cause) => {
                tracing::warn!(cause, "a request cannot be served now");
                // The one cause that whoever is answered can tell an operator to do something about.
                let text = if cause.contains(DISK_FULL) {
                    "the store's disk is full; nothing was done, and nothing can be until there is space"
                } else {
                    "the store, or another node, is away; nothing was done"
                };
                Self::new(Kind::Unavailable, text).retry_after(2)
            }
            CallError::TimedOut => Self::outcome_unknown(),
        }
    }
}

impl Problem {
    /// No answer in time: it may have been done or not.
    pub(super) fn outcome_unknown() -> Self {
        let text = "no answer in time: it may have been done; asking again with the same Idempotency-Key is safe";
        Self::new(Kind::OutcomeUnknown, text).retry_after(1)
    }
}

/// For the documentation: any request may be answered with a problem.
pub(super) struct AnyProblem;

impl IntoResponses for AnyProblem {
    fn responses() -> BTreeMap<String, RefOr<ApiResponse>> {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description("a refusal or a failure (RFC 9457); 429 and 503 carry Retry-After")
            .content(MEDIA_TYPE, content);
        BTreeMap::from([("default".to_owned(), RefOr::T(response.build()))])
    }
}
