//! JSON in: read strictly, and refused with the place and the reason.

use super::problem::{Kind, Problem};
use domain::rejection::FieldError;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};
use std::fmt::Write;

/// How deep a body may be nested. The deepest that means anything has four levels.
const DEPTH_MAX: usize = 32;

/// Longest text of a problem that repeats what a client sent.
const DETAIL_BYTES_MAX: usize = 500;

/// Reads a body.
///
/// # Errors
/// 400 if it is empty, no JSON or nested too deeply; 422 with a pointer if it is JSON of another shape.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        // What may be absent may be null; everything else wants a body.
        let missing = |_| Problem::new(Kind::MalformedRequest, "the body is empty; it must be a JSON object");
        return serde_json::from_str("null").map_err(missing);
    }
    if is_too_deep(bytes) {
        let text = format!("the body is nested too deeply; at most {DEPTH_MAX} levels are allowed");
        return Err(Problem::new(Kind::MalformedRequest, text));
    }
    serde_json::from_slice(bytes).or_else(|_| parse_again(bytes))
}

/// Reads what has been refused once more, to find the place: keeping track of it costs as much as reading itself.
fn parse_again<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().clone();
        refuse(&path, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| refuse_text(&error))?;
    Ok(value)
}

/// Whether brackets outside of strings are nested beyond the limit. Looks at each byte once and needs no stack.
fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

fn refuse(path: &Path, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return refuse_text(error);
    }
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(before, _)| before);
    let mut pointer = pointer(path);
    let named = |before: &str| text.strip_prefix(before).and_then(|rest| rest.split('`').next());
    if let Some(field) = named("missing field `") {
        push(&mut pointer, field);
    } else if let Some(field) = named("unknown field `")
        && !pointer.ends_with(&format!("/{}", escape(field)))
    {
        push(&mut pointer, field);
    }
    Problem::invalid(vec![FieldError::new(shortened(&pointer), shortened(text))])
}

fn refuse_text(error: &serde_json::Error) -> Problem {
    Problem::new(
        Kind::MalformedRequest,
        shortened(&format!("the body is not JSON: {error}")),
    )
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn push(pointer: &mut String, token: &str) {
    // Writing to a String does not fail.
    let _ = write!(pointer, "/{}", escape(token));
}

/// A reference token of RFC 6901.
fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn shortened(text: &str) -> String {
    if text.len() <= DETAIL_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=DETAIL_BYTES_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AvailabilityBody, CancelBody, OrderBody};
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use serde_json::{Value, json};

    fn order() -> Value {
        json!({
            "customer_id": "c", "restaurant_id": "r", "currency": "USD", "payment_token": "t",
            "items": [{"sku": "s", "name": "n", "quantity": 1, "unit_price_minor": 1}],
            "delivery_location": {"lat": 1.0, "lng": 1.0},
        })
    }

    async fn refusal(text: &str) -> (StatusCode, String, String) {
        let problem = parse::<OrderBody>(text.as_bytes()).expect_err("refused");
        let response = problem.into_response();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let pointer = body["errors"][0]["pointer"].as_str().unwrap_or("none").to_owned();
        (status, pointer, body["detail"].as_str().expect("a detail").to_owned())
    }

    #[tokio::test]
    async fn every_refusal_says_where_and_why() {
        let with = |pointer: &str, value: Value| {
            let mut order = order();
            *order.pointer_mut(pointer).expect("a field") = value;
            order.to_string()
        };
        let mut unknown = order();
        unknown["items"][0]["a/b~"] = json!(1);
        let mut missing = order();
        missing["items"][0].as_object_mut().expect("an object").remove("sku");
        let bad = StatusCode::BAD_REQUEST;
        let invalid = StatusCode::UNPROCESSABLE_ENTITY;
        let cases = [
            (String::new(), bad, "none", "empty"),
            ("{".to_owned(), bad, "none", "line 1"),
            ("[".repeat(100_000), bad, "none", "at most 32 levels"),
            (format!("{} x", order()), bad, "none", "trailing"),
            ("[]".to_owned(), invalid, "none", "invalid length"),
            (
                with("/items/0/quantity", json!("two")),
                invalid,
                "/items/0/quantity",
                "invalid type",
            ),
            (
                with("/items/0/quantity", json!(1.5)),
                invalid,
                "/items/0/quantity",
                "1.5",
            ),
            (
                with("/delivery_location/lat", json!(null)),
                invalid,
                "/delivery_location/lat",
                "null",
            ),
            (unknown.to_string(), invalid, "/items/0/a~1b~0", "unknown field"),
            (missing.to_string(), invalid, "/items/0/sku", "missing field"),
        ];
        for (text, status, pointer, detail) in cases {
            let refused = refusal(&text).await;
            let start: String = text.chars().take(60).collect();
            assert_eq!(refused.0, status, "{start}");
            if pointer != "none" {
                assert_eq!(refused.1, pointer, "{start}");
            }
            assert!(refused.2.contains(detail), "{start}: {}", refused.2);
            assert!(!refused.2.contains("at line") || status == bad, "{}", refused.2);
        }
    }

    #[test]
    fn what_is_right_is_read_and_an_optional_body_may_be_absent() {
        parse::<OrderBody>(order().to_string().as_bytes()).expect("an order");
        assert_eq!(parse::<Option<CancelBody>>(b" \n").expect("nothing"), None);
        assert!(parse::<Option<CancelBody>>(b"{}").expect("an object").is_some());
        let busy = parse::<AvailabilityBody>(br#"{"state":"BUSY","delay_ms":5}"#).expect("busy");
        assert_eq!(busy, AvailabilityBody::Busy { delay_ms: 5 });
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
        assert!(!is_too_deep(text.as_bytes()));
        assert!(is_too_deep("[".repeat(33).as_bytes()));
        assert!(!is_too_deep(
            format!("{}{}", "[".repeat(32), "]".repeat(32)).repeat(3).as_bytes()
        ));
    }
}
