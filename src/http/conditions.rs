//! The headers that condition a request: `If-Match`, `If-None-Match`, `Idempotency-Key` and `Prefer`.

use super::problem::{Kind, Problem};
use actors::IdempotencyKey;
use axum::http::header::{GetAll, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use domain::ids::Seq;
use domain::time::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::Duration;

/// `Idempotency-Key` (IETF draft-07).
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `Prefer` (RFC 7240).
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// `Preference-Applied` (RFC 7240).
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Longest wait that `Prefer: wait` gets, in seconds.
pub(super) const WAIT_S_MAX: u64 = 30;

const KEY_BYTES_MAX: usize = 255;

/// What `If-Match` (and, for creation, `If-None-Match: *`) demands of the present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Nothing.
    Unconditional,
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
    /// It is at this version.
    Version(Seq),
}

impl IfMatch {
    /// Reads both headers.
    ///
    /// # Errors
    /// 400 if they cannot be read or are not supported; 412 if no version can match.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let malformed = |text: String| Problem::new(Kind::MalformedRequest, text);
        let creates = match only(&headers.get_all(IF_NONE_MATCH), "If-None-Match")? {
            None => false,
            Some("*") => true,
            Some(_) => {
                return Err(malformed(
                    "If-None-Match on a change can only be *: create, do not replace".into(),
                ));
            }
        };
        let Some(text) = only(&headers.get_all(IF_MATCH), "If-Match")? else {
            return Ok(if creates { Self::Absent } else { Self::Unconditional });
        };
        if creates {
            return Err(malformed("If-Match and If-None-Match exclude each other".into()));
        }
        if text == "*" {
            return Ok(Self::Exists);
        }
        if text.starts_with("W/") {
            let text =
                "If-Match compares strongly and a weak tag (W/…) never matches: send the ETag as it was received";
            return Err(Problem::new(Kind::PreconditionFailed, text));
        }
        let tag = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|tag| !tag.contains('"'));
        let Some(tag) = tag else {
            let text = "If-Match must be one ETag as it was received, in quotes such as \"12\", or *";
            return Err(malformed(text.into()));
        };
        let none = |_| Problem::new(Kind::PreconditionFailed, "If-Match names an ETag that is none of ours");
        tag.parse().map(|version| Self::Version(Seq(version))).map_err(none)
    }

    /// The version that the platform is to insist on; 0 stands for what does not exist.
    pub(super) const fn version(self) -> Option<Seq> {
        match self {
            Self::Unconditional | Self::Exists => None,
            Self::Absent => Some(Seq(0)),
            Self::Version(version) => Some(version),
        }
    }
}

/// The value of a header that may come once.
fn only<'a>(values: &GetAll<'a, HeaderValue>, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = values.iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(Problem::new(
            Kind::MalformedRequest,
            format!("{name} must come once and be visible ASCII"),
        )),
    }
}

/// The entity tag of a version.
pub(super) fn etag(version: Seq) -> HeaderValue {
    // Digits in quotes are always a header value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The entity tag of what shows a version as it looks from a moment on.
pub(super) fn etag_at(version: Seq, since: Timestamp) -> HeaderValue {
    let text = format!("\"{version}@{}\"", since.as_ms());
    HeaderValue::from_str(&text).unwrap_or_else(|_| etag(version))
}

/// Whether `If-None-Match` of a read names this version, by weak comparison: then nothing needs to be sent.
pub(super) fn is_unchanged(headers: &HeaderMap, version: Seq) -> bool {
    names(headers, &etag(version))
}

/// Whether `If-None-Match` of a read names this entity tag, by weak comparison.
pub(super) fn names(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let names = |tag: &str| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.as_bytes() == etag.as_bytes()
    };
    let values = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(names)
}

/// Reads `Idempotency-Key`, quoted as the draft has it or bare as most send it, and fingerprints the request.
///
/// # Errors
/// 400 if it is not 1 to 255 visible ASCII characters.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(text) = only(&headers.get_all(IDEMPOTENCY_KEY), "Idempotency-Key")? else {
        return Ok(None);
    };
    let key = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters, such as a UUID");
        return Err(Problem::new(Kind::MalformedRequest, text));
    }
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        fingerprint: fingerprint(method, path, body),
    }))
}

/// SHA-256 over method, path and body, which cannot run together: neither method nor path holds a line break.
fn fingerprint(method: &Method, path: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), b"\n", path.as_bytes(), b"\n", body] {
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// How long `Prefer: wait=N` asks to wait, at most [`WAIT_S_MAX`]. What cannot be read is ignored, as RFC 7240 has it.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let wait = |preference: &str| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = name
            .trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim().trim_matches('"'))?;
        seconds.parse::<u64>().ok()
    };
    let seconds = values.flat_map(|value| value.split(',')).find_map(wait)?;
    Some(Duration::from_secs(seconds.min(WAIT_S_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header value"))])
    }

    #[test]
    fn if_match_is_a_version_a_star_or_refused() {
        let read = |text: &str| IfMatch::of(&headers(IF_MATCH, text)).map_err(|problem| problem.status());
        assert_eq!(read("\"12\""), Ok(IfMatch::Version(Seq(12))));
        assert_eq!(read("*"), Ok(IfMatch::Exists));
        assert_eq!(
            IfMatch::of(&HeaderMap::new()).map_err(|p| p.status()),
            Ok(IfMatch::Unconditional)
        );
        for (text, status) in [
            ("W/\"12\"", StatusCode::PRECONDITION_FAILED),
            ("\"abc\"", StatusCode::PRECONDITION_FAILED),
            ("12", StatusCode::BAD_REQUEST),
            ("\"1\", \"2\"", StatusCode::BAD_REQUEST),
            ("\"", StatusCode::BAD_REQUEST),
            ("", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(read(text), Err(status), "{text}");
        }
        let mut twice = headers(IF_MATCH, "\"1\"");
        twice.append(IF_MATCH, HeaderValue::from_static("\"2\""));
        assert_eq!(
            IfMatch::of(&twice).map_err(|p| p.status()),
            Err(StatusCode::BAD_REQUEST)
        );
    }

    #[test]
    fn creation_is_asked_for_with_a_star() {
        let read = |text: &str| IfMatch::of(&headers(IF_NONE_MATCH, text)).map_err(|problem| problem.status());
        assert_eq!(read("*"), Ok(IfMatch::Absent));
        assert_eq!(IfMatch::Absent.version(), Some(Seq(0)));
        assert_eq!(read("\"3\""), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_read_compares_weakly_and_takes_lists() {
        let unchanged = |text: &str| is_unchanged(&headers(IF_NONE_MATCH, text), Seq(3));
        assert!(unchanged("\"3\"") && unchanged("W/\"3\"") && unchanged("\"2\", \"3\"") && unchanged("*"));
        assert!(!unchanged("\"2\"") && !unchanged("3") && !unchanged("\"33\""));
    }

    #[test]
    fn keys_are_visible_ascii_quoted_or_not_and_bodies_are_told_apart() {
        let read = |text: &str, body: &[u8]| {
            idempotency_key(&headers(IDEMPOTENCY_KEY, text), &Method::POST, "/v1/orders", body).map_err(|p| p.status())
        };
        let bare = read("abc", b"{}").expect("fine").expect("a key");
        assert_eq!(bare.key, "abc");
        assert_eq!(bare.fingerprint.len(), 64);
        assert_eq!(read("\"abc\"", b"{}").expect("fine").expect("a key").key, "abc");
        assert_ne!(
            read("abc", b"{ }").expect("fine").expect("a key").fingerprint,
            bare.fingerprint
        );
        assert!(read(&"k".repeat(255), b"").is_ok());
        for text in ["", "\"\"", "a b", &"k".repeat(256)] {
            assert_eq!(read(text, b"").map(drop), Err(StatusCode::BAD_REQUEST), "{text}");
        }
    }

    #[test]
    fn a_wait_is_capped_and_nonsense_is_ignored() {
        let wait = |text: &str| preferred_wait(&headers(PREFER, text)).map(|wait| wait.as_secs());
        assert_eq!(wait("wait=5"), Some(5));
        assert_eq!(wait("respond-async, Wait=\"7\"; foo=1"), Some(7));
        assert_eq!(wait("wait=9000"), Some(WAIT_S_MAX));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("return=minimal"), None);
    }
}
