//! The database that the nodes share: made for the run, watched while it lasts, and read as a whole afterwards. In plain
//! SQL, so that what is checked does not pass through the code that wrote it.

use super::super::RunError;
use crate::checker::lines::OwnerSeen;
use crate::evidence::{KeySeen, RowSeen, SnapshotSeen, StoreSeen, StreamSeen};
use domain::ids::{OrderId, StreamId};
use domain::ports::StreamKind;
use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A database, and how to reach it.
pub(super) struct Database {
    url: String,
    pool: PgPool,
    /// The server's own database and the name of ours, if it was made for this run.
    made: Option<(String, String)>,
}

impl Database {
    /// The given one, or else a new one beside the one of `UOOP_TEST_POSTGRES_URL`.
    pub(super) async fn open(given: Option<&str>, seed: u64) -> Result<Self, RunError> {
        let (url, made) = match given {
            Some(url) => (url.to_owned(), None),
            None => Self::create(seed).await?,
        };
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(CONNECT_MAX);
        let pool = pool.connect_lazy(&url).map_err(RunError::Database)?;
        Ok(Self { url, pool, made })
    }

    async fn create(seed: u64) -> Result<(String, Option<(String, String)>), RunError> {
        let server = std::env::var("UOOP_TEST_POSTGRES_URL").map_err(|_| RunError::NoDatabase)?;
        let (address, _) = server.rsplit_once('/').ok_or(RunError::NoDatabase)?;
        let name = format!("chaos_{seed}_{}", std::process::id());
        let mut connection = PgConnection::connect(&server).await.map_err(RunError::Database)?;
        for statement in [
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            format!("CREATE DATABASE {name}"),
        ] {
            let made = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
            made.map_err(RunError::Database)?;
        }
        Ok((format!("{address}/{name}"), Some((server.clone(), name))))
    }

    /// How the nodes reach it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is left, if it was made for the run.
    pub(super) fn name(&self) -> Option<&str> {
        self.made.as_ref().map(|(_, name)| name.as_str())
    }

    /// Drops it, if it was made for the run.
    pub(super) async fn drop(self) -> Result<(), RunError> {
        self.pool.close().await;
        if let Some((server, name)) = self.made {
            let mut connection = PgConnection::connect(&server).await.map_err(RunError::Database)?;
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            let dropped = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
            dropped.map_err(RunError::Database)?;
        }
        Ok(())
    }

    /// Who owns the shards, in their order.
    pub(super) async fn owners(&self) -> Result<Vec<OwnerSeen>, sqlx::Error> {
        let rows = sqlx::query("SELECT epoch, owner FROM shards ORDER BY shard")
            .fetch_all(&self.pool)
            .await?;
        let owner = |row: &sqlx::postgres::PgRow| OwnerSeen {
            epoch: unsigned(row.get(0)),
            owner: row.get(1),
        };
        Ok(rows.iter().map(owner).collect())
    }

    /// The orders that are not settled.
    pub(super) async fn open_orders(&self) -> Result<Vec<OrderId>, RunError> {
        let open = sqlx::query("SELECT stream FROM snapshots WHERE live AND kind = $1").bind(StreamKind::Order.code());
        let rows = open.fetch_all(&self.pool).await.map_err(RunError::Database)?;
        Ok(rows.iter().map(|row| OrderId(StreamId(row.get(0)))).collect())
    }

    /// All orders.
    pub(super) async fn orders(&self) -> Result<Vec<OrderId>, RunError> {
        let all = sqlx::query("SELECT DISTINCT stream FROM event_rows WHERE kind = $1").bind(StreamKind::Order.code());
        let rows = all.fetch_all(&self.pool).await.map_err(RunError::Database)?;
        Ok(rows.iter().map(|row| OrderId(StreamId(row.get(0)))).collect())
    }

    /// Everything in it.
    pub(super) async fn read(&self) -> Result<StoreSeen, RunError> {
        self.try_read().await.map_err(RunError::Database)
    }

    async fn try_read(&self) -> Result<StoreSeen, sqlx::Error> {
        let shards: i64 = sqlx::query("SELECT count(*) FROM shards")
            .fetch_one(&self.pool)
            .await?
            .get(0);
        let mut streams: BTreeMap<StreamId, StreamSeen> = BTreeMap::new();
        let rows = "SELECT stream, kind, seq, shard, position, at, events FROM event_rows ORDER BY stream, seq";
        let mut rows = sqlx::query(rows).fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let stream = streams.entry(StreamId(row.get::<Uuid, _>(0))).or_default();
            stream.kind = row.get(1);
            stream.rows.push(RowSeen {
                seq: unsigned(row.get(2)),
                shard: shard(row.get(3)),
                position: unsigned(row.get(4)),
                at: row.get(5),
                events: text(row.get(6)),
            });
        }
        drop(rows);
        let mut rows = sqlx::query("SELECT stream, kind, seq, live, state FROM snapshots").fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let stream = streams.entry(StreamId(row.get::<Uuid, _>(0))).or_default();
            stream.kind = row.get(1);
            stream.snapshot = Some(SnapshotSeen {
                seq: unsigned(row.get(2)),
                live: row.get(3),
                state: text(row.get(4)),
            });
        }
        drop(rows);
        let keys = sqlx::query("SELECT shard, key, stream, seq FROM idempotency_keys")
            .fetch_all(&self.pool)
            .await?;
        let key = |row: &sqlx::postgres::PgRow| KeySeen {
            shard: shard(row.get(0)),
            key: row.get(1),
            stream: StreamId(row.get(2)),
            seq: unsigned(row.get(3)),
        };
        Ok(StoreSeen {
            shards: u16::try_from(shards).unwrap_or(u16::MAX),
            streams,
            keys: keys.iter().map(key).collect(),
        })
    }
}

/// What is not text shows as events or a state that cannot be read.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn shard(number: i16) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
