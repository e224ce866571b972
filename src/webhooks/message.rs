//! What subscribers are sent: `{"type", "timestamp", "data"}`, as Standard Webhooks 1.0 suggests.

use super::moments::Rfc3339;
use domain::order::PublicEvent;
use persistence::WebhookId;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// A public event, written out once for all who are told of it.
#[derive(Debug)]
pub(super) struct Told {
    /// What happened.
    pub(super) name: &'static str,
    /// The message, byte for byte.
    pub(super) body: String,
    /// When this process learned of its commit, if it did.
    pub(super) committed: Option<Instant>,
    /// The same in wall time.
    pub(super) committed_at: Option<i64>,
    event_id: String,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    timestamp: String,
    data: Map<String, Value>,
}

impl Told {
    /// Writes an event out. `now_ms` is wall time.
    ///
    /// # Errors
    /// Never in practice: it is all text and numbers.
    pub(super) fn new(event: PublicEvent, committed: Option<Instant>, now_ms: i64) -> Result<Self, serde_json::Error> {
        let event_id = event.id();
        let mut data = match event.data {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        data.insert("order_id".to_owned(), event.order.to_string().into());
        data.insert("version".to_owned(), event.seq.0.into());
        let body = serde_json::to_string(&Body {
            name: event.name,
            timestamp: Rfc3339(event.at.as_ms()).to_string(),
            data,
        })?;
        let ago = |at: Instant| i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
        Ok(Self {
            name: event.name,
            body,
            committed,
            committed_at: committed.map(|at| now_ms.saturating_sub(ago(at))),
            event_id,
        })
    }

    /// The message's id (`webhook-id`) for one subscriber: the same over all attempts, and nobody else's.
    pub(super) fn id_for(&self, subscription: &WebhookId) -> String {
        format!("{}:{subscription}", self.event_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{HashSlot, OrderId, Seq};
    use domain::time::Timestamp;
    use serde_json::json;

    #[test]
    fn a_message_says_what_happened_to_which_version_of_which_order() {
        let order = OrderId::mint(Timestamp(1_700_000_000_000), HashSlot::of(&[b"x"]), 7);
        let event = PublicEvent {
            order,
            seq: Seq(4),
            index: 1,
            at: Timestamp(1_700_000_000_123),
            name: "order.confirmed",
            data: json!({"status": "CONFIRMED", "channel_id": "k"}),
        };
        let told = Told::new(event, None, 5).expect("written out");
        assert_eq!(
            serde_json::from_str::<Value>(&told.body).expect("JSON"),
            json!({
                "type": "order.confirmed",
                "timestamp": "2023-11-14T22:13:20.123Z",
                "data": {"order_id": order.to_string(), "version": 4, "status": "CONFIRMED", "channel_id": "k"},
            })
        );
        let id = told.id_for(&"shop-1".parse().expect("an id"));
        assert_eq!(id, format!("{order}:4:1:shop-1"));
        assert!(!id.contains('.'), "dots separate the parts that are signed");
    }
}
