//! Reading a whole topic.

use super::super::RunError;
use crate::checker::topic::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the brokers may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Every message of a topic, each partition's in order.
pub(super) async fn read(brokers: &str, topic: &str) -> Result<Vec<Message>, RunError> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let read = tokio::task::spawn_blocking(move || try_read(&brokers, &topic)).await;
    let read = read.map_err(|error| RunError::Impossible {
        fault: "the reading of the topic",
        why: error.to_string(),
    })?;
    read.map_err(RunError::Kafka)
}

fn try_read(brokers: &str, topic: &str) -> Result<Vec<Message>, KafkaError> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("group.id", "chaos")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_MAX)?;
    let (mut ends, mut assignment) = (BTreeMap::new(), TopicPartitionList::new());
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER_MAX)?;
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        if end > 0 {
            ends.insert(partition.id(), end);
        }
    }
    consumer.assign(&assignment)?;
    let mut messages = Vec::new();
    while !ends.is_empty() {
        let Some(message) = consumer.poll(ANSWER_MAX) else {
            break;
        };
        let message = message?;
        let headers = message.headers();
        let id = headers.and_then(|headers| headers.iter().find(|header| header.key == "ce_id")?.value);
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        messages.push((text(message.key()), text(id)));
        if ends
            .get(&message.partition())
            .is_some_and(|end| message.offset() + 1 >= *end)
        {
            ends.remove(&message.partition());
        }
    }
    Ok(messages)
}
