//! The life of a child as its shard sees it: how it is reached, where it is, and how often it crashed.

use crate::ask::{Ask, Envelope};
use crate::cell::{Cell, Status};
use crate::entity::EntityMessage;
use crate::hosted::Hosted;
use crate::options::ActorOptions;
use domain::channel::Channel;
use domain::order::Order;
use domain::zone::Zone;
use ractor::ActorRef;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where an actor takes its messages.
#[derive(Debug)]
pub(crate) enum Inbox {
    Order(ActorRef<EntityMessage<Order>>),
    Channel(ActorRef<EntityMessage<Channel>>),
    Zone(ActorRef<EntityMessage<Zone>>),
}

impl Inbox {
    /// Hands the command over; back if it is not taken.
    pub(crate) fn send(&self, envelope: Envelope) -> Option<Envelope> {
        fn cast<E: Hosted>(actor: &ActorRef<EntityMessage<E>>, ask: Ask<E>) -> Option<Envelope> {
            match actor.cast(EntityMessage::Ask(Box::new(ask))) {
                Err(ractor::MessagingErr::SendErr(EntityMessage::Ask(ask))) => Some(E::envelope(*ask)),
                _ => None,
            }
        }
        match (self, envelope) {
            (Self::Order(actor), Envelope::Order(ask)) => cast(actor, ask),
            (Self::Channel(actor), Envelope::Channel(ask)) => cast(actor, ask),
            (Self::Zone(actor), Envelope::Zone(ask)) => cast(actor, ask),
            (_, other) => Some(other),
        }
    }

    /// Tells the actor to go unless it has something to do. One that takes no message any more is going already.
    pub(crate) fn passivate(&self) {
        let _ = match self {
            Self::Order(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
            Self::Channel(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
            Self::Zone(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
        };
    }

    /// Tells the actor that another node owns the shard. One that takes no message any more is going already.
    pub(crate) fn fence(&self) {
        let _ = match self {
            Self::Order(actor) => actor.cast(EntityMessage::Fenced).is_ok(),
            Self::Channel(actor) => actor.cast(EntityMessage::Fenced).is_ok(),
            Self::Zone(actor) => actor.cast(EntityMessage::Fenced).is_ok(),
        };
    }
}

/// Where a stream's actor is in its life.
pub(crate) enum Life {
    Running,
    /// Told to go; what comes meanwhile waits for its successor.
    Passivating(VecDeque<Envelope>),
    /// Crashed; its successor comes after a pause.
    Restarting(VecDeque<Envelope>),
    /// Kept still until an operator brings it back.
    Parked,
}

impl Life {
    /// What waits for the successor.
    pub(crate) fn into_waiting(self) -> VecDeque<Envelope> {
        match self {
            Self::Passivating(waiting) | Self::Restarting(waiting) => waiting,
            Self::Running | Self::Parked => VecDeque::new(),
        }
    }
}

/// A stream's actor, or the place it left.
pub(crate) struct Child {
    pub(crate) cell: Arc<Cell>,
    pub(crate) life: Life,
    pub(crate) crashes: Crashes,
}

impl Child {
    /// Tells a running actor to go; what waits is for its successor.
    pub(crate) fn passivate(&mut self, waiting: VecDeque<Envelope>) {
        if matches!(self.life, Life::Running) {
            if let Some(inbox) = &*self.cell.inbox.load() {
                inbox.passivate();
            }
            self.cell.set_status(Status::Passivating);
            self.life = Life::Passivating(waiting);
        }
    }
}

/// How often something crashed of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crashes {
    pub(crate) count: u32,
    last: Option<Instant>,
}

impl Crashes {
    /// It crashed once more: the pause before it is started again.
    pub(crate) fn add(&mut self, options: &ActorOptions) -> Duration {
        if self.last.is_some_and(|last| last.elapsed() > options.restart_window) {
            self.count = 0;
        }
        self.last = Some(Instant::now());
        self.count = self.count.saturating_add(1);
        let doubled = options.restart_backoff.saturating_mul(1 << (self.count - 1).min(16));
        doubled.min(options.restart_backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_crashes_are_forgotten_after_the_window() {
        let options = ActorOptions::default();
        let mut crashes = Crashes::default();
        let pauses: Vec<u128> = (0..9).map(|_| crashes.add(&options).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        tokio::time::advance(options.restart_window + Duration::from_millis(1)).await;
        assert_eq!(crashes.add(&options).as_millis(), 100);
        assert_eq!(crashes.count, 1);
    }
}
