//! Webhooks in Postgres: shared by all nodes. Deliveries are claimed with `SKIP LOCKED`, so that two nodes do not attempt
//! the same one.

use super::{
    Attempted, Changed, Delivery, Kept, Line, SubscriptionRecord, WebhookId, WebhookStore, attempts_code, kept, sql,
    subscription, subscription_id,
};
use crate::record::{self, read_error};
use async_trait::async_trait;
use domain::ports::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;

const CONNECTIONS: u32 = 4;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that a statement may take on the server, in milliseconds.
const STATEMENT_MS_MAX: &str = "10000";
/// The advisory lock under which subscriptions are counted and added, so that two nodes together do not exceed the limit.
const ADDING: i64 = 0x756f_6f70_0000_0001;

/// Subscriptions and deliveries in the orders' database, on connections of their own.
pub struct PostgresWebhooks {
    pool: PgPool,
}

impl PostgresWebhooks {
    /// Prepares to connect. The schema is that of [`crate::PostgresStore`], whose migrations must have run.
    ///
    /// # Errors
    /// The address is none. Whether anybody is there shows at the first call.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let unreadable = |error| StoreError::Mismatch(format!("the database address cannot be read: {error}"));
        let options = PgConnectOptions::from_str(url)
            .map_err(unreadable)?
            .application_name("uoop-webhooks")
            .options([
                ("statement_timeout", STATEMENT_MS_MAX),
                ("idle_in_transaction_session_timeout", STATEMENT_MS_MAX),
                ("synchronous_commit", "on"),
                ("tcp_user_timeout", STATEMENT_MS_MAX),
            ])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

async fn version(transaction: &mut Transaction<'static, Postgres>, id: &WebhookId) -> Result<u64, StoreError> {
    let locked = "SELECT version FROM webhook_subscriptions WHERE id = $1 FOR UPDATE";
    let query = sqlx::query_scalar(locked).bind(id.as_str());
    let version: Option<i64> = query
        .fetch_optional(&mut **transaction)
        .await
        .map_err(|error| read_error(&error))?;
    record::unsigned(version.unwrap_or(0))
}

#[async_trait]
impl WebhookStore for PostgresWebhooks {
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError> {
        let found = sqlx::query_as(sql::SUBSCRIPTIONS).fetch_all(&self.pool).await;
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
        let failed = |error: sqlx::Error| read_error(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let alone = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ADDING);
        alone.execute(&mut *transaction).await.map_err(failed)?;
        let version = version(&mut transaction, id).await?;
        if version != expected {
            return Ok(Changed::Conflict(version));
        }
        if version == 0 {
            let count = sqlx::query_scalar(sql::COUNT).fetch_one(&mut *transaction).await;
            let count: i64 = count.map_err(failed)?;
            if count >= record::limit(count_max) {
                return Ok(Changed::Full);
            }
        }
        let put = sqlx::query(sql::PUT)
            .bind(id.as_str())
            .bind(record::bound(version + 1))
            .bind(settings);
        put.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Changed::Done(version + 1))
    }

    async fn remove(&self, id: &WebhookId, expected: u64) -> Result<Changed, StoreError> {
        let failed = |error: sqlx::Error| read_error(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let version = version(&mut transaction, id).await?;
        if version != expected || version == 0 {
            return Ok(Changed::Conflict(version));
        }
        let remove = sqlx::query(sql::REMOVE).bind(id.as_str());
        remove.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Changed::Done(0))
    }

    async fn keep(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        // The subscriptions stay locked against removal until the commit, or the foreign key would refuse them all.
        let keep = "
            WITH s AS MATERIALIZED (
                SELECT id FROM webhook_subscriptions WHERE id = ANY($2) ORDER BY id FOR KEY SHARE
            )
            INSERT INTO webhook_deliveries
                (id, subscription, event, body, attempts, next_at, dead_at, error, committed_at)
            SELECT d.id, s.id, d.event, d.body, d.attempts, d.next_at, d.dead_at, d.error, d.committed_at
            FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bytea[], $5::int[], $6::bigint[], $7::bigint[],
                    $8::text[], $9::bigint[])
                AS d (id, subscription, event, body, attempts, next_at, dead_at, error, committed_at)
            JOIN s ON s.id = d.subscription
            ORDER BY d.id
            ON CONFLICT (id) DO NOTHING";
        let each = deliveries.iter();
        let query = sqlx::query(keep)
            .bind(each.clone().map(|one| one.id.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.subscription.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.event.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.body.as_bytes()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| attempts_code(one.attempts)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.next_at).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.dead_at).collect::<Vec<_>>())
            .bind(each.clone().map(|one| without_nul(&one.error)).collect::<Vec<_>>())
            .bind(each.map(|one| one.committed_at).collect::<Vec<_>>());
        let kept = query.execute(&self.pool).await;
        kept.map(drop).map_err(|error| read_error(&error))
    }

    async fn update(&self, attempted: &[Attempted]) -> Result<(), StoreError> {
        let update = "
            UPDATE webhook_deliveries w
            SET attempts = d.attempts, next_at = d.next_at, dead_at = d.dead_at, error = d.error
            FROM UNNEST($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
                AS d (id, attempts, next_at, dead_at, error, claim)
            WHERE w.id = d.id AND w.next_at = d.claim AND w.dead_at IS NULL";
        let each = attempted.iter().map(|one| &one.delivery);
        let query = sqlx::query(update)
            .bind(each.clone().map(|one| one.id.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| attempts_code(one.attempts)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.next_at).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.dead_at).collect::<Vec<_>>())
            .bind(each.map(|one| without_nul(&one.error)).collect::<Vec<_>>())
            .bind(attempted.iter().map(|one| one.claim).collect::<Vec<_>>());
        let updated = query.execute(&self.pool).await;
        updated.map(drop).map_err(|error| read_error(&error))
    }

    async fn forget(&self, ids: &[&str]) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM webhook_deliveries WHERE id = ANY($1)").bind(ids);
        let forgotten = query.execute(&self.pool).await;
        forgotten.map(drop).map_err(|error| read_error(&error))
    }

    async fn claim(&self, id: &WebhookId, now: i64, until: i64, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let claim = "
            UPDATE webhook_deliveries SET next_at = $3 WHERE id IN (
                SELECT id FROM webhook_deliveries WHERE subscription = $1 AND dead_at IS NULL AND next_at <= $2
                ORDER BY next_at, id LIMIT $4 FOR UPDATE SKIP LOCKED
            )
            RETURNING id, subscription, event, body, attempts, next_at, dead_at, error, committed_at";
        let query = sqlx::query_as(claim).bind(id.as_str()).bind(now).bind(until);
        let found = query.bind(record::limit(limit)).fetch_all(&self.pool).await;
        let found: Vec<Line> = found.map_err(|error| read_error(&error))?;
        found.into_iter().map(Line::read).collect()
    }

    async fn next_due(&self, id: &WebhookId) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query_scalar(sql::NEXT_DUE).bind(id.as_str());
        query.fetch_one(&self.pool).await.map_err(|error| read_error(&error))
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
        let query = query.bind(after_id).bind(record::limit(limit));
        let found: Vec<Line> = query.fetch_all(&self.pool).await.map_err(|error| read_error(&error))?;
        found.into_iter().map(Line::read).collect()
    }

    async fn replay(&self, id: &str, now: i64) -> Result<Option<WebhookId>, StoreError> {
        if id.contains('\0') {
            return Ok(None); // Postgres has no such text, so nothing is called that
        }
        let query = sqlx::query_scalar(sql::REPLAY).bind(id).bind(now);
        let found = query.fetch_optional(&self.pool).await;
        let found: Option<String> = found.map_err(|error| read_error(&error))?;
        found.as_deref().map(subscription_id).transpose()
    }

    async fn purge(&self, before: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query(sql::PURGE).bind(before).execute(&self.pool).await;
        Ok(purged.map_err(|error| read_error(&error))?.rows_affected())
    }

    async fn kept(&self) -> Result<Vec<(WebhookId, Kept)>, StoreError> {
        let found = sqlx::query_as(sql::KEPT).fetch_all(&self.pool).await;
        let found = found.map_err(|error| read_error(&error))?;
        found.into_iter().map(kept).collect()
    }
}

/// What Postgres takes as text.
fn without_nul(text: &str) -> String {
    text.replace('\0', " ")
}
