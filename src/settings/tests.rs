//! Every layer, and what it may say.

mod refusals;
mod services;

use super::keys::{self, KEYS};
use super::*;
use domain::policy::Assigning;
use domain::time::Millis;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

const DEFAULT: &str = include_str!("../../config/default.toml");

fn variables(pairs: &[(&str, &str)]) -> Sources {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        variables: pairs.collect(),
        ..Sources::default()
    }
}

fn flags(pairs: &[(&str, &str)]) -> Sources {
    let flag = |(key, value): &(&str, &str)| Flag {
        name: "--set".into(),
        key: (*key).into(),
        value: (*value).into(),
    };
    Sources {
        flags: pairs.iter().map(flag).collect(),
        ..Sources::default()
    }
}

/// Sources with a file of this content. The file's name in messages is `FILE`.
struct WithFile {
    sources: Sources,
    file: tempfile::NamedTempFile,
}

impl WithFile {
    fn new(content: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        let sources = Sources {
            file: Some(file.path().to_owned()),
            ..Sources::default()
        };
        Self { sources, file }
    }

    fn errors(&self) -> Vec<String> {
        let name = self.file.path().display().to_string();
        errors(&self.sources)
            .into_iter()
            .map(|text| text.replace(&name, "FILE"))
            .collect()
    }
}

fn settings(sources: &Sources) -> Settings {
    sources.load().expect("sound").settings
}

fn errors(sources: &Sources) -> Vec<String> {
    let error = sources.load().expect_err("something is wrong");
    error.0.iter().map(ToString::to_string).collect()
}

fn source_of(sources: &Sources, key: &str) -> String {
    let loaded = sources.load().expect("sound");
    let entry = loaded.entries.into_iter().find(|entry| entry.key == key);
    entry.expect("a key").source
}

fn leaves(parent: &str, table: &toml::Table, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = if parent.is_empty() {
            name.clone()
        } else {
            format!("{parent}.{name}")
        };
        match value {
            toml::Value::Table(table) => leaves(&path, table, found),
            _ => found.push(path),
        }
    }
}

#[test]
fn the_default_file_holds_every_key_and_no_other() {
    let mut found = Vec::new();
    leaves("", &toml::from_str(DEFAULT).expect("TOML"), &mut found);
    let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
    let known: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(known.len(), KEYS.len(), "a key is listed twice");
    assert_eq!(found, known);
    let entries = Sources::default().load().expect("sound").entries;
    assert_eq!(entries.len(), KEYS.len());
    assert!(entries.iter().all(Entry::is_default));
}

#[test]
fn the_default_file_explains_every_key_and_its_unit() {
    let mut comment = String::new();
    for line in DEFAULT.lines() {
        if line.starts_with('#') {
            comment.push_str(line);
            continue;
        }
        if let Some((name, _)) = line.split_once(" = ") {
            assert!(!comment.is_empty(), "{name} is not explained");
            if name.contains("_ms") {
                assert!(comment.contains("millisecond"), "{name} has no unit: {comment}");
            }
            if name.ends_with("_s") {
                assert!(comment.contains("seconds"), "{name} has no unit: {comment}");
            }
        }
        comment.clear();
    }
}

#[test]
fn every_key_fits_its_field_at_both_ends_of_its_range() {
    for key in KEYS {
        let keys::Rule::Whole(min, max) = key.rule else {
            continue;
        };
        for value in [min, max] {
            // It may not go together with the others, but it must not be too large for its field.
            let outcome = flags(&[(key.path, &value.to_string())]).load();
            for problem in outcome.err().map(|error| error.0).unwrap_or_default() {
                let together = matches!(&problem, Problem::Conflict { sources, .. } if !sources.is_empty());
                assert!(together, "{} = {value}: {problem}", key.path);
            }
        }
        let beyond = errors(&flags(&[(key.path, &(i128::from(max) + 1).to_string())]));
        assert!(beyond[0].starts_with(&format!("{} is ", key.path)), "{beyond:?}");
    }
}

#[test]
fn defaults_are_those_of_the_code() {
    let settings = settings(&Sources::default());
    let planned = Policy {
        assigning: Assigning::Planned,
        dispatch_lead_ms: Millis::from_mins(60),
        ..Policy::default()
    };
    assert_eq!(settings.policy(), planned, "plans know early what is to come");
    assert_eq!(
        format!("{:?}", settings.dispatch.options()),
        format!(
            "{:?}",
            actors::DispatchOptions {
                policy: Some(routing::dispatch::Policy::Anneal),
                ..actors::DispatchOptions::default()
            }
        )
    );
    assert_eq!(
        settings.store.journal(false).queue_rows_max,
        persistence::JournalOptions::default().queue_rows_max
    );
    assert_eq!(settings.redis.options(), persistence::RedisOptions::default());
    assert_eq!(
        settings.participants.guard(),
        crate::participants::guard::GuardConfig::default()
    );
    let simulated = crate::participants::simulated::SimulatedConfig::default();
    assert_eq!(settings.participants.simulated.config(), simulated);
    let (ours, theirs) = (settings.actors.options(), ActorOptions::default());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!((settings.http.host.as_str(), settings.http.port), ("127.0.0.1", 8080));
    assert_eq!(settings.store.place(), StorePlace::Sqlite("./data/uoop.db".into()));
    assert_eq!(settings.store.shards, None);
    assert_eq!((settings.time.scale, settings.demo.enabled), (60, true));
}

#[test]
fn profiles_start_from_the_defaults() {
    let replay = Settings::of_profile(Profile::Replay).expect("sound");
    assert!(!replay.demo.enabled);
    assert_eq!(replay.http.port, 8080);
    assert_eq!(replay.participants.http_payments().map(|http| http.base_url), None);
    let production = Sources {
        profile: Some(Profile::Production),
        ..flags(&[
            ("participants.payments_url", "https://pay.example"),
            ("participants.kitchens_url", "https://cook.example"),
            (
                "participants.signing_secrets",
                "0123456789abcdef01234567,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
            ),
        ])
    };
    let loaded = production.load().expect("sound");
    assert_eq!(loaded.warnings, [""; 0]);
    let production = loaded.settings;
    assert!(!production.demo.enabled);
    assert_eq!(production.log.format, LogFormat::Json);
    assert_eq!(production.participants.couriers, CourierKind::External);
    assert_eq!(production.participants.signing_secrets.len(), 2);
    let payments = production.participants.http_payments().expect("over HTTP");
    assert_eq!(
        (payments.base_url.as_str(), payments.timeout_ms),
        ("https://pay.example", 2_500)
    );
    assert_eq!(
        payments.secret.as_ref(),
        production.participants.signing_secrets.first()
    );
    assert_eq!(
        production
            .participants
            .http_kitchens()
            .map(|http| http.base_url)
            .as_deref(),
        Some("https://cook.example")
    );
}

#[test]
fn production_needs_its_participants() {
    let error = Settings::of_profile(Profile::Production).expect_err("no addresses");
    assert_eq!(
        error.to_string(),
        "configuration: 2 problems\n  \
         participants.payments_url is empty: must be set because participants.payments is \"http\" \
         (participants.payments: profile production)\n  \
         participants.kitchens_url is empty: must be set because participants.kitchens is \"http\" \
         (participants.kitchens: profile production)"
    );
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let mut sources = WithFile::new("http.port = 1");
    let port = |sources: &Sources| (settings(sources).http.port, source_of(sources, "http.port"));
    let file = format!("file {}", sources.file.path().display());
    assert_eq!(port(&sources.sources), (1, file));
    let mut add = |name: &str, value: &str| {
        sources.sources.variables.insert(name.into(), value.into());
        port(&sources.sources)
    };
    assert_eq!(add("PORT", "2"), (2, "variable PORT".into()));
    assert_eq!(add("UOOP_HTTP__PORT", "3"), (3, "variable UOOP_HTTP__PORT".into()));
    sources.sources.flags = flags(&[("http.port", "4"), ("http.port", "5")]).flags;
    assert_eq!(port(&sources.sources), (5, "flag --set".into()));

    // A profile over the defaults, a file over a profile.
    let mut sources = WithFile::new("[log]\nfilter = \"debug\"");
    sources.sources.profile = Some(Profile::Replay);
    assert_eq!(source_of(&sources.sources, "demo.enabled"), "profile replay");
    assert_eq!(settings(&sources.sources).log.filter, "debug");
    assert_eq!(source_of(&sources.sources, "http.host"), "default");
}

#[test]
fn plain_variables_set_their_keys() {
    let sources = variables(&[
        ("PORT", "3000"),
        ("CORS_ORIGIN", "https://a.example, https://b.example:8443"),
        ("THROTTLE_TTL", "30"),
        ("THROTTLE_LIMIT", "1000"),
        ("UOOP_LOG", "warn,uoop=debug"),
    ]);
    let settings = settings(&sources);
    assert_eq!(settings.http.port, 3000);
    assert_eq!(
        settings.http.cors_origins(),
        ["https://a.example", "https://b.example:8443"]
    );
    assert_eq!(settings.http.throttle_ttl.as_secs(), 30);
    assert_eq!(settings.http.throttle_limit, 1000);
    assert_eq!(settings.log.filter, "warn,uoop=debug");
}

#[test]
fn every_key_is_a_variable() {
    for entry in Sources::default().load().expect("sound").entries {
        let key = keys::find(entry.key).expect("a key");
        // In a variable, a list has no brackets and a text no quotes.
        let text = entry.toml.trim_matches(['[', ']', '"']);
        let sources = variables(&[(&key.variable(), text)]);
        assert_eq!(settings(&sources), settings(&Sources::default()), "{}", entry.key);
        assert_eq!(source_of(&sources, entry.key), format!("variable {}", key.variable()));
    }
    let nested = variables(&[("UOOP_POLICY__PAYMENT__TIMEOUT_MS", "2999")]);
    assert_eq!(settings(&nested).policy().payment.timeout_ms, Millis(2_999));
}

#[test]
fn variables_of_others_are_left_alone() {
    let sources = variables(&[
        ("UOOP_TEST_POSTGRES_URL", "x"),
        ("UOOP_MDRP_DIR", "x"),
        ("UOOP_URL", "x"),
        ("UOOP_PG_PORT", "x"),
        ("UOOP_REDIS_PORT", "x"),
        ("UOOP_SERVICE_HOST", "10.0.0.1"),
        ("UOOP_SERVICE_PORT_HTTP", "8080"),
        ("UOOP_PORT", "tcp://10.0.0.1:8080"),
        ("UOOP_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("DB_PORT", "tcp://10.0.0.2:5432"),
        ("HOME", "/"),
    ]);
    assert_eq!(settings(&sources), settings(&Sources::default()));
}

#[test]
fn the_profile_can_be_a_variable() {
    let of = |name: &str| variables(&[("UOOP_PROFILE", name)]);
    assert_eq!(of("replay").profile().expect("known"), Profile::Replay);
    assert_eq!(of("").profile().expect("none"), Profile::Default);
    let asked = Sources {
        profile: Some(Profile::Default),
        ..of("replay")
    };
    assert_eq!(asked.profile().expect("known"), Profile::Default);
    assert_eq!(
        errors(&of("prod")),
        [r#"unknown profile "prod" (variable UOOP_PROFILE): the profiles are default, production, replay, bench"#]
    );
    for profile in Profile::ALL {
        assert_eq!(Profile::named(profile.name()), Some(profile));
    }
}

#[test]
fn nothing_is_deleted_unless_it_is_said_when() {
    let kept = |pairs: &[(&str, &str)]| {
        let retention = settings(&flags(pairs)).store.retention();
        let hours = |length: Option<Duration>| length.map(|length| length.as_secs() / 3_600);
        (hours(retention.orders), hours(retention.keys))
    };
    assert_eq!(kept(&[]), (None, None));
    assert_eq!(kept(&[("store.key_retention_h", "24")]), (None, Some(24)));
    assert_eq!(kept(&[("store.retention_days", "2")]), (Some(48), Some(48)));
    let both = [("store.retention_days", "2"), ("store.key_retention_h", "36")];
    assert_eq!(kept(&both), (Some(48), Some(36)));
}

#[test]
fn delays_are_a_list_of_lengths() {
    let schedule = |text: &str| variables(&[("UOOP_WEBHOOKS__RETRY_SCHEDULE_MS", text)]);
    for (text, delays) in [("5", vec![5]), (" 5, 300000 ", vec![5, 300_000]), ("", Vec::new())] {
        assert_eq!(settings(&schedule(text)).webhooks.retry_schedule_ms, delays, "{text:?}");
    }
    for text in ["5 s", "0", "5,-1", "1.5", "604800001", &["1"; 33].join(",")] {
        let errors = errors(&schedule(text));
        assert!(
            errors[0].contains("at most 32 whole numbers from 1 to 604800000"),
            "{errors:?}"
        );
    }
}
