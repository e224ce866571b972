//! The HTTP side of a sandbox.

use super::deeds::deeds;
use super::ledger::{LedgerLine, parse};
use super::service::{Sandbox, Served};
use crate::participants::ask::{Ask, Verb};
use crate::participants::books::{Outcome, Reply};
use crate::participants::http::IDEMPOTENCY_KEY;
use crate::participants::wire::{Said, SaidReceipt};
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::saga::{EffectKey, PaymentRequest, Step, TicketRequest};
use futures::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, Take};
use tower_http::timeout::RequestBodyTimeoutLayer;

/// Most bytes of a request.
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// How long a request's body may pause.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of the ledger sent at a time.
const CHUNK_BYTES: usize = 64 * 1_024;

pub(super) fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/payments/{action}", post(payment))
        .route("/kitchens/{channel}/tickets", post(place))
        .route("/kitchens/{channel}/tickets/cancel", post(cancel))
        .route("/ledger", get(ledger))
        .route("/ledger/summary", get(summary))
        .route("/livez", get(|| async { "alive" }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE_MAX))
        .with_state(sandbox)
}

/// Why a request is not carried out.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        problem(self.0, &self.1)
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Problem");
    let mut response = Json(ProblemBody {
        title,
        status: status.as_u16(),
        detail,
    })
    .into_response();
    *response.status_mut() = status;
    let problem_json = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, problem_json);
    response
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem(StatusCode::BAD_REQUEST, detail.into())
}

async fn payment(
    State(sandbox): State<Arc<Sandbox>>,
    Path(action): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = match read::<PaymentRequest>(&sandbox, &headers, &body) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let ask = Ask::try_from(&request).map_err(|e| wrong(e.to_string()));
    let ask = ask.and_then(|ask| addressed(ask, &headers, ask.verb.as_str() == action));
    match ask {
        Ok(ask) => {
            let line = LedgerLine {
                amount: Some(request.amount.into()),
                ..line(ask, "payments".to_owned())
            };
            answer(ask.verb, sandbox.serve(line).await)
        }
        Err(problem) => problem.into_response(),
    }
}

async fn place(
    State(sandbox): State<Arc<Sandbox>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    ticket(&sandbox, &channel, Verb::Place, &headers, &body).await
}

async fn cancel(
    State(sandbox): State<Arc<Sandbox>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    ticket(&sandbox, &channel, Verb::Cancel, &headers, &body).await
}

async fn ticket(sandbox: &Arc<Sandbox>, channel: &str, verb: Verb, headers: &HeaderMap, body: &[u8]) -> Response {
    let request = match read::<TicketRequest>(sandbox, headers, body) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let ask = Ask::try_from(&request).map_err(|e| wrong(e.to_string()));
    let fits = |ask: &Ask| ask.verb == verb && request.channel.as_str() == channel;
    match ask.and_then(|ask| addressed(ask, headers, fits(&ask))) {
        Ok(ask) => {
            let ticket = request.ticket.as_ref();
            let line = LedgerLine {
                prep_ms: ticket.map(|ticket| ticket.prep_ms),
                ready_at: ticket.map(|ticket| ticket.ready_at),
                ..line(ask, format!("kitchens/{channel}"))
            };
            answer(ask.verb, sandbox.serve(line).await)
        }
        Err(problem) => problem.into_response(),
    }
}

/// The signature first, then the JSON: nothing of an untrusted body is looked at.
fn read<T: DeserializeOwned>(sandbox: &Sandbox, headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if let Some(keyring) = &sandbox.keyring {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Err(untrusted) = keyring.verify(header, body, (sandbox.wall)()) {
            return Err(Problem(StatusCode::UNAUTHORIZED, untrusted.to_string()));
        }
    }
    serde_json::from_slice(body).map_err(|e| wrong(format!("the body is not what is expected here: {e}")))
}

fn addressed(ask: Ask, headers: &HeaderMap, fits_path: bool) -> Result<Ask, Problem> {
    if !fits_path {
        return Err(wrong("the path and the body say different things"));
    }
    let key = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
    if key == Some(ask.key.to_string().as_str()) {
        return Ok(ask);
    }
    Err(wrong(
        "the header Idempotency-Key must be the effect's key, as in the body",
    ))
}

fn line(ask: Ask, participant: String) -> LedgerLine {
    LedgerLine {
        at_ms: 0,
        participant,
        action: ask.verb,
        key: ask.key,
        of: ask.of,
        order: ask.key.order,
        amount: None,
        prep_ms: None,
        ready_at: None,
        outcome: Outcome::Refused,
        refused: None,
    }
}

fn answer(verb: Verb, served: Served) -> Response {
    let said = match served {
        Served::Reply(Reply::Done) => Said::Done {
            receipt: SaidReceipt::default(),
        },
        Served::Reply(Reply::Pending) => Said::Pending,
        Served::Reply(Reply::Refused(refused)) => Said::Refused(refused),
        Served::Error => return problem(StatusCode::INTERNAL_SERVER_ERROR, "a fault by configuration"),
        Served::Unavailable(detail) => return problem(StatusCode::SERVICE_UNAVAILABLE, detail),
    };
    let status = StatusCode::from_u16(said.status(verb)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(said)).into_response()
}

async fn ledger(State(sandbox): State<Arc<Sandbox>>) -> Response {
    let (path, bytes) = sandbox.ledger.durable();
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file.take(bytes),
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let body = Body::from_stream(stream::try_unfold(file, next_chunk));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn next_chunk(mut file: Take<tokio::fs::File>) -> io::Result<Option<(Bytes, Take<tokio::fs::File>)>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let read = file.read_buf(&mut chunk).await?;
    Ok((read > 0).then(|| (Bytes::from(chunk), file)))
}

/// Counts for one action.
#[derive(Serialize)]
struct Count {
    done: u32,
    undone: u32,
}

type Summary = BTreeMap<&'static str, BTreeMap<EffectKey, Count>>;

async fn summary(State(sandbox): State<Arc<Sandbox>>) -> Response {
    let (path, bytes) = sandbox.ledger.durable();
    let path = path.to_owned();
    match tokio::task::spawn_blocking(move || summarize(path, bytes)).await {
        Ok(Ok(summary)) => Json(summary).into_response(),
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the summary could not be made"),
    }
}

/// Reads the file rather than the books, so that the summary would show it if they disagreed.
fn summarize(path: PathBuf, bytes: u64) -> io::Result<Summary> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, bytes), &mut text)?;
    let lines = parse(&text).map_err(|(line, detail)| io::Error::other(format!("line {line}: {detail}")))?;
    let of = |step: Step| {
        let counts = deeds(&lines, step).into_iter();
        (
            step.as_str(),
            counts
                .map(|(key, deed)| {
                    (
                        key,
                        Count {
                            done: deed.done,
                            undone: deed.undone,
                        },
                    )
                })
                .collect(),
        )
    };
    Ok([Step::Authorize, Step::Capture, Step::PlaceTicket]
        .into_iter()
        .map(of)
        .collect())
}
