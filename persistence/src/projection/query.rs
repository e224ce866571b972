//! What both databases share: the text of a search, and rows as they are read back.

use super::{OrderChange, OrderSummary, Search, StatusChange, Stuck, StuckOrders};
use crate::record::{limit, unsigned};
use domain::ids::{OrderId, Seq, StreamId};
use domain::money::Money;
use domain::order::OrderStatus;
use domain::ports::StoreError;
use domain::time::Timestamp;
use std::fmt::Write;
use std::str::FromStr;
use uuid::Uuid;

/// The number of a status in the databases, where they stand in [`OrderStatus::ALL`]. Part of the storage format.
pub(super) const fn status_code(status: OrderStatus) -> i16 {
    match status {
        OrderStatus::Pending => 0,
        OrderStatus::Confirmed => 1,
        OrderStatus::Preparing => 2,
        OrderStatus::ReadyForPickup => 3,
        OrderStatus::PickedUp => 4,
        OrderStatus::InTransit => 5,
        OrderStatus::Delivered => 6,
        OrderStatus::Cancelled => 7,
        OrderStatus::Failed => 8,
    }
}

/// How a statement is told what becomes of a status: its number, or one that says how to find it.
pub(super) const fn status_change_code(change: StatusChange) -> i16 {
    match change {
        StatusChange::Kept => -1,
        StatusChange::Rerouted => -2,
        StatusChange::Became(status) => status_code(status),
    }
}

/// Whether the order is live afterwards. A re-routed one is, and one whose status stays was before.
pub(super) const fn is_live(change: StatusChange) -> bool {
    !matches!(change, StatusChange::Became(status) if status.is_terminal())
}

/// The channel's name that a change sets, if any.
pub(super) fn channel_of(change: &OrderChange) -> Option<&str> {
    let channel = change.channel.as_ref()?.as_ref()?;
    Some(channel.as_str())
}

/// What of the order is stuck afterwards, as it is stored: nothing is `NULL`.
pub(super) fn stuck_of(change: &OrderChange) -> Option<String> {
    let stuck = change.stuck.as_ref().filter(|stuck| !stuck.is_empty())?;
    Some(stuck.to_string())
}

/// The stuck orders.
pub(super) const STUCK: &str = "SELECT stream, stuck FROM order_search WHERE stuck IS NOT NULL";

/// What [`STUCK`] found.
pub(super) fn stuck_orders(found: Vec<(Uuid, String)>) -> Result<StuckOrders, StoreError> {
    let order = |(stream, text): (Uuid, String)| Ok((OrderId(StreamId(stream)), parse::<Stuck>(stream, &text)?));
    found.into_iter().map(order).collect()
}

/// A value that a search is given.
pub(super) enum Value<'a> {
    Id(Uuid),
    Number(i64),
    Text(&'a str),
}

/// A search as a statement with `$1`, `$2`, … and their values.
pub(super) struct Statement<'a> {
    pub(super) text: String,
    pub(super) values: Vec<Value<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn of(search: &'a Search) -> Self {
        let mut statement = Self {
            text: "SELECT stream, placed_at, updated_at, total_minor, seq, status, currency, customer_id, \
                   restaurant_id, channel_id, stuck IS NOT NULL AS stuck FROM order_search WHERE TRUE"
                .into(),
            values: Vec::new(),
        };
        if !search.statuses.is_empty() {
            let codes = search.statuses.iter().map(|status| status_code(*status).to_string());
            // Numbers of our own, so they may stand in the text.
            let _ = write!(
                statement.text,
                " AND status IN ({})",
                codes.collect::<Vec<_>>().join(", ")
            );
            if search.statuses.iter().all(|status| !status.is_terminal()) {
                // For the sake of the index.
                statement.text.push_str(" AND live");
            }
        }
        statement.when(
            " AND customer_id = ",
            search.customer.as_ref().map(|id| Value::Text(id.as_str())),
        );
        statement.when(
            " AND restaurant_id = ",
            search.restaurant.as_ref().map(|id| Value::Text(id.as_str())),
        );
        statement.when(
            " AND channel_id = ",
            search.channel.as_ref().map(|id| Value::Text(id.as_str())),
        );
        match search.stuck {
            Some(true) => statement.text.push_str(" AND stuck IS NOT NULL"),
            Some(false) => statement.text.push_str(" AND stuck IS NULL"),
            None => {}
        }
        if let Some(after) = search.placed_after {
            statement.when(" AND placed_at >= ", Some(Value::Number(after.0)));
            statement.when(" AND stream >= ", first_id(after - search.id_slack).map(Value::Id));
        }
        if let Some(before) = search.placed_before {
            statement.when(" AND placed_at < ", Some(Value::Number(before.0)));
            statement.when(" AND stream < ", first_id(before + search.id_slack).map(Value::Id));
        }
        statement.when(" AND stream < ", search.behind.map(|order| Value::Id(order.0.0)));
        statement.when(" ORDER BY stream DESC LIMIT ", Some(Value::Number(limit(search.limit))));
        statement
    }

    fn when(&mut self, text: &str, value: Option<Value<'a>>) {
        if let Some(value) = value {
            self.values.push(value);
            // Writing to a String does not fail.
            let _ = write!(self.text, "{text}${}", self.values.len());
        }
    }
}

/// What all ids from a moment on are greater than, and none before it: 48 bits of milliseconds come first. `None`
/// beyond what those can hold.
pub(crate) fn first_id(at: Timestamp) -> Option<Uuid> {
    let ms = u64::try_from(at.0.max(0)).ok().filter(|ms| *ms < 1 << 48)?;
    Some(Uuid::from_u128(u128::from(ms) << 80))
}

/// An order as it is read.
#[derive(sqlx::FromRow)]
pub(super) struct Line {
    stream: Uuid,
    placed_at: i64,
    updated_at: i64,
    total_minor: i64,
    seq: i64,
    status: i16,
    currency: String,
    customer_id: String,
    restaurant_id: String,
    channel_id: Option<String>,
    stuck: bool,
}

impl Line {
    fn into_summary(self) -> Result<OrderSummary, StoreError> {
        let stream = self.stream;
        let place = usize::try_from(self.status).unwrap_or(usize::MAX);
        let status = OrderStatus::ALL.get(place).copied();
        Ok(OrderSummary {
            order: OrderId(StreamId(stream)),
            seq: Seq(unsigned(self.seq)?),
            status: status.ok_or_else(|| corrupt(stream, &format!("unknown status {}", self.status)))?,
            customer: parse(stream, &self.customer_id)?,
            restaurant: parse(stream, &self.restaurant_id)?,
            channel: self.channel_id.map(|id| parse(stream, &id)).transpose()?,
            total: Money {
                minor: self.total_minor,
                currency: parse(stream, &self.currency)?,
            },
            placed_at: Timestamp(self.placed_at),
            updated_at: Timestamp(self.updated_at),
            stuck: self.stuck,
        })
    }
}

fn parse<T: FromStr<Err: ToString>>(stream: Uuid, text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error: T::Err| corrupt(stream, &error.to_string()))
}

fn corrupt(stream: Uuid, problem: &str) -> StoreError {
    StoreError::Corrupt(format!("the projection of {stream}: {problem}"))
}

/// The orders that a query read.
pub(super) fn summaries(lines: Vec<Line>) -> Result<Vec<OrderSummary>, StoreError> {
    lines.into_iter().map(Line::into_summary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_statuses_are_their_places() {
        for (place, status) in (0..).zip(OrderStatus::ALL) {
            assert_eq!(status_code(status), place);
        }
    }

    #[test]
    fn ids_are_bounded_by_their_time() {
        let id = |ms| OrderId::mint(Timestamp(ms), domain::ids::HashSlot::of(&[b"x"]), 0).0.0;
        let bound = first_id(Timestamp(1_000)).expect("fits");
        assert!(id(999) < bound && bound <= id(1_000));
        assert!(first_id(Timestamp(-5)).expect("the beginning") <= id(0));
        assert_eq!(first_id(Timestamp::MAX), None);
    }
}
