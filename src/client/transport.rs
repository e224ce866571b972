//! One request: built, sent, repeated, read.

use super::retry::spread;
use super::{Client, ClientError, Problem};
use reqwest::header::{CONTENT_TYPE, HeaderMap, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    /// Names and values.
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Vec<u8>>,
    /// The `Idempotency-Key`.
    pub(super) key: Option<&'a str>,
    /// `Prefer: wait`, in seconds.
    pub(super) wait_s: Option<u32>,
    /// Only if there is nothing there yet.
    pub(super) create: bool,
}

impl<'a> Call<'a> {
    pub(super) const fn of(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: None,
            key: None,
            wait_s: None,
            create: false,
        }
    }

    pub(super) const fn get(path: &'a [&'a str]) -> Self {
        Self::of(Method::GET, path)
    }

    /// Whether sending it twice does no more than sending it once.
    fn is_repeatable(&self) -> bool {
        self.method != Method::POST || self.key.is_some()
    }
}

/// The body of an answer that is not an error.
pub(super) struct Answer {
    url: String,
    body: Vec<u8>,
}

impl Answer {
    /// The body as text; what is not UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Answer {
            url: self.url.clone(),
            problem: error.to_string(),
        })
    }
}

pub(super) fn parse_base(url: &str) -> Result<Url, ClientError> {
    let wrong = |problem: String| ClientError::Address {
        url: url.to_owned(),
        problem,
    };
    let base = Url::parse(url).map_err(|error| wrong(format!("{error}; it looks like http://127.0.0.1:8080")))?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(wrong("it must begin with http:// or https://".to_owned()));
    }
    Ok(base)
}

pub(super) fn build(base: &Url) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("uoop/", env!("CARGO_PKG_VERSION")));
    if is_loopback(base) {
        // A proxy that the environment names cannot reach this machine's own addresses.
        builder = builder.no_proxy();
    }
    if base.scheme() == "http" {
        // No certificates are needed, so none need be installed.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(ClientError::Setup)
}

fn is_loopback(base: &Url) -> bool {
    base.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

impl Client {
    /// Sends a request, repeatedly if that is allowed and helps.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if call.is_repeatable() && failure.is_transient() => failure,
                Err(failure) => return Err(failure),
            };
            let pause = self.retry.pause(attempts, failure.retry_after(), self.next_spread());
            if began.elapsed() + pause > self.retry.give_up {
                return Err(ClientError::GaveUp {
                    attempts,
                    waited: began.elapsed(),
                    last: Box::new(failure),
                });
            }
            self.figures.retries.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let wait = Duration::from_secs(call.wait_s.unwrap_or_default().into());
        let timeout = self.retry.attempt_timeout + wait;
        let failed = |error| self.failure(error, timeout);
        let mut response = self.request(call).timeout(timeout).send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Answer {
                    url: self.url().to_owned(),
                    problem: format!("it is longer than {ANSWER_BYTES_MAX} bytes"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            let url = response.url().to_string();
            return Ok(Answer { url, body });
        }
        Err(refusal(&response, &body))
    }

    pub(super) fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = self.http.request(call.method.clone(), url);
        if let Some(key) = call.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(seconds) = call.wait_s {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        if call.create {
            request = request.header(IF_NONE_MATCH, "*");
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request
    }

    /// What a failure of the transport means.
    pub(super) fn failure(&self, source: reqwest::Error, after: Duration) -> ClientError {
        let url = self.url().to_owned();
        if source.is_builder() {
            // A key or an id that cannot be sent: no attempt was made, and none would succeed.
            ClientError::Setup(source)
        } else if source.is_connect() {
            ClientError::Unreachable { url, source }
        } else if source.is_timeout() {
            ClientError::Timeout { url, after }
        } else {
            ClientError::Broken { url, source }
        }
    }

    pub(super) fn next_spread(&self) -> f64 {
        spread(self.figures.spread.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an answer with an error status means.
pub(super) fn refusal(response: &Response, body: &[u8]) -> ClientError {
    ClientError::Refused {
        problem: Box::new(Problem::read(response.status().as_u16(), body)),
        retry_after: retry_after(response.headers()),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
