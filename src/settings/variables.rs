//! What environment variables set.

use super::error::Problem;
use super::keys::{self, KEYS};
use super::layer::Layer;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Variables by name, as a process finds them.
pub(super) type Variables = BTreeMap<String, String>;

/// Variables with names of their own, and the keys that they set.
const PLAIN: [(&str, &str); 6] = [
    ("PORT", "http.port"),
    ("CORS_ORIGIN", "http.cors_origin"),
    ("THROTTLE_TTL", "http.throttle_ttl_s"),
    ("THROTTLE_LIMIT", "http.throttle_limit"),
    ("KAFKA_BROKERS", "kafka.brokers"),
    ("UOOP_LOG", "log.filter"),
];

/// The parts of a Postgres address, with what they are when only others are given.
const DATABASE: [(&str, &str); 5] = [
    ("DB_USERNAME", "postgres"),
    ("DB_PASSWORD", ""),
    ("DB_HOST", "localhost"),
    ("DB_PORT", "5432"),
    ("DB_DATABASE", "uoop"),
];

/// The parts of a Redis address, with what they are when only others are given.
const REDIS: [(&str, &str); 4] = [
    ("REDIS_PASSWORD", ""),
    ("REDIS_HOST", "localhost"),
    ("REDIS_PORT", "6379"),
    ("REDIS_DB", "0"),
];

/// Whole addresses, and the keys that they set.
const URLS: [(&str, &str); 2] = [("DATABASE_URL", "store.database_url"), ("REDIS_URL", "redis.url")];

/// `UOOP_` variables that are no keys: read before the configuration, or by tests and scripts.
const OTHERS: [&str; 9] = [
    "UOOP_PROFILE",
    "UOOP_CONFIG",
    "UOOP_LOG",
    "UOOP_MDRP_DIR",
    "UOOP_URL",
    "UOOP_FAILPOINTS",
    "UOOP_PG_PORT",
    "UOOP_REDIS_PORT",
    "UOOP_KAFKA_PORT",
];

/// The value of a variable with a name of its own. Compose files pass on what is not set as an empty text, and
/// Kubernetes describes a service called `db` as `DB_PORT=tcp://…`: both count as not set.
fn given<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    let value = variables.get(name).map(String::as_str)?;
    (!value.is_empty() && !is_service_link(name, value)).then_some(value)
}

/// Variables with names of their own: `PORT`, `DB_HOST` and the like.
pub(super) fn plain(variables: &Variables) -> Layer {
    let mut layer = Layer::default();
    for (name, path) in PLAIN {
        if let (Some(text), Some(key)) = (given(variables, name), keys::find(path)) {
            layer.add_text(key, text, &format!("variable {name}"));
        }
    }
    database_parts(variables, &mut layer);
    redis_parts(variables, &mut layer);
    layer
}

/// Which of these variables are set, as a source; `None` when none is.
fn source_of(variables: &Variables, names: &[&str]) -> Option<String> {
    let found: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| given(variables, name).is_some())
        .collect();
    match found.as_slice() {
        [] => None,
        [name] => Some(format!("variable {name}")),
        names => Some(format!("variables {}", names.join(", "))),
    }
}

/// Notes a part of an address that is no number in its range.
fn check_number(layer: &mut Layer, name: &str, text: &str, range: RangeInclusive<u16>) -> bool {
    let fine = text.parse::<u16>().is_ok_and(|number| range.contains(&number));
    if !fine {
        layer.problems.push(Problem::Value {
            key: name.into(),
            value: format!("{text:?}"),
            source_name: format!("variable {name}"),
            expected: format!("a whole number from {} to {}", range.start(), range.end()),
        });
    }
    fine
}

/// A host as it stands in an address: an IPv6 one needs its brackets.
fn host_in_address(host: &str) -> String {
    match host {
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host if host.starts_with('[') => host.to_owned(),
        // A path is a directory of sockets and must be escaped.
        host => escaped(host),
    }
}

/// Makes one address of the `REDIS_…` variables, if there is any.
fn redis_parts(variables: &Variables, layer: &mut Layer) {
    let names = ["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"];
    let (Some(source), Some(key)) = (source_of(variables, &names), keys::find("redis.url")) else {
        return;
    };
    let [password, host, port, database] = REDIS.map(|(name, default)| given(variables, name).unwrap_or(default));
    let fine = check_number(layer, "REDIS_PORT", port, 1..=u16::MAX);
    if check_number(layer, "REDIS_DB", database, 0..=255) && fine {
        let user = if password.is_empty() {
            String::new()
        } else {
            format!(":{}@", escaped(password))
        };
        let address = format!("redis://{user}{}:{port}/{database}", host_in_address(host));
        layer.add_text(key, &address, &source);
    }
}

/// Makes one address of the `DB_…` variables, if there is any.
fn database_parts(variables: &Variables, layer: &mut Layer) {
    let names = ["DB_HOST", "DB_PORT", "DB_USERNAME", "DB_PASSWORD", "DB_DATABASE"];
    let (Some(source), Some(key)) = (source_of(variables, &names), keys::find("store.database_url")) else {
        return;
    };
    let [user, password, host, port, database] =
        DATABASE.map(|(name, default)| given(variables, name).unwrap_or(default));
    if !check_number(layer, "DB_PORT", port, 1..=u16::MAX) {
        return;
    }
    let colon = if password.is_empty() { "" } else { ":" };
    let host = host_in_address(host);
    let (user, password, database) = (escaped(user), escaped(password), escaped(database));
    let address = format!("postgres://{user}{colon}{password}@{host}:{port}/{database}");
    layer.add_text(key, &address, &source);
}

/// Percent-encodes all that has a meaning in an address.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `DATABASE_URL` and `REDIS_URL`.
pub(super) fn urls(variables: &Variables) -> Layer {
    let mut layer = Layer::default();
    for (name, path) in URLS {
        if let (Some(text), Some(key)) = (given(variables, name), keys::find(path)) {
            layer.add_text(key, text, &format!("variable {name}"));
        }
    }
    layer
}

/// The `UOOP_…` form of every key. An empty value is a value here.
pub(super) fn prefixed(variables: &Variables) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("UOOP_") else {
            continue;
        };
        if OTHERS.contains(&name.as_str()) || rest.starts_with("TEST_") || is_service_link(name, value) {
            continue;
        }
        match KEYS.iter().find(|key| key.variable() == *name) {
            Some(key) => layer.add_text(key, value, &format!("variable {name}")),
            None => layer.problems.push(Problem::UnknownVariable {
                name: name.clone(),
                nearest: nearest(rest),
            }),
        }
    }
    layer
}

fn nearest(rest: &str) -> Option<String> {
    let path = keys::nearest(&rest.to_lowercase().replace("__", "."))?;
    keys::find(path).map(keys::Key::variable)
}

/// Whether Kubernetes (or Docker) put the variable there to describe a service: one called `uoop` makes
/// `UOOP_SERVICE_HOST`, `UOOP_SERVICE_PORT_HTTP`, `UOOP_PORT=tcp://…`, `UOOP_PORT_8080_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let numbered = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    (name.ends_with("_PORT") && address)
        || name.starts_with("UOOP_SERVICE_HOST")
        || name.starts_with("UOOP_SERVICE_PORT")
        || name.strip_prefix("UOOP_PORT_").is_some_and(numbered)
}
