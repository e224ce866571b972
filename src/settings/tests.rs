//! Every layer, what it may say, and the text of every error.

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
    assert_eq!(settings.store.shards.len(), 256);
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
fn the_database_is_named_in_three_ways() {
    let place = |pairs: &[(&str, &str)]| settings(&variables(pairs)).store.database_url.expose().to_owned();
    let parts = [
        ("DB_HOST", "db"),
        ("DB_PORT", "5433"),
        ("DB_USERNAME", "al ice"),
        ("DB_PASSWORD", "p@ss:w/rd"),
        ("DB_DATABASE", "orders"),
    ];
    assert_eq!(place(&parts), "postgres://al%20ice:p%40ss%3Aw%2Frd@db:5433/orders");
    let source = source_of(&variables(&parts), "store.database_url");
    assert_eq!(
        source,
        "variables DB_HOST, DB_PORT, DB_USERNAME, DB_PASSWORD, DB_DATABASE"
    );
    assert_eq!(place(&[("DB_HOST", "::1")]), "postgres://postgres@[::1]:5432/uoop");
    assert_eq!(place(&[("DB_HOST", ""), ("DB_PASSWORD", "")]), "");

    let url = ("DATABASE_URL", "postgres://other/db");
    assert_eq!(place(&[parts[0], url]), url.1);
    assert_eq!(place(&[url, ("UOOP_STORE__DATABASE_URL", "memory:")]), "memory:");
    // An empty variable of ours is a value, one of the others is none.
    assert_eq!(place(&[url, ("UOOP_STORE__DATABASE_URL", "")]), "");
    assert_eq!(place(&[("DATABASE_URL", "")]), "");

    let memory = settings(&flags(&[("store.database_url", "memory:")])).store;
    assert_eq!(memory.place(), StorePlace::Memory);
    let shared = settings(&variables(&parts)).store.place();
    assert_eq!(shared.to_string(), "postgres://al%20ice:[redacted]@db:5433/orders");
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
fn kafka_is_reached_when_it_is_said_where() {
    assert_eq!(settings(&Sources::default()).kafka.options(), None);
    let sources = variables(&[
        ("KAFKA_BROKERS", "kafka-1:9092,kafka-2:9092"),
        ("UOOP_KAFKA__PROPERTIES", "linger.ms=10,sasl.password=hidden=too"),
    ]);
    let options = settings(&sources).kafka.options().expect("said");
    assert_eq!(options.brokers, "kafka-1:9092,kafka-2:9092");
    let properties = [("linger.ms", "10"), ("sasl.password", "hidden=too")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(options.properties, properties.into());
    assert_eq!(source_of(&sources, "kafka.brokers"), "variable KAFKA_BROKERS");
}

#[test]
fn events_are_consumed_from_the_topics_that_are_named() {
    let brokers = ("kafka.brokers", "kafka:9092");
    assert_eq!(settings(&flags(&[brokers])).kafka.inbound(), None);
    let channels = ("kafka.channel_events_topic", "kitchens");
    assert_eq!(settings(&flags(&[channels])).kafka.inbound(), None, "no brokers");
    let inbound = settings(&flags(&[brokers, channels])).kafka.inbound().expect("named");
    assert_eq!(inbound.topics, ["kitchens"]);
    assert_eq!(
        (inbound.dead_letters_topic.as_str(), inbound.group.as_str()),
        ("uoop.dead-letters", "uoop")
    );
    let same = flags(&[brokers, channels, ("kafka.dead_letters_topic", "kitchens")]);
    let errors = errors(&same);
    assert!(
        errors[0].contains("kafka.channel_events_topic and kafka.dead_letters_topic"),
        "{errors:?}"
    );
}

#[test]
fn values_of_kafka_properties_are_not_shown() {
    let sources = flags(&[("kafka.properties", "sasl.password=hidden")]);
    let loaded = sources.load().expect("sound");
    let entry = loaded.entries.iter().find(|entry| entry.key == "kafka.properties");
    assert_eq!(entry.expect("a key").toml, r#"["sasl.password=[redacted]"]"#);
    assert!(!format!("{:?}", loaded.settings).contains("hidden"));
    let wrong = flags(&[("kafka.properties", "sasl.pasword=hidden")]);
    let errors = errors(&wrong);
    assert!(
        errors[0].contains("sasl.pasword") && !errors[0].contains("hidden"),
        "{errors:?}"
    );
}

#[test]
fn kafka_is_told_who_asks_and_nobody_else_is() {
    let sources = variables(&[
        ("KAFKA_BROKERS", "kafka:9092"),
        ("UOOP_KAFKA__SECURITY_PROTOCOL", "sasl_plaintext"),
        ("UOOP_KAFKA__SASL_USERNAME", "uoop"),
        ("UOOP_KAFKA__SASL_PASSWORD", "s3cret"),
    ]);
    let loaded = sources.load().expect("sound");
    assert_eq!(
        loaded.settings.kafka.options().expect("said").security.password,
        "s3cret"
    );
    assert!(!format!("{:?}{:?}", loaded.settings, loaded.entries).contains("s3cret"));
    let password = loaded.entries.iter().find(|entry| entry.key == "kafka.sasl_password");
    assert!(password.is_some_and(|password| password.redacted));

    let brokers = ("kafka.brokers", "kafka:9092");
    let nobody = errors(&flags(&[brokers, ("kafka.security_protocol", "sasl_plaintext")]));
    assert!(
        nobody[0].contains("kafka.sasl_username and kafka.sasl_password must be set"),
        "{nobody:?}"
    );
    let over_tls = flags(&[brokers, ("kafka.security_protocol", "ssl")]);
    if cfg!(feature = "kafka-tls") {
        settings(&over_tls);
    } else {
        let error = errors(&over_tls);
        assert!(
            error[0].contains("security.protocol is ssl") && error[0].contains("--features kafka-tls"),
            "{error:?}"
        );
    }
}

#[test]
fn what_kafka_cannot_be_told_is_refused() {
    for (key, value) in [
        ("kafka.brokers", "kafka"),
        ("kafka.brokers", "kafka:9092,"),
        ("kafka.brokers", "kafka:0"),
        ("kafka.orders_topic", "orders/eu"),
        ("kafka.orders_topic", ".."),
        ("kafka.properties", "linger.ms"),
        ("kafka.properties", "acks=1"),
        ("kafka.partitions", "0"),
    ] {
        let errors = errors(&flags(&[(key, value)]));
        assert!(
            errors.len() == 1 && errors[0].contains(key),
            "{key}={value}: {errors:?}"
        );
    }
}

#[test]
fn redis_is_named_in_three_ways_and_its_password_never_shown() {
    let url = |pairs: &[(&str, &str)]| settings(&variables(pairs)).redis.url.expose().to_owned();
    assert_eq!(url(&[]), "");
    assert_eq!(url(&[("REDIS_HOST", ""), ("REDIS_PORT", "tcp://10.0.0.2:6379")]), "");
    assert_eq!(url(&[("REDIS_HOST", "::1")]), "redis://[::1]:6379/0");
    let parts = [
        ("REDIS_HOST", "cache"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "p@ss:w/rd"),
        ("REDIS_DB", "3"),
    ];
    assert_eq!(url(&parts), "redis://:p%40ss%3Aw%2Frd@cache:6380/3");
    let sources = variables(&parts);
    assert_eq!(
        source_of(&sources, "redis.url"),
        "variables REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, REDIS_DB"
    );
    let loaded = sources.load().expect("sound");
    let shown = format!("{:?}{:?}", loaded.settings, loaded.entries);
    assert!(
        shown.contains("redis://:[redacted]@cache:6380/3") && !shown.contains("ss%3Aw"),
        "{shown}"
    );

    let whole = ("REDIS_URL", "redis://u:s3cret@other");
    assert_eq!(url(&[parts[0], whole]), whole.1);
    assert_eq!(url(&[whole, ("UOOP_REDIS__URL", "")]), "");
    let over_tls = [("REDIS_URL", "rediss://:s3cret@managed.example:6380/0")];
    assert_eq!(url(&over_tls), over_tls[0].1);
    assert!(!format!("{:?}", variables(&over_tls).load().expect("sound").entries).contains("s3cret"));
    let authority = settings(&flags(&[("redis.authority", "/etc/redis.pem")]))
        .redis
        .options()
        .authority;
    assert_eq!(authority, Some(PathBuf::from("/etc/redis.pem")));
    assert_eq!(
        errors(&variables(&[("REDIS_PORT", "0"), ("REDIS_DB", "256")])),
        [
            r#"REDIS_PORT is "0" (variable REDIS_PORT): must be a whole number from 1 to 65535"#,
            r#"REDIS_DB is "256" (variable REDIS_DB): must be a whole number from 0 to 255"#
        ]
    );
    for wrong in [
        "redissl://h",
        "redis://",
        "rediss://h?db=1",
        "redis://u:p@",
        "redis://h/x",
        "redis://h?db=1",
    ] {
        let shown = wrong.replace("u:p@", "u:[redacted]@");
        assert_eq!(
            errors(&variables(&[("REDIS_URL", wrong)])),
            [format!(
                "redis.url is {shown:?} (variable REDIS_URL): must be \"\" or an address like \
                 \"redis://user:password@host:6379/0\", or \"rediss://...\" over TLS"
            )]
        );
    }
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
fn unknown_variables_are_errors() {
    for (name, error) in [
        (
            "UOOP_HTTP_PORT",
            "unknown variable UOOP_HTTP_PORT: did you mean UOOP_HTTP__PORT?",
        ),
        ("UOOP_PORT", "unknown variable UOOP_PORT: did you mean UOOP_HTTP__PORT?"),
        (
            "UOOP_STORE__DATADIR",
            "unknown variable UOOP_STORE__DATADIR: did you mean UOOP_STORE__DATA_DIR?",
        ),
        (
            "UOOP_XYZZY",
            "unknown variable UOOP_XYZZY: `uoop config print` lists all keys",
        ),
    ] {
        assert_eq!(errors(&variables(&[(name, "1")])), [error]);
    }
}

#[test]
fn unknown_keys_are_errors() {
    for (content, error) in [
        (
            "[http]\nprot = 1",
            "unknown key http.prot (file FILE): did you mean http.port?",
        ),
        ("port = 1", "unknown key port (file FILE): did you mean http.port?"),
        (
            "[htp]\nport = 1",
            "unknown key htp.port (file FILE): did you mean http.port?",
        ),
        (
            "[http.port]\nx = 1",
            "http.port is a section (file FILE): must be a whole number from 0 to 65535",
        ),
        (
            "[policy.payments]\ntimeout_ms = 1",
            "unknown key policy.payments.timeout_ms (file FILE): did you mean policy.payment.timeout_ms?",
        ),
        (
            "[xyzzy]",
            "unknown key xyzzy (file FILE): `uoop config print` lists all keys",
        ),
        (
            "\"http.port\" = 1",
            "unknown key \"http.port\" (file FILE): did you mean http.port?",
        ),
    ] {
        assert_eq!(WithFile::new(content).errors(), [error], "{content}");
    }
    assert_eq!(
        errors(&flags(&[("store.datadir", "x")])),
        ["unknown key store.datadir (flag --set): did you mean store.data_dir?"]
    );
}

#[test]
fn wrong_values_are_errors() {
    for (key, value, expected) in [
        ("http.port", "\"8080\"", "a whole number from 0 to 65535"),
        ("http.port", "65536", "a whole number from 0 to 65535"),
        ("http.port", "-1", "a whole number from 0 to 65535"),
        ("http.port", "80.5", "a whole number from 0 to 65535"),
        ("http.host", "\"\"", "a text that is not empty"),
        (
            "http.cors_origin",
            "\"shop.example\"",
            r#""", "*", or origins like "https://shop.example" separated by commas"#,
        ),
        ("store.shards", "100", "a power of two from 1 to 4096"),
        ("store.shards", "8192", "a power of two from 1 to 4096"),
        ("store.shards", "0", "a power of two from 1 to 4096"),
        ("participants.simulated.decline_pct", "100.5", "a number from 0 to 100"),
        ("participants.simulated.decline_pct", "101", "a number from 0 to 100"),
        ("participants.simulated.seed", "-1", "a whole number from 0"),
        ("participants.payments", "\"https\"", r#""simulated" or "http""#),
        (
            "participants.payments_url",
            "\"pay.example\"",
            r#""" or an address like "https://host/path""#,
        ),
        (
            "policy.capture_at",
            "\"later\"",
            r#""confirmed" or "picked_up" or "delivered""#,
        ),
        ("demo.enabled", "1", "true or false"),
        (
            "log.filter",
            "\"uoop=loud\"",
            r#"a filter like "info" or "warn,uoop=debug""#,
        ),
        (
            "store.database_url",
            "\"mysql://h/d\"",
            r#""", "memory:" or an address like "postgres://user:password@host:5432/database""#,
        ),
    ] {
        let error = format!("{key} is {value} (file FILE): must be {expected}");
        assert_eq!(WithFile::new(&format!("{key} = {value}")).errors(), [error]);
    }
    assert_eq!(
        WithFile::new("http = 1").errors(),
        ["http is a number (file FILE): must be a section"]
    );
    assert_eq!(
        errors(&variables(&[("PORT", "eighty")])),
        [r#"http.port is "eighty" (variable PORT): must be a whole number from 0 to 65535"#]
    );
    assert_eq!(
        errors(&variables(&[("UOOP_DEMO__ENABLED", "yes")])),
        [r#"demo.enabled is "yes" (variable UOOP_DEMO__ENABLED): must be true or false"#]
    );
    assert_eq!(
        errors(&variables(&[("DB_PORT", "0")])),
        [r#"DB_PORT is "0" (variable DB_PORT): must be a whole number from 1 to 65535"#]
    );
    assert_eq!(
        errors(&variables(&[("DATABASE_URL", "postgres://u:s3cr\u{FFFD}t@h/d")])),
        [r#"store.database_url is "postgres://u:[redacted]@h/d" (variable DATABASE_URL): must be text in UTF-8"#]
    );
}

#[test]
fn numbers_may_be_whole_where_fractions_are_allowed() {
    for text in ["5", "5.0"] {
        let file = WithFile::new(&format!("participants.simulated.refuse_pct = {text}"));
        let share = settings(&file.sources).participants.simulated.refuse_pct;
        assert!((share.get() - 5.0).abs() < f64::EPSILON);
        assert_eq!(
            share,
            settings(&flags(&[("participants.simulated.refuse_pct", text)]))
                .participants
                .simulated
                .refuse_pct
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_errors() {
    let sources = Sources {
        file: Some(PathBuf::from("no/such.toml")),
        ..Sources::default()
    };
    assert_eq!(
        errors(&sources),
        ["cannot read no/such.toml: No such file or directory (os error 2)"]
    );
    let sources = variables(&[("UOOP_CONFIG", "no/such.toml")]);
    assert!(errors(&sources)[0].starts_with("cannot read no/such.toml"));

    let error = &WithFile::new("[http]\nport = = 1\n").errors()[0];
    assert!(error.starts_with("file FILE, line 2, column 8: "), "{error}");
    let error = &WithFile::new("[participants]\nsigning_secrets = [\"s3cret\n").errors()[0];
    assert!(
        error.starts_with("file FILE, line 2, column ") && !error.contains("s3cret"),
        "{error}"
    );
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
fn values_must_go_together() {
    let http = ("participants.payments", "http");
    let url = ("participants.payments_url", "http://127.0.0.1:9090");
    for (pairs, error) in [
        (
            &[("policy.hold_ttl_ms", "1000")][..],
            "policy.hold_ttl_ms is 1000 but authorizing and placing a ticket can take 125000 ms: a hold must outlive \
             them (policy.hold_ttl_ms: flag --set; policy.ticket_acceptance_ms: default)",
        ),
        (
            &[("policy.internal.backoff_ms", "10001")],
            "policy.internal.backoff_ms is 10001: must not exceed policy.internal.backoff_ms_max, which is 10000 \
             (policy.internal.backoff_ms: flag --set; policy.internal.backoff_ms_max: default)",
        ),
        (
            &[("actors.restart_backoff_ms_max", "50")],
            "actors.restart_backoff_ms is 100: must not exceed actors.restart_backoff_ms_max, which is 50 \
             (actors.restart_backoff_ms: default; actors.restart_backoff_ms_max: flag --set)",
        ),
        (
            &[("participants.simulated.latency_ms_min", "31")],
            "participants.simulated.latency_ms_min is 31: must not exceed participants.simulated.latency_ms_max, which \
             is 30 (participants.simulated.latency_ms_min: flag --set; participants.simulated.latency_ms_max: default)",
        ),
        (
            &[http],
            "participants.payments_url is empty: must be set because participants.payments is \"http\" \
             (participants.payments: flag --set)",
        ),
        (
            &[http, url, ("participants.timeout_ms", "4000")],
            "participants.timeout_ms is 4000: must not exceed policy.payment.timeout_ms, which is 3000 \
             (participants.timeout_ms: flag --set; policy.payment.timeout_ms: default)",
        ),
        (
            &[("store.journal_writers", "4"), ("store.database_url", "postgres://h/d")],
            "store.write_connections is 4 but store.journal_writers is 4: each writer needs a connection, and one more \
             is needed to take shards over (store.write_connections: default; store.journal_writers: flag --set)",
        ),
        (
            &[("store.key_retention_h", "23")],
            "store.key_retention_h is 23: must be 0, or at least 24 (store.key_retention_h: flag --set; \
             store.retention_days: default)",
        ),
        (
            &[("store.key_retention_h", "49"), ("store.retention_days", "2")],
            "store.key_retention_h is 49: must not exceed store.retention_days, which is 2 (48 hours) \
             (store.key_retention_h: flag --set; store.retention_days: flag --set)",
        ),
    ] {
        assert_eq!(errors(&flags(pairs)), [error]);
    }
    // What only matters over HTTP or on Postgres does not matter otherwise.
    for pairs in [[("participants.timeout_ms", "4000")], [("store.journal_writers", "4")]] {
        settings(&flags(&pairs));
    }
    let mut together = settings(&Sources::default());
    assert!(together.validate().is_ok());
    together.participants.payments = ParticipantKind::Http;
    let error = together.validate().expect_err("no address").to_string();
    assert_eq!(
        error,
        "configuration: participants.payments_url is empty: must be set because participants.payments is \"http\""
    );
    let unsigned = flags(&[http, url]).load().expect("sound").warnings;
    assert!(
        unsigned[0].starts_with("participants.signing_secrets is empty"),
        "{unsigned:?}"
    );
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
fn all_problems_are_reported_at_once() {
    let mut sources = WithFile::new("[http]\nprot = 1\nport = \"x\"");
    sources.sources.variables = variables(&[("UOOP_X", "1"), ("PORT", "x")]).variables;
    let error = sources.sources.load().expect_err("wrong").to_string();
    assert!(error.starts_with("configuration: 4 problems\n  "), "{error}");
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "0123456789-s3cret-0123456789";
    let sources = variables(&[
        ("DB_PASSWORD", secret),
        ("UOOP_PARTICIPANTS__SIGNING_SECRETS", secret),
        (
            "UOOP_PARTICIPANTS__PAYMENTS_URL",
            &format!("https://me:{secret}@pay.example"),
        ),
    ]);
    let loaded = sources.load().expect("sound");
    assert_eq!(
        loaded.settings.store.database_url.expose(),
        format!("postgres://postgres:{secret}@localhost:5432/uoop")
    );
    assert!(!format!("{loaded:?}").contains("s3cret"));
    let redacted: Vec<_> = loaded
        .entries
        .iter()
        .filter(|entry| entry.redacted)
        .map(|entry| entry.key)
        .collect();
    assert_eq!(
        redacted,
        [
            "store.database_url",
            "participants.payments_url",
            "participants.signing_secrets"
        ]
    );
    let short = errors(&variables(&[("UOOP_PARTICIPANTS__SIGNING_SECRETS", "s3cret, other")]));
    assert_eq!(
        short,
        [
            "participants.signing_secrets is [\"[redacted]\", \"[redacted]\"] (variable \
          UOOP_PARTICIPANTS__SIGNING_SECRETS): must be a list of secrets of 24 to 64 bytes, as they are or as \
          \"whsec_\" and their base64"
        ]
    );
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
