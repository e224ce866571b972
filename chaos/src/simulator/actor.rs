//! The actor of one stream: one turn after the other, one append in flight; what waits is decided on together. Its rules
//! are those of `actors/src/entity.rs` and `actors/src/turn.rs`.

use super::crash::Crashes;
use super::kinds::{Command, Decided, Facts, State, Todo};
use super::store::{Append, Key};
use domain::entity::Context;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::StreamKind;
use domain::rejection::Rejection;
use domain::saga::Answer;
use domain::shard::ShardId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most commands of one turn.
const TURN_COMMANDS_MAX: usize = 256;

/// Why a call was not answered by the stream itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// The business says no.
    Rejected(Rejection),
    /// Nothing was done; the node does not own the shard.
    Fenced,
    /// Nothing was done; the store is away, or the actor starts over.
    Unavailable,
    /// The idempotency key is used.
    KeyUsed,
    /// Nothing was done; there was no room for it.
    Overloaded,
    /// Nobody knows.
    TimedOut,
}

pub(super) type Outcome = Result<Answer, Failure>;

/// Whom to answer.
#[derive(Clone, Debug)]
pub(super) enum From {
    Nobody,
    /// A call of a process, by its number and the attempt.
    Call {
        process: Arc<str>,
        call: u64,
        attempt: u32,
    },
}

/// A command on its way to a stream.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) command: Command,
    pub(super) from: From,
    pub(super) claim: Option<Key>,
    /// Asked from within: heard again if the append is not made.
    pub(super) inside: bool,
    pub(super) wake: bool,
    /// Only this activation is to hear it.
    pub(super) only: Option<u64>,
}

/// A command that was decided on, and whom to answer once that is durable.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) from: From,
    pub(super) outcome: Result<Answer, Rejection>,
    again: Option<Command>,
    wake: bool,
}

#[derive(Debug, Default)]
struct Gathered {
    working: Option<State>,
    facts: Option<Facts>,
    todos: Vec<Todo>,
    heard: Vec<Heard>,
    claim: Option<Key>,
    woken: bool,
    from_outside: bool,
}

impl Gathered {
    const fn excludes(&self, ask: &Ask) -> bool {
        self.claim.is_some() || (ask.claim.is_some() && self.facts.is_some())
    }

    fn may_wait(&self) -> bool {
        let (Some(facts), Some(next)) = (&self.facts, &self.working) else {
            return false;
        };
        self.todos.is_empty() && !self.from_outside && self.claim.is_none() && !self.woken && next.may_wait(facts)
    }
}

/// A turn whose append is under way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) next: State,
    pub(super) todos: Vec<Todo>,
    pub(super) heard: Vec<Heard>,
}

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Turned {
    /// Nothing is to be written. The timer stands, unless it was just used up.
    Nothing { woken: bool },
    /// It is written with the next turn.
    Waits,
    /// A row.
    Row(Box<Append>),
}

#[derive(Debug)]
pub(super) struct Actor {
    pub(super) stream: StreamId,
    pub(super) shard: ShardId,
    pub(super) kind: StreamKind,
    /// Tells the activations of a stream apart, over all nodes; later ones are greater.
    pub(super) activation: u64,
    pub(super) state: Option<State>,
    pub(super) seq: Seq,
    snapshot_seq: Seq,
    pub(super) is_loading: bool,
    pub(super) queue: VecDeque<Ask>,
    waiting: Option<Gathered>,
    pub(super) in_flight: Option<InFlight>,
    /// The store could not take the last turn.
    pub(super) is_paused: bool,
    pub(super) is_fenced: bool,
    /// How often those before it crashed, if they did: then what is pending is begun again.
    pub(super) crashes: Option<Crashes>,
}

impl Actor {
    pub(super) const fn new(stream: StreamId, shard: ShardId, kind: StreamKind, activation: u64) -> Self {
        Self {
            stream,
            shard,
            kind,
            activation,
            state: None,
            seq: Seq(0),
            snapshot_seq: Seq(0),
            is_loading: true,
            queue: VecDeque::new(),
            waiting: None,
            in_flight: None,
            is_paused: false,
            is_fenced: false,
            crashes: None,
        }
    }

    pub(super) fn loaded(&mut self, loaded: Option<(State, Seq, Seq)>) {
        self.is_loading = false;
        if let Some((state, seq, snapshot_seq)) = loaded {
            self.state = Some(state);
            self.seq = seq;
            self.snapshot_seq = snapshot_seq;
        }
    }

    pub(super) fn may_turn(&self) -> bool {
        !self.is_loading && !self.is_paused && !self.is_fenced && self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// Nothing is left to do for a stream that does not exist or is settled.
    pub(super) fn may_go(&self) -> bool {
        let needless = self.state.as_ref().is_none_or(|state| !state.is_live());
        needless && !self.is_loading && self.in_flight.is_none() && self.waiting.is_none() && self.queue.is_empty()
    }

    /// Decides on everything that waits. What rests on durable state alone is answered at once, through `answered`.
    pub(super) fn turn(&mut self, context: &Context<'_>, answered: &mut Vec<(From, Outcome)>) -> Turned {
        let mut turn = self.waiting.take().unwrap_or_default();
        let mut taken = 0;
        while taken < TURN_COMMANDS_MAX {
            let Some(ask) = self.queue.pop_front_if(|ask| !turn.excludes(ask)) else {
                break;
            };
            taken += 1;
            self.decide(&mut turn, ask, context, answered);
        }
        if taken > 0 && turn.may_wait() {
            self.waiting = Some(turn);
            return Turned::Waits;
        }
        let (Some(next), Some(facts)) = (turn.working, turn.facts) else {
            return Turned::Nothing { woken: turn.woken };
        };
        let seq = self.seq.next();
        let snapshot = self.stores_snapshot(seq, &next).then(|| next.clone());
        self.in_flight = Some(InFlight {
            next,
            todos: turn.todos,
            heard: turn.heard,
        });
        Turned::Row(Box::new(Append {
            shard: self.shard,
            epoch: Epoch(0),
            position: Position(0),
            stream: self.stream,
            seq,
            at: context.now,
            facts: Arc::new(facts),
            snapshot,
            claim: turn.claim,
            activation: self.activation,
            generation: 0,
        }))
    }

    fn decide(&self, turn: &mut Gathered, ask: Ask, context: &Context<'_>, answered: &mut Vec<(From, Outcome)>) {
        turn.woken |= ask.wake;
        let again = ask.inside.then(|| ask.command.clone());
        let state = turn.working.as_ref().or(self.state.as_ref());
        let decided = if state.is_some_and(|state| state.kind() != ask.command.kind()) {
            Err(Rejection::NotFound("stream"))
        } else {
            ask.command.decide(state, context)
        };
        let outcome = match decided {
            Err(rejection) => Err(rejection),
            Ok(Decided {
                facts,
                todos,
                answer,
                next,
            }) => {
                if let Some(next) = next {
                    turn.working = Some(next);
                    turn.claim = ask.claim;
                    match &mut turn.facts {
                        Some(known) => known.extend(facts),
                        none => *none = Some(facts),
                    }
                }
                turn.todos.extend(todos);
                Ok(answer)
            }
        };
        if turn.facts.is_none() {
            answered.push((ask.from, outcome.map_err(Failure::Rejected)));
            return;
        }
        turn.from_outside |= !ask.inside;
        turn.heard.push(Heard {
            from: ask.from,
            outcome,
            again,
            wake: ask.wake,
        });
    }

    fn stores_snapshot(&self, seq: Seq, next: &State) -> bool {
        seq == Seq(1) || !next.is_live() || seq.0 >= self.snapshot_seq.0 + next.snapshot_rows()
    }

    /// The append is durable: the state is what it makes. What is to be done and answered is returned.
    pub(super) fn commit(&mut self) -> (Vec<Todo>, Vec<(From, Outcome)>) {
        let Some(turn) = self.in_flight.take() else {
            return (Vec::new(), Vec::new());
        };
        self.seq = self.seq.next();
        if self.stores_snapshot(self.seq, &turn.next) {
            self.snapshot_seq = self.seq;
        }
        self.state = Some(turn.next);
        let heard = turn.heard.into_iter();
        let answers = heard.map(|heard| (heard.from, heard.outcome.map_err(Failure::Rejected)));
        (turn.todos, answers.collect())
    }

    /// The append was not made, but may be later: who asked from outside is told, what came from within is heard again.
    pub(super) fn put_back(&mut self, failure: &Failure) -> Vec<(From, Outcome)> {
        let Some(turn) = self.in_flight.take() else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for heard in turn.heard.into_iter().rev() {
            match heard.again {
                Some(command) => self.queue.push_front(Ask {
                    command,
                    from: heard.from,
                    claim: None,
                    inside: true,
                    wake: heard.wake,
                    only: None,
                }),
                None => told.push((heard.from, Err(failure.clone()))),
            }
        }
        told
    }

    /// Everybody who waits is told; what is in flight comes to its own end.
    pub(super) fn refuse_all(&mut self, failure: &Failure) -> Vec<(From, Outcome)> {
        let waiting = self.waiting.take().map(|turn| turn.heard).unwrap_or_default();
        let told = waiting.into_iter().map(|heard| heard.from);
        let queued = self.queue.drain(..).map(|ask| ask.from);
        told.chain(queued).map(|from| (from, Err(failure.clone()))).collect()
    }

    /// As [`Actor::refuse_all`], with what is in flight.
    pub(super) fn fail(&mut self, failure: &Failure) -> Vec<(From, Outcome)> {
        let heard = self.in_flight.take().map(|turn| turn.heard).unwrap_or_default();
        let mut told: Vec<_> = heard
            .into_iter()
            .map(|heard| (heard.from, Err(failure.clone())))
            .collect();
        told.extend(self.refuse_all(failure));
        told
    }
}
