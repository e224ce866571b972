//! What a row changes about an order as lists show it.

use super::stuck::Stuck;
use domain::ids::{ChannelId, CustomerId, OrderId, RestaurantId, Seq};
use domain::money::Money;
use domain::order::{Event, OrderStatus};
use domain::ports::{Row, StreamKind};
use domain::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is known of an order from its first row on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Who ordered.
    pub customer: CustomerId,
    /// From which restaurant.
    pub restaurant: RestaurantId,
    /// What it costs the customer.
    pub total: Money,
    /// When it was accepted.
    pub at: Timestamp,
}

/// What becomes of the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusChange {
    /// It stays.
    #[default]
    Kept,
    /// It goes back to [`OrderStatus::Confirmed`] if somebody was cooking already.
    Rerouted,
    /// It is this.
    Became(OrderStatus),
}

impl StatusChange {
    /// The status after this change.
    pub fn applied_to(self, status: OrderStatus) -> OrderStatus {
        match self {
            Self::Rerouted if matches!(status, OrderStatus::Preparing | OrderStatus::ReadyForPickup) => {
                OrderStatus::Confirmed
            }
            Self::Kept | Self::Rerouted => status,
            Self::Became(status) => status,
        }
    }

    fn then(self, next: Self) -> Self {
        match (self, next) {
            (change, Self::Kept) => change,
            (Self::Became(status), next) => Self::Became(next.applied_to(status)),
            (_, next) => next,
        }
    }
}

/// What one row, or several of one order together, change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// Which order.
    pub order: OrderId,
    /// The version of the last of these rows.
    pub seq: Seq,
    /// When that was decided.
    pub at: Timestamp,
    /// What the order is, if the first row is among them.
    pub placed: Option<Placed>,
    /// What becomes of its status.
    pub status: StatusChange,
    /// Who makes it, or is asked to after a re-route, if that changed; rows of earlier versions do not say whom.
    pub channel: Option<Option<ChannelId>>,
    /// What of it is stuck afterwards, if that changed.
    pub stuck: Option<Stuck>,
}

/// The part of an event that says what it is. Names need no escapes, so they can be borrowed.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type")]
    name: &'a str,
}

impl OrderChange {
    /// What a row changes; `None` if that is nothing, which holds for most rows and is found out without reading them.
    /// `stuck`: what of the order was stuck before.
    ///
    /// # Errors
    /// The row does not hold events as this program knows them.
    pub fn of(row: &Row, stuck: Option<&Stuck>) -> Result<Option<Self>, serde_json::Error> {
        // The names of all events that change something begin, or end, like this, but for those that end what is stuck;
        // nobody else's do within an order's rows, and a text that does only costs the reading.
        let is_told = || row.events.contains("\"Order") || row.events.contains("Stuck\"");
        if row.kind != StreamKind::Order || !(stuck.is_some() || is_told()) {
            return Ok(None);
        }
        let before = stuck.cloned().unwrap_or_default();
        let mut stuck = before.clone();
        let mut change = Self {
            order: OrderId(row.stream),
            seq: row.seq,
            at: row.at,
            placed: None,
            status: StatusChange::Kept,
            channel: None,
            stuck: None,
        };
        let mut changes = false;
        let events: Vec<&RawValue> = serde_json::from_str(&row.events)?;
        for text in events {
            let tag: Tag<'_> = serde_json::from_str(text.get())?;
            if tag.name.starts_with("Order") || tag.name.ends_with("Stuck") || !stuck.is_empty() {
                let event = serde_json::from_str(text.get())?;
                stuck.take_in(&event);
                changes |= change.take_in(event);
            }
        }
        change.stuck = Some(stuck).filter(|stuck| *stuck != before);
        changes |= change.stuck.is_some();
        Ok(changes.then_some(change))
    }

    fn take_in(&mut self, event: Event) -> bool {
        let status = match event {
            Event::OrderPlaced { details, .. } => {
                self.placed = Some(Placed {
                    customer: details.customer_id.clone(),
                    restaurant: details.restaurant_id.clone(),
                    total: details.total,
                    at: self.at,
                });
                StatusChange::Became(OrderStatus::Pending)
            }
            Event::OrderConfirmed { channel, .. } => {
                self.channel = Some(channel);
                StatusChange::Became(OrderStatus::Confirmed)
            }
            Event::OrderRerouted { channel, .. } => {
                self.channel = Some(channel);
                StatusChange::Rerouted
            }
            Event::OrderPreparing => StatusChange::Became(OrderStatus::Preparing),
            Event::OrderReady => StatusChange::Became(OrderStatus::ReadyForPickup),
            Event::OrderPickedUp => StatusChange::Became(OrderStatus::PickedUp),
            Event::OrderInTransit => StatusChange::Became(OrderStatus::InTransit),
            Event::OrderDelivered => StatusChange::Became(OrderStatus::Delivered),
            Event::OrderCancelled => StatusChange::Became(OrderStatus::Cancelled),
            Event::OrderFailed { .. } => StatusChange::Became(OrderStatus::Failed),
            _ => return false,
        };
        self.status = self.status.then(status);
        true
    }

    /// Both changes as one. `next` is ignored if it is not newer.
    pub fn then(&mut self, next: Self) {
        if next.seq <= self.seq {
            return;
        }
        (self.seq, self.at) = (next.seq, next.at);
        self.status = self.status.then(next.status);
        self.placed = self.placed.take().or(next.placed);
        self.channel = next.channel.or_else(|| self.channel.take());
        self.stuck = next.stuck.or_else(|| self.stuck.take());
    }
}

#[cfg(test)]
mod tests;
