//! Redis, which may be slow, away or empty at any time.

use super::circuit::Circuit;
use super::{StatusEntry, TTL, tls};
use domain::ids::OrderId;
use fred::bytes::Bytes;
use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface, SortedSetsInterface};
use fred::types::Value;
use fred::types::config::{
    Config, ConnectionConfig, Options, ReconnectPolicy, Server, ServerConfig, UnresponsiveConfig,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// Sets each key to its body, unless a newer version is there; none is newer than what is left of the time to live when
/// the call arrives late. KEYS: the keys. ARGV: when they expire, then the version and body of each.
///
/// The same version again only puts its expiry off: it was seen to be current once more.
const PUT: &str = r"
local now = redis.call('TIME')
local ttl = tonumber(ARGV[1]) - (now[1] * 1000 + math.floor(now[2] / 1000))
if ttl <= 0 then return 0 end
for n, key in ipairs(KEYS) do
  local version, known = tonumber(ARGV[2 * n]), nil
  local held = redis.pcall('GET', key)
  if type(held) == 'string' then
    local fine, found = pcall(cjson.decode, held)
    if fine and type(found) == 'table' then known = tonumber(found.version) end
  end
  if not known or known < version then
    redis.call('SET', key, ARGV[2 * n + 1], 'PX', ttl)
  elseif known == version and redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, ttl)
  end
end
return 1";

const NOW_MS: &str = "local now = redis.call('TIME') return now[1] * 1000 + math.floor(now[2] / 1000)";

/// How an address begins where Redis is asked over TLS.
const TLS_SCHEME: &str = "rediss://";

/// How Redis is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// How long it may take to answer.
    pub timeout: Duration,
    /// For how long it is not asked after it failed to.
    pub pause: Duration,
    /// Over TLS, the certificates of authorities that its own may be signed by, a PEM file; `None`: those that this machine
    /// trusts.
    pub authority: Option<PathBuf>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(50),
            pause: Duration::from_secs(1),
            authority: None,
        }
    }
}

/// Why there can be no connection to Redis. Says nothing of the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAddress {
    /// The address is not one of a Redis server.
    #[error("the address of Redis is not like redis://user:password@host:port/database, or rediss:// over TLS")]
    Unreadable,
    /// Who signed the certificate of the server is not to be found out.
    #[error("the certificates of authorities cannot be used: {0}")]
    Authority(String),
}

/// Redis did not do what it was asked, or was not asked because it recently failed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis is away")]
pub struct Away;

/// An entry, and for how long it has not been known to be current.
pub(super) struct Found {
    pub(super) entry: StatusEntry,
    pub(super) age: Duration,
}

/// A connection to Redis that is kept up, and made anew, in the background.
pub struct Redis {
    pub(super) client: WithOptions<Client>,
    options: Options,
    timeout: Duration,
    circuit: Circuit,
    connecting: AbortHandle,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.connecting.abort();
    }
}

impl Redis {
    /// Begins to connect to the server at a `redis://` address, over TLS to one at `rediss://`, and goes on trying for
    /// ever. Needs a runtime.
    ///
    /// # Errors
    /// The address cannot be read, or there are no authorities to go by.
    pub fn connect(address: &str, options: &RedisOptions) -> Result<Arc<Self>, InvalidAddress> {
        let mut config = plain_config(address)?;
        if address.starts_with(TLS_SCHEME) {
            config.tls = Some(tls::connector(options.authority.as_deref())?.into());
        }
        // Else a server that is not there yet would end the attempts.
        config.fail_fast = false;
        let connection = ConnectionConfig {
            connection_timeout: Duration::from_secs(2),
            internal_command_timeout: Duration::from_secs(2),
            max_command_attempts: 1,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(2)),
                interval: Duration::from_millis(500),
            },
            ..ConnectionConfig::default()
        };
        let policy = ReconnectPolicy::new_constant(0, 200);
        let client = Client::new(config, None, Some(connection), Some(policy));
        let asking = Options {
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        };
        metrics::describe_counter!(
            "uoop_redis_failures_total",
            "calls that Redis did not answer well or in time"
        );
        Ok(Arc::new(Self {
            connecting: client.connect().abort_handle(),
            client: client.with_options(&asking),
            options: asking,
            timeout: options.timeout,
            circuit: Circuit::new(options.pause),
        }))
    }

    /// The copy of an order's status, unless there is none or Redis is away.
    pub(super) async fn find(&self, id: OrderId) -> Option<Found> {
        let asked = Instant::now();
        let (ttl_ms, body) = self.call(self.left_and_body(&key(id))).await.ok()?;
        let entry = StatusEntry::read(id, body?)?;
        // What expires never, or in longer than our entries do, is none of ours.
        let left = u64::try_from(ttl_ms).ok().map(Duration::from_millis);
        let age = left.and_then(|left| TTL.checked_sub(left));
        Some(Found {
            entry,
            age: age.map_or(Duration::MAX, |age| age.saturating_add(asked.elapsed())),
        })
    }

    /// The time left first: should a newer copy come between, the older one's age is taken for the newer's, which is safe.
    async fn left_and_body(&self, key: &str) -> Result<(i64, Option<Bytes>), Error> {
        let pipeline = self.client.pipeline().with_options(&self.options);
        let _queued: Value = pipeline.pttl(key).await?;
        let _queued: Value = pipeline.get(key).await?;
        pipeline.all().await
    }

    /// The time by the server's clock, in milliseconds since the Unix epoch.
    pub(super) async fn now_ms(&self) -> Result<i64, Away> {
        let (keys, arguments) = (Vec::<String>::new(), Vec::<Value>::new());
        self.call(self.client.eval(NOW_MS, keys, arguments)).await
    }

    /// Writes copies that expire at a moment of the server's clock; those that a newer version is there for are left out.
    pub(super) async fn put(&self, entries: &[(OrderId, StatusEntry)], expire_at_ms: i64) -> Result<(), Away> {
        let keys: Vec<String> = entries.iter().map(|(id, _)| key(*id)).collect();
        let mut arguments: Vec<Value> = Vec::with_capacity(1 + 2 * entries.len());
        arguments.push(expire_at_ms.into());
        for (_, entry) in entries {
            arguments.push(i64::try_from(entry.version.0).unwrap_or(i64::MAX).into());
            arguments.push(entry.body.clone().into());
        }
        let _done: i64 = self.call(self.client.eval(PUT, keys, arguments)).await?;
        Ok(())
    }

    /// Sets members of a sorted set to their scores. It is gone `ttl` after the last call. Idempotent.
    ///
    /// # Errors
    /// Redis is away; some or all may have been set.
    pub async fn score(&self, set: &str, scores: Vec<(f64, String)>, ttl: Duration) -> Result<(), Away> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        self.call(async {
            let pipeline = self.client.pipeline().with_options(&self.options);
            let _queued: Value = pipeline.zadd(set, None, None, false, false, scores).await?;
            let _queued: Value = pipeline.expire(set, seconds, None).await?;
            pipeline.all::<(i64, i64)>().await.map(drop)
        })
        .await
    }

    /// Makes a call, unless Redis is known to be away.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Away> {
        if !self.circuit.admits() {
            return Err(Away);
        }
        // Ours, not the client's: a command that is sent while the connection breaks can be lost by it, time-out and all.
        let why = match timeout(self.timeout, call).await {
            Ok(Ok(answer)) => {
                if self.circuit.succeeded() {
                    tracing::info!("redis answers");
                }
                return Ok(answer);
            }
            Ok(Err(error)) => error.details().to_owned(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        metrics::counter!("uoop_redis_failures_total").increment(1);
        if self.circuit.failed() {
            tracing::warn!(why, "redis is away: going on without it");
        }
        Err(Away)
    }
}

/// The brief's key.
fn key(id: OrderId) -> String {
    format!("order:{id}:status")
}

/// What an address says but for TLS, of which there is only one way here.
fn plain_config(address: &str) -> Result<Config, InvalidAddress> {
    let plain = match address.strip_prefix(TLS_SCHEME) {
        Some(rest) => format!("redis://{rest}"),
        None => address.to_owned(),
    };
    let mut config = Config::from_url_centralized(&plain).map_err(|_| InvalidAddress::Unreadable)?;
    if let ServerConfig::Centralized { server } = &mut config.server {
        // The brackets of an IPv6 address belong to the URL.
        *server = Server::new(server.host.trim_matches(['[', ']']).to_owned(), server.port);
    }
    Ok(config)
}
