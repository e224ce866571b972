//! What every journalled thing has in common: it decides, evolves and resumes, all of it pure.

use crate::policy::Policy;
use crate::ports::StreamKind;
use crate::rejection::Rejection;
use crate::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// What a decision may look at besides the state: the time and the policy.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// The rules in force.
    pub policy: &'a Policy,
}

/// What was decided: facts to record, and things to do once they are durable.
pub struct Decision<E: Entity> {
    /// What happened. Empty: nothing changed (a duplicate), and nothing is written.
    pub events: Vec<E::Event>,
    /// What to do after the commit.
    pub effects: Vec<E::Effect>,
    /// What to answer after the commit.
    pub reply: E::Reply,
}

/// The log says something that cannot have happened: it is corrupt, or of a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal event {event}: {why}")]
pub struct IllegalEvent {
    /// The event's name.
    pub event: String,
    /// Why it cannot follow.
    pub why: String,
}

/// A thing with a log of its own: an order, a channel, a zone.
pub trait Entity: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What kind of stream it is.
    const KIND: StreamKind;
    /// What it can be told.
    type Command: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What can happen to it.
    type Event: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + 'static;
    /// What it can want done.
    type Effect: Clone + fmt::Debug + Send + 'static;
    /// What it answers.
    type Reply: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Decides on a command; `state` is `None` before the first event.
    ///
    /// # Errors
    /// The command is not carried out, and why.
    fn decide(state: Option<&Self>, command: Self::Command, context: &Context<'_>)
    -> Result<Decision<Self>, Rejection>;

    /// The state after an event that happened at `at`.
    ///
    /// # Errors
    /// The event cannot follow: the log is corrupt.
    fn evolve(state: Option<Self>, event: &Self::Event, at: Timestamp) -> Result<Self, IllegalEvent>;

    /// Everything that is pending, from state alone: what to do again after a restart.
    fn resume(&self, policy: &Policy) -> Vec<Self::Effect>;

    /// When it wants to be woken next, if at all; possibly a moment that has passed.
    fn wake_at(&self, context: &Context<'_>) -> Option<Timestamp>;

    /// The command that waking it is.
    fn wake() -> Self::Command;

    /// Whether something is still to happen to it.
    fn is_live(&self) -> bool;
}

/// The state after a row of events, all of them at `at`.
///
/// # Errors
/// One of them cannot follow.
pub fn fold<E: Entity>(state: Option<E>, events: &[E::Event], at: Timestamp) -> Result<Option<E>, IllegalEvent> {
    events
        .iter()
        .try_fold(state, |state, event| E::evolve(state, event, at).map(Some))
}
