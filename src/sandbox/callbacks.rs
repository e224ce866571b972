//! Callbacks to the server: signed, and sent again until it has them, does not want them, or too long has passed.

use super::config::SandboxConfig;
use super::ledger::LedgerError;
use crate::participants::signature::{self, Keyring};
use crate::participants::wall::WallClock;
use domain::ids::OrderId;
use domain::saga::EffectKey;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most callbacks on their way at a time.
const CONCURRENT_MAX: usize = 128;
/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// How long a callback is tried.
const AGE_MAX: Duration = Duration::from_mins(10);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What a kitchen reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// It takes the ticket.
    Accepted,
    /// It does not.
    Rejected,
    /// It cooks.
    Preparing,
    /// The food is ready.
    Ready,
    /// It drops the ticket that it had accepted.
    Cancelled,
}

impl EventType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The body of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KitchenEvent {
    /// Names the event for ever: the same each time it is sent.
    pub event_id: String,
    /// The order.
    pub order_id: OrderId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Why, with a rejection or a cancel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// The server has it.
    Taken,
    /// The server does not want it.
    Unwanted,
    /// It was tried for long enough.
    GivenUp,
}

/// Sends callbacks.
pub(super) struct Teller {
    pub(super) client: reqwest::Client,
    pub(super) base_url: String,
    keyring: Option<Keyring>,
    wall: WallClock,
    places: Semaphore,
}

impl Teller {
    /// A teller to the configured server, if there is one.
    pub(super) fn of(config: &SandboxConfig, keyring: Option<Keyring>, wall: WallClock) -> Option<Self> {
        let base_url = config.callback_url.as_deref()?.trim_end_matches('/').to_owned();
        let builder = reqwest::Client::builder().timeout(ATTEMPT_MAX).no_proxy();
        let client = builder.redirect(reqwest::redirect::Policy::none()).build().ok()?;
        Some(Self {
            client,
            base_url,
            keyring,
            wall,
            places: Semaphore::new(CONCURRENT_MAX),
        })
    }

    /// Tells the server until it is told.
    pub(super) async fn tell(&self, channel: &str, event: &KitchenEvent) -> Hearing {
        let since = Instant::now();
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.attempt(channel, event).await {
                Ok(status) if status.is_success() => return Hearing::Taken,
                Ok(status) if is_final(status) => return Hearing::Unwanted,
                Ok(_) | Err(_) if since.elapsed() >= AGE_MAX => return Hearing::GivenUp,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn attempt(&self, channel: &str, event: &KitchenEvent) -> Result<StatusCode, reqwest::Error> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        let body = serde_json::to_vec(event).unwrap_or_default();
        let url = format!("{}/v1/channels/{channel}/events", self.base_url);
        let mut post = self.client.post(url).header(CONTENT_TYPE, "application/json");
        if let Some(keyring) = &self.keyring {
            let timestamp_s = (self.wall)().div_euclid(1_000);
            let signature = keyring.sign(&event.event_id, timestamp_s, &body);
            post = post
                .header(signature::ID, &event.event_id)
                .header(signature::TIMESTAMP, timestamp_s);
            post = post.header(signature::SIGNATURE, signature);
        }
        Ok(post.body(body).send().await?.status())
    }
}

/// A refusal that asking again does not change.
fn is_final(status: StatusCode) -> bool {
    let again = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !again.contains(&status)
}

/// Which tickets have nothing more to tell: a file beside the ledger with a key in each line. It is not synced: what a crash
/// takes from it is told once more.
pub(super) struct Finished {
    before: HashSet<EffectKey>,
    file: Mutex<File>,
}

impl Finished {
    pub(super) fn open(ledger: &Path) -> Result<Self, LedgerError> {
        let mut name = ledger.as_os_str().to_owned();
        name.push(".told");
        let path = Path::new(&name);
        let io = |source| LedgerError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        let text = String::from_utf8_lossy(&std::fs::read(path).map_err(io)?).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(io)?;
        }
        let before = text.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Self {
            before,
            file: Mutex::new(file),
        })
    }

    /// Whether a ticket had nothing more to tell when the file was opened.
    pub(super) fn knows(&self, key: &EffectKey) -> bool {
        self.before.contains(key)
    }

    /// The same without what was read: it is needed only once.
    pub(super) fn emptied(self) -> Self {
        Self {
            before: HashSet::new(),
            ..self
        }
    }

    /// A ticket has nothing more to tell. A failure to write it down means only that it is told again.
    pub(super) fn add(&self, key: &EffectKey) {
        let line = format!("{key}\n");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
    }
}
