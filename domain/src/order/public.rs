//! What others are told: the public side of an order's events, as the relay, webhooks and the projection carry it.
//!
//! A row of the log holds everything its turn decided. Public is what happened to the order, not how the saga went about
//! it: no step, no attempt, and never the payment token, the address or the notes.

use super::{Ending, Event};
use crate::ids::{OrderId, Seq};
use crate::ports::{Row, StreamKind};
use crate::saga::{Receipt, Step};
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One public event. Its id, `order:seq:index`, never changes: who has seen it has seen this event.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicEvent {
    /// Whose.
    pub order: OrderId,
    /// The version that its row made.
    pub seq: Seq,
    /// Its place in the row.
    pub index: u32,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened: one of [`PublicEvent::NAMES`].
    pub name: &'static str,
    /// What is said of it; an object. The order's id and version are not repeated in it.
    pub data: Value,
}

impl PublicEvent {
    /// Every name there is. Part of the interface: names are added, never changed.
    pub const NAMES: [&'static str; 13] = [
        "order.placed",
        "order.confirmed",
        "order.preparing",
        "order.ready",
        "order.courier_assigned",
        "order.picked_up",
        "order.in_transit",
        "order.delivered",
        "order.rerouted",
        "order.ready_estimated",
        "order.unwinding",
        "order.cancelled",
        "order.failed",
    ];

    /// The event's id, unique for ever.
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.order, self.seq.0, self.index)
    }
}

/// The part of an event that says what it is. Names need no escapes, so they can be borrowed.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type")]
    name: &'a str,
}

/// The public events of a row, in order; none if it is not an order's.
///
/// Most rows have none or one: only those are read in full.
///
/// # Errors
/// The row does not hold events as this program knows them.
pub fn public_events(row: &Row) -> Result<Vec<PublicEvent>, serde_json::Error> {
    let mut public = Vec::new();
    if row.kind != StreamKind::Order {
        return Ok(public);
    }
    let events: Vec<&RawValue> = serde_json::from_str(&row.events)?;
    for (index, text) in (0..).zip(events) {
        let tag: Tag<'_> = serde_json::from_str(text.get())?;
        if !may_be_public(tag.name) {
            continue;
        }
        let event: Event = serde_json::from_str(text.get())?;
        if let Some((name, data)) = told(&event) {
            public.push(PublicEvent {
                order: OrderId(row.stream),
                seq: row.seq,
                index,
                at: row.at,
                name,
                data,
            });
        }
    }
    Ok(public)
}

fn may_be_public(name: &str) -> bool {
    name.starts_with("Order") || matches!(name, "StepDone" | "ReadyEstimated" | "UnwindingStarted")
}

/// What others are told of an event: its public name and what is said of it.
fn told(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::OrderPlaced { details, .. } => (
            "order.placed",
            json!({
                "status": "PENDING",
                "customer_id": details.customer_id,
                "restaurant_id": details.restaurant_id,
                "items": details.items,
                "total_minor": details.total.minor,
                "currency": details.total.currency,
                "requested_for": details.requested_for,
            }),
        ),
        Event::OrderConfirmed { channel, ready_at } => (
            "order.confirmed",
            json!({ "status": "CONFIRMED", "channel_id": channel, "ready_at": ready_at }),
        ),
        Event::OrderPreparing => ("order.preparing", json!({ "status": "PREPARING" })),
        Event::OrderReady => ("order.ready", json!({ "status": "READY_FOR_PICKUP" })),
        Event::OrderPickedUp => ("order.picked_up", json!({ "status": "PICKED_UP" })),
        Event::OrderInTransit => ("order.in_transit", json!({ "status": "IN_TRANSIT" })),
        Event::OrderDelivered => ("order.delivered", json!({ "status": "DELIVERED" })),
        Event::OrderRerouted { channel, .. } => ("order.rerouted", json!({ "channel_id": channel })),
        Event::ReadyEstimated { ready_at } => ("order.ready_estimated", json!({ "ready_at": ready_at })),
        Event::StepDone {
            step: Step::Dispatch,
            receipt: Receipt::Assigned { courier, pickup_at },
            ..
        } => (
            "order.courier_assigned",
            json!({ "courier_id": courier, "pickup_at": pickup_at }),
        ),
        Event::UnwindingStarted { ending, reason } => {
            let ending = match ending {
                Ending::Cancelled => "CANCELLED",
                Ending::Failed(_) => "FAILED",
            };
            ("order.unwinding", json!({ "ending": ending, "reason": reason }))
        }
        Event::OrderCancelled => ("order.cancelled", json!({ "status": "CANCELLED" })),
        Event::OrderFailed { code } => ("order.failed", json!({ "status": "FAILED", "code": code })),
        _ => return None,
    })
}
