//! How fast the kitchens' time runs: as the server says, or as configured until it does.

use domain::time::{Millis, Timestamp};
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the server is asked for its clock, until it answers and afterwards.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// The answer of `GET {callback_url}/v1/clock`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct ServerClock {
    now: Timestamp,
    time_scale: u64,
}

#[derive(Clone, Copy)]
struct Anchor {
    clock: ServerClock,
    at: Instant,
}

/// The pace of business time.
pub(super) struct Pace {
    scale: u64,
    anchor: Mutex<Option<Anchor>>,
}

impl Pace {
    pub(super) fn new(scale: u64) -> Self {
        Self {
            scale: scale.max(1),
            anchor: Mutex::new(None),
        }
    }

    /// How long it is from `now` until a ticket is ready that was accepted `elapsed` ago: its cooking time, or until the
    /// moment it is wanted when that is later and the server's clock is known.
    pub(super) fn until_ready(
        &self,
        prep: Millis,
        ready_at: Option<Timestamp>,
        elapsed: Duration,
        now: Instant,
    ) -> Duration {
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let scale = anchor.map_or(self.scale, |anchor| anchor.clock.time_scale.max(1));
        let cooking = Duration::from_millis(prep.0 / scale).saturating_sub(elapsed);
        let wanted = anchor.zip(ready_at).map_or(Duration::ZERO, |(anchor, ready_at)| {
            Duration::from_millis(ready_at.ms_since(anchor.clock.now) / scale)
                .saturating_sub(now.saturating_duration_since(anchor.at))
        });
        cooking.max(wanted)
    }

    fn learn(&self, clock: ServerClock, at: Instant) {
        let anchor = Anchor { clock, at };
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = Some(anchor);
    }

    /// Asks the server for its clock, now and then, until stopped.
    pub(super) async fn follow(&self, client: &reqwest::Client, base_url: &str, stop: &CancellationToken) {
        let url = format!("{}/v1/clock", base_url.trim_end_matches('/'));
        let mut pause = ASK_EVERY;
        loop {
            if let Some(clock) = ask(client, &url).await {
                self.learn(clock, Instant::now());
                pause = ASK_AGAIN;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

async fn ask(client: &reqwest::Client, url: &str) -> Option<ServerClock> {
    let response = client.get(url).send().await.ok()?.error_for_status().ok()?;
    response.json().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooking_runs_at_the_configured_pace_until_the_server_says_another() {
        let pace = Pace::new(10);
        let begin = Instant::now();
        let ready = |elapsed_ms, after_ms| {
            let (elapsed, now) = (
                Duration::from_millis(elapsed_ms),
                begin + Duration::from_millis(after_ms),
            );
            pace.until_ready(Millis(6_000), Some(Timestamp(1_000_000)), elapsed, now)
                .as_millis()
        };
        assert_eq!((ready(0, 0), ready(200, 0), ready(700, 0)), (600, 400, 0));
        pace.learn(
            ServerClock {
                now: Timestamp(0),
                time_scale: 100,
            },
            begin,
        );
        assert_eq!(ready(0, 0), 10_000, "wanted later than it takes");
        assert_eq!((ready(0, 9_980), ready(50, 9_980)), (60, 20));
    }
}
