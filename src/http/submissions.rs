//! How a request for an order is read and answered, on whichever node the order comes to live.

use super::conditions::etag;
use super::json;
use super::problem::Problem;
use crate::api::{OrderBody, OrderView};
use actors::{CallError, Directory, Front, Placed, Submitted, Unfit};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use domain::order::{Details, Draft};
use domain::time::Timestamp;
use std::borrow::Cow;

/// Where orders are submitted.
const PATH: &str = "/v1/orders";

/// Says that the answer is that of an earlier request with the same key.
const REPLAYED: &str = "idempotent-replayed";

/// The [`Front`] of the platform: `POST /v1/orders`.
#[derive(Clone, Copy, Debug)]
pub struct Submissions;

impl Front for Submissions {
    fn read(&self, body: &[u8], now: Timestamp, directory: &Directory) -> Result<Details, Unfit> {
        let body = json::parse(body).map_err(|problem| Unfit::Unreadable(refusal(&problem)))?;
        check(body, now, directory).map_err(|problem| Unfit::Refused(refusal(&problem)))
    }

    fn accepted(&self, placed: &Placed) -> Submitted {
        let order = &placed.order;
        let mut headers = vec![
            ("content-type".into(), "application/json".into()),
            ("etag".into(), text(&etag(order.seq))),
            ("location".into(), format!("{PATH}/{}", order.state.id).into()),
        ];
        if placed.replayed {
            headers.push((REPLAYED.into(), "true".into()));
        }
        Submitted {
            status: StatusCode::CREATED.as_u16(),
            headers,
            body: serde_json::to_vec(&OrderView::new(&order.state, order.seq)).unwrap_or_default(),
            pending: placed.pending(),
        }
    }

    fn refused(&self, error: CallError) -> Submitted {
        refusal(&error.into())
    }
}

/// Checks what can be checked before the order exists: its fields, and the menus of those that serve the restaurant.
fn check(body: OrderBody, now: Timestamp, directory: &Directory) -> Result<Details, Problem> {
    let details = Draft::from(body).check(now).map_err(Problem::invalid)?;
    let serving = directory.serving(&details.restaurant_id);
    let channels: Vec<_> = serving.into_iter().map(|channel| channel.state).collect();
    let problems = routing::check_menu(&details, &channels);
    if problems.is_empty() {
        Ok(details)
    } else {
        Err(Problem::invalid(problems))
    }
}

fn refusal(problem: &Problem) -> Submitted {
    let headers = problem.headers();
    let texts = headers.map(|(name, value)| (name.as_str().to_owned().into(), text(&value)));
    Submitted {
        status: problem.status().as_u16(),
        headers: texts.collect(),
        body: problem.render(PATH),
        pending: None,
    }
}

/// A header's value as it travels between nodes. Ours are visible ASCII.
fn text(value: &HeaderValue) -> Cow<'static, str> {
    value.to_str().unwrap_or_default().to_owned().into()
}

/// The answer as it leaves, on whichever node it was rendered.
pub(super) fn response(submitted: Submitted) -> Response {
    let mut response = Response::new(Body::from(submitted.body));
    *response.status_mut() = StatusCode::from_u16(submitted.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in submitted.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
