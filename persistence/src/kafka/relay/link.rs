//! The producer, and what it reports.

use super::window::Ticket;
use crate::kafka::envelope::Envelope;
use crate::kafka::logs;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What became of one message.
pub(super) struct Report {
    /// What it was sent with.
    pub(super) ticket: Ticket,
    /// Why it was not delivered, if it was not.
    pub(super) failure: Option<RDKafkaErrorCode>,
}

/// Why a message was not sent.
pub(super) enum Unsent {
    /// The producer's queue is full: later.
    NoRoom,
    /// It is larger than messages may be: never.
    TooLarge(KafkaError),
    /// Anything else: not with this producer.
    Failed(KafkaError),
}

/// Takes the producer's reports, on its thread.
#[derive(Default)]
struct Reports {
    reports: Mutex<Vec<Report>>,
    reported: Notify,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        logs::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        logs::error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let failure = |(error, _): &(KafkaError, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let report = Report {
            ticket: Ticket::from_opaque(ticket),
            failure: result.as_ref().err().map(failure),
        };
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(report);
        // Who takes the first takes all.
        if reports.len() == 1 {
            self.reported.notify_one();
        }
    }
}

/// One producer and its topic.
pub(super) struct Link {
    producer: Option<ThreadedProducer<Reports>>,
    topic: String,
}

impl Link {
    /// A new producer. It connects by itself, and goes on trying to.
    ///
    /// # Errors
    /// librdkafka does not take the configuration.
    pub(super) fn new(config: &ClientConfig, topic: &str) -> Result<Self, KafkaError> {
        Ok(Self {
            producer: Some(config.create_with_context(Reports::default())?),
            topic: topic.to_owned(),
        })
    }

    /// Hands a message over to the producer. Its report carries the ticket.
    pub(super) fn send(&self, message: &Envelope, headers: OwnedHeaders, ticket: Ticket) -> Result<(), Unsent> {
        let Some(producer) = &self.producer else {
            return Err(Unsent::Failed(KafkaError::Canceled));
        };
        let record = BaseRecord::with_opaque_to(&self.topic, ticket.opaque())
            .key(message.key())
            .payload(message.body())
            .headers(headers);
        producer
            .send(record)
            .map_err(|(error, _)| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Unsent::NoRoom,
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Unsent::TooLarge(error),
                _ => Unsent::Failed(error),
            })
    }

    /// Resolves when there are reports that were not taken. Cancel safe.
    pub(super) async fn reported(&self) {
        match &self.producer {
            Some(producer) => producer.context().reported.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Swaps what was reported with an empty list.
    pub(super) fn take_reports(&self, into: &mut Vec<Report>) {
        into.clear();
        if let Some(producer) = &self.producer {
            let context = producer.context();
            let mut reports = context.reports.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *reports, into);
        }
    }

    /// Ends the producer: nothing that it still holds is sent any more.
    pub(super) async fn end(mut self) {
        if let Some(producer) = self.producer.take() {
            let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            // Waits for the producer's threads, which the runtime's are not to do.
            std::thread::spawn(move || drop(producer));
        }
    }
}
