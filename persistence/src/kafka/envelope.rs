//! A public event as a Kafka message: CloudEvents 1.0 in binary mode. What it is stands in headers, what is said of it in
//! the value.

use domain::ids::OrderId;
use domain::order::PublicEvent;
use domain::time::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

/// Who tells: the orders of this platform.
const SOURCE: &str = "/uoop/orders";

/// What the headers take up, roughly.
const HEADER_BYTES: usize = 384;

/// The value: what is said of the event, with the order and its version, so that it can be used without the headers.
#[derive(Serialize)]
struct Body<'a> {
    order_id: OrderId,
    version: u64,
    #[serde(flatten)]
    data: &'a Value,
}

/// Writes messages, one after the other into the same memory.
#[derive(Default)]
pub(super) struct Envelope {
    key: String,
    body: Vec<u8>,
    text: String,
}

impl Envelope {
    /// Writes the key and the value, and returns the headers.
    ///
    /// # Errors
    /// What is said of the event is not an object.
    pub(super) fn write(&mut self, event: &PublicEvent) -> Result<OwnedHeaders, serde_json::Error> {
        self.key.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.key, "{}", event.order);
        self.body.clear();
        let body = Body {
            order_id: event.order,
            version: event.seq.0,
            data: &event.data,
        };
        serde_json::to_writer(&mut self.body, &body)?;
        Ok(self.headers(event))
    }

    /// The key: the order, so that one order's events stay in order.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The value, JSON.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// What the message takes up, roughly.
    pub(super) const fn size(&self) -> usize {
        self.key.len() + self.body.len() + HEADER_BYTES
    }

    fn headers(&mut self, event: &PublicEvent) -> OwnedHeaders {
        let headers = OwnedHeaders::new_with_capacity(8);
        let headers = with(headers, "ce_specversion", "1.0");
        let headers = self.written(headers, "ce_id", format_args!("{}", event.id()));
        let headers = with(headers, "ce_source", SOURCE);
        let headers = self.written(headers, "ce_type", format_args!("uoop.{}", event.name));
        let headers = with(headers, "ce_subject", &self.key);
        let headers = self.written(headers, "ce_time", format_args!("{}", Rfc3339(event.at)));
        // Of one order's events the later one has the greater text.
        let place = format_args!("{:010}.{:04}", event.seq.0, event.index);
        let headers = self.written(headers, "ce_sequence", place);
        with(headers, "content-type", "application/json")
    }

    fn written(&mut self, headers: OwnedHeaders, key: &str, value: std::fmt::Arguments<'_>) -> OwnedHeaders {
        self.text.clear();
        let _ = self.text.write_fmt(value);
        with(headers, key, &self.text)
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// A moment as RFC 3339 writes it, in UTC with milliseconds.
struct Rfc3339(Timestamp);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_ms();
        let (year, month, day) = date(ms.div_euclid(86_400_000));
        let ms = ms.rem_euclid(86_400_000);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1_000
        )
    }
}

/// Year, month and day of a number of days since 1970-01-01: Howard Hinnant's `civil_from_days`, which counts years from
/// March so that the leap day is the last.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests;
