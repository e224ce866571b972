//! Topics: created when they are missing, and taken as they are when they are not.

use super::{KafkaOptions, logs};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::HashSet;
use std::time::Duration;

/// How long the brokers may take to say what there is, and to create what is missing.
const TIMEOUT: Duration = Duration::from_secs(5);

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        logs::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        logs::error(&error, reason);
    }
}

type Client = AdminClient<Context>;

/// Sees to it that the topics exist. Where we may not create them they are taken to be there: whoever uses one that is
/// not will hear of it. Idempotent.
///
/// # Errors
/// The brokers cannot be reached, or cannot create a topic as it is asked for; the call may be repeated.
pub(super) async fn ensure(options: &KafkaOptions, names: &[&str]) -> Result<(), KafkaError> {
    let client: Client = options.client().create_with_context(Context)?;
    let looked = blocking(move || {
        let there = there(&client);
        (client, there)
    });
    let (client, there) = looked.await?;
    let created = match there {
        Ok(there) => {
            let missing: Vec<&str> = names.iter().copied().filter(|name| !there.contains(*name)).collect();
            create(&client, options, &missing).await
        }
        Err(error) => Err(error),
    };
    // Ending a client waits for its threads.
    blocking(move || drop(client)).await?;
    created
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, KafkaError> {
    // It is lost only with the runtime.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| KafkaError::Canceled)
}

/// The topics that exist. All of them: asking for one by its name may create it, as the brokers see fit.
fn there(client: &Client) -> Result<HashSet<String>, KafkaError> {
    let metadata = client.inner().fetch_metadata(None, TIMEOUT)?;
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(topics.map(|topic| topic.name().to_owned()).collect())
}

async fn create(client: &Client, options: &KafkaOptions, names: &[&str]) -> Result<(), KafkaError> {
    if names.is_empty() {
        return Ok(());
    }
    let (partitions, copies) = (i32::from(options.partitions), i32::from(options.replication));
    let new = |name| NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
    let topics: Vec<_> = names.iter().copied().map(new).collect();
    let asked = AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT));
    for answer in client.create_topics(&topics, &asked).await? {
        match answer {
            Ok(topic) => tracing::info!(topic, partitions, copies, "topic created"),
            // Somebody else was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) if forbidden(code) => {
                tracing::warn!(topic, %code, "topic cannot be created: it is taken to be there");
            }
            Err((topic, code)) => {
                tracing::warn!(topic, %code, "topic not created");
                return Err(KafkaError::AdminOp(code));
            }
        }
    }
    Ok(())
}

/// Whether it is not for us to create topics here.
const fn forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation
    )
}
