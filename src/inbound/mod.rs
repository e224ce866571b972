//! Events from Kafka: what kitchens, partners and couriers report there instead of over HTTP. The body is that of the
//! HTTP interface; who reports is the `CloudEvent`'s subject, or else the message's key. Whoever may write to the
//! topics is believed: that is for the brokers to decide.
//!
//! An event about an order counts once: its source and id are an idempotency key, which is committed with what the
//! event did. Events of couriers about themselves have no such key. They state how things are, so that those which come
//! again after a crash end where they ended before. On the way there an `offline` would take jobs away that were given after
//! the `online` behind it: so these two say where they stand in their partition, and the zone, which keeps the last such
//! place with its courier, passes over what it has heard. A `position` does no harm: the ones behind it come again at once.
//! See [`recent`] for what comes again late, at another place.

mod event;
mod poison;
mod recent;

use crate::api::{CourierEvent, KitchenEvent};
use crate::reports::{self, Meaning, Taken};
use actors::{CallError, IdempotencyKey, Platform};
use async_trait::async_trait;
use domain::ids::{ChannelId, CourierId, ZoneId};
use domain::time::Timestamp;
use domain::zone;
use event::Event;
use persistence::{Handled, InboundHandler, InboundMessage, Poison};
use poison::invalid;
use recent::Recent;

/// Takes what is reported on the topics of events.
pub(crate) struct Reports {
    platform: Platform,
    /// The topic on which channels report; couriers report on the other one.
    channel_topic: String,
    recent: Recent,
}

impl Reports {
    /// A handler of both topics.
    pub(crate) fn new(platform: Platform, channel_topic: String) -> Self {
        Self {
            platform,
            channel_topic,
            recent: Recent::default(),
        }
    }

    /// Who reports, and what that means.
    async fn read(&self, message: &InboundMessage, event: &Event<'_>) -> Result<(&'static str, Meaning), Poison> {
        if message.topic == self.channel_topic {
            let id: ChannelId = event.reporter.parse().map_err(|error| invalid(format!("{error}")))?;
            let body: KitchenEvent = poison::parse(&event.body)?;
            let meaning = reports::of_channel(&self.platform, &id, body)
                .await
                .map_err(poison::unclear)?;
            return Ok(("channel", meaning));
        }
        let id: CourierId = event.reporter.parse().map_err(|error| invalid(format!("{error}")))?;
        let body: CourierEvent = poison::parse(&event.body)?;
        let meaning = reports::of_courier(&self.platform, &id, body).map_err(poison::unclear)?;
        Ok(("courier", meaning))
    }

    /// What a courier says about itself.
    async fn courier(
        &self,
        message: &InboundMessage,
        event: &Event<'_>,
        zone: &ZoneId,
        command: zone::Command,
    ) -> Result<Taken, CallError> {
        let command = placed(message, command);
        let key = event.key(message);
        if self.recent.knows(&event.reporter, &key) {
            return Ok(Taken {
                changed: false,
                status: None,
            });
        }
        let taken = reports::tell_zone(&self.platform, zone, command).await?;
        self.recent.note(&event.reporter, key);
        Ok(taken)
    }
}

/// A courier's word with its place in the topic, if it is one that must not be heard again.
fn placed(message: &InboundMessage, command: zone::Command) -> zone::Command {
    let zone::Command::SetOnline { id, online, .. } = command else {
        return command;
    };
    zone::Command::SetOnline {
        id,
        online,
        said: Some(zone::Said {
            line: format!("{}/{}", message.topic, message.partition),
            place: u64::try_from(message.offset).unwrap_or(0),
            at: Timestamp(message.at_ms),
        }),
    }
}

#[async_trait]
impl InboundHandler for Reports {
    async fn handle(&self, message: &InboundMessage) -> Handled {
        let read = async {
            let event = Event::of(message)?;
            Ok((self.read(message, &event).await?, event))
        };
        let read = read.await;
        let ((who, meaning), event) = match read {
            Ok(read) => read,
            Err(poison) => return Handled::Poison(poison),
        };
        let taken = match meaning {
            Meaning::Order(order, report) => {
                let key = IdempotencyKey {
                    key: event.key(message),
                    fingerprint: event.fingerprint(message),
                };
                reports::tell_order(&self.platform, order, report, Some(key)).await
            }
            Meaning::Courier(zone, command) => self.courier(message, &event, &zone, command).await,
            Meaning::Unknown(kind) => {
                reports::ignore(who, &event.reporter, &kind);
                return Handled::Ignored;
            }
        };
        match taken {
            Ok(taken) if taken.changed => Handled::Applied,
            Ok(_) => Handled::Duplicate,
            Err(error) => poison::untaken(&error),
        }
    }
}
