//! What can go wrong with a request, in words for people.

use domain::rejection::FieldError;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Why a request failed. The texts say what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one of an HTTP server.
    #[error("'{url}' is not a server's address: {problem}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The machinery for requests cannot be set up.
    #[error("cannot prepare requests")]
    Setup(#[source] reqwest::Error),
    /// The request cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Body(#[source] serde_json::Error),
    /// Nobody listens there.
    #[error("cannot reach {url}: is `uoop serve` running?")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The server does not answer in time.
    #[error("no answer from {url} within {} ms", .after.as_millis())]
    Timeout {
        /// The server's address.
        url: String,
        /// How long an answer was waited for.
        after: Duration,
    },
    /// The connection broke before the whole answer was there.
    #[error("the connection to {url} broke")]
    Broken {
        /// The server's address.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// A stream ended before what it told of did.
    #[error("the stream from {url} ended early")]
    StreamEnded {
        /// The server's address.
        url: String,
    },
    /// The server says no.
    #[error("{problem}")]
    Refused {
        /// Its reasons.
        problem: Box<Problem>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the interface promises.
    #[error("the answer from {url} is not understood: {problem}")]
    Answer {
        /// The server's address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Repetition did not help.
    #[error("{last} (gave up after {attempts} attempts in {} ms)", .waited.as_millis())]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// What was wrong the last time.
        last: Box<ClientError>,
    },
}

impl ClientError {
    /// The HTTP status the server refused with, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { problem, .. } => Some(problem.status),
            Self::GaveUp { last, .. } => last.status(),
            _ => None,
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Broken { .. } | Self::StreamEnded { .. } => true,
            Self::Refused { problem, .. } => problem.is_transient(),
            _ => false,
        }
    }

    /// When the server wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A problem as the server describes it (RFC 9457), with the faulty fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// Which kind of problem: a URI reference.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status; 0 in a problem that does not repeat it.
    #[serde(default)]
    pub status: u16,
    /// What is wrong this time.
    #[serde(default)]
    pub detail: String,
    /// The faulty fields.
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

/// Longest part of a foreign answer that is repeated in an error, in characters.
const QUOTED_CHARS_MAX: usize = 200;

impl Problem {
    /// Whether the server is busy, away, or still at an earlier attempt under the same `Idempotency-Key`.
    fn is_transient(&self) -> bool {
        match self.status {
            409 => self.kind.ends_with("in-progress"),
            status => matches!(status, 408 | 429 | 502 | 503 | 504),
        }
    }

    /// The problem an answer describes; what a proxy or another server says is quoted.
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Self>(body) {
            Ok(problem) if !(problem.title.is_empty() && problem.detail.is_empty()) => Self { status, ..problem },
            _ => Self {
                kind: String::new(),
                title: String::new(),
                status,
                detail: String::from_utf8_lossy(body)
                    .trim()
                    .chars()
                    .take(QUOTED_CHARS_MAX)
                    .collect(),
                errors: Vec::new(),
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => "the server gives no reason",
            ("", title) => title,
            (detail, _) => detail,
        };
        write!(f, "{what} (HTTP {})", self.status)?;
        for error in &self.errors {
            // The pointer "" is the whole body.
            let pointer = if error.pointer.is_empty() { "/" } else { &error.pointer };
            write!(f, "; {pointer}: {}", error.detail)?;
        }
        Ok(())
    }
}
