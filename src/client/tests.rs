//! The client against small servers of its own.
#![expect(clippy::unused_async, reason = "handlers are async, whatever they do")]

use super::{Client, ClientError, RetryPolicy};
use crate::api::{CancelBody, DeliveryPlace, ItemBody, OrderBody, OrderView};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

const BRISK: RetryPolicy = RetryPolicy {
    attempt_timeout: Duration::from_secs(10),
    backoff: Duration::from_millis(1),
    backoff_max: Duration::from_millis(5),
    give_up: Duration::from_secs(10),
};

async fn serve(router: Router) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(&url, BRISK).expect("a fine address")
}

fn order() -> OrderBody {
    OrderBody {
        customer_id: "c-1".into(),
        restaurant_id: "r-1".into(),
        items: vec![ItemBody {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 1,
            unit_price_minor: 500,
        }],
        currency: "USD".into(),
        delivery_location: DeliveryPlace {
            lat: 41.9,
            lng: -87.6,
            address: String::new(),
        },
        requested_for: None,
        payment_token: "tok".into(),
        notes: None,
    }
}

fn view(version: u64, status: &str, settled: bool) -> OrderView {
    serde_json::from_value(json!({
        "id": "o", "version": version, "status": status, "settled": settled, "stuck": false, "customer_id": "c-1",
        "restaurant_id": "r-1", "items": [], "currency": "USD", "total_minor": 500,
        "delivery_location": {"lat": 41.9, "lng": -87.6, "address": ""}, "placed_at": 0, "steps": [],
    }))
    .expect("an order")
}

/// Refuses so many requests before it answers; counts all of them.
#[derive(Clone)]
struct Reluctant {
    status: StatusCode,
    kind: &'static str,
    refusals: u32,
    asked: Arc<AtomicU32>,
}

impl Reluctant {
    fn new(status: StatusCode, refusals: u32) -> Self {
        Self {
            status,
            kind: "overloaded",
            refusals,
            asked: Arc::default(),
        }
    }

    const fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(State(this): State<Self>) -> Response {
        if this.asked.fetch_add(1, Ordering::SeqCst) < this.refusals {
            let status = this.status.as_u16();
            let kind = format!("/problems/{}", this.kind);
            let problem = json!({"type": kind, "title": "busy", "detail": "try later", "status": status});
            return (this.status, [("retry-after", "0")], Json(problem)).into_response();
        }
        (StatusCode::CREATED, Json(view(1, "PENDING", false))).into_response()
    }

    async fn serve(&self) -> Client {
        let router = Router::new()
            .route("/v1/orders", post(Self::answer))
            .route("/v1/orders/o", get(Self::answer));
        let router = router.route("/v1/orders/o/cancel", post(Self::answer));
        serve(router.with_state(self.clone())).await
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_that_is_safe() {
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let server = Reluctant::new(status, 3);
        let client = server.serve().await;
        assert_eq!(
            client.submit(&order(), Some("k"), None).await.expect("accepted").id,
            "o"
        );
        assert_eq!((server.asked(), client.retries()), (4, 3));
    }
    let server = Reluctant::new(StatusCode::SERVICE_UNAVAILABLE, 1);
    assert_eq!(server.serve().await.order("o").await.expect("found").version, 1);
}

#[tokio::test]
async fn a_post_without_key_is_sent_once() {
    let server = Reluctant::new(StatusCode::SERVICE_UNAVAILABLE, 1);
    let client = server.serve().await;
    let error = client.submit(&order(), None, None).await.expect_err("refused");
    assert_eq!(error.to_string(), "try later (HTTP 503)");
    let cancel = client.cancel("o", &CancelBody::default(), None).await;
    cancel.expect("the second request is answered");
    assert_eq!((server.asked(), client.retries()), (2, 0));
}

#[tokio::test]
async fn a_conflict_is_waited_out_only_while_an_earlier_attempt_is_under_way() {
    let in_progress = Reluctant::new(StatusCode::CONFLICT, 2).of_kind("in-progress");
    in_progress
        .serve()
        .await
        .submit(&order(), Some("k"), None)
        .await
        .expect("accepted");
    assert_eq!(in_progress.asked(), 3);

    let not_allowed = Reluctant::new(StatusCode::CONFLICT, 1).of_kind("not-allowed");
    let cancelled = not_allowed
        .serve()
        .await
        .cancel("o", &CancelBody::default(), Some("k"))
        .await;
    assert_eq!(cancelled.expect_err("refused").status(), Some(409));
    assert_eq!(not_allowed.asked(), 1);
}

#[tokio::test]
async fn patience_ends() {
    let server = Reluctant::new(StatusCode::SERVICE_UNAVAILABLE, u32::MAX);
    let client = server.serve().await.with_retry(RetryPolicy {
        give_up: Duration::from_millis(20),
        ..BRISK
    });
    let error = client.order("o").await.expect_err("refused");
    let ClientError::GaveUp { attempts, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(*attempts > 1, "{error}");
    assert_eq!((*attempts, error.status()), (server.asked(), Some(503)));
    assert!(
        error.to_string().starts_with("try later (HTTP 503) (gave up after "),
        "{error}"
    );
}

#[tokio::test]
async fn problems_are_told_with_their_fields_and_foreign_answers_are_quoted() {
    let problem = json!({
        "type": "about:blank", "title": "unprocessable", "status": 422, "detail": "the order is not valid",
        "errors": [{"pointer": "/items/0/quantity", "detail": "must be at least 1"}, {"pointer": "", "detail": "x"}],
    });
    let invalid = (StatusCode::UNPROCESSABLE_ENTITY, problem.to_string());
    let router = Router::new()
        .route("/v1/orders", post(async || invalid))
        .route(
            "/v1/orders/o",
            get(async || (StatusCode::INTERNAL_SERVER_ERROR, "<p>oops</p>")),
        )
        .route("/v1/clock", get(async || "{\"now\":true}"));
    let client = serve(router).await;
    let error = client.submit(&order(), Some("k"), None).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the order is not valid (HTTP 422); /items/0/quantity: must be at least 1; /: x"
    );
    let error = client.order("o").await.expect_err("refused");
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("<p>oops</p> (HTTP 500)", Some(500))
    );
    let error = client.clock().await.expect_err("misunderstood").to_string();
    assert!(
        error.contains("/v1/clock is not understood: invalid type: boolean"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let client = Client::new(&url, BRISK).expect("a fine address");
    let error = client.submit(&order(), None, None).await.expect_err("nobody listens");
    assert_eq!(
        error.to_string(),
        format!("cannot reach {url}: is `uoop serve` running?")
    );
    for wrong in ["127.0.0.1:8080", "ftp://localhost", "nonsense", "http://"] {
        let error = Client::new(wrong, BRISK).expect_err(wrong).to_string();
        assert!(
            error.starts_with(&format!("'{wrong}' is not a server's address: ")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn ids_stay_within_their_part_of_the_path() {
    let client = serve(Router::new().route("/v1/orders/{id}", get(async || Json(view(1, "PENDING", false))))).await;
    assert!(client.order("../orders?x=1#y").await.is_ok());
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    async fn page(RawQuery(query): RawQuery) -> Json<Value> {
        let channel = |id: &str| {
            json!({
                "id": id, "version": 1, "name": id, "kind": "kitchen", "serves": [], "currency": "USD",
                "location": {"lat": 0.0, "lng": 0.0}, "prep_ms": 1, "capacity_per_slot": 1,
                "availability": {"state": "ONLINE"}, "menu": [], "sold_out": [],
            })
        };
        Json(match query.as_deref() {
            Some("limit=1000") => json!({"channels": [channel("a")], "next": "x y"}),
            Some("limit=1000&cursor=x+y") => json!({"channels": [channel("b")]}),
            other => panic!("asked for {other:?}"),
        })
    }
    let client = serve(Router::new().route("/v1/channels", get(page))).await;
    let channels = client.channels().await.expect("both pages");
    let ids: Vec<_> = channels.iter().map(|channel| channel.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
}

/// Streams an order in three pieces and breaks off after each.
async fn stream(State(asked): State<Arc<AtomicU32>>, headers: HeaderMap) -> Response {
    let last = headers
        .get("last-event-id")
        .map(|id| id.to_str().expect("text").to_owned());
    let event = |view: OrderView| {
        format!(
            "id: {}\ndata: {}\n\n",
            view.version,
            serde_json::to_string(&view).unwrap()
        )
    };
    let ask = asked.fetch_add(1, Ordering::SeqCst);
    let (wanted, body) = match ask {
        0 => (
            None,
            event(view(1, "PENDING", false)) + &event(view(2, "CONFIRMED", false)) + "id: 3\ndata: {\"cut",
        ),
        1 => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        2 => (Some("2"), event(view(2, "CONFIRMED", false)) + ": heartbeat\n\n"),
        3 => (
            Some("2"),
            event(view(4, "DELIVERED", false)) + &event(view(5, "DELIVERED", true)),
        ),
        _ => unreachable!("a settled order is asked for no more"),
    };
    assert_eq!(last.as_deref(), wanted, "stream {ask}");
    ([("content-type", "text/event-stream")], body).into_response()
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_behind_the_last_version() {
    let asked = Arc::new(AtomicU32::new(0));
    let router = Router::new()
        .route("/v1/orders/o/stream", get(stream))
        .with_state(Arc::clone(&asked));
    let client = serve(router).await;
    let mut seen = Vec::new();
    let settled = client
        .watch("o", |view| seen.push((view.version, view.status.clone())))
        .await
        .expect("settled");
    let wanted = [(1, "PENDING"), (2, "CONFIRMED"), (4, "DELIVERED"), (5, "DELIVERED")];
    assert_eq!(seen, wanted.map(|(version, status)| (version, status.to_owned())));
    assert!(settled.settled);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(
        client.watch("unknown", |_| ()).await.expect_err("not found").status(),
        Some(404)
    );
}
