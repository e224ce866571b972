//! What is refused, and the text of every error.

use super::*;

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
        ("store.shards", "100", "0 or a power of two from 1 to 4096"),
        ("store.shards", "8192", "0 or a power of two from 1 to 4096"),
        ("store.shards", "-4", "0 or a power of two from 1 to 4096"),
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
fn what_a_policy_says_must_go_together() {
    for (pairs, error) in [
        (
            &[("policy.hold_ttl_ms", "1000")],
            "policy.hold_ttl_ms is 1000 but authorizing and placing a ticket can take 125000 ms: a hold must outlive \
             them (policy.hold_ttl_ms: flag --set; policy.ticket_acceptance_ms: default)",
        ),
        (
            &[("policy.tombstone_ttl_ms", "180000")],
            "policy.tombstone_ttl_ms is 180000 but a hold can come late by hold_ttl_ms, 180000 ms: that it was refused or \
             undone must be remembered for longer (policy.tombstone_ttl_ms: flag --set; policy.hold_ttl_ms: default)",
        ),
        (
            &[("policy.internal.backoff_ms", "10001")],
            "policy.internal.backoff_ms is 10001: must not exceed policy.internal.backoff_ms_max, which is 10000 \
             (policy.internal.backoff_ms: flag --set; policy.internal.backoff_ms_max: default)",
        ),
    ] {
        assert_eq!(errors(&flags(pairs)), [error]);
    }
}

#[test]
fn values_must_go_together() {
    let http = ("participants.payments", "http");
    let url = ("participants.payments_url", "http://127.0.0.1:9090");
    for (pairs, error) in [
        (
            &[("actors.restart_backoff_ms_max", "50")][..],
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
fn all_problems_are_reported_at_once() {
    let mut sources = WithFile::new("[http]\nprot = 1\nport = \"x\"");
    sources.sources.variables = variables(&[("UOOP_X", "1"), ("PORT", "x")]).variables;
    let error = sources.sources.load().expect_err("wrong").to_string();
    assert!(error.starts_with("configuration: 4 problems\n  "), "{error}");
    assert_eq!(error.lines().count(), 5, "{error}");
}
