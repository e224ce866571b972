//! How Kafka is reached, and what its topics are called.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;

/// What the relay's guarantees rest on. Nobody may set these otherwise.
const FIXED: [(&str, &str); 7] = [
    // No duplicates and no other order by retries of ours ...
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // ... and whatever could leave a gap ends the producer instead: see the relay.
    ("enable.gapless.guarantee", "true"),
    // Brokers take a request after one that they refused, if they have not seen its producer before: so there is none.
    ("max.in.flight.requests.per.connection", "1"),
    // 0: for ever. A message that gave up waiting would be a gap.
    ("message.timeout.ms", "0"),
    // The partition that Java's clients choose for the same key.
    ("partitioner", "murmur2_random"),
    // Beyond this our own bounds are meant to bind first.
    ("queue.buffering.max.messages", "100000"),
];

/// Other names for the same, and what would undo it.
const RESERVED: [&str; 10] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "request.required.acks",
    "delivery.timeout.ms",
    "max.in.flight",
    "transactional.id",
    "queuing.strategy",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
];

/// What is better for this load than what librdkafka does by itself. Properties win over these.
const TUNED: [(&str, &str); 4] = [
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.kbytes", "131072"),
    // A broker that comes back is found within this.
    ("reconnect.backoff.max.ms", "1000"),
];

/// Whether this program can speak TLS to Kafka: librdkafka was built with OpenSSL.
const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// How clients show the brokers who they are, and whether others can listen.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaSecurity {
    /// `security.protocol` as librdkafka has it; empty or `plaintext`: neither.
    pub protocol: String,
    /// `sasl.mechanism`, where the protocol is one of `sasl_...`.
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The certificates of the authorities that may have signed those of the brokers, a PEM file; empty: those that the
    /// machine trusts.
    pub authority: String,
}

impl fmt::Debug for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSecurity")
            .field("protocol", &self.protocol)
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl KafkaSecurity {
    fn set(&self, config: &mut ClientConfig) {
        if self.protocol.is_empty() || self.protocol == "plaintext" {
            return;
        }
        config.set("security.protocol", &self.protocol);
        if self.protocol.starts_with("sasl_") {
            config.set("sasl.mechanism", &self.mechanism);
            config.set("sasl.username", &self.username);
            config.set("sasl.password", &self.password);
        }
        if self.protocol.ends_with("ssl") && !self.authority.is_empty() {
            config.set("ssl.ca.location", &self.authority);
        }
    }
}

/// What of a configuration needs OpenSSL.
fn needs_tls(config: &ClientConfig) -> Option<String> {
    let value = |name: &str| config.get(name).map(str::to_lowercase);
    let protocol = value("security.protocol").unwrap_or_default();
    if protocol.ends_with("ssl") {
        return Some(format!("security.protocol is {protocol}"));
    }
    let mechanisms = ["sasl.mechanism", "sasl.mechanisms"];
    let scram = mechanisms
        .iter()
        .find_map(|name| value(name).filter(|value| value.starts_with("scram")));
    scram
        .filter(|_| protocol.starts_with("sasl"))
        .map(|scram| format!("sasl.mechanism is {scram}"))
}

/// How Kafka is reached. Its `Debug` form does not show the values of properties, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// The brokers to ask first: `host:port`, separated by commas.
    pub brokers: String,
    /// What the brokers see us as.
    pub client_id: String,
    /// The topic of the orders' public events.
    pub orders_topic: String,
    /// How many partitions a topic gets that has to be created.
    pub partitions: u16,
    /// How many copies a topic gets that has to be created.
    pub replication: u16,
    /// How clients show the brokers who they are, and whether others can listen.
    pub security: KafkaSecurity,
    /// Further settings of librdkafka, by their names there.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            client_id: "uoop".into(),
            orders_topic: "uoop.orders".into(),
            partitions: 12,
            replication: 1,
            security: KafkaSecurity::default(),
            properties: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("orders_topic", &self.orders_topic)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("security", &self.security)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl KafkaOptions {
    /// The configuration of any client: where, who, how, and the properties, which win.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.client_id);
        self.security.set(&mut config);
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// The configuration of the relay's producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        for (name, value) in TUNED {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        for (name, value) in FIXED {
            config.set(name, value);
        }
        config
    }

    /// Whether librdkafka takes the properties; nothing is connected to.
    ///
    /// # Errors
    /// A property is unknown, has a value that it cannot have, or is one that is not to be set here.
    pub fn check(&self) -> Result<(), InvalidProperty> {
        let reserved = |name: &str| RESERVED.contains(&name) || FIXED.iter().any(|(fixed, _)| *fixed == name);
        if let Some(name) = self.properties.keys().find(|name| reserved(name)) {
            return Err(InvalidProperty(format!("{name} cannot be set here")));
        }
        if let Some(what) = needs_tls(&self.client()).filter(|_| !HAS_TLS) {
            return Err(InvalidProperty(format!(
                "{what}, but this uoop was built without TLS for Kafka: build it with --features kafka-tls (which needs \
                 libssl-dev), or use the image of the Dockerfile"
            )));
        }
        let made = self.producer().create_native_config();
        made.map(|_| ()).map_err(|error| match error {
            // The value may be a secret.
            KafkaError::ClientConfig(_, description, name, _) => InvalidProperty(format!("{name}: {description}")),
            other => InvalidProperty(other.to_string()),
        })
    }
}

/// Why a property cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidProperty(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> KafkaOptions {
        KafkaOptions {
            brokers: "127.0.0.1:1".into(),
            properties: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..KafkaOptions::default()
        }
    }

    #[test]
    fn properties_win_over_what_is_only_better() {
        let config = with("linger.ms", "50").producer();
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(with("linger.ms", "50").check(), Ok(()));
    }

    #[test]
    fn what_the_relay_relies_on_cannot_be_set() {
        for name in ["acks", "request.required.acks", "bootstrap.servers"] {
            let error = with(name, "1").check().expect_err("reserved");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    fn secured(protocol: &str, mechanism: &str) -> KafkaOptions {
        KafkaOptions {
            brokers: "127.0.0.1:1".into(),
            security: KafkaSecurity {
                protocol: protocol.into(),
                mechanism: mechanism.into(),
                username: "uoop".into(),
                password: "s3cret".into(),
                authority: String::new(),
            },
            ..KafkaOptions::default()
        }
    }

    #[test]
    fn who_speaks_to_the_brokers_is_told_to_librdkafka_and_not_shown() {
        let options = secured("sasl_plaintext", "PLAIN");
        assert_eq!(options.check(), Ok(()));
        let config = options.client();
        let values = ["security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"];
        let values = values.map(|name| config.get(name));
        assert_eq!(
            values,
            [Some("sasl_plaintext"), Some("PLAIN"), Some("uoop"), Some("s3cret")]
        );
        assert!(!format!("{options:?}").contains("s3cret"));
        assert_eq!(secured("plaintext", "PLAIN").client().get("sasl.password"), None);
        let mut both = secured("sasl_plaintext", "PLAIN");
        both.properties.insert("sasl.username".into(), "other".into());
        assert_eq!(both.client().get("sasl.username"), Some("other"));
    }

    #[test]
    fn what_needs_tls_is_refused_where_there_is_none() {
        let over_tls = [
            secured("ssl", "PLAIN"),
            secured("sasl_ssl", "PLAIN"),
            secured("sasl_plaintext", "SCRAM-SHA-512"),
            with("security.protocol", "SSL"),
        ];
        for options in over_tls {
            let checked = options.check();
            if HAS_TLS {
                assert_eq!(checked, Ok(()), "{options:?}");
            } else {
                let error = checked.expect_err("no TLS").to_string();
                assert!(
                    error.contains("--features kafka-tls") && !error.contains("s3cret"),
                    "{error}"
                );
            }
        }
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn the_authority_must_be_there() {
        let mut options = secured("ssl", "PLAIN");
        options.security.authority = "/nowhere/authority.pem".into();
        assert_eq!(options.client().get("ssl.ca.location"), Some("/nowhere/authority.pem"));
        let made: Result<rdkafka::producer::BaseProducer, _> = options.client().create();
        assert!(made.is_err(), "there is no such file");
    }

    #[test]
    fn unknown_properties_are_named_and_values_are_not_shown() {
        let error = with("no.such.property", "secret").check().expect_err("unknown");
        assert!(error.to_string().contains("no.such.property"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let shown = format!("{:?}", with("sasl.password", "secret"));
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
    }
}
