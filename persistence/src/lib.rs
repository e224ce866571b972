//! The stores (Postgres, SQLite, memory) and the journal that commits to them in groups.
//!
//! *Architecture invariant*: nothing here knows what an order is. Streams, rows, snapshots and keys are bytes with ids;
//! what they mean is decided in `domain`, which also defines the traits implemented here ([`domain::ports::Store`] and
//! [`domain::ports::Journal`]). All stores are held to one contract suite, `tests/contract/`. The exception is
//! [`projection`], whose table has columns for what lists of orders show.

mod cache;
mod follower;
mod journal;
mod kafka;
mod memory;
mod postgres;
pub mod projection;
mod record;
mod retention;
mod sharding;
mod sqlite;
mod tail;
mod usage;
mod webhooks;

pub use cache::{
    AGE_MAX as STATUS_AGE_MAX, Away, InvalidAddress, Redis, RedisOptions, Standing, StatusCache, StatusEntry,
    TTL as STATUS_TTL,
};
pub use follower::Follower;
pub use journal::{GroupJournal, JournalHandle, JournalOptions};
pub use kafka::{
    Handled, Inbound, InboundError, InboundHandler, InboundMessage, InboundOptions, InvalidProperty, KafkaOptions,
    KafkaSecurity, Poison, Relay, RelayStatus,
};
pub use memory::MemoryStore;
pub use postgres::{PostgresOptions, PostgresStore};
/// The client of Kafka, whose configuration [`KafkaOptions::client`] returns.
pub use rdkafka;
pub use record::KEY_BYTES_MAX;
pub use retention::{ExpiredKeys, ExpiredOrders, Expiry, RetentionOptions, RetentionStore, Sweep, Sweeper, Swept};
pub use sharding::Sharding;
pub use sqlite::{SqliteOptions, SqliteStore};
pub use tail::{Tail, TailRow};
pub use usage::{Usage, usage};
pub use webhooks::{
    Attempted, Changed, Delivery, Kept, MemoryWebhooks, PostgresWebhooks, SqliteWebhooks, SubscriptionRecord,
    WebhookId, WebhookStore,
};

use domain::ports::{Store, StoreError};
use std::path::Path;
use std::sync::Arc;

/// Where a store is, as written in the configuration.
enum Location<'a> {
    Memory,
    Sqlite(&'a Path),
    Postgres(&'a str),
}

impl<'a> Location<'a> {
    fn of(text: &'a str) -> Self {
        if text == "memory:" {
            Self::Memory
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Self::Postgres(text)
        } else {
            let path = text.strip_prefix("sqlite:").unwrap_or(text);
            Self::Sqlite(Path::new(path.strip_prefix("//").unwrap_or(path)))
        }
    }
}

/// Opens the store at a location with default options, and creates or migrates its schema: `memory:`, a
/// `postgres://` address, or the path of a SQLite file (with or without `sqlite:`).
///
/// # Errors
/// The store is away, or was created with another number of shards than is asked for.
pub async fn open(location: &str, sharding: impl Into<Sharding>) -> Result<Arc<dyn Store>, StoreError> {
    let sharding = sharding.into();
    Ok(match Location::of(location) {
        Location::Memory => Arc::new(MemoryStore::new(sharding.of_a_new_store())),
        Location::Sqlite(path) => Arc::new(SqliteStore::open(path, sharding, &SqliteOptions::default()).await?),
        Location::Postgres(url) => Arc::new(PostgresStore::connect(url, sharding, &PostgresOptions::default()).await?),
    })
}

/// Brings the schema of the store at a location (see [`open`]) up to date. Idempotent.
///
/// # Errors
/// The store is away, or a migration that it has seen was changed since.
pub async fn migrate(location: &str) -> Result<(), StoreError> {
    match Location::of(location) {
        Location::Memory => Ok(()),
        Location::Sqlite(path) => SqliteStore::migrate(path).await,
        Location::Postgres(url) => PostgresStore::migrate(url).await,
    }
}
