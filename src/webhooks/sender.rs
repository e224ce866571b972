//! One attempt: a signed `POST`, and what its answer means.

use super::guard::{Guard, Refused};
use super::moments::retry_after_ms;
use super::subscription::Target;
use crate::participants::signature;
use crate::participants::wall::WallClock;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use std::time::Duration;

/// Most bytes of an answer that are read. What it says is not looked at: a connection that is read to its end can be
/// used again.
const ANSWER_BYTES_MAX: usize = 4 * 1_024;
/// Longest text that is kept of a failure.
const ERROR_BYTES_MAX: usize = 300;
/// Idle connections that are kept open to one endpoint.
const IDLE_MAX: usize = 8;

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint took it (2xx).
    Delivered,
    /// It did not.
    Failed {
        /// Why, for people.
        error: String,
        /// How long it asked us to wait, in milliseconds.
        asked_ms: Option<u64>,
    },
    /// It wants no more messages, ever (410).
    Gone,
}

impl Outcome {
    fn failed(error: impl Into<String>) -> Self {
        let mut error = error.into();
        let end = (0..=ERROR_BYTES_MAX).rev().find(|at| error.is_char_boundary(*at));
        error.truncate(end.unwrap_or(0).min(error.len()));
        Self::Failed { error, asked_ms: None }
    }
}

/// Makes attempts. All of them share one set of connections.
pub(super) struct Sender {
    client: reqwest::Client,
    guard: Guard,
    wall: WallClock,
}

impl Sender {
    /// A sender that calls whom the guard admits, and waits so long for each.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub(super) fn new(guard: Guard, timeout: Duration, wall: WallClock) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(IDLE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(guard)
            .user_agent(concat!("uoop/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard, wall })
    }

    /// Posts a message and waits for the answer's head.
    pub(super) async fn attempt(&self, target: &Target, id: &str, body: &str) -> Outcome {
        // What was allowed when it was written may not be any more, and no resolver sees a literal address.
        if let Err(refused) = self.guard.check(target.url.as_str()) {
            return Outcome::failed(format!("the URL {refused}"));
        }
        let timestamp_s = (self.wall)().div_euclid(1_000);
        let post = self
            .client
            .post(target.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(signature::ID, id)
            .header(signature::TIMESTAMP, timestamp_s)
            .header(
                signature::SIGNATURE,
                target.keyring.sign(id, timestamp_s, body.as_bytes()),
            );
        match post.body(body.to_owned()).send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => Outcome::failed(reason(&error)),
        }
    }

    async fn judge(&self, mut response: Response) -> Outcome {
        let status = response.status();
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let asked_ms = asked.and_then(|value| retry_after_ms(value, (self.wall)()));
        let mut read = 0;
        while let Ok(Some(part)) = response.chunk().await {
            read += part.len();
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        match status {
            status if status.is_success() => Outcome::Delivered,
            StatusCode::GONE => Outcome::Gone,
            status => Outcome::Failed {
                error: format!("answered {}", status.as_u16()),
                asked_ms,
            },
        }
    }
}

/// Why there was no answer. Names neither the URL, which may hold a token, nor what it resolved to.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut text = String::new();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return format!("the URL {refused}");
        }
        // The outermost names the URL, the innermost what happened.
        text = error.to_string();
        cause = error.source();
    }
    format!("no answer: {text}")
}
