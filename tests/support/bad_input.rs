//! Bad input, as a table: what is sent, and what must be said about it.

use super::support::{Server, body, burger};
use reqwest::Response;
use serde_json::{Value, json};

/// A bad request, and what must be said about it.
pub(crate) struct Case {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    status: u16,
    kind: &'static str,
    pointer: Option<&'static str>,
    says: &'static str,
}

impl Case {
    /// A request whose body, if there is one, is sent as JSON.
    pub(crate) fn new(name: &'static str, method: &'static str, path: impl Into<String>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        let path = path.into();
        Self {
            name,
            method,
            path,
            headers,
            body: None,
            status: 0,
            kind: "",
            pointer: None,
            says: "",
        }
    }

    /// An order as it should be, but for one field.
    fn order(name: &'static str, change: impl FnOnce(&mut Value)) -> Self {
        let mut order = burger();
        change(&mut order);
        Self::new(name, "POST", "/v1/orders").sends(order.to_string())
    }

    pub(crate) fn sends(self, body: impl Into<String>) -> Self {
        Self {
            body: Some(body.into()),
            ..self
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn is(self, status: u16, kind: &'static str, says: &'static str) -> Self {
        Self {
            status,
            kind,
            says,
            ..self
        }
    }

    fn at(self, pointer: &'static str) -> Self {
        Self {
            pointer: Some(pointer),
            ..self
        }
    }

    pub(crate) async fn check(&self, server: &Server) {
        let mut request = server.request(self.method, &self.path);
        for (name, value) in self
            .headers
            .iter()
            .filter(|(name, _)| *name != "content-type" || self.body.is_some())
        {
            request = request.header(*name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let response = request.send().await.expect("an answer");
        let path = self.path.split('?').next().unwrap_or_default();
        let problem = refused(self.name, response, self.status, self.kind, path).await;
        let said = problem.to_string();
        assert!(
            said.contains(self.says),
            "{}: '{}' is not in {said}",
            self.name,
            self.says
        );
        if let Some(pointer) = self.pointer {
            let errors = problem["errors"]
                .as_array()
                .unwrap_or_else(|| panic!("{}: no errors in {said}", self.name));
            assert!(
                errors.iter().any(|error| error["pointer"] == pointer),
                "{}: no {pointer} in {said}",
                self.name
            );
        }
    }
}

/// Checks that an answer is this problem in every respect that all problems share.
pub(crate) async fn refused(name: &str, response: Response, status: u16, kind: &str, path: &str) -> Value {
    let answered = response.status().as_u16();
    let header = |header: &str| {
        let value = response
            .headers()
            .get(header)
            .map(|value| value.to_str().expect("text").to_owned());
        value.unwrap_or_default()
    };
    let (content_type, request_id, retry_after) =
        (header("content-type"), header("x-request-id"), header("retry-after"));
    let problem = body(response).await;
    assert_eq!(answered, status, "{name}: {problem}");
    assert_eq!(content_type, "application/problem+json", "{name}");
    assert!(!request_id.is_empty(), "{name}: no request id");
    assert_eq!(problem["type"], format!("urn:uoop:problem:{kind}"), "{name}: {problem}");
    assert_eq!(problem["status"], status, "{name}");
    assert_eq!(problem["instance"], path, "{name}");
    for field in ["title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: no {field} in {problem}"
        );
    }
    assert_eq!(
        matches!(status, 429 | 503),
        !retry_after.is_empty(),
        "{name}: retry-after is '{retry_after}'"
    );
    problem
}

const INVALID: &str = "invalid-request";
const MALFORMED: &str = "malformed-request";
/// A version 8 UUID that nobody minted.
const NOBODY: &str = "00000000-0001-8000-8000-000000000000";

/// Every bad request there is.
pub(crate) fn all() -> Vec<Case> {
    [
        bad_bodies(),
        bad_fields(),
        bad_terms(),
        bad_routes(),
        bad_places(),
        bad_reports(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bodies that are no order at all.
fn bad_bodies() -> Vec<Case> {
    let submit = |name| Case::new(name, "POST", "/v1/orders");
    let huge = format!(r#"{{"notes":"{}"}}"#, "x".repeat(300 * 1_024));
    vec![
        submit("malformed JSON")
            .sends(r#"{"customer_id": "#)
            .is(400, MALFORMED, "not JSON"),
        submit("no JSON at all")
            .sends("customer_id=c")
            .is(400, MALFORMED, "not JSON"),
        submit("no body").is(400, MALFORMED, "the body is empty"),
        submit("over-deep JSON")
            .sends("[".repeat(50_000))
            .is(400, MALFORMED, "nested too deeply"),
        submit("over-deep in a field")
            .sends(format!(r#"{{"items":{}"#, "[{\"a\":".repeat(40)))
            .is(400, MALFORMED, "32 levels"),
        submit("invalid UTF-8 escape")
            .sends(r#"{"customer_id": "\ud800"}"#)
            .is(400, MALFORMED, "not JSON"),
        submit("huge body")
            .sends(huge)
            .is(413, "body-too-large", "at most 262144 bytes"),
        submit("wrong content type")
            .with("content-type", "text/plain")
            .sends(burger().to_string())
            .is(415, "unsupported-media-type", "application/json"),
        submit("a list").sends("[]").is(422, INVALID, "OrderBody"),
        submit("an empty object")
            .sends("{}")
            .is(422, INVALID, "missing field")
            .at("/customer_id"),
    ]
}

/// Orders of the right shape but for a field, or with fields that cannot be so.
fn bad_fields() -> Vec<Case> {
    vec![
        Case::order("unknown field", |o| o["tip"] = json!(5))
            .is(422, INVALID, "unknown field")
            .at("/tip"),
        Case::order("unknown field of an item", |o| o["items"][0]["size"] = json!("L"))
            .is(422, INVALID, "unknown field")
            .at("/items/0/size"),
        Case::order("wrong type", |o| o["items"][0]["quantity"] = json!("two"))
            .is(422, INVALID, "invalid type")
            .at("/items/0/quantity"),
        Case::order("unknown restaurant", |o| o["restaurant_id"] = json!("nowhere"))
            .is(422, INVALID, "nowhere")
            .at("/restaurant_id"),
        Case::order("malformed restaurant", |o| o["restaurant_id"] = json!("no where"))
            .is(422, INVALID, "1 to 64 characters")
            .at("/restaurant_id"),
        Case::order("zero quantity", |o| o["items"][0]["quantity"] = json!(0))
            .is(422, INVALID, "from 1 to 1000")
            .at("/items/0/quantity"),
        Case::order("negative quantity", |o| o["items"][0]["quantity"] = json!(-1))
            .is(422, INVALID, "is -1")
            .at("/items/0/quantity"),
        Case::order("quantity beyond 64 bits", |o| {
            o["items"][0]["quantity"] = json!(u64::MAX);
        })
        .is(422, INVALID, "18446744073709551615")
        .at("/items/0/quantity"),
        Case::order("negative price", |o| o["items"][0]["unit_price_minor"] = json!(-950))
            .is(422, INVALID, "must not be negative")
            .at("/items/0/unit_price_minor"),
        Case::order("another price", |o| o["items"][0]["unit_price_minor"] = json!(1))
            .is(422, INVALID, "costs 950")
            .at("/items/0/unit_price_minor"),
        Case::order("unknown article", |o| o["items"][0]["sku"] = json!("caviar"))
            .is(422, INVALID, "caviar")
            .at("/items/0/sku"),
        Case::order("overflow of the total", |o| {
            o["items"][0]["unit_price_minor"] = json!(i64::MAX);
            o["items"][0]["quantity"] = json!(1_000);
        })
        .is(422, INVALID, "the total is more than")
        .at("/items"),
        Case::order("no items", |o| o["items"] = json!([]))
            .is(422, INVALID, "at least one")
            .at("/items"),
        Case::order("too many items", |o| {
            o["items"] = Value::Array(vec![o["items"][0].clone(); 101]);
        })
        .is(422, INVALID, "at most 100")
        .at("/items"),
    ]
}

/// Orders that somebody else could have placed.
fn bad_terms() -> Vec<Case> {
    vec![
        Case::order("wrong currency", |o| o["currency"] = json!("EUR"))
            .is(422, INVALID, "USD")
            .at("/currency"),
        Case::order("no currency", |o| o["currency"] = json!("dollars"))
            .is(422, INVALID, "ISO 4217")
            .at("/currency"),
        Case::order("off the map", |o| o["delivery_location"]["lat"] = json!(91))
            .is(422, INVALID, "off the map")
            .at("/delivery_location"),
        Case::order("too long a note", |o| o["notes"] = json!("x".repeat(501)))
            .is(422, INVALID, "501 bytes")
            .at("/notes"),
        Case::order("NUL in a text", |o| o["notes"] = json!("a\0b"))
            .is(422, INVALID, "NUL")
            .at("/notes"),
        Case::order("wanted in the past", |o| o["requested_for"] = json!(1))
            .is(422, INVALID, "past")
            .at("/requested_for"),
        Case::order("too long a key", |_| {})
            .with("idempotency-key", "k".repeat(256))
            .is(400, MALFORMED, "255"),
        Case::order("a key with a blank", |_| {})
            .with("idempotency-key", "a b")
            .is(400, MALFORMED, "visible ASCII"),
        Case::order("a weak If-Match", |_| {})
            .with("if-match", "W/\"1\"")
            .is(412, "precondition-failed", "weak"),
    ]
}

/// Routes and orders that are not there.
fn bad_routes() -> Vec<Case> {
    let order = |rest: &str| format!("/v1/orders/{NOBODY}{rest}");
    vec![
        Case::new("unknown route", "GET", "/v2/orders").is(404, "not-found", "/api/docs"),
        Case::new("wrong method", "DELETE", "/v1/orders").is(405, "method-not-allowed", "DELETE"),
        Case::new("made-up method", "BREW", "/v1/clock").is(405, "method-not-allowed", "BREW"),
        Case::new("malformed order id", "GET", "/v1/orders/nope").is(400, "malformed-id", "not a UUID"),
        Case::new("order id in no UTF-8", "GET", "/v1/orders/%ff").is(400, "malformed-id", "UTF-8"),
        Case::new(
            "an id of another kind",
            "GET",
            "/v1/orders/6f2d3b5e-8a3c-4f57-9d5e-0a4b8f5b7c11",
        )
        .is(404, "not-found", "version 8"),
        Case::new("unknown order", "GET", order("")).is(404, "not-found", "no such order"),
        Case::new("status of an unknown order", "GET", order("/status")).is(404, "not-found", "no such order"),
        Case::new("events of an unknown order", "GET", order("/events")).is(404, "not-found", "no such order"),
        Case::new("stream of an unknown order", "GET", order("/stream")).is(404, "not-found", "no such order"),
        Case::new("malformed Last-Event-ID", "GET", order("/stream"))
            .with("last-event-id", "x")
            .is(400, MALFORMED, "Last-Event-ID"),
        Case::new("cancel of an unknown order", "POST", order("/cancel")).is(404, "not-found", "no such order"),
        Case::new("retry of an unknown order", "POST", order("/retry")).is(404, "not-found", "no such order"),
        Case::new("retry with something to say", "POST", order("/retry"))
            .sends(r#"{"force":true}"#)
            .is(422, INVALID, "unknown field")
            .at("/force"),
        Case::new("resolve of an unknown step", "POST", order("/resolve"))
            .sends(r#"{"step":"dance","round":0,"note":"n"}"#)
            .is(422, INVALID, "steps are")
            .at("/step"),
        Case::new("resolve without a note", "POST", order("/resolve"))
            .sends(r#"{"step":"authorize_payment","round":0,"note":" "}"#)
            .is(422, INVALID, ""),
    ]
}

/// Channels, couriers and actors.
fn bad_places() -> Vec<Case> {
    vec![
        Case::new("unknown channel", "GET", "/v1/channels/nowhere").is(404, "not-found", "nowhere"),
        Case::new("menu of an unknown channel", "PUT", "/v1/channels/nowhere/menu")
            .sends(r#"{"items":[]}"#)
            .is(404, "not-found", "nowhere"),
        Case::new("malformed channel id", "GET", "/v1/channels/a%20b").is(400, "malformed-id", "1 to 64 characters"),
        Case::new("a channel of no kind", "PUT", "/v1/channels/new")
            .sends(channel(|c| c["kind"] = json!("van")))
            .is(422, INVALID, "kitchen")
            .at("/kind"),
        Case::new("a channel off the map", "PUT", "/v1/channels/new")
            .sends(channel(|c| c["location"]["lat"] = json!(-91)))
            .is(422, INVALID, "off the map")
            .at("/location"),
        Case::new("a channel without capacity", "PUT", "/v1/channels/new")
            .sends(channel(|c| c["capacity_per_slot"] = json!(0)))
            .is(422, INVALID, "at least 1")
            .at("/capacity_per_slot"),
        Case::new("a channel that must exist", "PUT", "/v1/channels/new")
            .with("if-match", "*")
            .sends(channel(|_| {}))
            .is(412, "precondition-failed", "no channel"),
        Case::new("a channel that must be new", "PUT", "/v1/channels/downtown-kitchen")
            .with("if-none-match", "*")
            .sends(channel(|_| {}))
            .is(412, "precondition-failed", "exists already"),
        Case::new("a stale channel", "PUT", "/v1/channels/downtown-kitchen")
            .with("if-match", "\"99999\"")
            .sends(channel(|_| {}))
            .is(412, "precondition-failed", "not 99999"),
        Case::new(
            "a menu with a negative price",
            "PUT",
            "/v1/channels/downtown-kitchen/menu",
        )
        .sends(r#"{"items":[{"sku":"a","name":"A","price_minor":-1}]}"#)
        .is(422, INVALID, "negative")
        .at("/items/0/price_minor"),
        Case::new("no availability", "PUT", "/v1/channels/downtown-kitchen/availability")
            .sends(r#"{"state":"ASLEEP"}"#)
            .is(422, INVALID, "ASLEEP"),
        Case::new("a page of too many", "GET", "/v1/channels?limit=1001").is(400, MALFORMED, "1 to 1000"),
        Case::new("a page of nothing", "GET", "/v1/couriers?limit=0").is(400, MALFORMED, "1 to 1000"),
        Case::new("a page of some", "GET", "/v1/couriers?limit=some").is(400, MALFORMED, "limit"),
        Case::new("a made-up cursor", "GET", "/v1/channels?cursor=a%20b").is(400, MALFORMED, "none of ours"),
        Case::new("a page by number", "GET", "/v1/channels?page=2").is(400, MALFORMED, "page"),
        Case::new("unknown courier", "GET", "/v1/couriers/nobody").is(404, "not-found", "nobody"),
        Case::new("a courier of another zone", "PUT", "/v1/couriers/demo-courier-1")
            .sends(r#"{"zone":"elsewhere","location":{"lat":1,"lng":1}}"#)
            .is(422, INVALID, "zone")
            .at("/zone"),
        Case::new("a courier that stands still", "PUT", "/v1/couriers/new")
            .sends(r#"{"location":{"lat":1,"lng":1},"metres_per_min":0}"#)
            .is(422, INVALID, "at least 1")
            .at("/metres_per_min"),
        Case::new("unknown actor", "GET", "/v1/actors/node/shard-000/order-x").is(404, "not-found", "/v1/actors"),
        Case::new("unknown filter", "GET", "/v1/actors?colour=red").is(400, MALFORMED, "colour"),
        Case::new("too many actors", "GET", "/v1/actors?limit=10001").is(400, MALFORMED, "10000"),
    ]
}

fn channel(change: impl FnOnce(&mut Value)) -> String {
    let mut channel = json!({
        "name": "New kitchen", "kind": "kitchen", "serves": ["new"], "location": {"lat": 41.9, "lng": -87.6},
        "currency": "USD", "prep_ms": 600_000, "capacity_per_slot": 5,
    });
    change(&mut channel);
    channel.to_string()
}

/// What kitchens and couriers cannot report.
fn bad_reports() -> Vec<Case> {
    let kitchen = |name, body: &str| {
        Case::new(name, "POST", "/v1/channels/downtown-kitchen/events").sends(body.replace("NOBODY", NOBODY))
    };
    let courier = |name, body: &str| {
        Case::new(name, "POST", "/v1/couriers/demo-courier-1/events").sends(body.replace("NOBODY", NOBODY))
    };
    vec![
        kitchen(
            "a report about an unknown order",
            r#"{"order_id":"NOBODY","type":"ready"}"#,
        )
        .is(404, "not-found", "order"),
        kitchen("a report about no order", r#"{"order_id":"x","type":"ready"}"#)
            .is(422, INVALID, "UUID")
            .at("/order_id"),
        kitchen("a report of nothing", r#"{"order_id":"NOBODY"}"#)
            .is(422, INVALID, "missing field")
            .at("/type"),
        kitchen(
            "an estimate in seconds",
            r#"{"order_id":"NOBODY","type":"accepted","ready_at":1700000000}"#,
        )
        .is(422, INVALID, "milliseconds")
        .at("/ready_at"),
        Case::new("a report by nobody", "POST", "/v1/channels/nowhere/events")
            .sends(format!(r#"{{"order_id":"{NOBODY}","type":"ready"}}"#))
            .is(404, "not-found", "nowhere"),
        courier("a delivery of nothing", r#"{"type":"delivered"}"#)
            .is(422, INVALID, "missing")
            .at("/order_id"),
        courier("a position without a place", r#"{"type":"position"}"#)
            .is(422, INVALID, "missing")
            .at("/location"),
        courier(
            "a position off the map",
            r#"{"type":"position","location":{"lat":0,"lng":999}}"#,
        )
        .is(422, INVALID, "off the map")
        .at("/location"),
        courier("an unknown order", r#"{"type":"delivered","order_id":"NOBODY"}"#).is(404, "not-found", "order"),
    ]
}
