//! A deterministic simulator of a whole cluster: nodes, network, store, participants and clients in one thread and in
//! virtual time, all of it following from a seed.
//!
//! What decides is the real pure core: sagas, capacity ledgers and zones through [`domain::entity`],
//! [`domain::cluster::plan`], [`domain::attempts`] of calls, and [`domain::lines`] of the journal. What carries it (actors, journal, effector, coordinator) and what it meets (store, network,
//! participants, kitchens, couriers, clients) are models of the same protocols, one file each. The invariants are
//! looked at with every commit and at the end.

mod actor;
mod admission;
mod calls;
mod checker;
mod coordinator;
mod crash;
mod effects;
mod event;
mod hub;
mod kinds;
mod life;
mod network;
mod participants;
mod process;
mod queue;
mod random;
mod report;
mod run;
mod scenario;
mod shrink;
mod store;
mod trace;
mod world;
mod writer;

pub use domain::invariants::{Invariant, Violation};
pub use hub::Figures;
pub use report::{Failure, Options, Report, fresh_seed, simulate};
pub use run::{Outcome, play};
pub use scenario::Size;

/// A rule that the model breaks on purpose, so that one can see that the invariants notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The store writes rows whatever epoch they carry.
    Fence,
    /// The store takes a used idempotency key once more.
    Keys,
    /// Effects leave before the row that justifies them is durable.
    EffectsFirst,
    /// Participants forget what was undone before it came.
    Tombstones,
    /// A commit whose answer was lost is taken for one that was not made.
    Unknown,
    /// Whoever takes a shard over does not look at what is in flight there.
    Timers,
    /// A call is told that there was no room for it, although an earlier attempt may have been carried out.
    Room,
    /// A channel does not remember that it refused what may have been asked of it before.
    Refusals,
    /// An actor that crashed is begun anew although its last append is still under way.
    Orphans,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fence,
        Self::Keys,
        Self::EffectsFirst,
        Self::Tombstones,
        Self::Unknown,
        Self::Timers,
        Self::Room,
        Self::Refusals,
        Self::Orphans,
    ];
}
