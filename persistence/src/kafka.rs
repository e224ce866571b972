//! Kafka: the relay, which publishes what happened to orders, and the consumer of what others report about them.

mod envelope;
mod inbound;
mod logs;
mod options;
mod relay;
mod topics;

pub use inbound::{Handled, Inbound, InboundError, InboundHandler, InboundMessage, InboundOptions, Poison};
pub use options::{InvalidProperty, KafkaOptions, KafkaSecurity};
pub use relay::{Relay, RelayStatus};
