//! The dead-letter topic: messages that can never be handled, as they came, and why.

use super::{InboundMessage, InboundOptions, Poison};
use crate::kafka::{KafkaOptions, logs};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use std::time::Duration;
use tokio::time::sleep;

/// What the headers that we add begin with.
const PREFIX: &str = "dead_letter_";

/// A letter may be written twice, but never lost: it says where it is from, so that one can tell.
const PRODUCER: [(&str, &str); 4] = [
    ("acks", "all"),
    ("message.timeout.ms", "30000"),
    ("partitioner", "murmur2_random"),
    // The headers come on top of what the broker took.
    ("message.max.bytes", "16777216"),
];

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        logs::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        logs::error(&error, reason);
    }
}

pub(super) struct DeadLetters {
    producer: FutureProducer<Context>,
    topic: String,
    backoff: Duration,
    backoff_max: Duration,
}

impl DeadLetters {
    /// # Errors
    /// The options are nothing that librdkafka takes.
    pub(super) fn new(kafka: &KafkaOptions, options: &InboundOptions) -> Result<Self, KafkaError> {
        let mut config = kafka.client();
        for (name, value) in PRODUCER {
            config.set(name, value);
        }
        Ok(Self {
            producer: config.create_with_context(Context)?,
            topic: options.dead_letters_topic.clone(),
            backoff: options.retry_backoff,
            backoff_max: options.retry_backoff_max,
        })
    }

    /// Writes a message that can never be handled. Done once the brokers have acknowledged it, however long that takes.
    pub(super) async fn write(&self, message: &InboundMessage, poison: &Poison) {
        let (mut whole, mut backoff) = (true, self.backoff);
        loop {
            let error = match self.attempt(message, poison, whole).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if whole && is_too_large(&error) {
                // It stands where it was; what matters is that nothing waits behind it.
                whole = false;
                continue;
            }
            tracing::warn!(topic = self.topic, %error, "a dead letter cannot be written yet");
            sleep(backoff).await;
            backoff = (backoff * 2).min(self.backoff_max);
        }
        tracing::warn!(
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            code = poison.code,
            reason = poison.detail,
            "an event is put aside as a dead letter"
        );
    }

    async fn attempt(&self, message: &InboundMessage, poison: &Poison, whole: bool) -> Result<(), KafkaError> {
        let mut record = FutureRecord::to(&self.topic).headers(headers(message, poison, whole));
        if let Some(key) = &message.key {
            record = record.key(key.as_slice());
        }
        if let Some(payload) = message.payload.as_ref().filter(|_| whole) {
            record = record.payload(payload.as_slice());
        }
        let sent = self.producer.send(record, Timeout::Never).await;
        sent.map(|_| ()).map_err(|(error, _)| error)
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    )
}

/// The message's own headers, and what happened to it. A letter that was sent again and died again tells the latest.
fn headers(message: &InboundMessage, poison: &Poison, whole: bool) -> OwnedHeaders {
    let own = message.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX));
    let mut headers = own.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: value.as_ref(),
        })
    });
    let added = [
        ("code", poison.code.to_owned()),
        ("reason", poison.detail.clone()),
        ("topic", message.topic.clone()),
        ("partition", message.partition.to_string()),
        ("offset", message.offset.to_string()),
    ];
    let left_out = (!whole).then(|| ("payload", "left out: too large".to_owned()));
    for (name, value) in added.into_iter().chain(left_out) {
        headers = headers.insert(Header {
            key: &format!("{PREFIX}{name}"),
            value: Some(&value),
        });
    }
    headers
}
