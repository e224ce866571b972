//! An event in a Kafka message: a `CloudEvent` 1.0 in binary mode (its attributes are headers), in structured mode (the
//! value is all of it), or no `CloudEvent` at all, then only a body.

use super::poison::{self, invalid, malformed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use persistence::{InboundMessage, Poison};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// The media type of structured mode; a format such as `+json` follows.
const STRUCTURED: &str = "application/cloudevents";

/// What a message says before its body is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// Who says that it is the one with this source and id; of two that are the same only the first counts.
    identity: Identity<'a>,
    /// Who reports, as it is written.
    pub(super) reporter: Cow<'a, str>,
    /// The report, JSON.
    pub(super) body: Cow<'a, [u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity<'a> {
    /// The event's own.
    Named { source: Cow<'a, str>, id: Cow<'a, str> },
    /// Where it stands: it is only known again when it is delivered again.
    Place,
}

/// A `CloudEvent` in structured mode.
#[derive(Deserialize)]
struct Structured<'a> {
    specversion: String,
    id: String,
    source: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    data_base64: Option<String>,
}

impl<'a> Event<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no event, or does not say who reports.
    pub(super) fn of(message: &'a InboundMessage) -> Result<Self, Poison> {
        let Some(payload) = message.payload.as_deref() else {
            return Err(malformed("the message has no value"));
        };
        let media_type = text(message, "content-type")?.unwrap_or("application/json");
        let essence = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.strip_prefix(STRUCTURED) {
            Some("+json") => Self::structured(message, payload),
            None if essence == "application/json" || essence.ends_with("+json") => Self::binary(message, payload),
            _ => Err(malformed(format!(
                "the content type is '{essence}'; it must be application/json or {STRUCTURED}+json"
            ))),
        }
    }

    fn binary(message: &'a InboundMessage, payload: &'a [u8]) -> Result<Self, Poison> {
        if let Some(version) = text(message, "ce_specversion")? {
            check_version(version)?;
        }
        let source = text(message, "ce_source")?.unwrap_or_default();
        let identity = match text(message, "ce_id")? {
            Some(id) if !id.is_empty() => Identity::Named {
                source: source.into(),
                id: id.into(),
            },
            _ => Identity::Place,
        };
        let subject = text(message, "ce_subject")?.map(Cow::Borrowed);
        Ok(Self {
            identity,
            reporter: reporter(message, subject)?,
            body: payload.into(),
        })
    }

    fn structured(message: &'a InboundMessage, payload: &'a [u8]) -> Result<Self, Poison> {
        let event: Structured<'a> = poison::parse(payload)?;
        check_version(&event.specversion)?;
        if event.id.is_empty() || event.source.is_empty() {
            return Err(invalid("id and source must not be empty"));
        }
        let body = match (event.data, event.data_base64) {
            (Some(data), None) => data.get().as_bytes().into(),
            (None, Some(data)) => STANDARD
                .decode(data)
                .map_err(|error| invalid(format!("/data_base64: {error}")))?
                .into(),
            _ => return Err(invalid("the event must have either data or data_base64")),
        };
        Ok(Self {
            identity: Identity::Named {
                source: event.source.into(),
                id: event.id.into(),
            },
            reporter: reporter(message, event.subject.map(Cow::Owned))?,
            body,
        })
    }

    /// The key under which the event counts once: a hash, because source and id may be of any length.
    pub(super) fn key(&self, message: &InboundMessage) -> String {
        let parts: [Cow<'_, str>; 3] = match &self.identity {
            Identity::Named { source, id } => ["event".into(), source.as_ref().into(), id.as_ref().into()],
            Identity::Place => {
                let offset = format!("{}:{}", message.partition, message.offset);
                ["place".into(), message.topic.as_str().into(), offset.into()]
            }
        };
        format!("inbound:{}", hash(parts.iter().map(|part| part.as_bytes())))
    }

    /// What the event says, so that another one with the same key is told apart.
    pub(super) fn fingerprint(&self, message: &InboundMessage) -> String {
        hash([message.topic.as_bytes(), self.reporter.as_bytes(), self.body.as_ref()].into_iter())
    }
}

/// A hash of parts, in hexadecimal. Their lengths are part of it.
fn hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The subject says who reports; without one, the key of the message does.
fn reporter<'a>(message: &'a InboundMessage, subject: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Poison> {
    if let Some(subject) = subject.filter(|subject| !subject.is_empty()) {
        return Ok(subject);
    }
    let key = message.key.as_deref().unwrap_or_default();
    match std::str::from_utf8(key) {
        Ok("") => Err(malformed(
            "nobody says who reports: neither ce_subject nor the key is there",
        )),
        Ok(key) => Ok(key.into()),
        Err(_) => Err(malformed("the key is not UTF-8")),
    }
}

fn text<'a>(message: &'a InboundMessage, name: &str) -> Result<Option<&'a str>, Poison> {
    let value = message.header(name).map(std::str::from_utf8);
    value
        .transpose()
        .map_err(|_| malformed(format!("the header {name} is not UTF-8")))
}

fn check_version(version: &str) -> Result<(), Poison> {
    if version.starts_with("1.") {
        Ok(())
    } else {
        let version: String = version.chars().take(16).collect();
        Err(malformed(format!("CloudEvents '{version}' is not known here; 1.0 is")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str, headers: &[(&str, &str)], payload: &str) -> InboundMessage {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
        InboundMessage {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            at_ms: 1_700_000_000_000,
            key: Some(key.as_bytes().to_vec()),
            payload: Some(payload.as_bytes().to_vec()),
            headers: headers.collect(),
        }
    }

    const BINARY: [(&str, &str); 4] = [
        ("ce_specversion", "1.0"),
        ("ce_source", "//kitchen"),
        ("ce_id", "e-1"),
        ("ce_subject", "grill"),
    ];

    #[test]
    fn both_modes_say_the_same() {
        let body = r#"{"type":"ready"}"#;
        let binary = message("someone", &BINARY, body);
        let attributes = r#""specversion":"1.0","id":"e-1","source":"//kitchen","type":"x","subject":"grill""#;
        let whole = format!(r#"{{{attributes},"data":{{"type":"ready"}}}}"#);
        let coded = whole.replace(
            r#""data":{"type":"ready"}"#,
            r#""data_base64":"eyJ0eXBlIjoicmVhZHkifQ==""#,
        );
        let header = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
        for structured in [message("", &header, &whole), message("", &header, &coded)] {
            let (a, b) = (
                Event::of(&binary).expect("an event"),
                Event::of(&structured).expect("an event"),
            );
            assert_eq!((&a, a.key(&binary)), (&b, b.key(&structured)));
            assert_eq!(a.fingerprint(&binary), b.fingerprint(&structured));
            assert_eq!((a.reporter.as_ref(), a.body.as_ref()), ("grill", body.as_bytes()));
        }
    }

    #[test]
    fn without_an_id_it_is_known_by_its_place() {
        let plain = message("grill", &[], "{}");
        let event = Event::of(&plain).expect("an event");
        assert_eq!(event.reporter, "grill");
        let next = InboundMessage {
            offset: 8,
            ..plain.clone()
        };
        assert_eq!(event.key(&plain), Event::of(&plain).expect("an event").key(&plain));
        assert_ne!(event.key(&plain), event.key(&next));
    }

    #[test]
    fn source_and_id_together_are_the_identity() {
        let of = |source: &str, id: &str| {
            let message = message("k", &[("ce_source", source), ("ce_id", id)], "{}");
            Event::of(&message).expect("an event").key(&message)
        };
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_ne!(of("a", "b"), of("b", "a"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_reason() {
        let nothing = InboundMessage::default();
        let structured = [("content-type", "application/cloudevents+json")];
        let cases = [
            (nothing, "no value"),
            (message("", &[], "{}"), "who reports"),
            (message("k", &[("content-type", "text/xml")], "<a/>"), "text/xml"),
            (
                message("k", &[("content-type", "application/cloudevents-batch+json")], "[]"),
                "batch",
            ),
            (message("k", &[("ce_specversion", "0.3")], "{}"), "'0.3'"),
            (message("k", &structured, "{"), "EOF"),
            (message("k", &structured, r#"{"specversion":"1.0","id":"1"}"#), "source"),
            (
                message("k", &structured, r#"{"specversion":"1.0","id":"1","source":"s"}"#),
                "data",
            ),
        ];
        for (message, reason) in cases {
            let poison = Event::of(&message).expect_err(reason);
            assert!(poison.detail.contains(reason), "{}", poison.detail);
        }
    }
}
