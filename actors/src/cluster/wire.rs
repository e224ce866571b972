//! What nodes say to each other. JSON: states and commands are stored as JSON too, so a node one version older reads what a
//! newer one says as it reads what it stored (fields may be added, never renamed; what is unknown is passed over).

use super::replica::ReplicaRow;
use crate::call::{Call, Outcome};
use crate::error::CallError;
use crate::introspect::ActorView;
use domain::channel::Channel;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::ShardOwner;
use domain::zone::Zone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// A channel or zone has a new row.
    Row(ReplicaRow),
}

pub(crate) fn encode<T: Serialize>(said: &T) -> Vec<u8> {
    // Texts, numbers, lists and maps with text keys: these always serialize.
    serde_json::to_vec(said).unwrap_or_default()
}

/// `None`: it cannot be read.
pub(crate) fn decode<T: DeserializeOwned>(said: &[u8]) -> Option<T> {
    match serde_json::from_slice(said) {
        Ok(said) => Some(said),
        Err(error) => {
            metrics::counter!("uoop_peer_words_unreadable_total").increment(1);
            tracing::warn!(%error, "what another node says cannot be read");
            None
        }
    }
}
