//! Every key there is, and what its value may be.

use super::kafka::{are_brokers, is_topic, property};
use super::secret::{REDACTED, without_password};
use crate::participants::signature::Secret;
use config::ValueKind;

/// A key and its rule.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path, with dots.
    pub(super) path: &'static str,
    /// What its value may be.
    pub(super) rule: Rule,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// 0, which leaves it open, or a power of two from 1 to this.
    PowerOfTwo(i64),
    /// A number from 0 to 100.
    Percent,
    /// True or false.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text but the empty one.
    Text,
    /// Any text.
    AnyText,
    /// Any text, which is not shown.
    HiddenText,
    /// An IP address and a port.
    Socket,
    /// Nothing, or a host and a port.
    Place,
    /// Nothing, `*`, or origins of web pages, separated by commas.
    Origins,
    /// Nothing, or an address at which HTTP is spoken.
    HttpAddress,
    /// Nothing, `memory:`, or the address of a Postgres database.
    StoreAddress,
    /// Nothing, or the address of a Redis server.
    RedisAddress,
    /// A list of up to 32 lengths of time in milliseconds, each from 1 to this.
    Delays(i64),
    /// Nothing, or Kafka brokers, separated by commas.
    Brokers,
    /// The name of a Kafka topic.
    Topic,
    /// Nothing, or the name of a Kafka topic.
    TopicIfAny,
    /// A list of librdkafka's settings, whose values are not shown.
    Properties,
    /// A list of signing secrets, which are not shown.
    Secrets,
    /// What `tracing` takes as a filter.
    LogFilter,
}

use Rule::{
    AnyText, Brokers, Delays, Flag, HiddenText, HttpAddress, LogFilter, OneOf, Origins, Percent, Place, PowerOfTwo,
    Properties, RedisAddress, Secrets, Socket, StoreAddress, Text, Topic, TopicIfAny, Whole,
};

const fn key(path: &'static str, rule: Rule) -> Key {
    Key { path, rule }
}

/// The longest technical length: an hour.
const HOUR_MS: i64 = 3_600_000;
/// The longest business length: a week.
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;
/// An upper bound for numbers of things that are held in memory.
const MANY: i64 = 1_000_000;
/// Most delays in a list of them.
const DELAYS_MAX: usize = 32;
const SIMULATED_OR_HTTP: Rule = OneOf(&["simulated", "http"]);

/// All keys, in the order of `config/default.toml`.
pub(super) static KEYS: &[Key] = &[
    key("http.host", Text),
    key("http.port", Whole(0, 65_535)),
    key("http.body_bytes_max", Whole(1_024, 64 * 1_024 * 1_024)),
    key("http.cors_origin", Origins),
    key("http.connections_max", Whole(1, MANY)),
    key("http.streams_max", Whole(1, MANY)),
    key("http.request_timeout_ms", Whole(100, HOUR_MS)),
    key("http.throttle_ttl_s", Whole(1, 86_400)),
    key("http.throttle_limit", Whole(0, 1_000_000_000)),
    key("store.data_dir", Text),
    key("store.database_url", StoreAddress),
    key("store.shards", PowerOfTwo(4_096)),
    key("store.write_connections", Whole(1, 64)),
    key("store.read_connections", Whole(1, 256)),
    key("store.journal_writers", Whole(0, 63)),
    key("store.batch_rows_max", Whole(1, 16_384)),
    key("store.queue_rows_max", Whole(1, MANY)),
    key("store.retention_days", Whole(0, 36_500)),
    key("store.key_retention_h", Whole(0, 876_000)),
    key("cluster.enabled", Flag),
    key("cluster.node", AnyText),
    key("cluster.listen", Socket),
    key("cluster.address", Place),
    key("cluster.secret", HiddenText),
    key("cluster.certificate", AnyText),
    key("cluster.key", AnyText),
    key("cluster.authority", AnyText),
    key("cluster.lease_ms", Whole(200, HOUR_MS)),
    key("cluster.renew_ms", Whole(50, HOUR_MS)),
    key("cluster.heartbeat_ms", Whole(10, 60_000)),
    key("cluster.misses_max", Whole(1, 100)),
    key("cluster.moves_max", Whole(1, 4_096)),
    key("cluster.requests_max", Whole(1, MANY)),
    key("cluster.wire_version_max", Whole(3, 4)),
    key("projection.interval_ms", Whole(1, 60_000)),
    key("projection.batch_orders_max", Whole(1, 65_536)),
    key("projection.read_connections", Whole(1, 64)),
    key("redis.url", RedisAddress),
    key("redis.timeout_ms", Whole(1, 60_000)),
    key("redis.pause_ms", Whole(1, HOUR_MS)),
    key("redis.authority", AnyText),
    key("cache.entries_max", Whole(1, 100 * MANY)),
    key("time.scale", Whole(1, 100_000)),
    key("time.skew_ms", Whole(-24 * HOUR_MS, 24 * HOUR_MS)),
    key("policy.ticket_acceptance_ms", Whole(1, HOUR_MS)),
    key("policy.hold_ttl_ms", Whole(1, 24 * HOUR_MS)),
    key("policy.tombstone_ttl_ms", Whole(1, 24 * HOUR_MS)),
    key("policy.dispatch_lead_ms", Whole(0, WEEK_MS)),
    key("policy.no_courier_limit_ms", Whole(1, WEEK_MS)),
    key("policy.authorization_margin_ms", Whole(0, WEEK_MS)),
    key("policy.saga_version", Whole(1, 2)),
    key("policy.reroutes_max", Whole(0, 10)),
    key("policy.slot_ms", Whole(60_000, 24 * HOUR_MS)),
    key("policy.capacity_level_pct", Whole(1, 99)),
    key("policy.capture_at", OneOf(&["confirmed", "picked_up", "delivered"])),
    key("policy.choice.wait_minor_per_min", Whole(0, MANY)),
    key("policy.choice.load_minor", Whole(0, MANY)),
    key("policy.choice.lost_minor", Whole(0, MANY)),
    key("policy.choice.late_minor", Whole(0, MANY)),
    key("policy.choice.prep_quantile_pct", Whole(1, 99)),
    key("policy.choice.scarce_pct", Whole(0, 100)),
    key("policy.internal.timeout_ms", Whole(1, HOUR_MS)),
    key("policy.internal.attempts_max", Whole(1, 100)),
    key("policy.internal.persistent_attempts_max", Whole(1, 10_000)),
    key("policy.internal.backoff_ms", Whole(1, HOUR_MS)),
    key("policy.internal.backoff_ms_max", Whole(1, HOUR_MS)),
    key("policy.payment.timeout_ms", Whole(1, HOUR_MS)),
    key("policy.payment.attempts_max", Whole(1, 100)),
    key("policy.payment.persistent_attempts_max", Whole(1, 10_000)),
    key("policy.payment.backoff_ms", Whole(1, HOUR_MS)),
    key("policy.payment.backoff_ms_max", Whole(1, HOUR_MS)),
    key("policy.kitchen.timeout_ms", Whole(1, HOUR_MS)),
    key("policy.kitchen.attempts_max", Whole(1, 100)),
    key("policy.kitchen.persistent_attempts_max", Whole(1, 10_000)),
    key("policy.kitchen.backoff_ms", Whole(1, HOUR_MS)),
    key("policy.kitchen.backoff_ms_max", Whole(1, HOUR_MS)),
    key("dispatch.policy", OneOf(&["greedy", "nearest", "rolling", "anneal"])),
    key("dispatch.head_start_ms", Whole(0, HOUR_MS)),
    key("dispatch.moves_max", Whole(0, MANY)),
    key("dispatch.budget_ms", Whole(1, HOUR_MS)),
    key("dispatch.every_ms", Whole(1_000, WEEK_MS)),
    key("dispatch.pause_ms", Whole(1, HOUR_MS)),
    key("dispatch.threads", Whole(1, 64)),
    key("dispatch.pickup_service_ms", Whole(0, HOUR_MS)),
    key("dispatch.dropoff_service_ms", Whole(0, HOUR_MS)),
    key("dispatch.target_ms", Whole(60_000, 24 * HOUR_MS)),
    key("dispatch.pay_per_order_minor", Whole(0, MANY)),
    key("dispatch.pay_per_hour_minor", Whole(0, MANY)),
    key("actors.shard_commands_max", Whole(1, MANY)),
    key("actors.orders_under_way_max", Whole(1, MANY)),
    key("actors.delay_ms_max", Whole(0, HOUR_MS)),
    key("actors.channel_mailbox_max", Whole(1, MANY)),
    key("actors.idle_ms", Whole(100, 24 * HOUR_MS)),
    key("actors.gather_ms", Whole(0, 1_000)),
    key("actors.restart_backoff_ms", Whole(1, HOUR_MS)),
    key("actors.restart_backoff_ms_max", Whole(1, HOUR_MS)),
    key("actors.restarts_max", Whole(0, 1_000)),
    key("actors.restart_window_ms", Whole(1, 24 * HOUR_MS)),
    key("participants.payments", SIMULATED_OR_HTTP),
    key("participants.payments_url", HttpAddress),
    key("participants.kitchens", SIMULATED_OR_HTTP),
    key("participants.kitchens_url", HttpAddress),
    key("participants.couriers", OneOf(&["simulated", "external"])),
    key("participants.signing_secrets", Secrets),
    key("participants.timeout_ms", Whole(1, HOUR_MS)),
    key("participants.breaker_failures", Whole(1, 1_000)),
    key("participants.breaker_open_ms", Whole(1, HOUR_MS)),
    key("participants.concurrency_max", Whole(1, 10_000)),
    key("participants.waiting_max", Whole(0, MANY)),
    key("participants.simulated.seed", Whole(0, i64::MAX)),
    key("participants.simulated.latency_ms_min", Whole(0, HOUR_MS)),
    key("participants.simulated.latency_ms_max", Whole(0, HOUR_MS)),
    key("participants.simulated.decline_pct", Percent),
    key("participants.simulated.refuse_pct", Percent),
    key("participants.simulated.cooks", Flag),
    key("webhooks.allow_http", Flag),
    key("webhooks.allow_private", Flag),
    key("webhooks.timeout_ms", Whole(1, HOUR_MS)),
    key("webhooks.retry_schedule_ms", Delays(WEEK_MS)),
    key("webhooks.subscriptions_max", Whole(0, 1_000)),
    key("webhooks.concurrency_max", Whole(1, 1_000)),
    key("webhooks.queue_max", Whole(1, MANY)),
    key("webhooks.kept_max", Whole(1, 100 * MANY)),
    key("webhooks.dead_letter_ttl_s", Whole(1, 10 * 366 * 86_400)),
    key("kafka.brokers", Brokers),
    key("kafka.orders_topic", Topic),
    key("kafka.partitions", Whole(1, 1_024)),
    key("kafka.replication", Whole(1, 16)),
    key(
        "kafka.security_protocol",
        OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
    ),
    key(
        "kafka.sasl_mechanism",
        OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    ),
    key("kafka.sasl_username", AnyText),
    key("kafka.sasl_password", HiddenText),
    key("kafka.authority", AnyText),
    key("kafka.properties", Properties),
    key("kafka.channel_events_topic", TopicIfAny),
    key("kafka.courier_events_topic", TopicIfAny),
    key("kafka.dead_letters_topic", Topic),
    key("kafka.group", Text),
    key("demo.enabled", Flag),
    key("log.filter", LogFilter),
    key("log.format", OneOf(&["text", "json"])),
];

/// The key of this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys lie below this path.
pub(super) fn is_section(path: &str) -> bool {
    let below = |key: &Key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(below)
}

/// The key most like what was written, whatever separates its parts; also when only its last part was written.
pub(super) fn nearest(written: &str) -> Option<&'static str> {
    let likeness = |path: &str| {
        let written = written.replace('"', "").replace('.', "_");
        let last = path.rsplit('.').next().unwrap_or(path);
        let whole = strsim::normalized_damerau_levenshtein(&written, &path.replace('.', "_"));
        // Slightly less, so that a whole path wins over one that merely ends alike.
        whole.max(0.95 * strsim::normalized_damerau_levenshtein(&written, last))
    };
    let best = KEYS.iter().map(|key| (likeness(key.path), key.path));
    let (likeness, path) = best.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness >= 0.6).then_some(path)
}

impl Key {
    /// Its form as an environment variable.
    pub(super) fn variable(&self) -> String {
        format!("UOOP_{}", self.path.to_uppercase().replace('.', "__"))
    }
}

impl Rule {
    /// The value in the form in which it is kept, if it is one that this rule allows.
    pub(super) fn check(self, value: &ValueKind) -> Option<ValueKind> {
        let fine = match (self, value) {
            (Whole(min, max), ValueKind::I64(number)) => (min..=max).contains(number),
            (PowerOfTwo(max), ValueKind::I64(number)) => {
                *number <= max && u64::try_from(*number).is_ok_and(|number| number == 0 || number.is_power_of_two())
            }
            (Percent, ValueKind::Float(number)) => (0.0..=100.0).contains(number),
            (Percent, ValueKind::I64(number)) => {
                let number = u8::try_from(*number).ok().filter(|number| *number <= 100)?;
                return Some(ValueKind::Float(number.into()));
            }
            (Flag, ValueKind::Boolean(_)) | (AnyText | HiddenText, ValueKind::String(_)) => true,
            (OneOf(words), ValueKind::String(text)) => words.contains(&text.as_str()),
            (Text, ValueKind::String(text)) => !text.trim().is_empty(),
            (Socket, ValueKind::String(text)) => text.parse::<std::net::SocketAddr>().is_ok(),
            (Place, ValueKind::String(text)) => text.is_empty() || (!text.contains(',') && are_brokers(text)),
            (Origins, ValueKind::String(text)) => text.is_empty() || text == "*" || text.split(',').all(is_origin),
            (HttpAddress, ValueKind::String(text)) => text.is_empty() || has_host(text, &["http://", "https://"]),
            (StoreAddress, ValueKind::String(text)) => {
                text.is_empty() || text == "memory:" || has_host(text, &["postgres://", "postgresql://"])
            }
            (RedisAddress, ValueKind::String(text)) => text.is_empty() || is_redis(text),
            (Brokers, ValueKind::String(text)) => text.is_empty() || are_brokers(text),
            (Topic, ValueKind::String(text)) => is_topic(text),
            (TopicIfAny, ValueKind::String(text)) => text.is_empty() || is_topic(text),
            (Properties, ValueKind::Array(items)) => items
                .iter()
                .all(|item| matches!(&item.kind, ValueKind::String(text) if property(text).is_some())),
            (Secrets, ValueKind::Array(items)) => items
                .iter()
                .all(|item| matches!(&item.kind, ValueKind::String(text) if text.parse::<Secret>().is_ok())),
            (Delays(max), ValueKind::Array(items)) => {
                items.len() <= DELAYS_MAX
                    && items
                        .iter()
                        .all(|item| matches!(item.kind, ValueKind::I64(ms) if (1..=max).contains(&ms)))
            }
            (LogFilter, ValueKind::String(text)) => tracing_subscriber::EnvFilter::try_new(text).is_ok(),
            _ => false,
        };
        fine.then(|| value.clone())
    }

    /// What a variable or a flag says, which is always text.
    pub(super) fn read(self, text: &str) -> ValueKind {
        let as_text = || ValueKind::String(text.to_owned());
        match self {
            Whole(..) | PowerOfTwo(_) => text.trim().parse().map_or_else(|_| as_text(), ValueKind::I64),
            Percent => text.trim().parse().map_or_else(|_| as_text(), ValueKind::Float),
            Flag => text.trim().parse().map_or_else(|_| as_text(), ValueKind::Boolean),
            Secrets | Properties => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                ValueKind::Array(items.map(config::Value::from).collect())
            }
            Delays(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let item = |item: &str| item.parse::<i64>().map_or_else(|_| item.into(), config::Value::from);
                ValueKind::Array(items.map(item).collect())
            }
            OneOf(_) | Text | AnyText | HiddenText | Socket | Place | Origins | HttpAddress | StoreAddress
            | RedisAddress | Brokers | Topic | TopicIfAny | LogFilter => as_text(),
        }
    }

    /// What would be right.
    pub(super) fn expected(self) -> String {
        match self {
            Whole(min, i64::MAX) => format!("a whole number from {min}"),
            Whole(min, max) => format!("a whole number from {min} to {max}"),
            PowerOfTwo(max) => format!("0 or a power of two from 1 to {max}"),
            Percent => "a number from 0 to 100".into(),
            Flag => "true or false".into(),
            OneOf(words) => words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(" or "),
            Text => "a text that is not empty".into(),
            AnyText | HiddenText => "a text".into(),
            Socket => r#"an IP address and a port like "127.0.0.1:7400""#.into(),
            Place => r#""" or a host and a port like "node-1.internal:7400""#.into(),
            Origins => r#""", "*", or origins like "https://shop.example" separated by commas"#.into(),
            HttpAddress => r#""" or an address like "https://host/path""#.into(),
            StoreAddress => r#""", "memory:" or an address like "postgres://user:password@host:5432/database""#.into(),
            RedisAddress => {
                r#""" or an address like "redis://user:password@host:6379/0", or "rediss://..." over TLS"#.into()
            }
            Brokers => r#""" or brokers like "kafka-1:9092,kafka-2:9092""#.into(),
            TopicIfAny => r#""" or a topic: up to 249 of a-z, A-Z, 0-9, '.', '_' and '-'"#.into(),
            Topic => "a topic: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'".into(),
            Properties => r#"a list of librdkafka's settings like "linger.ms=10""#.into(),
            Secrets => "a list of secrets of 24 to 64 bytes, as they are or as \"whsec_\" and their base64".into(),
            Delays(max) => format!("a list of at most {DELAYS_MAX} whole numbers from 1 to {max}"),
            LogFilter => r#"a filter like "info" or "warn,uoop=debug""#.into(),
        }
    }

    /// The value as TOML, without what must not be shown.
    pub(super) fn shown(self, value: &ValueKind) -> String {
        match (self, value) {
            (_, ValueKind::Array(items)) => {
                let items = items.iter().map(|item| self.shown(&item.kind));
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            (HiddenText, ValueKind::String(text)) if text.is_empty() => "\"\"".into(),
            (Secrets | HiddenText, _) => format!("{REDACTED:?}"),
            (Properties, ValueKind::String(text)) => {
                let name = property(text).map_or("", |(name, _)| name);
                format!("\"{name}={REDACTED}\"")
            }
            (HttpAddress | StoreAddress | RedisAddress, ValueKind::String(text)) => {
                format!("{:?}", without_password(text))
            }
            (_, ValueKind::String(text)) => format!("{text:?}"),
            (_, ValueKind::Float(number)) => format!("{number:?}"),
            (_, ValueKind::Table(_)) => "a section".into(),
            (_, other) => other.to_string(),
        }
    }
}

fn has_host(address: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| address.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(':')) && !address.contains(char::is_whitespace)
}

/// Whether it is the address of one Redis server, with nothing behind it but the number of a database.
fn is_redis(address: &str) -> bool {
    let schemes = ["redis://", "rediss://"];
    let Some(rest) = schemes.iter().find_map(|scheme| address.strip_prefix(scheme)) else {
        return false;
    };
    // A password may stand there without a user.
    let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
    let (host, database) = server.split_once('/').unwrap_or((server, ""));
    let named = !host.is_empty() && !host.starts_with(':') && !server.contains(['?', '#']);
    named && !address.contains(char::is_whitespace) && (database.is_empty() || database.parse::<u8>().is_ok())
}

/// Whether it is what a browser sends as `Origin`: scheme, host and port, nothing after them.
fn is_origin(text: &str) -> bool {
    let text = text.trim();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']))
}
