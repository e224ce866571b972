//! The partitions that are ours at present: a worker for each, and a pause for the one that has enough to do.

use super::partition::{Shared, Worker};
use super::{Consumer, InboundHandler, InboundMessage};
use crate::kafka::logs;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::{ClientContext, Statistics};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A partition of a topic.
pub(super) type Place = (String, i32);

#[derive(Default)]
struct State {
    workers: HashMap<Place, Worker>,
    /// What librdkafka delivers nothing of. It keeps that in mind even when the partition goes and comes back.
    paused: HashSet<Place>,
}

/// The partitions that are ours at present.
#[derive(Default)]
pub(super) struct Assignment(Mutex<State>);

impl Assignment {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left is still true: each change is a single one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to the worker of its partition, and pauses the partition if that has enough now.
    pub(super) fn take<H: InboundHandler>(
        &self,
        consumer: &Arc<Consumer>,
        shared: &Arc<Shared<H>>,
        message: InboundMessage,
    ) {
        let place = (message.topic.clone(), message.partition);
        let mut state = self.state();
        let worker = state
            .workers
            .entry(place.clone())
            .or_insert_with(|| Worker::start(Arc::clone(shared), Arc::clone(consumer), place.clone()));
        worker.send(message);
        if worker.is_full(&shared.options) && state.paused.insert(place.clone()) {
            tracing::debug!(topic = place.0, partition = place.1, "a partition has to wait");
            if let Err(error) = consumer.pause(&list([&place])) {
                // Then it goes on being delivered, and is asked again with the next message.
                tracing::warn!(%error, "a partition cannot be paused");
                state.paused.remove(&place);
            }
        }
    }

    /// Whether a partition is paused.
    pub(super) fn has_paused(&self) -> bool {
        !self.state().paused.is_empty()
    }

    /// Lets those paused partitions go on whose workers have caught up.
    pub(super) fn resume(&self, consumer: &Consumer) {
        let State { workers, paused } = &mut *self.state();
        paused.retain(|place| {
            // Without a worker it is not ours at present: see `Context::post_rebalance`.
            if !workers.get(place).is_some_and(Worker::has_room) {
                return true;
            }
            match consumer.resume(&list([place])) {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(%error, "a partition cannot go on yet");
                    true
                }
            }
        });
    }

    fn take_workers(&self) -> Vec<Worker> {
        self.state().workers.drain().map(|(_, worker)| worker).collect()
    }

    /// Begins nothing further, and waits for what is under way.
    pub(super) async fn finish(&self) {
        let mut finishing: Vec<_> = self.state().workers.values_mut().map(Worker::finish).collect();
        for finished in &mut finishing {
            // An error means that the worker is gone.
            let _ = finished.wait_for(|finished| *finished).await;
        }
    }

    /// Ends all workers, whatever they are about.
    pub(super) async fn abort(&self) {
        for worker in self.take_workers() {
            worker.abort().await;
        }
    }
}

fn list<'a>(places: impl IntoIterator<Item = &'a Place>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    list
}

fn place(element: &TopicPartitionListElem<'_>) -> Place {
    (element.topic().to_owned(), element.partition())
}

/// What librdkafka tells.
#[derive(Default)]
pub(super) struct Context {
    pub(super) assignment: Arc<Assignment>,
}

fn lag(topic: &str, partition: i32, messages: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    // Beyond 2^32 the figure is no longer exact, and nobody would mind.
    let messages = u32::try_from(messages).map_or(f64::from(u32::MAX), f64::from);
    metrics::gauge!("uoop_inbound_lag_messages", &labels).set(messages);
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        logs::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        logs::error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let state = self.assignment.state();
        for (name, topic) in &statistics.topics {
            for (number, partition) in &topic.partitions {
                let known = partition.consumer_lag_stored >= 0;
                if known && state.workers.contains_key(&(name.clone(), *number)) {
                    lag(name, *number, partition.consumer_lag_stored);
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    /// What goes is let go at once: what was under way comes again where it goes, and what was stored is committed.
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut state = self.assignment.state();
            for element in partitions.elements() {
                let place = place(&element);
                if let Some(worker) = state.workers.remove(&place) {
                    worker.let_go();
                    lag(&place.0, place.1, 0);
                }
            }
        }
    }

    /// What comes back is no longer paused, for it has nothing to do yet.
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut state = self.assignment.state();
            let places = partitions.elements().iter().map(place).collect::<Vec<_>>();
            let paused: Vec<_> = places.into_iter().filter(|place| state.paused.remove(place)).collect();
            if paused.is_empty() {
                return;
            }
            if let Err(error) = consumer.resume(&list(&paused)) {
                tracing::warn!(%error, "a partition that came back cannot go on yet");
                state.paused.extend(paused);
            }
        }
    }
}
