//! What actors are asked, and what they answer.

use crate::error::CallError;
use domain::channel::{self, Channel};
use domain::entity::Entity;
use domain::ids::Seq;
use domain::order::Order;
use domain::ports::{KeyClaim, StreamKind};
use domain::rejection::Rejection;
use domain::saga;
use domain::zone::{self, Zone};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// State at a version. Cheap to clone.
#[derive(Debug)]
pub struct Versioned<E> {
    /// The version.
    pub seq: Seq,
    /// The state.
    pub state: Arc<E>,
}

impl<E> Clone for Versioned<E> {
    fn clone(&self) -> Self {
        Self {
            seq: self.seq,
            state: Arc::clone(&self.state),
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Applied<E: Entity> {
    /// The state after it.
    pub entity: Versioned<E>,
    /// Whether it changed anything; `false`: it said nothing new.
    pub changed: bool,
    /// What the entity answered.
    pub reply: E::Reply,
}

/// An accepted order.
#[derive(Debug)]
pub struct Placed {
    /// The order as it was accepted.
    pub order: Versioned<Order>,
    /// Whether it had been accepted before under the same idempotency key.
    pub replayed: bool,
}

/// A client's idempotency key, and what it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, 1 to 255 bytes.
    pub key: String,
    /// A hash of the request.
    pub fingerprint: String,
}

/// What a command may be tied to.
#[derive(Clone, Debug, Default)]
pub struct CommandOptions {
    /// Only if the version is this.
    pub if_match: Option<Seq>,
    /// Only once under this key.
    pub key: Option<IdempotencyKey>,
}

/// What came of a command.
pub(crate) type Answered<E> = Result<Applied<E>, CallError>;

/// Whom an actor answers.
pub(crate) enum Reply<E: Entity> {
    /// Nobody waits.
    Nobody,
    /// Somebody waits.
    Waiting(oneshot::Sender<Answered<E>>),
    /// Nobody waits, but something follows.
    Then(Continuation<E>),
}

impl<E: Entity> Reply<E> {
    /// Does `then` with the answer, in the task of whoever answers: it must not block. If the actor ends without one, that
    /// is an answer too: the command may have been carried out.
    pub(crate) fn then(then: impl FnOnce(Answered<E>) + Send + 'static) -> Self {
        Self::Then(Continuation(Some(Box::new(then))))
    }

    pub(crate) fn send(self, answer: Answered<E>) {
        match self {
            Self::Nobody => {}
            // Nobody waits any more: the caller gave up, and the result is in the log.
            Self::Waiting(reply_tx) => drop(reply_tx.send(answer)),
            Self::Then(mut continuation) => continuation.run(answer),
        }
    }
}

impl<E: Entity> fmt::Debug for Reply<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Waiting(_) => "Waiting",
            Self::Then(_) => "Then",
        })
    }
}

/// What follows an answer: done exactly once.
pub(crate) struct Continuation<E: Entity>(Option<Box<dyn FnOnce(Answered<E>) + Send>>);

impl<E: Entity> Continuation<E> {
    fn run(&mut self, answer: Answered<E>) {
        if let Some(then) = self.0.take() {
            then(answer);
        }
    }
}

impl<E: Entity> Drop for Continuation<E> {
    fn drop(&mut self) {
        self.run(Err(CallError::TimedOut));
    }
}

/// A command on its way to an entity.
#[derive(Debug)]
pub(crate) struct Ask<E: Entity> {
    pub(crate) command: E::Command,
    pub(crate) if_match: Option<Seq>,
    pub(crate) claim: Option<KeyClaim>,
    pub(crate) reply: Reply<E>,
    /// Returned to the shard's admission when the command has been answered.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// A new order's place among those under way: its actor keeps it until the order rests for the first time.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// A timer of the shard sent it, and the shard has forgotten that timer.
    pub(crate) wake: bool,
}

impl<E: Entity> Ask<E> {
    /// A command nobody waits for.
    pub(crate) const fn tell(command: E::Command) -> Self {
        Self {
            command,
            if_match: None,
            claim: None,
            reply: Reply::Nobody,
            permit: None,
            place: None,
            wake: false,
        }
    }

    /// A command whose answer something follows.
    pub(crate) fn answered(command: E::Command, then: impl FnOnce(Answered<E>) + Send + 'static) -> Self {
        Self {
            reply: Reply::then(then),
            ..Self::tell(command)
        }
    }

    /// What a timer says.
    pub(crate) fn wake() -> Self {
        Self {
            wake: true,
            ..Self::tell(E::wake())
        }
    }
}

/// A command for some entity.
#[derive(Debug)]
pub(crate) enum Envelope {
    Order(Ask<Order>),
    Channel(Ask<Channel>),
    Zone(Ask<Zone>),
}

impl Envelope {
    /// What a timer says to a stream of this kind.
    pub(crate) fn wake(kind: StreamKind) -> Self {
        match kind {
            StreamKind::Order => Self::Order(Ask::wake()),
            StreamKind::Channel => Self::Channel(Ask::wake()),
            StreamKind::Zone => Self::Zone(Ask::wake()),
        }
    }

    /// Whether a timer sent it.
    pub(crate) const fn is_wake(&self) -> bool {
        match self {
            Self::Order(ask) => ask.wake,
            Self::Channel(ask) => ask.wake,
            Self::Zone(ask) => ask.wake,
        }
    }

    /// What kind of stream it is for.
    pub(crate) const fn kind(&self) -> StreamKind {
        match self {
            Self::Order(_) => StreamKind::Order,
            Self::Channel(_) => StreamKind::Channel,
            Self::Zone(_) => StreamKind::Zone,
        }
    }

    /// Answers that there is no such stream of its kind.
    pub(crate) fn not_found(self) {
        let what = match self.kind() {
            StreamKind::Order => "order",
            StreamKind::Channel => "channel",
            StreamKind::Zone => "zone",
        };
        self.refuse(Rejection::NotFound(what).into());
    }

    /// Whether it is an operator's word that brings a parked actor back. For an order that is the retry, whose first
    /// use then does no more than this; channels and zones come back when they are configured.
    pub(crate) fn unparks(&self) -> bool {
        match self {
            Self::Order(ask) => ask.command == saga::Command::Retry,
            Self::Channel(ask) => matches!(ask.command, channel::Command::Configure { .. }),
            Self::Zone(ask) => matches!(ask.command, zone::Command::PutCourier { .. }),
        }
    }

    /// The word that brings a parked actor back, as it is heard by an actor that is back: of an order's retry nothing is
    /// left to do.
    pub(crate) fn unparking(self) -> Self {
        match self {
            Self::Order(ask) if ask.command == saga::Command::Retry => Self::Order(Ask {
                command: Order::wake(),
                ..ask
            }),
            other => other,
        }
    }

    /// Answers whoever waits with an error.
    pub(crate) fn refuse(self, error: CallError) {
        match self {
            Self::Order(ask) => ask.reply.send(Err(error)),
            Self::Channel(ask) => ask.reply.send(Err(error)),
            Self::Zone(ask) => ask.reply.send(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A reply, and what it was answered with.
    fn reply() -> (Reply<Channel>, Arc<Mutex<Vec<CallError>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&heard);
        let reply = Reply::then(move |answered: Answered<Channel>| {
            list.lock().expect("no panic").extend(answered.err());
        });
        (reply, heard)
    }

    #[test]
    fn what_follows_an_answer_is_done_once() {
        let (answered, heard) = reply();
        answered.send(Err(CallError::Fenced));
        assert_eq!(*heard.lock().expect("no panic"), [CallError::Fenced]);
    }

    #[test]
    fn an_actor_that_ends_without_an_answer_may_have_done_it() {
        let (forgotten, heard) = reply();
        drop(forgotten);
        assert_eq!(*heard.lock().expect("no panic"), [CallError::TimedOut]);
    }
}
