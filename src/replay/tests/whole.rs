//! A day against a platform made for it, which forgets, refuses and repeats as it is told.
#![expect(clippy::unused_async, reason = "handlers are async, whatever they do")]

use super::super::{Against, Options, Replay, ReplayError, Wishes, replay};
use super::parts::view;
use super::{parse, small_day};
use crate::api::{ClockView, OrderBody};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::time::Instant;

const SPEED: u64 = 6_000;

/// What a platform was asked, and how it misbehaves.
#[derive(Default)]
struct Books {
    names: BTreeSet<String>,
    shifts: Vec<(i64, i64)>,
    /// Orders by key: their restaurants, and how often they were submitted.
    orders: BTreeMap<String, (OrderBody, u32)>,
    /// Their ids.
    ids: BTreeMap<String, String>,
    cancelled: BTreeSet<String>,
    /// Refuses the first submission of each order.
    busy_at_first: bool,
    /// Gives each submission an order of its own.
    doubles: bool,
    /// Does not know the order with this instance id any more.
    forgets: Option<&'static str>,
    /// Does not take the order with this instance id.
    refuses: Option<&'static str>,
}

#[derive(Clone)]
struct Fake {
    books: Arc<Mutex<Books>>,
    began: Instant,
}

impl Fake {
    fn now(&self) -> i64 {
        let ms = i64::try_from(self.began.elapsed().as_micros()).expect("small") * i64::try_from(SPEED).expect("small")
            / 1_000;
        1_700_000_000_000 + ms
    }

    async fn clock(State(this): State<Self>) -> Json<ClockView> {
        Json(ClockView {
            now: this.now(),
            time_scale: SPEED,
        })
    }

    async fn named(State(this): State<Self>, Path(id): Path<String>, Json(body): Json<Value>) -> Json<Value> {
        let mut books = this.books.lock().expect("sound");
        assert!(books.names.insert(id), "each thing is made once");
        if let (Some(on), Some(off)) = (body["on_at"].as_i64(), body["off_at"].as_i64()) {
            books.shifts.push((on, off));
        }
        Json(body)
    }

    async fn submit(State(this): State<Self>, headers: HeaderMap, Json(order): Json<OrderBody>) -> Response {
        let mut books = this.books.lock().expect("sound");
        let key = headers["idempotency-key"].to_str().expect("text").to_owned();
        assert!(
            books.names.contains(&order.restaurant_id),
            "the restaurant was made before"
        );
        if books
            .refuses
            .is_some_and(|refused| key.ends_with(&format!("-{refused}")))
        {
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": "no"}))).into_response();
        }
        let (first, times) = books.orders.entry(key.clone()).or_insert_with(|| (order.clone(), 0));
        *times += 1;
        let times = *times;
        assert_eq!(*first, order, "the same request under the same key");
        if books.busy_at_first && times == 1 {
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
        }
        let copy = if books.doubles { times } else { 0 };
        let id = format!("{key}.{copy}");
        books.ids.insert(id.clone(), key);
        let mut view = view("PENDING", None, false);
        view.id = id;
        (StatusCode::CREATED, Json(view)).into_response()
    }

    async fn get(State(this): State<Self>, Path(id): Path<String>) -> Response {
        let books = this.books.lock().expect("sound");
        let key = &books.ids[&id];
        if books
            .forgets
            .is_some_and(|forgotten| key.ends_with(&format!("-{forgotten}")))
        {
            return StatusCode::NOT_FOUND.into_response();
        }
        let cancelled = books.cancelled.contains(&id);
        let mut view = if cancelled {
            view("CANCELLED", None, true)
        } else {
            view("DELIVERED", Some(25), true)
        };
        view.id = id;
        Json(view).into_response()
    }

    async fn cancel(State(this): State<Self>, Path(id): Path<String>, headers: HeaderMap) -> StatusCode {
        assert!(headers["idempotency-key"].to_str().expect("text").ends_with("-cancel"));
        this.books.lock().expect("sound").cancelled.insert(id);
        StatusCode::ACCEPTED
    }
}

struct Played {
    result: Result<Replay, ReplayError>,
    books: Arc<Mutex<Books>>,
}

async fn play(books: Books, orders: u32, speed: u64, wishes: Wishes) -> Played {
    let books = Arc::new(Mutex::new(books));
    let fake = Fake {
        books: Arc::clone(&books),
        began: Instant::now(),
    };
    let router = Router::new()
        .route("/readyz", get(async || "ready"))
        .route("/v1/clock", get(Fake::clock))
        .route("/v1/channels/{id}", put(Fake::named))
        .route(
            "/v1/channels/{id}/menu",
            put(async |Json(menu): Json<Value>| Json(menu)),
        )
        .route("/v1/couriers/{id}", put(Fake::named))
        .route("/v1/orders", post(Fake::submit))
        .route("/v1/orders/{id}", get(Fake::get))
        .route("/v1/orders/{id}/cancel", post(Fake::cancel))
        .with_state(fake);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let options = Options {
        against: Against::Running { url },
        speed,
        wishes,
        origin: super::super::ORIGIN,
        poll: false,
    };
    let result = replay(&parse(&small_day(orders)), &options).await;
    Played { result, books }
}

const PLAIN: Wishes = Wishes {
    seed: 1,
    cancel_pct: 0.0,
    duplicate_pct: 0.0,
    orders_max: None,
};

#[tokio::test]
async fn a_day_is_played_to_its_end() {
    let wishes = Wishes {
        cancel_pct: 20.0,
        duplicate_pct: 30.0,
        ..PLAIN
    };
    let busy = Books {
        busy_at_first: true,
        ..Books::default()
    };
    let Played { result, books } = play(busy, 40, SPEED, wishes).await;
    let Replay {
        outcomes,
        summary,
        kept,
    } = result.expect("played");
    assert!(summary.is_complete() && kept.is_none(), "{summary:?}");
    assert_eq!((summary.orders, summary.placed), (40, 40));
    assert_eq!(summary.retries, 40, "every first submission was refused");
    assert_eq!(summary.delivered + summary.cancelled, 40);
    assert!(summary.cancelled > 0 && summary.cancelled <= summary.cancels_granted);
    assert!(summary.duplicates.sent > 0);
    assert_eq!(summary.click_to_door_min.p50, Some(25.0));
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.id.is_some() && outcome.key.starts_with(&summary.run))
    );

    let books = books.lock().expect("sound");
    assert_eq!(books.names.len(), 5 + 10, "restaurants and couriers");
    assert!(
        books.shifts.iter().all(|(on, off)| off - on == 9 * 3_600_000),
        "nine hours each"
    );
    let submissions: u32 = books.orders.values().map(|(_, times)| times).sum();
    assert_eq!(submissions as usize, 40 + 40 + summary.duplicates.sent);
}

#[tokio::test]
async fn what_is_lost_or_refused_is_missing() {
    let books = Books {
        forgets: Some("o3"),
        refuses: Some("o4"),
        ..Books::default()
    };
    let replay = play(books, 12, SPEED, PLAIN).await.result.expect("played");
    assert!(!replay.summary.is_complete());
    assert_eq!(
        (replay.summary.placed, replay.summary.delivered, replay.summary.missing),
        (11, 10, 2)
    );
    let reason = |id: &str| {
        replay
            .outcomes
            .iter()
            .find(|outcome| outcome.order == id)
            .expect("played")
            .missing()
    };
    assert_eq!(reason("o3").as_deref(), Some("accepted, then unknown"));
    assert_eq!(reason("o4").as_deref(), Some("not accepted: no (HTTP 422)"));
}

#[tokio::test]
async fn a_second_order_under_one_key_is_noticed() {
    let wishes = Wishes {
        duplicate_pct: 100.0,
        orders_max: Some(5),
        ..PLAIN
    };
    let books = Books {
        doubles: true,
        ..Books::default()
    };
    let summary = play(books, 12, SPEED, wishes).await.result.expect("played").summary;
    assert_eq!(
        (summary.orders, summary.duplicates.sent, summary.duplicates.wrong),
        (5, 5, 5)
    );
    assert!(summary.missing == 0 && !summary.is_complete());
}

#[tokio::test]
async fn a_server_of_another_pace_is_refused_before_anything_is_made() {
    let played = play(Books::default(), 12, 240, PLAIN).await;
    let error = played.result.expect_err("another pace").to_string();
    assert!(
        error.contains("at 6000 times wall time and the replay at 240"),
        "{error}"
    );
    assert!(
        error.contains("--speed 6000") && error.contains("--time-scale 240"),
        "{error}"
    );
    assert!(played.books.lock().expect("sound").names.is_empty());
}
