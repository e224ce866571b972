//! Webhooks of the embedded store: a SQLite file of their own, `webhooks.db` beside the orders'.
//!
//! A file of its own has a writer of its own: an endpoint that is down, and costs a commit for each attempt, takes
//! nothing from the thread that commits orders.

use super::{
    Attempted, Changed, Delivery, Kept, Line, SubscriptionRecord, WebhookId, WebhookStore, attempts_code, kept, sql,
    subscription, subscription_id,
};
use crate::record::{self, migration_error, read_error};
use async_trait::async_trait;
use domain::ports::StoreError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, SqlitePool, Transaction};
use std::path::Path;
use std::time::Duration;

/// How long to wait for another process that holds the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 2;

/// The schema's migrations; a later version's are left alone.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("../migrations/sqlite_webhooks");
    migrations.set_ignore_missing(true);
    migrations
}

/// Subscriptions and deliveries in a SQLite file, every change synced to disk.
pub struct SqliteWebhooks {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteWebhooks {
    /// Opens the file, creating it and its folder when they are missing, and migrates its schema.
    ///
    /// # Errors
    /// It cannot be opened or written, or a migration that it has seen was changed since.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            let problem = |error| StoreError::Unavailable(format!("cannot create {}: {error}", folder.display()));
            tokio::fs::create_dir_all(folder).await.map_err(problem)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .disable_statement_logging();
        let writing = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let problem = |error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display()));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(writing)
            .await
            .map_err(problem)?;
        migrations()
            .run(&writer)
            .await
            .map_err(|error| migration_error(&error))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        // Takes the write lock first, so that what is read is still so when it is written.
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| read_error(&error))
    }
}

async fn commit(transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(|error| read_error(&error))
}

async fn version(transaction: &mut Transaction<'static, Sqlite>, id: &WebhookId) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar(sql::VERSION).bind(id.as_str());
    let version: Option<i64> = query
        .fetch_optional(&mut **transaction)
        .await
        .map_err(|error| read_error(&error))?;
    record::unsigned(version.unwrap_or(0))
}

#[async_trait]
impl WebhookStore for SqliteWebhooks {
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError> {
        let found = sqlx::query_as(sql::SUBSCRIPTIONS).fetch_all(&self.readers).await;
        let found = found.map_err(|error| read_error(&error))?;
        found.into_iter().map(subscription).collect()
    }

    async fn put(
        &self,
        id: &WebhookId,
        settings: &str,
        expected: u64,
        count_max: usize,
    ) -> Result<Changed, StoreError> {
        let mut transaction = self.begin().await?;
        let version = version(&mut transaction, id).await?;
        if version != expected {
            return Ok(Changed::Conflict(version));
        }
        if version == 0 {
            let count: i64 = sqlx::query_scalar(sql::COUNT)
                .fetch_one(&mut *transaction)
                .await
                .map_err(|error| read_error(&error))?;
            if count >= record::limit(count_max) {
                return Ok(Changed::Full);
            }
        }
        let put = sqlx::query(sql::PUT)
            .bind(id.as_str())
            .bind(record::bound(version + 1))
            .bind(settings);
        put.execute(&mut *transaction)
            .await
            .map_err(|error| read_error(&error))?;
        commit(transaction).await?;
        Ok(Changed::Done(version + 1))
    }

    async fn remove(&self, id: &WebhookId, expected: u64) -> Result<Changed, StoreError> {
        let mut transaction = self.begin().await?;
        let version = version(&mut transaction, id).await?;
        if version != expected || version == 0 {
            return Ok(Changed::Conflict(version));
        }
        let remove = sqlx::query(sql::REMOVE).bind(id.as_str());
        remove
            .execute(&mut *transaction)
            .await
            .map_err(|error| read_error(&error))?;
        commit(transaction).await?;
        Ok(Changed::Done(0))
    }

    async fn keep(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let keep = "
            INSERT INTO webhook_deliveries
                (id, subscription, event, body, attempts, next_at, dead_at, error, committed_at)
            SELECT $1, id, $3, $4, $5, $6, $7, $8, $9 FROM webhook_subscriptions WHERE id = $2
            ON CONFLICT (id) DO NOTHING";
        let mut transaction = self.begin().await?;
        for delivery in deliveries {
            let query = sqlx::query(keep)
                .bind(&delivery.id)
                .bind(delivery.subscription.as_str())
                .bind(&delivery.event)
                .bind(delivery.body.as_bytes())
                .bind(attempts_code(delivery.attempts))
                .bind(delivery.next_at)
                .bind(delivery.dead_at)
                .bind(&delivery.error)
                .bind(delivery.committed_at);
            let kept = query.execute(&mut *transaction).await;
            kept.map_err(|error| read_error(&error))?;
        }
        commit(transaction).await
    }

    async fn update(&self, attempted: &[Attempted]) -> Result<(), StoreError> {
        let update = "
            UPDATE webhook_deliveries SET attempts = $2, next_at = $3, dead_at = $4, error = $5
            WHERE id = $1 AND next_at = $6 AND dead_at IS NULL";
        let mut transaction = self.begin().await?;
        for Attempted { delivery, claim } in attempted {
            let query = sqlx::query(update)
                .bind(&delivery.id)
                .bind(attempts_code(delivery.attempts))
                .bind(delivery.next_at)
                .bind(delivery.dead_at)
                .bind(&delivery.error)
                .bind(claim);
            let updated = query.execute(&mut *transaction).await;
            updated.map_err(|error| read_error(&error))?;
        }
        commit(transaction).await
    }

    async fn forget(&self, ids: &[&str]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for id in ids {
            let query = sqlx::query("DELETE FROM webhook_deliveries WHERE id = $1").bind(*id);
            let forgotten = query.execute(&mut *transaction).await;
            forgotten.map_err(|error| read_error(&error))?;
        }
        commit(transaction).await
    }

    async fn claim(&self, id: &WebhookId, now: i64, until: i64, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let claim = "
            UPDATE webhook_deliveries SET next_at = $3 WHERE id IN (
                SELECT id FROM webhook_deliveries WHERE subscription = $1 AND dead_at IS NULL AND next_at <= $2
                ORDER BY next_at, id LIMIT $4
            )
            RETURNING id, subscription, event, body, attempts, next_at, dead_at, error, committed_at";
        let query = sqlx::query_as(claim).bind(id.as_str()).bind(now).bind(until);
        let found: Vec<Line> = query
            .bind(record::limit(limit))
            .fetch_all(&self.writer)
            .await
            .map_err(|error| read_error(&error))?;
        found.into_iter().map(Line::read).collect()
    }

    async fn next_due(&self, id: &WebhookId) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query_scalar(sql::NEXT_DUE).bind(id.as_str());
        query.fetch_one(&self.readers).await.map_err(|error| read_error(&error))
    }

    async fn dead(
        &self,
        of: Option<&WebhookId>,
        after: Option<(&WebhookId, &str)>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (after_subscription, after_id) = after.map_or(("", ""), |(subscription, id)| (subscription.as_str(), id));
        let query = match of {
            Some(of) => sqlx::query_as(sql::DEAD_OF).bind(of.as_str()),
            None => sqlx::query_as(sql::DEAD).bind(after_subscription),
        };
        let found: Vec<Line> = query
            .bind(after_id)
            .bind(record::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| read_error(&error))?;
        found.into_iter().map(Line::read).collect()
    }

    async fn replay(&self, id: &str, now: i64) -> Result<Option<WebhookId>, StoreError> {
        let query = sqlx::query_scalar(sql::REPLAY).bind(id).bind(now);
        let found: Option<String> = query
            .fetch_optional(&self.writer)
            .await
            .map_err(|error| read_error(&error))?;
        found.as_deref().map(subscription_id).transpose()
    }

    async fn purge(&self, before: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query(sql::PURGE).bind(before).execute(&self.writer).await;
        Ok(purged.map_err(|error| read_error(&error))?.rows_affected())
    }

    async fn kept(&self) -> Result<Vec<(WebhookId, Kept)>, StoreError> {
        let found = sqlx::query_as(sql::KEPT).fetch_all(&self.readers).await;
        let found = found.map_err(|error| read_error(&error))?;
        found.into_iter().map(kept).collect()
    }
}
