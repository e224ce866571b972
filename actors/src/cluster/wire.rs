//! What nodes say to each other, in the version of the wire that both speak (ADR 0026).
//!
//! | version | knows |
//! | --- | --- |
//! | 2 | everything but what follows |
//! | 3 | `Request::Submit`; `Notice::Channel` instead of a channel's rows |
//!
//! It is MessagePack, maps with names. States and commands have their names as in the store: fields may be added, never
//! renamed, and a reader passes over those that it does not know. A new *variant* is what a reader cannot pass over: it
//! belongs to a new version, and whoever would say it looks first at what the other speaks.

use super::outlines::ChannelNews;
use super::replica::ReplicaRow;
use crate::call::{Call, Outcome};
use crate::error::CallError;
use crate::introspect::ActorView;
use crate::submission::{Submission, Submitted};
use domain::channel::Channel;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::ShardOwner;
use domain::zone::Zone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The first version in which an idempotency key may belong to another shard than its row's.
pub(crate) const HOMES: u16 = 4;

/// A question; every one is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Order(Call<Order>),
    Channel(Call<Channel>),
    Zone(Call<Zone>),
    Submit(Submission),
    /// Whether a request under an idempotency key, with its scope, is under way here (since [`HOMES`]).
    UnderWay {
        key: String,
    },
    /// The order as soon as it has a version after this one; answered without one after a while.
    Watch {
        order: OrderId,
        after: Seq,
    },
    /// The actors of a node, or the one at a path.
    Introspect {
        path: Option<String>,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Order(Result<Outcome<Order>, CallError>),
    Channel(Result<Outcome<Channel>, CallError>),
    Zone(Result<Outcome<Zone>, CallError>),
    Submitted(Result<Submitted, CallError>),
    UnderWay(bool),
    Watched(Option<(Seq, Arc<Order>)>),
    Actors(Vec<ActorView>),
    /// The node does not own what was asked for.
    NotOwner,
    /// The question cannot be read: it comes from a node that is too new.
    NotUnderstood,
}

/// A one-way word.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// Shards have another owner.
    Owners(Vec<ShardOwner>),
    /// A zone has a new row.
    Row(ReplicaRow),
    /// What is new of a channel.
    Channel(Box<ChannelNews>),
}

pub(crate) fn encode<T: Serialize>(said: &T) -> Vec<u8> {
    // Texts, bytes, numbers, lists and maps with text keys: these always serialize.
    rmp_serde::to_vec_named(said).unwrap_or_default()
}

/// `None`: it cannot be read.
pub(crate) fn decode<T: DeserializeOwned>(said: &[u8]) -> Option<T> {
    match rmp_serde::from_slice(said) {
        Ok(said) => Some(said),
        Err(error) => {
            metrics::counter!("uoop_peer_words_unreadable_total").increment(1);
            tracing::warn!(%error, "what another node says cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests;
