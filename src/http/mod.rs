//! The HTTP gateway: `/v1`, health, figures, documentation and the live page.
//!
//! A request passes, from the outside in: [`answer`] (request id, problems, figures) → CORS → the net for panics →
//! [`throttle`] (how many of one client) → [`admission`] (how many at a time, how long) → its handler. The live page and
//! the documentation are not throttled. Health and figures are outside of admission too, so that an overloaded server can
//! still say that it lives. Handlers translate and nothing more: what is decided is decided in
//! `domain`, what is durable is made so by `actors`. Which error becomes which status is in [`problem`].

mod actors;
mod admission;
mod answer;
mod channels;
mod clock;
mod cluster;
mod conditions;
mod connection;
mod couriers;
mod events;
mod extract;
mod health;
mod json;
mod openapi;
mod orders;
mod page;
mod pages;
mod problem;
mod reports;
mod search;
mod stream;
mod submissions;
#[cfg(test)]
mod tests;
mod threads;
mod throttle;
mod webhooks;

pub use health::figures;
pub use submissions::Submissions;
pub use threads::Threads;

use crate::participants::signature::{Keyring, Secret};
use crate::participants::wall::WallClock;
use crate::status::Statuses;
use crate::webhooks::Webhooks;
use ::actors::Platform;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use domain::ids::Seq;
use metrics_exporter_prometheus::PrometheusHandle;
use persistence::projection::OrderSearch;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use throttle::Throttle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer, ExposeHeaders};
use utoipa_swagger_ui::SwaggerUi;

/// What the gateway needs of the rest of the process.
#[derive(Clone)]
pub struct AppState {
    /// The orders, channels and couriers.
    pub platform: Platform,
    /// The status of orders, cached; one of the platform's observers.
    pub statuses: Arc<Statuses>,
    /// Wall time, by which signatures are judged.
    pub wall: WallClock,
    /// The lists of orders.
    pub search: OrderSearch,
    /// Where the figures are rendered; its recorder is built with [`figures`].
    pub prometheus: PrometheusHandle,
    /// Who is told of public events over HTTP.
    pub webhooks: Webhooks,
    /// The secrets that channels sign their events with, the newest first. Empty: events need not be signed.
    pub webhook_secrets: Arc<[Secret]>,
    /// What the gateway takes at most.
    pub limits: HttpLimits,
    /// The origins whose pages may call it, separated by commas; `*` for all, none when absent.
    pub cors_origin: Option<String>,
}

/// What the gateway takes at most. Times are wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Longest body, in bytes.
    pub body_bytes_max: usize,
    /// Longest time for a body to arrive, in milliseconds.
    pub body_read_ms_max: u64,
    /// Most connections open at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Longest time a connection may be silent, or take to send a request, in milliseconds. More than the longest wait.
    pub connection_idle_ms_max: u64,
    /// Most requests handled at a time; more are answered 503.
    pub requests_max: usize,
    /// Longest time for a request to be handled (a wait that was asked for is added), in milliseconds.
    pub request_ms_max: u64,
    /// Most subscribers of order streams at a time; more are answered 503.
    pub streams_max: usize,
    /// Most requests that wait for an outcome (`Prefer: wait`) at a time; more are answered without waiting.
    pub waits_max: usize,
    /// How many requests one client may make in the period below; more are answered 429. 0: as many as it likes.
    pub throttle_limit: u32,
    /// In how many seconds a client gets all of them back, evenly; at most a day.
    pub throttle_ttl_s: u64,
    /// Most clients that are counted one by one; the others are counted together.
    pub throttle_clients_max: usize,
    /// Longest time for requests to finish once the server stops, in milliseconds.
    pub drain_ms_max: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 256 * 1_024,
            body_read_ms_max: 10_000,
            connections_max: 10_000,
            connection_idle_ms_max: 75_000,
            requests_max: 8_192,
            request_ms_max: 15_000,
            streams_max: 2_048,
            waits_max: 4_096,
            throttle_limit: 0,
            throttle_ttl_s: 60,
            throttle_clients_max: 100_000,
            drain_ms_max: 10_000,
        }
    }
}

/// What handlers share. Cheap to clone, as is done several times for each request.
#[derive(Clone)]
struct Gateway(Arc<Shared>);

impl Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

struct Shared {
    app: AppState,
    /// Who may report for channels; `None`: anybody.
    keyring: Option<Keyring>,
    wall: WallClock,
    /// How many requests each client may make; `None`: as many as it likes.
    throttle: Option<Throttle>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    /// Raised when the server stops: whoever waits or streams lets go.
    stopping: CancellationToken,
    /// What request ids begin with, and the number of the next one.
    request_ids: (String, AtomicU64),
}

impl Gateway {
    fn new(app: AppState) -> Self {
        health::describe();
        let began = app.platform.clock().now().as_ms();
        let slots = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared {
            throttle: Throttle::new(&app.limits),
            requests: slots(app.limits.requests_max),
            streams: slots(app.limits.streams_max),
            waits: slots(app.limits.waits_max),
            keyring: (!app.webhook_secrets.is_empty()).then(|| Keyring::new(&app.webhook_secrets)),
            wall: Arc::clone(&app.wall),
            stopping: CancellationToken::new(),
            request_ids: (format!("{began:x}"), AtomicU64::new(0)),
            app,
        }))
    }

    fn platform(&self) -> &Platform {
        &self.app.platform
    }
}

/// The whole interface, ready to be served (or called in tests).
pub fn router(app: AppState) -> Router {
    build(Gateway::new(app))
}

fn build(gateway: Gateway) -> Router {
    let (v1, mut api) = openapi::v1().split_for_parts();
    let (health, more) = openapi::health().split_for_parts();
    api.merge(more);
    let routes = Routes {
        throttled: v1,
        admitted: Router::new()
            .route("/", get(page::live))
            .merge(SwaggerUi::new("/api/docs").url("/api/docs-json", api)),
        unlimited: health,
    };
    guarded(gateway, routes)
}

/// Routes, by what their requests are subject to.
struct Routes {
    /// To throttling and admission, as is what is not there at all.
    throttled: Router<Gateway>,
    /// To admission.
    admitted: Router<Gateway>,
    /// To neither.
    unlimited: Router<Gateway>,
}

/// Puts what every request passes around the routes.
fn guarded(gateway: Gateway, routes: Routes) -> Router {
    let admission = from_fn_with_state(gateway.clone(), admission::admit);
    let throttling = from_fn_with_state(gateway.clone(), throttle::throttle);
    let routes = routes
        .throttled
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(admission.clone())
        .layer(throttling)
        .merge(routes.admitted.layer(admission))
        .merge(routes.unlimited)
        .layer(CatchPanicLayer::custom(panicked));
    let routes = match cors(gateway.app.cors_origin.as_deref()) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        .layer(from_fn_with_state(gateway.clone(), answer::finish))
        .with_state(gateway)
}

/// Serves the interface on a listener until `shutdown` is done; then takes nothing new, ends streams and waits, and
/// lets what is under way finish within [`HttpLimits::drain_ms_max`]. What takes longer goes on until `threads` are dropped,
/// and so do connections when this itself is dropped.
///
/// # Errors
/// The listener is unusable.
pub async fn serve(
    threads: &Threads,
    listener: TcpListener,
    app: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let limits = app.limits;
    let gateway = Gateway::new(app);
    let stopping = gateway.stopping.clone();
    let bounded = connection::Bounded::new(threads.take_over(listener)?, &limits);
    let shared = gateway.clone();
    let stop = stopping.clone();
    let service = build(gateway).into_make_service_with_connect_info::<connection::Peer>();
    let serving = axum::serve(bounded, service).with_graceful_shutdown(async move {
        shutdown.await;
        stop.cancel();
    });
    let overdue = async {
        stopping.cancelled().await;
        tokio::time::sleep(Duration::from_millis(limits.drain_ms_max)).await;
    };
    tokio::select! {
        served = threads.spawn(serving.into_future()) => served.unwrap_or_else(|error| Err(io::Error::other(error))),
        () = overdue => {
            tracing::warn!(limits.drain_ms_max, "requests were still under way when the time to stop was over");
            Ok(())
        }
        never = forgetting(shared.throttle.as_ref()) => match never {},
    }
}

/// Keeps forgetting clients that have not asked for a while.
async fn forgetting(throttle: Option<&Throttle>) -> Infallible {
    match throttle {
        Some(throttle) => throttle.forget().await,
        None => std::future::pending().await,
    }
}

/// An answer with a version: its body, its `ETag`.
fn versioned(status: StatusCode, version: Seq, body: &impl Serialize) -> axum::response::Response {
    (
        status,
        [(axum::http::header::ETAG, conditions::etag(version))],
        Json(body),
    )
        .into_response()
}

/// The answer to a request whose handler panicked. The panic's text goes to the log and nowhere else.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the layer's")]
fn panicked(cause: Box<dyn Any + Send>) -> Response<axum::body::Body> {
    let text = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied());
    tracing::error!(cause = text.unwrap_or("no text"), "a handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Whose pages may call from a browser; `None`: nobody's but our own.
fn cors(origins: Option<&str>) -> Option<CorsLayer> {
    let origins = origins.map(str::trim).filter(|origins| !origins.is_empty())?;
    let allowed = if origins == "*" {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            origins
                .split(',')
                .filter_map(|origin| HeaderValue::from_str(origin.trim()).ok()),
        )
    };
    let exposed = [
        "etag",
        "link",
        "location",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "preference-applied",
        "idempotent-replayed",
        "x-request-id",
    ];
    let taken = [
        "content-type",
        "if-match",
        "if-none-match",
        "idempotency-key",
        "prefer",
        "x-request-id",
    ];
    let names =
        |list: &[&'static str]| -> Vec<HeaderName> { list.iter().copied().map(HeaderName::from_static).collect() };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(names(&taken))
        .expose_headers(ExposeHeaders::list(names(&exposed)))
        .max_age(Duration::from_mins(10));
    Some(layer)
}
