//! What every request passes, on routes of our own: the net for panics, admission and throttling.

use super::*;
use crate::clock::{BusinessClock, RandomIds};
use crate::participants::simulated::{SimulatedConfig, SimulatedKitchens, SimulatedPayments};
use crate::participants::wall;
use ::actors::{ActorOptions, Ports};
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use domain::policy::Policy;
use domain::ports::{Clock, Store};
use domain::shard::{ShardId, ShardMap};
use persistence::projection::MemoryProjection;
use persistence::{GroupJournal, JournalHandle, JournalOptions, MemoryStore};
use serde_json::Value;
use tokio::sync::Notify;
use tower::ServiceExt;

/// A gateway to a platform of its own, in memory, and what keeps that going.
async fn gateway(limits: HttpLimits) -> (Gateway, JournalHandle) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(ShardMap::new(1).expect("a power of two")));
    let clock: Arc<dyn Clock> = Arc::new(BusinessClock::of(&store, 1, wall::system()).await.expect("a clock"));
    let shards: Vec<ShardId> = store.shard_map().all().collect();
    let owned = store.acquire("test", &shards).await.expect("nobody else is there");
    let journal = GroupJournal::start(&store, &owned, "test", &JournalOptions::default());
    let simulated = SimulatedConfig::default();
    let ports = Ports {
        store,
        journal: journal.journal(),
        clock,
        ids: Arc::new(RandomIds::default()),
        payments: Arc::new(SimulatedPayments::new(simulated)),
        kitchens: Arc::new(SimulatedKitchens::new(simulated, Arc::new(|_, _| {}))),
        front: Arc::new(Submissions),
        observers: Vec::new(),
        policy: Policy::default(),
    };
    let platform = Platform::start(ports, ActorOptions::default())
        .await
        .expect("the actors start");
    let app = AppState {
        platform,
        statuses: Arc::new(Statuses::start(1, None)),
        wall: wall::system(),
        search: OrderSearch::unfed(Arc::new(MemoryProjection::default())),
        prometheus: figures().expect("buckets").build_recorder().handle(),
        webhooks: crate::webhooks::tests::idle(),
        webhook_secrets: Arc::new([]),
        limits,
        cors_origin: None,
    };
    (Gateway::new(app), journal)
}

/// The router with these routes beside those that are there whatever the load.
async fn serving(limits: HttpLimits, throttled: Router<Gateway>) -> (Router, JournalHandle) {
    let (gateway, journal) = gateway(limits).await;
    let routes = Routes {
        throttled,
        admitted: Router::new().route("/docs", get(async || "docs")),
        unlimited: openapi::health().split_for_parts().0,
    };
    (guarded(gateway, routes), journal)
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Checks that it is a problem of this kind.
    fn is(&self, status: u16, kind: &str) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json")
        );
        let problem: Value = serde_json::from_str(&self.text).expect("JSON");
        assert_eq!(problem["type"], format!("urn:uoop:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(!self.header("x-request-id").is_empty(), "no request id");
        assert_eq!(
            matches!(status, 429 | 503),
            !self.header("retry-after").is_empty(),
            "retry-after"
        );
    }
}

/// Asks for a path as a client from this address does.
async fn ask_from(router: &Router, address: [u8; 4], path: &str) -> Answer {
    let mut request = Request::get(path).body(Body::empty()).expect("a request");
    let peer = connection::Peer((address, 50_000).into());
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("a body");
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
    }
}

async fn ask(router: &Router, path: &str) -> Answer {
    ask_from(router, [192, 0, 2, 1], path).await
}

#[tokio::test]
async fn a_panic_is_an_internal_problem_that_tells_nothing_and_ends_nothing() {
    async fn breaks() -> &'static str {
        panic!("the shelf is empty");
    }
    let shown = Router::new()
        .route("/breaks", get(breaks))
        .route("/", get(async || "fine"));
    let (router, _journal) = serving(HttpLimits::default(), shown).await;
    let answer = ask(&router, "/breaks").await;
    answer.is(500, "internal");
    assert!(!answer.text.contains("shelf"), "{}", answer.text);
    assert!(answer.text.contains("\"instance\":\"/breaks\""), "{}", answer.text);
    assert_eq!(ask(&router, "/").await.text, "fine", "the next request is served");
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_told_to_come_back_and_a_place_left_is_free() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
        async move || {
            began.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let limits = HttpLimits {
        requests_max: 1,
        ..HttpLimits::default()
    };
    let (router, _journal) = serving(limits, Router::new().route("/slow", get(handler))).await;
    let first = {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, "/slow").await })
    };
    began.notified().await;
    ask(&router, "/slow").await.is(503, "overloaded");
    ask(&router, "/docs").await.is(503, "overloaded");
    assert_eq!(
        ask(&router, "/livez").await.status,
        200,
        "an overloaded server still says that it lives"
    );
    go_on.notify_one();
    assert_eq!(first.await.expect("no panic").text, "done");
    assert_eq!(ask(&router, "/docs").await.text, "docs", "the place is free again");
}

#[tokio::test]
async fn a_request_that_takes_too_long_has_an_unknown_outcome() {
    let limits = HttpLimits {
        request_ms_max: 0,
        ..HttpLimits::default()
    };
    let shown = Router::new().route("/never", get(std::future::pending::<&'static str>));
    let (router, _journal) = serving(limits, shown).await;
    ask(&router, "/never").await.is(503, "outcome-unknown");
}

#[tokio::test]
async fn clients_are_throttled_one_by_one_and_health_and_documentation_never() {
    let limits = HttpLimits {
        throttle_limit: 2,
        throttle_ttl_s: 86_400,
        // A throttled request takes no place.
        requests_max: 1,
        ..HttpLimits::default()
    };
    let shown = Router::new().route("/", get(async || "fine"));
    let (router, _journal) = serving(limits, shown).await;
    let first = ask(&router, "/").await;
    assert_eq!(
        (first.status, first.header("ratelimit-policy")),
        (200, "\"client\";q=2;w=86400")
    );
    assert_eq!(first.header("ratelimit"), "\"client\";r=1;t=43200");
    let missing = ask(&router, "/nowhere").await;
    missing.is(404, "not-found");
    assert!(
        missing.header("ratelimit").starts_with("\"client\";r=0;"),
        "what is not there counts"
    );
    let refused = ask(&router, "/").await;
    refused.is(429, "too-many-requests");
    let wait = refused.header("retry-after");
    assert_eq!(
        refused.header("ratelimit"),
        format!("\"client\";r=0;t={wait}"),
        "both name one moment"
    );
    for path in ["/livez", "/readyz", "/metrics", "/docs"] {
        let answer = ask(&router, path).await;
        assert_ne!(answer.status, 429, "{path}");
        assert_eq!(answer.header("ratelimit"), "", "{path}");
    }
    assert_eq!(
        ask_from(&router, [192, 0, 2, 2], "/").await.text,
        "fine",
        "another client"
    );
}

#[tokio::test]
async fn without_a_limit_nothing_is_counted_or_told() {
    let shown = Router::new().route("/", get(async || "fine"));
    let (router, _journal) = serving(HttpLimits::default(), shown).await;
    for _ in 0..100 {
        let answer = ask(&router, "/").await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, ""));
    }
}
