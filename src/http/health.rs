//! Health and figures: `/livez`, `/readyz`, `/metrics`.

use super::Gateway;
use super::problem::{AnyProblem, Kind, Problem};
use actors::{Readiness, Recovery};
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::ports::DISK_FULL;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use serde::Serialize;
use utoipa::ToSchema;

/// Bounds of the buckets of orders, in seconds, as the brief has them.
const ORDER_BUCKETS_S: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0];
/// Bounds of the buckets of requests, in seconds.
const REQUEST_BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Bounds of the buckets of events on their way to Kafka, in seconds.
const DELIVERY_BUCKETS_S: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// A recorder of figures with this platform's buckets: install it before the first figure is recorded, and hand its
/// handle to [`super::AppState`]. Somebody must call the handle's `run_upkeep` now and then.
///
/// # Errors
/// Never in practice: only an empty list of buckets is refused, and these are not.
pub fn figures() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("order_processing_duration".to_owned()), &ORDER_BUCKETS_S)?
        .set_buckets_for_metric(
            Matcher::Full("uoop_relay_delivery_seconds".to_owned()),
            &DELIVERY_BUCKETS_S,
        )?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &REQUEST_BUCKETS_S)
}

/// Gives the gateway's and the brief's figures their help texts. Idempotent.
pub(super) fn describe() {
    metrics::describe_counter!("http_requests_total", "requests answered, by method, route and status");
    metrics::describe_counter!(
        "http_requests_refused_total",
        "requests answered 429 or 503 because a bound was reached, by bound"
    );
    metrics::describe_histogram!(
        "http_request_duration_seconds",
        "from a request's headers to its answer's"
    );
    metrics::describe_histogram!(
        "order_processing_duration",
        "seconds from an order's acceptance to its confirmation"
    );
    metrics::describe_counter!("orders_processed_total", "orders that reached their end, by status");
    metrics::describe_counter!("order_processing_errors_total", "orders that failed, by code");
    metrics::describe_counter!(
        "uoop_channel_choices_total",
        "orders for which a channel was chosen, alone or together with others that came at the same time"
    );
    metrics::describe_histogram!(
        "uoop_channel_choice_seconds",
        "how long one choice took, of one order or of several together"
    );
    metrics::describe_counter!(
        "uoop_promises_total",
        "delivered orders by what became of their first promise: kept (within 5 min of business time), early or late"
    );
}

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthView {
    /// `alive` or `ready`.
    status: &'static str,
    /// What the start found in flight and how long it took until all of it moved, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    recovery: Option<Recovery>,
}

/// Whether the process lives. Depends on nothing.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 200, description = "it lives", body = HealthView)))]
pub(super) async fn livez() -> Json<HealthView> {
    Json(HealthView {
        status: "alive",
        recovery: None,
    })
}

/// Whether the process takes orders: not while it recovers or stops, nor while its store is away.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "it takes orders", body = HealthView), AnyProblem))]
pub(super) async fn readyz(State(gateway): State<Gateway>) -> Result<Json<HealthView>, Problem> {
    let why = match gateway.platform().readiness() {
        _ if gateway.stopping.is_cancelled() => "the server is stopping".to_owned(),
        Readiness::Ready => {
            return Ok(Json(HealthView {
                status: "ready",
                recovery: gateway.platform().recovery().cloned(),
            }));
        }
        Readiness::Recovering => "the server is recovering what is in flight".to_owned(),
        Readiness::Draining => "the server is stopping".to_owned(),
        Readiness::Unavailable { why } => {
            tracing::warn!(why, "not ready");
            // The one cause that whoever asks can do something about without the log.
            if why.starts_with(DISK_FULL) {
                "the store's disk is full: no order can be taken until there is space".to_owned()
            } else {
                "something that the server needs is away; the log says what".to_owned()
            }
        }
    };
    Err(Problem::new(Kind::Unavailable, why).retry_after(1))
}

/// The figures, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "the figures", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(gateway): State<Gateway>) -> Response {
    let text = gateway.app.prometheus.render();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
