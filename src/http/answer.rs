//! The outermost layer: every answer carries its request's id, every refusal is a problem, every request is counted.

use super::Gateway;
use super::problem::{self, Problem};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Gives the answer its request id, makes a problem of every refusal that is none yet, and records the figures.
pub(super) async fn finish(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&gateway, request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let span = tracing::debug_span!("request", %method, path, id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        explain(&mut response, &method, &path);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    let method = method_label(&method);
    let status = response.status().as_u16().to_string();
    metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route).record(began.elapsed());
    response
}

/// Makes the answer a problem that names the request's path.
fn explain(response: &mut Response, method: &Method, path: &str) {
    let problem = response.extensions_mut().remove::<Problem>();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == problem::MEDIA_TYPE);
    match problem {
        Some(problem) => problem.write_to(response, path),
        None if is_problem => {}
        None => Problem::of_status(response.status(), method.as_str(), path).write_to(response, path),
    }
}

/// The client's id of the request if it is a sensible one, else one of ours.
fn request_id(gateway: &Gateway, headers: &HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sensible) {
        return id.clone();
    }
    let (prefix, next) = &gateway.request_ids;
    let number = next.fetch_add(1, Ordering::Relaxed);
    // Hexadecimal digits and a dash are always a header value.
    HeaderValue::from_str(&format!("{prefix}-{number:x}")).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// The method as a label; what clients make up is one label.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
