//! What nodes say to each other, in the version of the wire that both speak (ADR 0026).
//!
//! | version | written as | knows |
//! | --- | --- | --- |
//! | 1 | JSON | everything but what follows |
//! | 2 | MessagePack, maps with names | `Answer::Unsent`, `zone::Command::{Dispatch, Progress}` |
//! | 3 | the same | `Notice::Channel`, instead of a channel's rows |
//!
//! States and commands have their names in both, as in the store: fields may be added, never renamed, and a reader passes over
//! those that it does not know. A new *variant* is what a reader cannot pass over. It belongs to a new version, and
//! [`Request::said_in`] says what is told instead to a node that does not speak that one.

use super::outlines::ChannelNews;
use super::replica::{Replica, ReplicaRow};
use crate::call::{Call, Outcome};
use crate::error::CallError;
use crate::introspect::ActorView;
use domain::channel::Channel;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::ShardOwner;
use domain::saga::{self, Answer};
use domain::zone::{self, Zone};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version that is JSON.
const JSON: u16 = 1;

/// The first version in which nodes tell each other channels' outlines.
const OUTLINES: u16 = 3;

/// A question; every one is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Order(Call<Order>),
    Channel(Call<Channel>),
    Zone(Call<Zone>),
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
    /// A zone has a new row; a channel, too, for nodes of version 2.
    Row(ReplicaRow),
    /// What is new of a channel.
    Channel(Box<ChannelNews>),
}

impl Request {
    /// What is asked of a node that speaks this version: the same, as far as it has words for it. `None`: it has none.
    pub(crate) fn said_in(self, version: u16) -> Option<Self> {
        if version > JSON {
            return Some(self);
        }
        match self {
            Self::Zone(Call {
                command: zone::Command::Dispatch { .. } | zone::Command::Progress { .. },
                ..
            }) => None,
            Self::Order(mut call) => {
                if let saga::Command::Answer { answer, .. } = &mut call.command
                    && let Answer::Unsent(why) = answer
                {
                    // That it may have happened is less than what is known, and undone like what did.
                    *answer = Answer::Failed(std::mem::take(why));
                }
                Some(Self::Order(call))
            }
            other => Some(other),
        }
    }
}

impl Notice {
    /// Whether a node that speaks this version is told so: each hears of channels in one way.
    pub(crate) const fn is_said_in(&self, version: u16) -> bool {
        match self {
            Self::Row(ReplicaRow {
                of: Replica::Channel(_),
                ..
            }) => version < OUTLINES,
            Self::Channel(_) => version >= OUTLINES,
            _ => true,
        }
    }
}

pub(crate) fn encode<T: Serialize>(version: u16, said: &T) -> Vec<u8> {
    // Texts, numbers, lists and maps with text keys: these always serialize.
    match version {
        JSON => serde_json::to_vec(said).unwrap_or_default(),
        _ => rmp_serde::to_vec_named(said).unwrap_or_default(),
    }
}

/// `None`: it cannot be read.
pub(crate) fn decode<T: DeserializeOwned>(version: u16, said: &[u8]) -> Option<T> {
    let read = match version {
        JSON => serde_json::from_slice(said).map_err(|error| error.to_string()),
        _ => rmp_serde::from_slice(said).map_err(|error| error.to_string()),
    };
    match read {
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
