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
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl KafkaOptions {
    /// The configuration of any client: where, who, and the properties.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.client_id);
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

    #[test]
    fn unknown_properties_are_named_and_values_are_not_shown() {
        let error = with("no.such.property", "secret").check().expect_err("unknown");
        assert!(error.to_string().contains("no.such.property"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let shown = format!("{:?}", with("sasl.password", "secret"));
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
    }
}
