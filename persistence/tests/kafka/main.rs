//! The relay against Kafka: librdkafka's mock cluster for faults, and the real one.
//!
//! The latter needs `UOOP_TEST_KAFKA_BROKERS`; without it those tests say *skipped* and pass.

mod broker;
mod faults;
mod fixture;
