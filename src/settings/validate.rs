//! Values that are right by themselves but not together.

use super::error::{Problem, SettingsError};
use super::load::Entry;
use super::sections::{ParticipantKind, StorePlace, StoreSettings};
use super::{Address, Settings};
use domain::policy::CallPolicy;
use std::time::Duration;

/// For how many hours clients may count on an idempotency key.
const KEY_HOURS_MIN: u32 = 24;

/// What does not go together, and the keys concerned.
struct Conflict {
    keys: Vec<String>,
    message: String,
}

impl Settings {
    /// Checks what goes beyond single values. What [`super::Sources::load`] returns has passed.
    ///
    /// # Errors
    /// Everything that does not go together.
    pub fn validate(&self) -> Result<(), SettingsError> {
        SettingsError::unless_empty(problems(self, &[]))
    }
}

/// What does not go together; the entries tell where it was set.
pub(super) fn problems(settings: &Settings, entries: &[Entry]) -> Vec<Problem> {
    let mut conflicts = Vec::new();
    policy_conflicts(settings, &mut conflicts);
    participant_conflicts(settings, &mut conflicts);
    store_conflicts(settings, &mut conflicts);
    kafka_conflicts(settings, &mut conflicts);
    let has_postgres = matches!(settings.store.place(), StorePlace::Postgres(_));
    for (keys, message) in settings.cluster.problems(has_postgres) {
        conflicts.push(Conflict {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            message,
        });
    }
    let sources = |keys: &[String]| {
        let concerned = keys
            .iter()
            .filter_map(|key| entries.iter().find(|entry| entry.key == key));
        concerned
            .map(|entry| (entry.key.to_owned(), entry.source.clone()))
            .collect()
    };
    let problems = conflicts.into_iter().map(|conflict| Problem::Conflict {
        sources: sources(&conflict.keys),
        message: conflict.message,
    });
    problems.collect()
}

/// What is odd but not wrong.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let participants = &settings.participants;
    let http = [participants.payments, participants.kitchens].contains(&ParticipantKind::Http);
    let unsigned = http && participants.signing_secrets.is_empty();
    let warning = "participants.signing_secrets is empty: calls to participants are not signed and their reports not \
                   verified";
    unsigned.then(|| warning.to_owned()).into_iter().collect()
}

fn policy_conflicts(settings: &Settings, conflicts: &mut Vec<Conflict>) {
    let policy = &settings.policy;
    if let Some(problem) = policy.problem() {
        conflicts.push(Conflict {
            keys: problem.keys.map(|key| format!("policy.{key}")).into(),
            message: format!("policy.{}", problem.message),
        });
    }
    let calls = [
        ("internal", &policy.internal),
        ("payment", &policy.payment),
        ("kitchen", &policy.kitchen),
    ];
    for (name, call) in calls {
        let CallPolicy {
            backoff_ms,
            backoff_ms_max,
            ..
        } = call;
        let key = format!("policy.{name}.backoff_ms");
        ordered(
            conflicts,
            (&key, backoff_ms.0),
            (&format!("{key}_max"), backoff_ms_max.0),
        );
    }
    let actors = &settings.actors;
    ordered(
        conflicts,
        ("actors.restart_backoff_ms", millis(actors.restart_backoff)),
        ("actors.restart_backoff_ms_max", millis(actors.restart_backoff_max)),
    );
}

fn participant_conflicts(settings: &Settings, conflicts: &mut Vec<Conflict>) {
    let participants = &settings.participants;
    let simulated = &participants.simulated;
    ordered(
        conflicts,
        ("participants.simulated.latency_ms_min", simulated.latency_ms_min),
        ("participants.simulated.latency_ms_max", simulated.latency_ms_max),
    );
    let timeout = ("participants.timeout_ms", participants.timeout_ms);
    let policy = &settings.policy;
    let called = [
        (
            "payments",
            participants.payments,
            &participants.payments_url,
            "payment",
            policy.payment,
        ),
        (
            "kitchens",
            participants.kitchens,
            &participants.kitchens_url,
            "kitchen",
            policy.kitchen,
        ),
    ];
    for (name, kind, url, rules, call) in called {
        if kind == ParticipantKind::Http {
            needs_address(conflicts, name, url);
            ordered(
                conflicts,
                timeout,
                (&format!("policy.{rules}.timeout_ms"), call.timeout_ms.0),
            );
        }
    }
}

fn needs_address(conflicts: &mut Vec<Conflict>, name: &str, url: &Address) {
    if url.is_empty() {
        let key = format!("participants.{name}");
        conflicts.push(Conflict {
            message: format!("{key}_url is empty: must be set because {key} is \"http\""),
            keys: vec![key],
        });
    }
}

fn store_conflicts(settings: &Settings, conflicts: &mut Vec<Conflict>) {
    let store = &settings.store;
    retention_conflicts(store, conflicts);
    let connections = usize::try_from(store.write_connections).unwrap_or(usize::MAX);
    let writers = store.writers(settings.cluster.enabled);
    if matches!(store.place(), StorePlace::Postgres(_)) && connections <= writers {
        conflicts.push(Conflict {
            keys: vec!["store.write_connections".into(), "store.journal_writers".into()],
            message: format!(
                "store.write_connections is {connections} but store.journal_writers is {writers}: each writer \
                 needs a connection, and one more is needed to take shards over"
            ),
        });
    }
}

/// Keys lead to orders, so they go first; and clients count on them for a day.
fn retention_conflicts(store: &StoreSettings, conflicts: &mut Vec<Conflict>) {
    let (days, hours) = (store.retention_days, store.key_retention_h);
    let conflict = |message| Conflict {
        keys: vec!["store.key_retention_h".into(), "store.retention_days".into()],
        message,
    };
    if (1..KEY_HOURS_MIN).contains(&hours) {
        let message = format!("store.key_retention_h is {hours}: must be 0, or at least {KEY_HOURS_MIN}");
        conflicts.push(conflict(message));
    } else if days > 0 && hours > days * 24 {
        let message = format!(
            "store.key_retention_h is {hours}: must not exceed store.retention_days, which is {days} ({} hours)",
            days * 24
        );
        conflicts.push(conflict(message));
    }
}

fn kafka_conflicts(settings: &Settings, conflicts: &mut Vec<Conflict>) {
    if let Err(error) = settings.kafka.all_options().check() {
        conflicts.push(Conflict {
            keys: vec!["kafka.security_protocol".into(), "kafka.properties".into()],
            message: format!("kafka cannot be reached like that: {error}"),
        });
    }
    if settings.kafka.lacks_credentials() {
        let keys = ["security_protocol", "sasl_username", "sasl_password"];
        conflicts.push(Conflict {
            keys: keys.iter().map(|key| format!("kafka.{key}")).collect(),
            message: format!(
                "kafka.security_protocol is {}: kafka.sasl_username and kafka.sasl_password must be set",
                settings.kafka.security_protocol
            ),
        });
    }
    if let Some([one, other]) = settings.kafka.same_topics() {
        conflicts.push(Conflict {
            keys: vec![one.into(), other.into()],
            message: format!("{one} and {other} are the same topic: each must have its own"),
        });
    }
}

/// The first must not exceed the second.
fn ordered(conflicts: &mut Vec<Conflict>, low: (&str, u64), high: (&str, u64)) {
    if low.1 > high.1 {
        conflicts.push(Conflict {
            keys: vec![low.0.into(), high.0.into()],
            message: format!(
                "{} is {}: must not exceed {}, which is {}",
                low.0, low.1, high.0, high.1
            ),
        });
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
