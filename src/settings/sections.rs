//! The sections of the configuration. Units and defaults of every key stand in `config/default.toml`.

use super::secret::Address;
use crate::participants::draw::{Percent, SpreadMs};
use crate::participants::guard::GuardConfig;
use crate::participants::http::HttpConfig;
use crate::participants::signature::Secret;
use crate::participants::simulated::SimulatedConfig;
use crate::webhooks::{Guard, WebhookOptions};
use actors::ActorOptions;
use domain::shard::ShardMap;
use persistence::projection::{PostgresProjectionOptions, ProjectorOptions};
use persistence::{JournalOptions, PostgresOptions, RedisOptions, RetentionOptions, Sharding, SqliteOptions};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn shard_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ShardMap>, D::Error> {
    match u16::deserialize(deserializer)? {
        0 => Ok(None),
        shards => ShardMap::new(shards).map(Some).map_err(D::Error::custom),
    }
}

/// `[http]`: the HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0: any free one.
    pub port: u16,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// The origins that a browser may call from, as written; see [`Self::cors_origins`].
    pub cors_origin: String,
    /// How many connections may be open at once.
    pub connections_max: usize,
    /// How many may listen to the changes of an order at once.
    pub streams_max: usize,
    /// How long one request may take.
    #[serde(rename = "request_timeout_ms", deserialize_with = "millis")]
    pub request_timeout: Duration,
    /// The period over which requests of one client are counted.
    #[serde(rename = "throttle_ttl_s", deserialize_with = "seconds")]
    pub throttle_ttl: Duration,
    /// How many requests one client may make in that period; 0: no limit.
    pub throttle_limit: u32,
}

impl HttpSettings {
    /// The origins that a browser may call from: none, `["*"]`, or a list.
    pub fn cors_origins(&self) -> Vec<&str> {
        let origins = self.cors_origin.split(',').map(str::trim);
        origins.filter(|origin| !origin.is_empty()).collect()
    }
}

/// `[store]`: where orders are kept, and how they are written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// The directory of the embedded store.
    pub data_dir: PathBuf,
    /// Where the store is, as written; see [`Self::place`].
    pub database_url: Address,
    /// How orders are divided; none: see [`Self::sharding`].
    #[serde(deserialize_with = "shard_map")]
    pub shards: Option<ShardMap>,
    /// Connections that write to Postgres.
    pub write_connections: u32,
    /// Connections that read.
    pub read_connections: u32,
    /// Tasks that commit; 0: as many as fit, see [`Self::writers`].
    pub journal_writers: usize,
    /// The most rows in one commit.
    pub batch_rows_max: usize,
    /// The most rows waiting for each writer.
    pub queue_rows_max: usize,
    /// For how many days orders are kept after their end; 0: for ever.
    pub retention_days: u32,
    /// For how many hours idempotency keys are kept; 0: for as long as orders.
    pub key_retention_h: u32,
}

/// Where a store is. Shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// In this process, for as long as it runs.
    Memory,
    /// In this SQLite file.
    Sqlite(PathBuf),
    /// At this Postgres address.
    Postgres(Address),
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

impl StoreSettings {
    /// Where the store is: at `database_url`, or else in the file `uoop.db` in `data_dir`.
    pub fn place(&self) -> StorePlace {
        match self.database_url.expose() {
            "" => StorePlace::Sqlite(self.data_dir.join("uoop.db")),
            "memory:" => StorePlace::Memory,
            _ => StorePlace::Postgres(self.database_url.clone()),
        }
    }

    /// Into how many shards the store is divided: as it was created, if nothing else is asked for. A new one on Postgres
    /// gets as many as a cluster can share out; the embedded one has nobody to share with, and fewer write less (ADR 0010).
    pub fn sharding(&self) -> Sharding {
        let of_a_new_store = if matches!(self.place(), StorePlace::Postgres(_)) {
            ShardMap::SHARED
        } else {
            ShardMap::EMBEDDED
        };
        self.shards
            .map_or(Sharding::AsCreated(of_a_new_store), Sharding::Exactly)
    }

    /// How the embedded store is opened.
    pub fn sqlite(&self) -> SqliteOptions {
        SqliteOptions {
            readers: self.read_connections,
            ..SqliteOptions::default()
        }
    }

    /// How Postgres is used.
    pub fn postgres(&self) -> PostgresOptions {
        PostgresOptions {
            writers: self.write_connections,
            readers: self.read_connections,
            ..PostgresOptions::default()
        }
    }

    /// What is deleted for its age.
    pub fn retention(&self) -> RetentionOptions {
        let orders = (self.retention_days > 0).then(|| Duration::from_hours(24 * u64::from(self.retention_days)));
        let keys = (self.key_retention_h > 0).then(|| Duration::from_hours(u64::from(self.key_retention_h)));
        RetentionOptions {
            orders,
            keys: keys.or(orders),
            ..RetentionOptions::default()
        }
    }

    /// How many tasks commit. Nodes of a cluster are several by themselves, and the embedded store has one thread that
    /// writes: with one, commits are fewer and larger.
    pub fn writers(&self, is_node: bool) -> usize {
        match self.journal_writers {
            0 if is_node || !matches!(self.place(), StorePlace::Postgres(_)) => 1,
            0 => 2,
            writers => writers,
        }
    }

    /// How the journal gathers, on a server by itself or on a node of a cluster.
    pub fn journal(&self, is_node: bool) -> JournalOptions {
        JournalOptions {
            writers: self.writers(is_node),
            batch_rows_max: self.batch_rows_max,
            queue_rows_max: self.queue_rows_max,
            ..JournalOptions::default()
        }
    }
}

/// `[redis]`: what is shared with other nodes and services for a while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Where Redis is, as written; empty: there is none.
    pub url: Address,
    /// How long it may take to answer.
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// For how long it is not asked after it failed to.
    #[serde(rename = "pause_ms", deserialize_with = "millis")]
    pub pause: Duration,
    /// The certificates of authorities that its own may be signed by, a PEM file; empty: those that the machine trusts.
    pub authority: PathBuf,
}

impl RedisSettings {
    /// How it is used.
    pub fn options(&self) -> RedisOptions {
        RedisOptions {
            timeout: self.timeout,
            pause: self.pause,
            authority: Some(self.authority.clone()).filter(|file| !file.as_os_str().is_empty()),
        }
    }
}

/// `[cache]`: the status of orders, kept ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Of how many orders.
    pub entries_max: u64,
}

/// `[projection]`: the list of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionSettings {
    /// How long changes are gathered before they are written.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
    /// How many changed orders are written at once.
    pub batch_orders_max: usize,
    /// Connections to Postgres that search.
    pub read_connections: u32,
}

impl ProjectionSettings {
    /// How it is fed.
    pub const fn options(&self) -> ProjectorOptions {
        ProjectorOptions {
            interval: self.interval,
            batch_orders_max: self.batch_orders_max,
        }
    }

    /// How Postgres is used for it.
    pub fn postgres(&self) -> PostgresProjectionOptions {
        PostgresProjectionOptions {
            readers: self.read_connections,
            ..PostgresProjectionOptions::default()
        }
    }
}

/// `[time]`: the pace of business time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSettings {
    /// How many times as fast as the wall clock it runs.
    pub scale: u64,
    /// How far this process's own clock is ahead of the machine's, in milliseconds. For tests of clusters.
    pub skew_ms: i64,
}

/// `[actors]`: limits of the actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorSettings {
    /// How many commands may be under way in one shard.
    pub shard_commands_max: usize,
    /// How many new orders may be under way.
    pub orders_under_way_max: usize,
    /// How long what is ready to run may wait for its turn before new orders are refused; zero: however long.
    #[serde(rename = "delay_ms_max", deserialize_with = "millis")]
    pub delay_max: Duration,
    /// How many commands may wait for one channel.
    pub channel_mailbox_max: u64,
    /// How long an order may be idle before its actor is put away.
    #[serde(rename = "idle_ms", deserialize_with = "millis")]
    pub idle: Duration,
    /// How long orders that find capacity scarce wait for others, to be assigned together with them.
    #[serde(rename = "gather_ms", deserialize_with = "millis")]
    pub gather: Duration,
    /// The pause before an actor that crashed is started again; it doubles with each further crash.
    #[serde(rename = "restart_backoff_ms", deserialize_with = "millis")]
    pub restart_backoff: Duration,
    /// The longest such pause.
    #[serde(rename = "restart_backoff_ms_max", deserialize_with = "millis")]
    pub restart_backoff_max: Duration,
    /// How many crashes within the window are borne before the actor is parked.
    pub restarts_max: u32,
    /// The period over which crashes are counted.
    #[serde(rename = "restart_window_ms", deserialize_with = "millis")]
    pub restart_window: Duration,
}

impl ActorSettings {
    /// The same as the actors take it.
    pub fn options(&self) -> ActorOptions {
        ActorOptions {
            shard_commands_max: self.shard_commands_max,
            orders_under_way_max: self.orders_under_way_max,
            delay_max: self.delay_max,
            mailbox_max: self.channel_mailbox_max,
            idle_after: self.idle,
            gather: self.gather,
            restart_backoff: self.restart_backoff,
            restart_backoff_max: self.restart_backoff_max,
            restarts_max: self.restarts_max,
            restart_window: self.restart_window,
            ..ActorOptions::default()
        }
    }
}

/// How a participant is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantKind {
    /// In this process.
    Simulated,
    /// Over HTTP.
    Http,
}

/// Who carries the food.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CourierKind {
    /// Couriers in this process.
    Simulated,
    /// Couriers who report through the API.
    External,
}

/// `[participants]`: who pays, cooks and carries.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantSettings {
    /// Who takes payments.
    pub payments: ParticipantKind,
    /// The payment provider's base address; empty unless it is called over HTTP.
    pub payments_url: Address,
    /// Who cooks.
    pub kitchens: ParticipantKind,
    /// The base address of kitchens and partners; empty unless they are called over HTTP.
    pub kitchens_url: Address,
    /// Who carries.
    pub couriers: CourierKind,
    /// The secrets of signatures: the first signs, all are accepted. Empty: nothing is signed.
    pub signing_secrets: Vec<Secret>,
    /// How long one HTTP call may take, in wall milliseconds.
    pub timeout_ms: u64,
    /// After how many failures in a row a partner is not called for a while.
    pub breaker_failures: u32,
    /// How long that while is, in wall milliseconds.
    pub breaker_open_ms: u64,
    /// How many calls to one partner may be under way; more wait.
    pub concurrency_max: usize,
    /// How many calls may wait for one partner before new tickets go to an alternate.
    pub waiting_max: usize,
    /// What the simulated ones do.
    pub simulated: SimulatedSettings,
}

impl ParticipantSettings {
    /// The limits of calls to one participant.
    pub const fn guard(&self) -> GuardConfig {
        GuardConfig {
            concurrent_max: self.concurrency_max,
            waiting_max: self.waiting_max,
            failures_max: self.breaker_failures,
            open_ms: self.breaker_open_ms,
        }
    }

    /// How the payment provider is called, if it is called over HTTP.
    pub fn http_payments(&self) -> Option<HttpConfig> {
        (self.payments == ParticipantKind::Http).then(|| self.http(&self.payments_url))
    }

    /// How kitchens and partners are called, if they are called over HTTP.
    pub fn http_kitchens(&self) -> Option<HttpConfig> {
        (self.kitchens == ParticipantKind::Http).then(|| self.http(&self.kitchens_url))
    }

    fn http(&self, url: &Address) -> HttpConfig {
        HttpConfig {
            secret: self.signing_secrets.first().cloned(),
            timeout_ms: self.timeout_ms,
            ..HttpConfig::at(url.expose())
        }
    }
}

/// `[participants.simulated]`: what simulated participants do.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedSettings {
    /// Where the randomness starts.
    pub seed: u64,
    /// The shortest answer, in wall milliseconds.
    pub latency_ms_min: u64,
    /// The longest answer, in wall milliseconds.
    pub latency_ms_max: u64,
    /// How many authorizations are declined.
    pub decline_pct: Percent,
    /// How many tickets are refused.
    pub refuse_pct: Percent,
    /// Whether simulated kitchens cook and report it.
    pub cooks: bool,
}

impl SimulatedSettings {
    /// The same as the simulated participants take it.
    pub fn config(&self) -> SimulatedConfig {
        SimulatedConfig {
            seed: self.seed,
            latency_ms: SpreadMs {
                min: self.latency_ms_min,
                max: self.latency_ms_max,
            },
            decline_pct: self.decline_pct,
            refuse_pct: self.refuse_pct,
            ..SimulatedConfig::default()
        }
    }
}

/// `[webhooks]`: public events posted to subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Whether subscribers may be called without TLS.
    pub allow_http: bool,
    /// Whether they may be in private networks.
    pub allow_private: bool,
    /// How long one attempt may take.
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// The pauses between attempts, in milliseconds.
    pub retry_schedule_ms: Vec<u64>,
    /// How many subscriptions there may be.
    pub subscriptions_max: usize,
    /// How many attempts may be under way for each.
    pub concurrency_max: usize,
    /// How many messages of each may wait in memory.
    pub queue_max: usize,
    /// How many messages may be kept in the store for each.
    pub kept_max: u64,
    /// After how long dead letters are dropped.
    #[serde(rename = "dead_letter_ttl_s", deserialize_with = "seconds")]
    pub dead_letter_ttl: Duration,
}

impl WebhookSettings {
    /// The same as webhooks take it.
    pub fn options(&self) -> WebhookOptions {
        WebhookOptions {
            guard: Guard {
                allow_http: self.allow_http,
                allow_private: self.allow_private,
            },
            timeout: self.timeout,
            retry_schedule_ms: self.retry_schedule_ms.clone(),
            subscriptions_max: self.subscriptions_max,
            concurrency_max: self.concurrency_max,
            queue_max: self.queue_max,
            kept_max: self.kept_max,
            dead_letter_ttl: self.dead_letter_ttl,
        }
    }
}

/// `[demo]`: demonstration data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoSettings {
    /// Whether a store with no channels yet is given some.
    pub enabled: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// What is logged, as a `tracing` filter.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}
