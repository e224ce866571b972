//! What environment variables set.

use super::error::Problem;
use super::keys::{self, KEYS};
use super::layer::Layer;
use std::collections::BTreeMap;

/// Variables by name, as a process finds them.
pub(super) type Variables = BTreeMap<String, String>;

/// Variables with names of their own, and the keys that they set.
const PLAIN: [(&str, &str); 5] = [
    ("PORT", "http.port"),
    ("CORS_ORIGIN", "http.cors_origin"),
    ("THROTTLE_TTL", "http.throttle_ttl_s"),
    ("THROTTLE_LIMIT", "http.throttle_limit"),
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

/// Variables that deployments of the platform may set and that this version has no use for.
const UNUSED: [&str; 6] = [
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_URL",
    "KAFKA_BROKERS",
];

/// `UOOP_` variables that are no keys: read before the configuration, or by tests and scripts.
const OTHERS: [&str; 6] = [
    "UOOP_PROFILE",
    "UOOP_CONFIG",
    "UOOP_LOG",
    "UOOP_MDRP_DIR",
    "UOOP_URL",
    "UOOP_PG_PORT",
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
    layer
}

/// Makes one address of the `DB_…` variables, if there is any.
fn database_parts(variables: &Variables, layer: &mut Layer) {
    let names = ["DB_HOST", "DB_PORT", "DB_USERNAME", "DB_PASSWORD", "DB_DATABASE"];
    let found: Vec<_> = names
        .into_iter()
        .filter(|name| given(variables, name).is_some())
        .collect();
    let Some(key) = keys::find("store.database_url").filter(|_| !found.is_empty()) else {
        return;
    };
    let [user, password, host, port, database] =
        DATABASE.map(|(name, default)| given(variables, name).unwrap_or(default));
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        layer.problems.push(Problem::Value {
            key: "DB_PORT".into(),
            value: format!("{port:?}"),
            source_name: "variable DB_PORT".into(),
            expected: "a whole number from 1 to 65535".into(),
        });
        return;
    }
    let colon = if password.is_empty() { "" } else { ":" };
    // An IPv6 address needs its brackets; a path is a directory of sockets and must be escaped.
    let host = match host {
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host if host.starts_with('[') => host.to_owned(),
        host => escaped(host),
    };
    let (user, password, database) = (escaped(user), escaped(password), escaped(database));
    let address = format!("postgres://{user}{colon}{password}@{host}:{port}/{database}");
    let plural = if found.len() == 1 { "variable" } else { "variables" };
    layer.add_text(key, &address, &format!("{plural} {}", found.join(", ")));
}

/// Percent-encodes all that has a meaning in an address.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `DATABASE_URL`.
pub(super) fn database_url(variables: &Variables) -> Layer {
    let mut layer = Layer::default();
    let key = keys::find("store.database_url");
    if let (Some(text), Some(key)) = (given(variables, "DATABASE_URL"), key) {
        layer.add_text(key, text, "variable DATABASE_URL");
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

/// Warnings about variables that do nothing, if there are any.
pub(super) fn unused(variables: &Variables) -> Vec<String> {
    let found = UNUSED.into_iter().filter(|name| given(variables, name).is_some());
    found
        .map(|name| format!("variable {name} is not used by this version"))
        .collect()
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
