//! How Postgres, Kafka and Redis are named, and what is never shown of them.

use super::*;

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
