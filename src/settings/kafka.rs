//! `[kafka]`: where events are published, and where what others report is consumed.

use super::secret::Hidden;
use persistence::{InboundOptions, KafkaOptions, KafkaSecurity};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// `[kafka]`: where events are published, and where what others report is consumed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// The brokers to ask first; empty: there is no Kafka.
    pub brokers: String,
    /// The topic of the orders' public events.
    pub orders_topic: String,
    /// How many partitions a topic gets that has to be created.
    pub partitions: u16,
    /// How many copies a topic gets that has to be created.
    pub replication: u16,
    /// How the brokers are spoken to.
    pub security_protocol: String,
    /// How this client shows who it is.
    pub sasl_mechanism: String,
    /// The user.
    pub sasl_username: String,
    /// The password.
    pub sasl_password: Hidden,
    /// The certificates of the authorities that may have signed the brokers', a PEM file; empty: those that the machine
    /// trusts.
    pub authority: String,
    /// Further settings of librdkafka.
    pub properties: Properties,
    /// The topic on which kitchens and partners report; empty: none.
    pub channel_events_topic: String,
    /// The topic on which couriers report; empty: none.
    pub courier_events_topic: String,
    /// Where messages of these topics go that can never be taken.
    pub dead_letters_topic: String,
    /// The consumer group.
    pub group: String,
}

impl KafkaSettings {
    /// How Kafka is reached, if it is to be.
    pub fn options(&self) -> Option<KafkaOptions> {
        (!self.brokers.is_empty()).then(|| self.all_options())
    }

    /// What is consumed, if there is Kafka and anything is.
    pub fn inbound(&self) -> Option<InboundOptions> {
        let topics = [&self.channel_events_topic, &self.courier_events_topic];
        let topics: Vec<String> = topics.into_iter().filter(|topic| !topic.is_empty()).cloned().collect();
        (!self.brokers.is_empty() && !topics.is_empty()).then(|| InboundOptions {
            topics,
            dead_letters_topic: self.dead_letters_topic.clone(),
            group: self.group.clone(),
            ..InboundOptions::default()
        })
    }

    /// Whether the brokers ask who this is and are not told.
    pub(super) fn lacks_credentials(&self) -> bool {
        let given = !self.sasl_username.is_empty() && !self.sasl_password.expose().is_empty();
        !self.brokers.is_empty() && self.security_protocol.starts_with("sasl_") && !given
    }

    /// Two topics that must not be one: their keys.
    pub(super) fn same_topics(&self) -> Option<[&'static str; 2]> {
        let topics = [
            ("kafka.channel_events_topic", &self.channel_events_topic),
            ("kafka.courier_events_topic", &self.courier_events_topic),
            ("kafka.dead_letters_topic", &self.dead_letters_topic),
            ("kafka.orders_topic", &self.orders_topic),
        ];
        let used = || topics.iter().filter(|(_, topic)| !topic.is_empty()).enumerate();
        used().find_map(|(at, (key, topic))| {
            let other = used().find(|(other, (_, name))| *other > at && name == topic)?;
            Some([*key, other.1.0])
        })
    }

    /// The same as [`Self::options`], whether it is to be reached or not.
    pub(super) fn all_options(&self) -> KafkaOptions {
        KafkaOptions {
            brokers: self.brokers.clone(),
            orders_topic: self.orders_topic.clone(),
            partitions: self.partitions,
            replication: self.replication,
            security: KafkaSecurity {
                protocol: self.security_protocol.clone(),
                mechanism: self.sasl_mechanism.clone(),
                username: self.sasl_username.clone(),
                password: self.sasl_password.expose().to_owned(),
                authority: self.authority.clone(),
            },
            properties: self.properties.0.clone(),
            ..KafkaOptions::default()
        }
    }
}

/// Settings of librdkafka by name, written `name=value`. Shown without the values, which may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        let property = |line: &String| {
            let (name, value) = property(line).ok_or_else(|| D::Error::custom("a property is written name=value"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        lines.iter().map(property).collect::<Result<_, _>>().map(Self)
    }
}

/// The name and the value of a property, as it is written.
pub(super) fn property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
    (!name.is_empty() && name.chars().all(fine)).then_some((name, value))
}

/// Whether it is a list of brokers: `host:port`, separated by commas.
pub(super) fn are_brokers(text: &str) -> bool {
    let is_broker = |broker: &str| {
        let place = broker.trim().rsplit_once(':');
        place.is_some_and(|(host, port)| {
            let port = port.parse::<u16>().is_ok_and(|port| port > 0);
            port && !host.is_empty() && !host.contains(['/', '@', ' '])
        })
    };
    text.split(',').all(is_broker)
}

/// Whether a topic may be called this.
pub(super) fn is_topic(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= 249 && text.chars().all(fine) && text != "." && text != ".."
}
