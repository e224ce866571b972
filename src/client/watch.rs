//! Following an order over its stream.

use super::sse::{Event, Parser};
use super::transport::{Call, refusal};
use super::{Client, ClientError};
use crate::api::OrderView;
use reqwest::{Response, StatusCode};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a stream may be silent before it counts as broken. The server's heartbeats are far closer.
const SILENCE_MAX: Duration = Duration::from_mins(1);

impl Client {
    /// Follows an order until it is settled, and returns how it ended. `seen` gets each version once, in order. A
    /// stream that breaks is taken up again behind the last version seen.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know the order, or
    /// [`ClientError::GaveUp`] when no stream can be had for as long as the policy's patience lasts.
    pub async fn watch(&self, id: &str, mut seen: impl FnMut(&OrderView)) -> Result<OrderView, ClientError> {
        let mut last_version = None;
        let mut attempts = 0;
        let mut silent_since = Instant::now();
        loop {
            let failure = match self.follow(id, &mut last_version, &mut seen).await {
                Ok(settled) => return Ok(settled),
                Err(Ended { progress, failure }) => {
                    if progress {
                        attempts = 0;
                        silent_since = Instant::now();
                    }
                    failure
                }
            };
            if !failure.is_transient() {
                return Err(failure);
            }
            attempts += 1;
            let pause = self.retry.pause(attempts, failure.retry_after(), self.next_spread());
            if silent_since.elapsed() + pause > self.retry.give_up {
                return Err(ClientError::GaveUp {
                    attempts,
                    waited: silent_since.elapsed(),
                    last: Box::new(failure),
                });
            }
            self.figures.retries.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
        }
    }

    /// Follows one stream until the order is settled or the stream ends.
    async fn follow(
        &self,
        id: &str,
        last_version: &mut Option<u64>,
        seen: &mut impl FnMut(&OrderView),
    ) -> Result<OrderView, Ended> {
        let mut progress = false;
        let mut parser = Parser::default();
        let mut response = self
            .open(id, *last_version)
            .await
            .map_err(|failure| Ended { progress, failure })?;
        if response.status() == StatusCode::NO_CONTENT {
            // Settled, and nothing is new since the last version.
            return self.order(id).await.map_err(|failure| Ended { progress, failure });
        }
        loop {
            let ended = |failure| Ended { progress, failure };
            let events = self.events_of(&mut response, &mut parser).await.map_err(ended)?;
            let views = events
                .iter()
                .map(|event| self.view(event))
                .collect::<Result<Vec<_>, _>>();
            for view in views.map_err(ended)? {
                progress = true;
                if last_version.is_none_or(|last| view.version > last) {
                    *last_version = Some(view.version);
                    seen(&view);
                }
                if view.settled {
                    return Ok(view);
                }
            }
        }
    }

    async fn open(&self, id: &str, last_version: Option<u64>) -> Result<Response, ClientError> {
        let path = ["v1", "orders", id, "stream"];
        let mut request = self.request(&Call::get(&path)).header("accept", "text/event-stream");
        if let Some(version) = last_version {
            request = request.header("last-event-id", version.to_string());
        }
        let patience = self.retry.attempt_timeout;
        let mut response = timeout(patience, request.send())
            .await
            .map_err(|_| self.silence(patience))?
            .map_err(|error| self.failure(error, patience))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let body = timeout(patience, response.chunk()).await;
        let body = body.ok().and_then(Result::ok).flatten().unwrap_or_default();
        Err(refusal(&response, &body))
    }

    /// The next events; none when what came completes none.
    async fn events_of(&self, response: &mut Response, parser: &mut Parser) -> Result<Vec<Event>, ClientError> {
        let chunk = timeout(SILENCE_MAX, response.chunk())
            .await
            .map_err(|_| self.silence(SILENCE_MAX))?
            .map_err(|error| self.failure(error, SILENCE_MAX))?
            .ok_or_else(|| ClientError::StreamEnded {
                url: self.url().to_owned(),
            })?;
        parser
            .feed(&chunk)
            .map_err(|_| self.misunderstood("a line of the stream is too long".to_owned()))
    }

    fn view(&self, event: &Event) -> Result<OrderView, ClientError> {
        serde_json::from_str(&event.data).map_err(|error| {
            let id = event.id.as_deref().unwrap_or("without id");
            self.misunderstood(format!("event {id} of the stream: {error}"))
        })
    }

    fn silence(&self, after: Duration) -> ClientError {
        ClientError::Timeout {
            url: self.url().to_owned(),
            after,
        }
    }

    fn misunderstood(&self, problem: String) -> ClientError {
        ClientError::Answer {
            url: self.url().to_owned(),
            problem,
        }
    }
}

/// Why a stream ended before the order did.
struct Ended {
    /// Whether it brought anything.
    progress: bool,
    failure: ClientError,
}
