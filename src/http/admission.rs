//! Admission: how many requests are handled at a time, and for how long. Beyond that the answer is 503, at once.

use super::Gateway;
use super::conditions::{WAIT_S_MAX, preferred_wait};
use super::problem::{Kind, Problem};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// Lets a request through while there is room, and ends it when it takes too long.
///
/// What an order's stream sends is not timed: its answer begins at once, and its subscribers have a bound of their own.
pub(super) async fn admit(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let Ok(_permit) = gateway.requests.try_acquire() else {
        metrics::counter!("http_requests_refused_total", "bound" => "requests").increment(1);
        let text = "as many requests as the server takes at a time are under way; nothing was done";
        return Problem::new(Kind::Overloaded, text).retry_after(1).into_response();
    };
    let waits = request.method() == Method::POST && preferred_wait(request.headers()).is_some();
    let wait = Duration::from_secs(if waits { WAIT_S_MAX } else { 0 });
    let time = Duration::from_millis(gateway.app.limits.request_ms_max) + wait;
    if let Ok(response) = tokio::time::timeout(time, next.run(request)).await {
        return response;
    }
    metrics::counter!("http_requests_refused_total", "bound" => "time").increment(1);
    Problem::outcome_unknown().into_response()
}
