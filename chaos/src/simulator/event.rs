//! Everything that can happen, as data.

use super::actor::{Ask, Outcome};
use super::queue::Time;
use super::store::{Reply, Request};
use domain::ids::{Epoch, StreamId};
use domain::saga::{Answer, EffectKey, PaymentRequest, TicketRequest};
use domain::shard::ShardId;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A fault of the scenario begins.
    FaultBegins(usize),
    /// It ends.
    FaultEnds(usize),
    /// A node's process is started.
    Start(usize),
    /// Something reaches a process; if it is another's by now, nobody.
    Process { node: usize, incarnation: u32, what: What },
    /// A request reaches the store.
    Store {
        node: usize,
        from: Arc<str>,
        rpc: u64,
        request: Request,
        /// When the process does not wait for the answer any longer.
        given_up_at: Time,
    },
    /// A request reaches a participant.
    Participant {
        from: Arc<str>,
        task: u64,
        request: Arc<Wanted>,
    },
    /// Somebody outside asks (again).
    Errand(usize),
    /// Somebody outside has not been answered.
    ErrandLost { errand: usize, attempt: u32 },
    /// Somebody outside is answered.
    ErrandAnswered {
        errand: usize,
        attempt: u32,
        stream: StreamId,
        outcome: Outcome,
    },
    /// A kitchen makes up its mind about a ticket.
    Decides(EffectKey),
    /// A kitchen is further with a ticket.
    Cooks(EffectKey, u8),
    /// A courier is where it can do the next thing for an order.
    Rides(EffectKey, u8),
    /// Somebody looks whether an operator is needed, and whether all is over.
    Round,
}

/// What reaches a process.
#[derive(Clone, Debug)]
pub(super) enum What {
    Renew,
    Look(u64),
    Heard(u64, Reply),
    /// To a stream, from this process or another.
    Ask(StreamId, Box<Ask>, bool),
    /// The same, once those before it have been served.
    Served(StreamId, Box<Ask>, bool),
    /// The answer to a call.
    Answered {
        call: u64,
        attempt: u32,
        outcome: Outcome,
    },
    CallAgain(u64),
    CallLost(u64, u32),
    /// Another node says who owns what.
    Owners(Vec<(ShardId, Epoch, Arc<str>)>),
    Timer(StreamId, u64),
    TaskBegins(u64),
    TaskAnswered(u64, Answer),
    TaskLost(u64),
    Insists(u64),
    ActorAgain(StreamId, u64),
    Respawn(StreamId, u64),
    WriterAgain,
    RecoverAgain,
    JoinAgain,
    /// Somebody outside asks.
    Errand {
        errand: usize,
        attempt: u32,
    },
    Drain,
}

/// What a participant outside is asked.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Payment(PaymentRequest),
    Ticket(TicketRequest),
}

impl Event {
    /// A number for the trace's hash.
    pub(super) const fn code(&self) -> u64 {
        match self {
            Self::FaultBegins(n) => 1 + ((*n as u64) << 8),
            Self::FaultEnds(n) => 2 + ((*n as u64) << 8),
            Self::Start(n) => 3 + ((*n as u64) << 8),
            Self::Process { node, what, .. } => 4 + ((*node as u64) << 8) + (what.code() << 16),
            Self::Store { node, rpc, .. } => 5 + ((*node as u64) << 8) + (*rpc << 16),
            Self::Participant { task, .. } => 6 + (*task << 8),
            Self::Errand(n) => 7 + ((*n as u64) << 8),
            Self::ErrandLost { errand, .. } => 8 + ((*errand as u64) << 8),
            Self::ErrandAnswered { errand, .. } => 9 + ((*errand as u64) << 8),
            Self::Decides(_) => 10,
            Self::Cooks(_, n) => 11 + ((*n as u64) << 8),
            Self::Rides(_, n) => 12 + ((*n as u64) << 8),
            Self::Round => 13,
        }
    }
}

impl What {
    const fn code(&self) -> u64 {
        match self {
            Self::Renew => 1,
            Self::Look(_) => 2,
            Self::Heard(rpc, _) => 3 + (*rpc << 8),
            Self::Ask(..) => 5,
            Self::Answered { call, .. } => 6 + (*call << 8),
            Self::CallAgain(call) => 7 + (*call << 8),
            Self::CallLost(call, _) => 8 + (*call << 8),
            Self::Owners(_) => 9,
            Self::Timer(..) => 10,
            Self::TaskBegins(task) => 11 + (*task << 8),
            Self::TaskAnswered(task, _) => 12 + (*task << 8),
            Self::TaskLost(task) => 13 + (*task << 8),
            Self::Insists(task) => 14 + (*task << 8),
            Self::ActorAgain(..) => 15,
            Self::Respawn(..) => 16,
            Self::WriterAgain => 17,
            Self::RecoverAgain => 18,
            Self::JoinAgain => 19,
            Self::Errand { errand, .. } => 20 + ((*errand as u64) << 8),
            Self::Drain => 21,
            Self::Served(..) => 22,
        }
    }
}

/// How long things take, in milliseconds; the nodes' own values are the defaults of `config/default.toml`.
pub(super) mod times {
    use super::Time;

    /// How long a silent node keeps its shards.
    pub(in super::super) const LEASE: Time = 3_000;
    pub(in super::super) const RENEW_EVERY: Time = 1_000;
    /// Without an answer of the store for so long, the connection is given up.
    pub(in super::super) const RPC: Time = 2_000;
    /// A link is known to be lost after this.
    pub(in super::super) const LINK: Time = 1_000;
    /// Most that a call waits for its answer.
    pub(in super::super) const CALL: Time = 5_000;
    /// A shard on its way is looked for again after this.
    pub(in super::super) const LOOK_AGAIN: Time = 50;
    pub(in super::super) const STORE_BACKOFF: Time = 200;
    pub(in super::super) const INSIST: Time = 100;
    pub(in super::super) const INSIST_MAX: Time = 1_000;
    /// The pause after a stream was woken for nothing.
    pub(in super::super) const QUIET: Time = 1_000;
    /// Somebody outside gives an attempt up after this.
    pub(in super::super) const ERRAND: Time = 10_000;
}
