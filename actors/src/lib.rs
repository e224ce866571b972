//! The actor shells around the pure core. Each order, channel and zone is an actor under its shard, each shard under the
//! region; what they decide is `domain`'s business, when and that it is durable is theirs.
//!
//! *Architecture invariant*: stores and participants are reached only through the traits of `domain::ports`. An actor's
//! turn is: decide → append and await the commit → publish → reply and begin the effects.

mod ask;
mod call;
mod cell;
mod choice;
mod cluster;
mod delay;
mod directory;
mod dispatch;
mod effector;
mod entity;
mod error;
mod hosted;
mod introspect;
mod keys;
mod life;
mod node;
mod options;
mod platform;
mod region;
mod restore;
mod shard;
mod submission;
mod transport;
mod turn;
mod wheel;

pub use ask::{Applied, CommandOptions, IdempotencyKey, Placed, Versioned};
pub use cluster::{ClusterError, ClusterOptions, ClusterStatus, MemberView, ShardView};
pub use directory::Directory;
pub use dispatch::{DispatchOptions, PlannerView};
pub use error::CallError;
pub use introspect::ActorView;
pub use node::{Readiness, Recovery};
pub use options::{ActorOptions, Ports};
pub use platform::Platform;
pub use restore::restore;
pub use submission::{Front, Pending, Submitted, Unfit};
pub use transport::{LinkView, TlsFiles, TransportError, TransportOptions};
