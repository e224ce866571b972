//! Why a call to an actor brought no result.

use domain::rejection::Rejection;
use serde::{Deserialize, Serialize};

/// Why a call was not carried out. Except for [`CallError::TimedOut`], nothing of it was or will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CallError {
    /// The business says no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The idempotency key was used before, with another request.
    #[error("the idempotency key was used before with another request")]
    KeyReused,
    /// A request with the same idempotency key is under way.
    #[error("a request with this idempotency key is under way")]
    InProgress,
    /// A bound is reached; the same call may be taken in a moment.
    #[error("{what} has more to do than it can take")]
    Overloaded {
        /// Who.
        what: String,
    },
    /// The actor keeps crashing and is kept still until an operator retries it.
    #[error("kept still after repeated crashes: {0}")]
    Parked(String),
    /// Another node owns the shard.
    #[error("this node no longer owns the shard")]
    Fenced,
    /// The store is away, or the actor is not there.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No answer in time, or it was lost with a crash: it may or may not have been carried out.
    #[error("no answer: it may or may not have been carried out")]
    TimedOut,
    /// The idempotency key is used; the platform looks up by what and answers accordingly.
    #[error("the idempotency key is used")]
    KeyUsed,
}
