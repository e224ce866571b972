//! The projection in Postgres: a table in the store's own database, written through a connection of its own.

use super::query::{self, Line, STUCK, Statement, Value, channel_of, is_live, status_change_code, stuck_of};
use super::{Applied, Batch, FOLLOWER, OrderSummary, Projection, Search, StuckOrders};
use crate::record::{poison, read_error, shard_code, signed, unsigned};
use async_trait::async_trait;
use domain::ids::{OrderId, Position};
use domain::ports::{CommitError, StoreError};
use domain::shard::ShardId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The statement is its own transaction: one round trip for cursors and orders together.
///
/// - The cursors are locked in order, so that two who feed the same lines cannot deadlock, and looked at under the lock:
///   unless each is where the batch begins, nothing is written. Whoever finds them there has begun after the last batch
///   was committed, so `changed` sees every order that was placed before.
/// - Orders that the batch places are inserted, or updated if somebody placed them already; all others are updated. None
///   goes back to an older version. -1 and -2 stand for a status that is kept and for one that a re-routing may set back.
const APPLY: &str = "
    WITH wanted AS MATERIALIZED (
        SELECT * FROM UNNEST($2::smallint[], $3::bigint[], $4::bigint[]) AS w (shard, origin, target)
    ), held AS MATERIALIZED (
        SELECT c.shard, w.target FROM cursors c JOIN wanted w ON w.shard = c.shard AND w.origin = c.position
        WHERE c.follower = $1 ORDER BY c.shard FOR UPDATE OF c
    ), fit AS MATERIALIZED (
        SELECT (SELECT count(*) FROM held) = (SELECT count(*) FROM wanted) AS whole
    ), moved AS (
        UPDATE cursors c SET position = h.target FROM held h
        WHERE c.follower = $1 AND c.shard = h.shard AND (SELECT whole FROM fit)
    ), placed AS (
        INSERT INTO order_search AS o (stream, placed_at, updated_at, total_minor, seq, status, live, currency,
            customer_id, restaurant_id, channel_id, stuck)
        SELECT u.* FROM UNNEST($5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[],
            $11::boolean[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]) AS u
        WHERE (SELECT whole FROM fit)
        ON CONFLICT (stream) DO UPDATE SET updated_at = excluded.updated_at, seq = excluded.seq,
            status = excluded.status, live = excluded.live, channel_id = excluded.channel_id,
            stuck = excluded.stuck
        WHERE o.seq < excluded.seq
    ), changed AS (
        UPDATE order_search o SET updated_at = u.updated_at, seq = u.seq,
            status = CASE
                WHEN u.status >= 0 THEN u.status
                WHEN u.status = -2 AND o.status IN (2, 3) THEN 1
                ELSE o.status END,
            live = CASE WHEN u.status >= 0 THEN u.live ELSE o.live END,
            channel_id = CASE WHEN u.rechannelled THEN u.channel_id ELSE o.channel_id END,
            stuck = CASE WHEN u.restuck THEN u.stuck ELSE o.stuck END
        FROM UNNEST($17::uuid[], $18::bigint[], $19::bigint[], $20::smallint[], $21::boolean[], $22::boolean[],
            $23::text[], $24::boolean[], $25::text[]) AS u (stream, updated_at, seq, status, live, rechannelled,
            channel_id, restuck, stuck)
        WHERE o.stream = u.stream AND o.seq < u.seq AND (SELECT whole FROM fit)
    )
    SELECT whole FROM fit";

/// How long after a server-side limit the client gives up on its own.
const GRACE: Duration = Duration::from_secs(2);

/// How the projection uses its database.
#[derive(Clone, Debug)]
pub struct PostgresProjectionOptions {
    /// Connections for searches; at least 1. One more writes.
    pub readers: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// The longest that a search may take on the server.
    pub read_timeout: Duration,
    /// The longest that a batch may take on the server, waits for locks included.
    pub write_timeout: Duration,
}

impl Default for PostgresProjectionOptions {
    fn default() -> Self {
        Self {
            readers: 2,
            acquire_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl PostgresProjectionOptions {
    fn base(url: &str, statement_timeout: Duration) -> Result<PgConnectOptions, StoreError> {
        let unreadable = |error| StoreError::Mismatch(format!("the database address cannot be read: {error}"));
        let millis = |length: Duration| length.as_millis().to_string();
        Ok(PgConnectOptions::from_str(url)
            .map_err(unreadable)?
            .application_name("uoop-projection")
            .options([
                ("statement_timeout", millis(statement_timeout)),
                ("idle_in_transaction_session_timeout", millis(statement_timeout)),
                ("tcp_user_timeout", "10000".into()),
            ])
            .disable_statement_logging())
    }
}

/// The table `order_search` beside the events. It shares their database, so one backup holds both as of one moment.
pub struct PostgresProjection {
    writer: PgPool,
    readers: PgPool,
    options: PostgresProjectionOptions,
}

impl PostgresProjection {
    /// A projection in a database whose schema is up to date. Connects when it is first used.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn new(url: &str, options: &PostgresProjectionOptions) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new().acquire_timeout(options.acquire_timeout);
        // Batches may be lost with the server's last moments, as long as it loses none before the rows they came of:
        // the log is written in order, and lost batches are fed again from the cursor that was lost with them. The plan
        // does not depend on the arguments, and must not depend on how small the table was when it was made: a look-up
        // for each order.
        let for_writes = PostgresProjectionOptions::base(url, options.write_timeout)?.options([
            ("synchronous_commit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_seqscan", "off"),
        ]);
        let for_reads = PostgresProjectionOptions::base(url, options.read_timeout)?;
        Ok(Self {
            writer: pool
                .clone()
                .max_connections(1)
                .test_before_acquire(false)
                .connect_lazy_with(for_writes),
            readers: pool
                .max_connections(options.readers.max(1))
                .connect_lazy_with(for_reads),
            options: options.clone(),
        })
    }

    async fn read<T>(&self, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        in_time(self.options.read_timeout, query)
            .await?
            .map_err(|error| said(&error))
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("no answer in time".into());
    tokio::time::timeout(limit + GRACE, work).await.map_err(late)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

fn said(error: &sqlx::Error) -> StoreError {
    match code(error).as_deref() {
        Some("42P01") => StoreError::Mismatch("the database has no schema, or an old one: run `uoop migrate`".into()),
        // A search that was cancelled for its length.
        Some("57014") => StoreError::Unavailable("it took too long: bound it further, by time for instance".into()),
        _ => read_error(error),
    }
}

/// A batch was not written, as far as is known.
fn not_written(error: &sqlx::Error) -> CommitError {
    // By SQLSTATE class: cardinality violation, data exception, integrity violation, program limit exceeded.
    let lies_in_the_data = |code: &str| ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class));
    match code(error) {
        Some(code) if lies_in_the_data(&code) => poison(error.to_string()),
        Some(_) => CommitError::Unavailable(error.to_string()),
        None => CommitError::Unknown(error.to_string()),
    }
}

/// The lines of a batch turned on their side.
#[derive(Default)]
struct Lines {
    shards: Vec<i16>,
    origins: Vec<i64>,
    targets: Vec<i64>,
}

/// The orders that a batch places, turned on their side.
#[derive(Default)]
struct Places<'a> {
    streams: Vec<Uuid>,
    placed_at: Vec<i64>,
    updated_at: Vec<i64>,
    totals: Vec<i64>,
    seqs: Vec<i64>,
    statuses: Vec<i16>,
    lives: Vec<bool>,
    currencies: Vec<&'a str>,
    customers: Vec<&'a str>,
    restaurants: Vec<&'a str>,
    channels: Vec<Option<&'a str>>,
    stuck: Vec<Option<String>>,
}

/// The other orders of a batch, turned on their side.
#[derive(Default)]
struct Changes<'a> {
    streams: Vec<Uuid>,
    updated_at: Vec<i64>,
    seqs: Vec<i64>,
    statuses: Vec<i16>,
    lives: Vec<bool>,
    rechannelled: Vec<bool>,
    channels: Vec<Option<&'a str>>,
    restuck: Vec<bool>,
    stuck: Vec<Option<String>>,
}

fn columns(batch: &Batch) -> Result<(Lines, Places<'_>, Changes<'_>), CommitError> {
    let mut lines = Lines::default();
    for line in &batch.lines {
        lines.shards.push(shard_code(line.shard));
        lines.origins.push(signed("position", line.from.0)?);
        lines.targets.push(signed("position", line.to.0)?);
    }
    let (mut places, mut changes) = (Places::default(), Changes::default());
    for change in &batch.orders {
        let (stream, seq) = (change.order.0.0, signed("version", change.seq.0)?);
        let (status, live) = (status_change_code(change.status), is_live(change.status));
        if let Some(placed) = &change.placed {
            places.streams.push(stream);
            places.placed_at.push(placed.at.0);
            places.updated_at.push(change.at.0);
            places.totals.push(placed.total.minor);
            places.seqs.push(seq);
            places.statuses.push(status);
            places.lives.push(live);
            places.currencies.push(placed.total.currency.as_str());
            places.customers.push(placed.customer.as_str());
            places.restaurants.push(placed.restaurant.as_str());
            places.channels.push(channel_of(change));
            places.stuck.push(stuck_of(change));
        } else {
            changes.streams.push(stream);
            changes.updated_at.push(change.at.0);
            changes.seqs.push(seq);
            changes.statuses.push(status);
            changes.lives.push(live);
            changes.rechannelled.push(change.channel.is_some());
            changes.channels.push(channel_of(change));
            changes.restuck.push(change.stuck.is_some());
            changes.stuck.push(stuck_of(change));
        }
    }
    Ok((lines, places, changes))
}

#[async_trait]
impl Projection for PostgresProjection {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn cursors(&self) -> Result<Vec<(ShardId, Position)>, StoreError> {
        // What is not there cannot be locked.
        let create = "
            INSERT INTO cursors (follower, shard, position) SELECT $1, shard, 0 FROM shards ORDER BY shard
            ON CONFLICT DO NOTHING";
        self.read(sqlx::query(create).bind(FOLLOWER).execute(&self.writer))
            .await?;
        let cursors = sqlx::query_as("SELECT shard, position FROM cursors WHERE follower = $1 ORDER BY shard");
        let found: Vec<(i16, i64)> = self.read(cursors.bind(FOLLOWER).fetch_all(&self.writer)).await?;
        let cursor = |(shard, at): (i16, i64)| Ok((ShardId(shard.unsigned_abs()), Position(unsigned(at)?)));
        found.into_iter().map(cursor).collect()
    }

    async fn stuck(&self) -> Result<StuckOrders, StoreError> {
        let found = self.read(sqlx::query_as(STUCK).fetch_all(&self.writer)).await?;
        query::stuck_orders(found)
    }

    async fn apply(&self, batch: &Arc<Batch>) -> Result<Applied, CommitError> {
        let (lines, places, changes) = columns(batch)?;
        let query = sqlx::query_scalar(APPLY)
            .bind(FOLLOWER)
            .bind(lines.shards)
            .bind(lines.origins)
            .bind(lines.targets)
            .bind(places.streams)
            .bind(places.placed_at)
            .bind(places.updated_at)
            .bind(places.totals)
            .bind(places.seqs)
            .bind(places.statuses)
            .bind(places.lives)
            .bind(places.currencies)
            .bind(places.customers)
            .bind(places.restaurants)
            .bind(places.channels)
            .bind(places.stuck)
            .bind(changes.streams)
            .bind(changes.updated_at)
            .bind(changes.seqs)
            .bind(changes.statuses)
            .bind(changes.lives)
            .bind(changes.rechannelled)
            .bind(changes.channels)
            .bind(changes.restuck)
            .bind(changes.stuck);
        // Fetched to the end: the commit comes after the last row of the answer.
        let written: Result<Vec<bool>, _> = in_time(self.options.write_timeout, query.fetch_all(&self.writer))
            .await
            .map_err(|error| CommitError::Unknown(error.to_string()))?;
        match written.as_deref() {
            Ok([true]) => Ok(Applied::Done),
            Ok(_) => Ok(Applied::Stale),
            Err(error) => Err(not_written(error)),
        }
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let forget = async {
            let mut transaction = self.writer.begin().await?;
            // The table first, as batches lock it.
            sqlx::query("TRUNCATE order_search").execute(&mut *transaction).await?;
            let delete = "DELETE FROM cursors WHERE follower = $1";
            sqlx::query(delete).bind(FOLLOWER).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        in_time(self.options.write_timeout, forget)
            .await?
            .map_err(|error| said(&error))
    }

    async fn forget(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        let streams: Vec<Uuid> = orders.iter().map(|order| order.0.0).collect();
        let forget = sqlx::query("DELETE FROM order_search WHERE stream = ANY ($1)").bind(streams);
        in_time(self.options.write_timeout, forget.execute(&self.writer))
            .await?
            .map_err(|error| said(&error))
            .map(|_| ())
    }

    async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError> {
        let Statement { text, values } = Statement::of(search);
        // The text holds names and numbers of our own; what somebody asked for is in the values.
        let mut query = sqlx::query_as(AssertSqlSafe(text));
        for value in values {
            query = match value {
                Value::Id(id) => query.bind(id),
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        let lines: Vec<Line> = self.read(query.fetch_all(&self.readers)).await?;
        query::summaries(lines)
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar("SELECT count(*) FROM order_search");
        // On the connection for writing, which has longer.
        let limit = self.options.write_timeout;
        let found = in_time(limit, count.fetch_one(&self.writer)).await?;
        unsigned(found.map_err(|error| said(&error))?)
    }
}
