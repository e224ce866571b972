//! Where webhook subscriptions are kept, and the deliveries that could not be made yet.
//!
//! A delivery that an endpoint takes at the first attempt is never written: the follower's cursor covers it until then.
//! Only what must wait comes here, and stays until it is taken, is dropped with its subscription, or grows too old as a
//! dead letter. What a subscription and a message say is the sender's business; here they are texts.
//!
//! Several nodes share one place. What is kept is whoever's takes it next: a *claim* makes a delivery one node's for a
//! while, and is what an [`Attempted`] one is updated under, so that a node that was away for longer than it had claimed
//! does not undo what the next one did. Nothing is a node's for good: one that dies loses only what was left of its claims.
//!
//! All moments are wall time in milliseconds since the Unix epoch, on which the nodes must agree: to well within the length
//! of a claim. All implementations are held to one contract suite.

mod memory;
mod postgres;
mod sqlite;

pub use memory::MemoryWebhooks;
pub use postgres::PostgresWebhooks;
pub use sqlite::SqliteWebhooks;

use async_trait::async_trait;
use domain::ids::InvalidId;
use domain::ports::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest id of a subscription in bytes.
const ID_BYTES_MAX: usize = 64;

/// A webhook subscription's name: 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'. It is a part of every message's id,
/// which may hold no dot (the signature is over `id.timestamp.body`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WebhookId(String);

impl WebhookId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebhookId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.chars().all(fine) {
            return Err(InvalidId {
                what: "webhook id",
                problem: format!("must be 1 to {ID_BYTES_MAX} characters of a-z, A-Z, 0-9, '-' and '_'"),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WebhookId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A subscription as it is kept. Its `Debug` form does not show the settings, which hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// Its name.
    pub id: WebhookId,
    /// How often it was changed; 1 when it is new.
    pub version: u64,
    /// What it says, JSON.
    pub settings: String,
}

impl fmt::Debug for SubscriptionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionRecord({}, version {})", self.id, self.version)
    }
}

/// What became of a change to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is done; the version now (0: it is removed).
    Done(u64),
    /// The subscription is at another version than was expected (0: there is none). Nothing was done.
    Conflict(u64),
    /// There are as many subscriptions as there may be. Nothing was done.
    Full,
}

/// A message that waits for its next attempt, or was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id: the same over all attempts.
    pub id: String,
    /// Whose.
    pub subscription: WebhookId,
    /// What kind of event it tells of.
    pub event: String,
    /// The message, byte for byte as it is signed.
    pub body: String,
    /// How many attempts failed, since it was kept or replayed.
    pub attempts: u32,
    /// When it is attempted next.
    pub next_at: i64,
    /// When it was given up; `None` while it waits.
    pub dead_at: Option<i64>,
    /// Why the last attempt failed; empty before the first.
    pub error: String,
    /// When the event was committed, if this process learned of it then.
    pub committed_at: Option<i64>,
}

/// A claimed delivery as it stands after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// As it is to be kept.
    pub delivery: Delivery,
    /// The claim it was attempted under: its `next_at` as [`WebhookStore::claim`] gave it.
    pub claim: i64,
}

/// How many deliveries of a subscription are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Those that wait for an attempt.
    pub waiting: u64,
    /// Those that were given up.
    pub dead: u64,
}

/// A place for subscriptions and deliveries.
#[async_trait]
pub trait WebhookStore: Send + Sync + 'static {
    /// All subscriptions, by id.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError>;

    /// Writes a subscription that is at version `expected` (0: there is none yet), and counts the version up. A new one
    /// is refused when there are `count_max` already.
    ///
    /// # Errors
    /// The store is away; then the change was made or it was not.
    async fn put(&self, id: &WebhookId, settings: &str, expected: u64, count_max: usize)
    -> Result<Changed, StoreError>;

    /// Removes a subscription that is at version `expected`, with every delivery that is kept for it.
    ///
    /// # Errors
    /// The store is away; then the change was made or it was not.
    async fn remove(&self, id: &WebhookId, expected: u64) -> Result<Changed, StoreError>;

    /// Keeps deliveries. Those that are kept already stay as they are, and those without a subscription are left out, so
    /// the call may be repeated.
    ///
    /// # Errors
    /// The store is away; some of them may be kept or none.
    async fn keep(&self, deliveries: &[Delivery]) -> Result<(), StoreError>;

    /// Keeps how claimed deliveries stand after an attempt: attempts, next attempt, end and error. Those that are gone
    /// stay gone, and those whose claim has passed to somebody else are theirs: both are left alone. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn update(&self, attempted: &[Attempted]) -> Result<(), StoreError>;

    /// Forgets deliveries that were made. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn forget(&self, ids: &[&str]) -> Result<(), StoreError>;

    /// Takes deliveries of a subscription that are due at `now`, the earliest first, and makes them due again at
    /// `until`: so nobody else attempts them meanwhile, and none is lost if whoever took them dies.
    ///
    /// # Errors
    /// The store is away.
    async fn claim(&self, id: &WebhookId, now: i64, until: i64, limit: usize) -> Result<Vec<Delivery>, StoreError>;

    /// When the next delivery of a subscription is due; `None`: nothing waits.
    ///
    /// # Errors
    /// The store is away.
    async fn next_due(&self, id: &WebhookId) -> Result<Option<i64>, StoreError>;

    /// Dead letters in the order of (subscription, id), after that pair, of one subscription or of all.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn dead(
        &self,
        of: Option<&WebhookId>,
        after: Option<(&WebhookId, &str)>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Makes a dead letter wait again, due at `now` and with all its attempts before it. `None`: there is no such dead
    /// letter (any more).
    ///
    /// # Errors
    /// The store is away.
    async fn replay(&self, id: &str, now: i64) -> Result<Option<WebhookId>, StoreError>;

    /// Drops dead letters that were given up before a moment, and says how many.
    ///
    /// # Errors
    /// The store is away.
    async fn purge(&self, before: i64) -> Result<u64, StoreError>;

    /// How many deliveries are kept for each subscription that has any.
    ///
    /// # Errors
    /// The store is away.
    async fn kept(&self) -> Result<Vec<(WebhookId, Kept)>, StoreError>;
}

/// A delivery as both databases return it.
#[derive(sqlx::FromRow)]
struct Line {
    id: String,
    subscription: String,
    event: String,
    body: Vec<u8>,
    attempts: i32,
    next_at: i64,
    dead_at: Option<i64>,
    error: String,
    committed_at: Option<i64>,
}

impl Line {
    fn read(self) -> Result<Delivery, StoreError> {
        let corrupt = |problem: String| StoreError::Corrupt(format!("delivery {}: {problem}", self.id));
        Ok(Delivery {
            subscription: subscription_id(&self.subscription)?,
            event: self.event,
            body: String::from_utf8(self.body).map_err(|error| corrupt(error.to_string()))?,
            attempts: u32::try_from(self.attempts).map_err(|error| corrupt(error.to_string()))?,
            next_at: self.next_at,
            dead_at: self.dead_at,
            error: self.error,
            committed_at: self.committed_at,
            id: self.id,
        })
    }
}

fn subscription_id(text: &str) -> Result<WebhookId, StoreError> {
    let corrupt = |error: InvalidId| StoreError::Corrupt(error.to_string());
    text.parse().map_err(corrupt)
}

fn subscription((id, version, settings): (String, i64, String)) -> Result<SubscriptionRecord, StoreError> {
    Ok(SubscriptionRecord {
        id: subscription_id(&id)?,
        version: crate::record::unsigned(version)?,
        settings,
    })
}

fn kept((id, waiting, dead): (String, i64, i64)) -> Result<(WebhookId, Kept), StoreError> {
    let kept = Kept {
        waiting: crate::record::unsigned(waiting)?,
        dead: crate::record::unsigned(dead)?,
    };
    Ok((subscription_id(&id)?, kept))
}

fn attempts_code(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}

/// Statements that both databases take as they are.
mod sql {
    pub(super) const SUBSCRIPTIONS: &str = "SELECT id, version, settings FROM webhook_subscriptions ORDER BY id";

    pub(super) const VERSION: &str = "SELECT version FROM webhook_subscriptions WHERE id = $1";

    pub(super) const COUNT: &str = "SELECT count(*) FROM webhook_subscriptions";

    pub(super) const PUT: &str = "
        INSERT INTO webhook_subscriptions (id, version, settings) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET version = excluded.version, settings = excluded.settings";

    pub(super) const REMOVE: &str = "DELETE FROM webhook_subscriptions WHERE id = $1";

    pub(super) const NEXT_DUE: &str =
        "SELECT min(next_at) FROM webhook_deliveries WHERE subscription = $1 AND dead_at IS NULL";

    pub(super) const DEAD: &str = "
        SELECT id, subscription, event, body, attempts, next_at, dead_at, error, committed_at FROM webhook_deliveries
        WHERE dead_at IS NOT NULL AND (subscription, id) > ($1, $2) ORDER BY subscription, id LIMIT $3";

    pub(super) const DEAD_OF: &str = "
        SELECT id, subscription, event, body, attempts, next_at, dead_at, error, committed_at FROM webhook_deliveries
        WHERE dead_at IS NOT NULL AND subscription = $1 AND id > $2 ORDER BY id LIMIT $3";

    pub(super) const REPLAY: &str = "
        UPDATE webhook_deliveries SET dead_at = NULL, attempts = 0, next_at = $2
        WHERE id = $1 AND dead_at IS NOT NULL RETURNING subscription";

    pub(super) const PURGE: &str = "DELETE FROM webhook_deliveries WHERE dead_at < $1";

    pub(super) const KEPT: &str = "
        SELECT subscription, count(*) - count(dead_at), count(dead_at) FROM webhook_deliveries
        GROUP BY subscription ORDER BY subscription";
}
