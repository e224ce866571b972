//! Events from Kafka: a consumer group that hands every message to a handler, at least once and in the order of its
//! key.
//!
//! A message's offset is stored only once it is dealt with for good: handled durably, or written to the dead-letter
//! topic and acknowledged there. What the handler cannot take at present is tried again for as long as it takes; that
//! delays the messages of the same key, and once too many wait behind it, its partition is paused. No message is ever
//! skipped.
//!
//! *Architecture invariant*: nothing here knows what a message says. What is said twice is recognised by the handler.

mod assignment;
mod dead_letters;
mod partition;
mod progress;
#[cfg(test)]
mod tests;

use super::{KafkaOptions, topics};
use assignment::{Assignment, Context};
use async_trait::async_trait;
use dead_letters::DeadLetters;
use partition::Shared;
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The pause before something that failed as a whole (topics, the consumer itself) is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the first attempt to create missing topics may hold the consumer back.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long messages that are being handled may take to finish once the consumer stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last commit and the farewell to the group may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a paused partition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// What the promise of at-least-once rests on. Nobody may set these otherwise.
const FIXED: [(&str, &str); 4] = [
    ("enable.auto.commit", "true"),
    // Only what is dealt with is stored, and only what is stored is committed.
    ("enable.auto.offset.store", "false"),
    // A new group begins with what is there: nothing is skipped.
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "false"),
];

/// What is better for this load than what librdkafka does by itself. Properties win over these.
const TUNED: [(&str, &str); 7] = [
    ("auto.commit.interval.ms", "1000"),
    // A rebalance takes only those partitions away that move.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A topic that is created later is found within this.
    ("topic.metadata.refresh.interval.ms", "10000"),
    // What is fetched ahead, for all partitions together.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.wait.max.ms", "100"),
    // How often the lag is told.
    ("statistics.interval.ms", "5000"),
    // A broker that comes back is found within this.
    ("reconnect.backoff.max.ms", "1000"),
];

/// What is consumed, and how much of it at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundOptions {
    /// The topics.
    pub topics: Vec<String>,
    /// Where messages go that can never be handled.
    pub dead_letters_topic: String,
    /// The consumer group; its members share the partitions.
    pub group: String,
    /// How many keys of one partition are handled side by side.
    pub lanes: usize,
    /// How many messages of one partition may wait before it is paused.
    pub waiting_max: usize,
    /// How many bytes of one partition may wait before it is paused.
    pub waiting_bytes_max: usize,
    /// How many messages of all partitions are handled at a time.
    pub concurrent_max: usize,
    /// The pause before a message is tried again; it doubles with each further time.
    pub retry_backoff: Duration,
    /// The longest such pause.
    pub retry_backoff_max: Duration,
}

impl Default for InboundOptions {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            dead_letters_topic: "uoop.dead-letters".into(),
            group: "uoop".into(),
            lanes: 16,
            waiting_max: 256,
            waiting_bytes_max: 4 * 1_024 * 1_024,
            concurrent_max: 64,
            retry_backoff: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(2),
        }
    }
}

/// A message as it was consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundMessage {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Where it stands in its partition.
    pub offset: i64,
    /// When it was put there, as its producer or the broker has it, in milliseconds since the Unix epoch; 0: nobody says.
    pub at_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None`: it has none (a tombstone).
    pub payload: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl InboundMessage {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            at_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// The value of the last header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter().rev();
        headers
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.as_deref())
    }

    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.payload) + headers.sum::<usize>()
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is applied, durably.
    Applied,
    /// It, or one that says the same, was applied before.
    Duplicate,
    /// It is of no consequence here.
    Ignored,
    /// It cannot be taken at present: it comes again, after a pause.
    Again(String),
    /// It can never be handled: it goes to the dead-letter topic.
    Poison(Poison),
}

/// Why a message can never be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// One word for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

/// Who takes messages. One message may come several times: after a crash, after a rebalance, or because its producer
/// sent it twice.
#[async_trait]
pub trait InboundHandler: Send + Sync + 'static {
    /// Handles a message. What is answered with [`Handled::Applied`] must be durable.
    async fn handle(&self, message: &InboundMessage) -> Handled;
}

/// Why events cannot be consumed.
#[derive(Debug, thiserror::Error)]
#[error("the consumer of events cannot be set up")]
pub struct InboundError(#[from] KafkaError);

type Consumer = StreamConsumer<Context>;

/// A running consumer. When it is dropped it stops by itself, in the background.
pub struct Inbound {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Inbound {
    /// Starts to consume, in the background: brokers that are away are waited for, topics that are missing are created.
    ///
    /// # Errors
    /// The options are nothing that librdkafka takes.
    pub fn start<H: InboundHandler>(
        kafka: &KafkaOptions,
        options: InboundOptions,
        handler: H,
    ) -> Result<Self, InboundError> {
        describe();
        let shared = Arc::new(Shared {
            handler,
            dead_letters: DeadLetters::new(kafka, &options)?,
            concurrent: Semaphore::new(options.concurrent_max.clamp(1, Semaphore::MAX_PERMITS)),
            options,
        });
        let consumer = consumer(kafka, &shared.options)?;
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(run(kafka.clone(), shared, consumer, stopping));
        Ok(Self { stop, running })
    }

    /// Takes no further message, lets those that are being handled finish, commits, and leaves the group. What does not
    /// finish in a few seconds comes again, here or at another member.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the consumer of events has crashed");
        }
    }
}

fn describe() {
    metrics::describe_counter!(
        "uoop_inbound_events_total",
        "Events from Kafka by topic and outcome: applied, duplicate, ignored, dead_letter, retried (once for each time)"
    );
    metrics::describe_gauge!(
        "uoop_inbound_lag_messages",
        "Messages of a partition that are not dealt with yet"
    );
}

fn consumer(kafka: &KafkaOptions, options: &InboundOptions) -> Result<Consumer, KafkaError> {
    let mut config = kafka.client();
    for (name, value) in TUNED {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    }
    for (name, value) in FIXED {
        config.set(name, value);
    }
    config.set("group.id", &options.group);
    config.create_with_context(Context::default())
}

/// Done once it is to stop, or nobody holds the other end any more.
async fn stopped(stopping: &watch::Receiver<bool>) {
    let _ = stopping.clone().wait_for(|stop| *stop).await;
}

async fn run<H: InboundHandler>(
    kafka: KafkaOptions,
    shared: Arc<Shared<H>>,
    first: Consumer,
    stopping: watch::Receiver<bool>,
) {
    let mut ensuring = tokio::spawn(ensure(kafka.clone(), shared.options.clone()));
    tokio::select! {
        _ = timeout(TOPICS_TIMEOUT, &mut ensuring) => {}
        () = stopped(&stopping) => {}
    }
    let mut next = Some(first);
    while !*stopping.borrow() && stopping.has_changed().is_ok() {
        let made = match next.take() {
            Some(consumer) => Ok(consumer),
            None => consumer(&kafka, &shared.options),
        };
        let ended = match made {
            Ok(consumer) => serve(consumer, &shared, &stopping).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the consumer of events broke: another one takes over");
            tokio::select! {
                () = sleep(RETRY) => {}
                () = stopped(&stopping) => {}
            }
        }
    }
    ensuring.abort();
}

/// Sees to it that the topics exist, for as long as it takes.
async fn ensure(kafka: KafkaOptions, options: InboundOptions) {
    let own = options.topics.iter().map(String::as_str);
    let names: Vec<&str> = own.chain([options.dead_letters_topic.as_str()]).collect();
    while let Err(error) = topics::ensure(&kafka, &names).await {
        tracing::warn!(%error, "the topics of inbound events cannot be looked after at present");
        sleep(RETRY).await;
    }
}

/// Consumes until it is to stop, or the consumer breaks for good.
async fn serve<H: InboundHandler>(
    consumer: Consumer,
    shared: &Arc<Shared<H>>,
    stopping: &watch::Receiver<bool>,
) -> Result<(), KafkaError> {
    let consumer = Arc::new(consumer);
    let assignment = Arc::clone(&consumer.context().assignment);
    let names: Vec<&str> = shared.options.topics.iter().map(String::as_str).collect();
    let ended = match consumer.subscribe(&names) {
        Ok(()) => receive(&consumer, &assignment, shared, stopping).await,
        Err(error) => Err(error),
    };
    if timeout(FINISH_TIMEOUT, assignment.finish()).await.is_err() {
        tracing::warn!("events were still being handled when the time to stop was over: they come again");
    }
    assignment.abort().await;
    close(consumer).await;
    ended
}

async fn receive<H: InboundHandler>(
    consumer: &Arc<Consumer>,
    assignment: &Assignment,
    shared: &Arc<Shared<H>>,
    stopping: &watch::Receiver<bool>,
) -> Result<(), KafkaError> {
    let stop = stopped(stopping);
    tokio::pin!(stop);
    loop {
        let glance = async {
            if assignment.has_paused() {
                sleep(GLANCE).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let received = tokio::select! {
            () = &mut stop => return Ok(()),
            received = consumer.recv() => received,
            () = glance => {
                assignment.resume(consumer);
                continue;
            }
        };
        match received {
            Ok(message) => assignment.take(consumer, shared, InboundMessage::of(&message)),
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "events cannot be consumed at present");
                // What made it fail may be there again at once.
                sleep(GLANCE).await;
            }
        }
        // Whatever waits for long is asked about even while messages keep coming.
        assignment.resume(consumer);
    }
}

/// Commits what is dealt with, and leaves the group. That waits for brokers, so it has a thread that nobody waits for
/// longer than he wants to.
async fn close(consumer: Arc<Consumer>) {
    let (closed_tx, closed_rx) = oneshot::channel();
    let closing = move || {
        match consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::warn!(%error, "the last offsets are not committed: their events come again"),
        }
        drop(consumer);
        // Nobody waits any more.
        let _ = closed_tx.send(());
    };
    let thread = std::thread::Builder::new().name("inbound-close".into());
    match thread.spawn(closing) {
        Ok(_) => {
            if timeout(CLOSE_TIMEOUT, closed_rx).await.is_err() {
                tracing::warn!("the brokers did not take leave of the consumer of events");
            }
        }
        Err(error) => tracing::warn!(%error, "the consumer of events is closed without a commit"),
    }
}
