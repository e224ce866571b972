//! The run's channels and orders, and how the orders get to the server.

use super::connection::{Line, Reply, Target};
use super::load::{Answer, Failure, Transport};
use crate::api::{ChannelBody, DeliveryPlace, ItemBody, MenuBody, OrderBody, Place};
use domain::channel::MenuItem;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Uri};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// How long the food takes, in milliseconds of business time: so long that no courier is asked for while the load runs.
/// What is measured ends with CONFIRMED.
const PREP_MS: u64 = 6 * 60 * 60 * 1_000;
/// Units of each slot: as many as nobody fills.
const CAPACITY: u32 = 1_000_000_000;
/// Where each order says who ordered; its digits are written over.
const CUSTOMER: &str = "bench-000000000000";
/// How many of those are digits.
const DIGITS: usize = 12;
/// Articles of each channel: `(sku, name, price in minor units)`.
const MENU: [(&str, &str, i64); 6] = [
    ("cheeseburger", "Cheeseburger", 950),
    ("veggie-burger", "Veggie burger", 1_050),
    ("fries", "Fries", 350),
    ("coleslaw", "Coleslaw", 300),
    ("lemonade", "Lemonade", 280),
    ("brownie", "Brownie", 420),
];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The id of the n-th channel, and of the restaurant that it alone serves.
pub(super) fn channel_id(n: usize) -> String {
    format!("bench-{n:04}")
}

/// Where the n-th channel is: a grid of a hundred columns, half a kilometre apart.
fn location(n: usize) -> Place {
    let steps = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * 0.005;
    Place {
        lat: 41.6 + steps(n / 100 % 100),
        lng: -87.9 + steps(n % 100),
    }
}

/// The n-th channel.
pub(super) fn channel(n: usize) -> ChannelBody {
    ChannelBody {
        name: format!("Bench kitchen {n}"),
        kind: "kitchen".to_owned(),
        serves: vec![channel_id(n)],
        location: location(n),
        zone: "bench".to_owned(),
        currency: "USD".to_owned(),
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: PREP_MS,
        capacity_per_slot: CAPACITY,
        cost_minor: 450,
        radius_m: 20_000,
    }
}

/// What every channel sells.
pub(super) fn menu() -> MenuBody {
    let item = |(sku, name, price_minor): (&str, &str, i64)| MenuItem {
        sku: sku.to_owned(),
        name: name.to_owned(),
        price_minor,
        prep_ms: None,
    };
    MenuBody {
        items: MENU.map(item).to_vec(),
    }
}

fn order(channel: usize) -> OrderBody {
    let item = |(n, quantity): (usize, i64)| {
        let (sku, name, unit_price_minor) = MENU[n % MENU.len()];
        ItemBody {
            sku: sku.to_owned(),
            name: name.to_owned(),
            quantity,
            unit_price_minor,
        }
    };
    let from = location(channel);
    OrderBody {
        customer_id: CUSTOMER.to_owned(),
        restaurant_id: channel_id(channel),
        items: [(channel, 2), (channel + 1, 1), (channel + 2, 1)].map(item).to_vec(),
        currency: "USD".to_owned(),
        delivery_location: DeliveryPlace {
            lat: from.lat + 0.012,
            lng: from.lng + 0.009,
            address: "233 South Wacker Drive, Chicago".to_owned(),
        },
        requested_for: None,
        payment_token: "tok_visa".to_owned(),
        notes: Some("please ring twice".to_owned()),
    }
}

/// An order's body, ready but for who orders.
struct Template {
    body: Vec<u8>,
    /// Where the digits begin.
    digits_at: usize,
}

impl Template {
    /// `None` when an order cannot be written as JSON, which does not happen.
    fn new(channel: usize) -> Option<Self> {
        let body = serde_json::to_string(&order(channel)).ok()?;
        let digits_at = body.find(CUSTOMER)? + CUSTOMER.len() - DIGITS;
        Some(Self {
            body: body.into_bytes(),
            digits_at,
        })
    }

    fn body(&self, n: u64) -> Bytes {
        let mut body = self.body.clone();
        let mut rest = n;
        for digit in body[self.digits_at..self.digits_at + DIGITS].iter_mut().rev() {
            *digit = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
            rest /= 10;
        }
        body.into()
    }
}

/// A run's orders, whichever server gets them: each has a customer and a key of its own, and one channel after the other has
/// its turn.
pub(super) struct Orders {
    run: String,
    templates: Vec<Template>,
    next: AtomicU64,
}

impl Orders {
    /// The run's name is the prefix of its keys.
    pub(super) fn new(run: String, channels: usize) -> Self {
        Self {
            run,
            templates: (0..channels).filter_map(Template::new).collect(),
            next: AtomicU64::new(0),
        }
    }

    /// The next order's body and its key.
    fn next(&self) -> (Bytes, Option<HeaderValue>) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let channel = usize::try_from(n).unwrap_or(0) % self.templates.len().max(1);
        let body = self.templates.get(channel).map(|template| template.body(n));
        let key = HeaderValue::from_maybe_shared(Bytes::from(format!("{}-{n}", self.run)));
        (body.unwrap_or_default(), key.ok())
    }
}

/// Submits orders to a server over HTTP.
pub(super) struct Http {
    target: Target,
    source: Arc<Orders>,
    orders: Uri,
    json: HeaderValue,
    wait: HeaderValue,
}

impl Http {
    /// Submits orders from a source, which others may draw on as well.
    pub(super) fn new(target: Target, source: Arc<Orders>) -> Self {
        Self {
            target,
            source,
            orders: Uri::from_static("/v1/orders"),
            json: HeaderValue::from_static("application/json"),
            wait: HeaderValue::from_static("wait=30"),
        }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }
}

impl Transport for Http {
    type Line = Line;

    async fn connect(&self) -> Result<Line, Failure> {
        Line::open(&self.target).await
    }

    async fn place(&self, line: &mut Line, wait: bool) -> Result<Answer, Failure> {
        let (body, key) = self.source.next();
        let mut request = self.target.request(Method::POST, self.orders.clone(), body);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, self.json.clone());
        if let Some(key) = key {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if wait {
            headers.insert(PREFER, self.wait.clone());
        }
        Ok(answer(&line.send(request).await?, wait))
    }
}

/// What a reply says. Its body is searched rather than parsed, and only when it says more than its headers.
fn answer(reply: &Reply, wait: bool) -> Answer {
    let id = reply.headers.get(LOCATION).and_then(|location| {
        let (_, id) = location.to_str().ok()?.rsplit_once('/')?;
        id.parse::<Uuid>().ok()
    });
    match (reply.status, id) {
        (201, Some(id)) => {
            let waited = wait && reply.headers.contains_key(PREFERENCE_APPLIED);
            Answer::Accepted {
                id,
                status: waited.then(|| text_of(&reply.body, "status").unwrap_or("PENDING").to_owned()),
            }
        }
        (status, _) => Answer::Refused {
            status,
            problem: kind_of(&reply.body),
        },
    }
}

/// The kind of problem in a problem's body: the end of its type.
fn kind_of(body: &[u8]) -> String {
    let kind = text_of(body, "type").unwrap_or("without a problem");
    kind.rsplit(['/', ':', '#']).next().unwrap_or(kind).to_owned()
}

/// The text of the first member of this name, as it stands there.
pub(super) fn text_of<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let body = std::str::from_utf8(body).ok()?;
    let mut rest = body;
    loop {
        let (_, after) = rest.split_once(name)?;
        if let Some(value) = after.strip_prefix("\":\"") {
            return value.split('"').next();
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderMap;
    use std::collections::HashSet;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Reply {
            status,
            headers: pairs.collect::<HeaderMap>(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn every_order_has_a_customer_of_its_own_and_is_sound() {
        let template = Template::new(17).expect("an order");
        for (n, customer) in [(0, "bench-000000000000"), (4_711, "bench-000000004711")] {
            let order: OrderBody = serde_json::from_slice(&template.body(n)).expect("an order");
            assert_eq!(
                (order.customer_id.as_str(), order.restaurant_id.as_str()),
                (customer, "bench-0017")
            );
            let expected = OrderBody {
                customer_id: customer.to_owned(),
                ..super::order(17)
            };
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn no_two_orders_have_the_same_key() {
        let source = Orders::new("run".into(), 2);
        let keys: HashSet<_> = (0..1_000).filter_map(|_| source.next().1).collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn replies_are_understood() {
        const ID: &str = "01890a5d-ac96-8abc-8123-456789abcdef";
        const LOCATION: (&str, &str) = ("location", "/v1/orders/01890a5d-ac96-8abc-8123-456789abcdef");
        let id: Uuid = ID.parse().expect("an id");
        let body = r#"{"id":"x","version":6,"status":"CONFIRMED","settled":false}"#;
        let accepted = |status: Option<&str>| Answer::Accepted {
            id,
            status: status.map(ToOwned::to_owned),
        };
        assert_eq!(answer(&reply(201, &[LOCATION], body), false), accepted(None));
        assert_eq!(
            answer(&reply(201, &[LOCATION], body), true),
            accepted(None),
            "it did not wait"
        );
        let waited = [LOCATION, ("preference-applied", "wait=30")];
        assert_eq!(answer(&reply(201, &waited, body), true), accepted(Some("CONFIRMED")));
        let problem = r#"{"type":"/problems/overloaded","title":"Overloaded","status":503}"#;
        let refused = Answer::Refused {
            status: 503,
            problem: "overloaded".into(),
        };
        assert_eq!(answer(&reply(503, &[], problem), false), refused);
        let nameless = Answer::Refused {
            status: 502,
            problem: "without a problem".into(),
        };
        assert_eq!(answer(&reply(502, &[], "<html>"), false), nameless);
    }
}
