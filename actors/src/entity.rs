//! The actor of one entity. While a commit is under way commands gather, and the next turn takes all of them: a hot
//! channel is one commit, not thousands.

use crate::ask::{Applied, Ask, Versioned};
use crate::cell::{Cell, Status};
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::node::Node;
use crate::restore::restore;
use crate::shard::ShardMessage;
use domain::entity::{Decision, fold};
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{Append, AppendError, KeyClaim, Refusal, Snapshot, StoreError};
use domain::rejection::Rejection;
use domain::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Most commands of one turn.
const TURN_COMMANDS_MAX: usize = 256;
/// The pause before a load or an append that found the store away is tried again.
const STORE_BACKOFF: Duration = Duration::from_millis(200);

pub(crate) enum EntityMessage<E: Hosted> {
    /// A command.
    Ask(Box<Ask<E>>),
    /// The append under way came to its end.
    Appended(Result<(), AppendError>),
    /// Try again what the store could not take.
    Again,
    /// Go, unless there is something to do.
    Passivate,
}

pub(crate) struct EntityActor<E>(PhantomData<E>);

impl<E> EntityActor<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct EntityArgs {
    pub(crate) node: Arc<Node>,
    pub(crate) shard: ActorRef<ShardMessage>,
    pub(crate) cell: Arc<Cell>,
    /// The stream is known not to exist: nothing needs to be loaded.
    pub(crate) fresh: bool,
    /// The actor crashed: what is pending must be begun again.
    pub(crate) resume: bool,
}

type Reply<E> = Option<oneshot::Sender<Result<Applied<E>, CallError>>>;

/// A turn whose append is under way.
struct InFlight<E: Hosted> {
    next: E,
    effects: Vec<E::Effect>,
    replies: Vec<(Reply<E>, <E as domain::entity::Entity>::Reply, bool)>,
    /// Commands that nobody waits for: they are done again if the append is not made.
    told: Vec<E::Command>,
    /// Returned when the turn is over.
    _permits: Vec<tokio::sync::OwnedSemaphorePermit>,
}

pub(crate) struct EntityState<E: Hosted> {
    args: EntityArgs,
    committed: Option<Versioned<E>>,
    snapshot_seq: Seq,
    queue: VecDeque<Ask<E>>,
    in_flight: Option<InFlight<E>>,
}

impl<E: Hosted> Actor for EntityActor<E> {
    type Msg = EntityMessage<E>;
    type State = EntityState<E>;
    type Arguments = EntityArgs;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, args: EntityArgs) -> Result<Self::State, ActorProcessingErr> {
        Ok(EntityState { args, committed: None, snapshot_seq: Seq(0), queue: VecDeque::new(), in_flight: None })
    }

    async fn post_start(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if !state.args.fresh {
            state.load().await?;
        }
        state.args.cell.set_status(Status::Running);
        state.schedule(false);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EntityMessage::Ask(ask) => state.queue.push_back(*ask),
            EntityMessage::Appended(result) => state.appended(&myself, result)?,
            EntityMessage::Again => {}
            EntityMessage::Passivate => return state.passivate(&myself),
        }
        if state.in_flight.is_none() && !state.queue.is_empty() {
            state.turn(&myself)?;
        }
        state.offer_to_go();
        Ok(())
    }
}

/// What a turn has gathered so far.
struct Gathered<E: Hosted> {
    now: Timestamp,
    working: Option<E>,
    events: Vec<E::Event>,
    claim: Option<KeyClaim>,
    in_flight: Vec<(Reply<E>, E::Reply, bool)>,
    effects: Vec<E::Effect>,
    told: Vec<E::Command>,
    permits: Vec<tokio::sync::OwnedSemaphorePermit>,
}

impl<E: Hosted> EntityState<E> {
    fn stream(&self) -> StreamId {
        self.args.cell.stream
    }

    fn seq(&self) -> Seq {
        self.committed.as_ref().map_or(Seq(0), |versioned| versioned.seq)
    }

    /// Reads the stream. A store that is away is waited for: the mailbox keeps what comes meanwhile.
    async fn load(&mut self) -> Result<(), ActorProcessingErr> {
        let recorded = loop {
            match self.args.node.ports.store.load(self.stream()).await {
                Ok(recorded) => break recorded,
                Err(StoreError::Unavailable(why)) => {
                    tracing::warn!(stream = %self.stream(), why, "the store is away; loading again");
                    tokio::time::sleep(STORE_BACKOFF).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        // A stream of another kind is none of ours: for us it does not exist.
        let Some(recorded) = recorded.filter(|recorded| recorded.kind == E::KIND) else { return Ok(()) };
        self.snapshot_seq = recorded.snapshot.as_ref().map_or(Seq(0), |snapshot| snapshot.seq);
        self.committed = restore(&recorded)?;
        if let Some(state) = self.committed.clone() {
            E::publish(&self.args.node, None, &state);
            self.args.cell.latest.store(Some(Arc::new(E::latest(state.clone()))));
            if self.args.resume {
                E::perform(&self.args.node, state.state.resume(&self.args.node.ports.policy), true);
            }
        }
        Ok(())
    }

    /// Decides on everything that waits, and hands what came of it to the journal.
    fn turn(&mut self, myself: &ActorRef<EntityMessage<E>>) -> Result<(), ActorProcessingErr> {
        let mut turn = Gathered {
            now: self.args.node.ports.clock.now(),
            working: None,
            events: Vec::new(),
            claim: None,
            in_flight: Vec::new(),
            effects: Vec::new(),
            told: Vec::new(),
            permits: Vec::new(),
        };
        let mut taken = 0;
        while taken < TURN_COMMANDS_MAX {
            // A row uses up at most one idempotency key.
            let full = turn.claim.is_some() && self.queue.front().is_some_and(|ask| ask.claim.is_some());
            let Some(ask) = (if full { None } else { self.queue.pop_front() }) else { break };
            taken += 1;
            self.decide(&mut turn, ask);
        }
        self.args.cell.took(taken as u64);
        let Gathered { now, working, events, claim, in_flight, effects, told, permits } = turn;
        let Some(next) = working.filter(|_| !events.is_empty()) else {
            self.schedule(true);
            return Ok(());
        };
        let append = self.append(&next, &events, claim, now)?;
        self.in_flight = Some(InFlight { next, effects, replies: in_flight, told, _permits: permits });
        let (journal, myself) = (Arc::clone(&self.args.node.ports.journal), myself.clone());
        tokio::spawn(async move {
            let result = journal.append(append).await;
            // The actor is gone only if the node is going.
            let _ = myself.cast(EntityMessage::Appended(result));
        });
        Ok(())
    }

    fn decide(&self, turn: &mut Gathered<E>, ask: Ask<E>) {
        let Ask { command, if_match, claim, reply, permit } = ask;
        let actual = if turn.events.is_empty() { self.seq() } else { self.seq().next() };
        if let Some(expected) = if_match.filter(|expected| *expected != actual) {
            let wrong = Rejection::WrongVersion { expected: expected.0, actual: actual.0 };
            return Ask::answer(reply, Err(wrong.into()));
        }
        let state = turn.working.as_ref().or(self.committed.as_ref().map(|versioned| &*versioned.state));
        let context = domain::entity::Context { now: turn.now, policy: &self.args.node.ports.policy };
        let again = reply.is_none().then(|| command.clone());
        let decided = E::decide(state, command, &context).and_then(|Decision { events, effects, reply }| {
            let before = state.cloned();
            let next = if events.is_empty() { before } else { refold(before, &events, turn.now)? };
            Ok((next, events, effects, reply))
        });
        match decided {
            Err(rejection) => {
                if rejection == Rejection::Stale {
                    metrics::counter!("uoop_stale_answers_total").increment(1);
                }
                Ask::answer(reply, Err(rejection.into()));
            }
            Ok((_, events, _, answer)) if events.is_empty() && turn.events.is_empty() => {
                let result = self.committed.clone().map(|entity| Applied { entity, changed: false, reply: answer });
                Ask::answer(reply, result.ok_or_else(|| Rejection::NotFound("stream").into()));
            }
            Ok((next, events, effects, answer)) => {
                let changed = !events.is_empty();
                turn.working = next;
                turn.events.extend(events);
                turn.effects.extend(effects);
                turn.claim = turn.claim.take().or(claim.filter(|_| changed));
                turn.told.extend(again);
                turn.permits.extend(permit);
                turn.in_flight.push((reply, answer, changed));
            }
        }
    }

    fn append(
        &mut self,
        next: &E,
        events: &[E::Event],
        claim: Option<KeyClaim>,
        at: Timestamp,
    ) -> Result<Append, ActorProcessingErr> {
        let seq = self.seq().next();
        let live = next.is_live();
        // A snapshot at the ends, and often enough between that loading stays short.
        let due = seq == Seq(1) || !live || seq.0 >= self.snapshot_seq.0 + E::SNAPSHOT_ROWS;
        let snapshot = if due { Some(Snapshot { seq, state: serde_json::to_string(next)?, live }) } else { None };
        Ok(Append {
            shard: self.args.cell.shard,
            epoch: Epoch(0),
            position: Position(0),
            stream: self.stream(),
            kind: E::KIND,
            seq,
            at,
            events: serde_json::to_string(events)?,
            snapshot,
            claim,
        })
    }

    fn appended(&mut self, myself: &ActorRef<EntityMessage<E>>, result: Result<(), AppendError>) -> Result<(), ActorProcessingErr> {
        let Some(turn) = self.in_flight.take() else { return Ok(()) };
        match result {
            Ok(()) => {
                self.commit(turn);
                Ok(())
            }
            Err(AppendError::Fenced) => {
                turn.fail(&CallError::Fenced);
                myself.stop(Some("fenced".into()));
                Ok(())
            }
            Err(AppendError::Unavailable(why)) => {
                self.put_back(turn, &CallError::Unavailable(why));
                myself.send_after(STORE_BACKOFF, || EntityMessage::Again);
                Ok(())
            }
            Err(AppendError::Refused(Refusal::DuplicateKey)) => {
                self.put_back(turn, &CallError::KeyUsed);
                Ok(())
            }
            Err(AppendError::Refused(refusal)) => {
                // Somebody else wrote the stream, or the row can never be written: start over from the store.
                turn.fail(&CallError::Unavailable(refusal.to_string()));
                Err(refusal.into())
            }
        }
    }

    /// What is durable now: publish it, begin its effects, answer, arm the timer.
    fn commit(&mut self, turn: InFlight<E>) {
        let InFlight { next, effects, replies, .. } = turn;
        let seq = self.seq().next();
        if seq == Seq(1) || !next.is_live() || seq.0 >= self.snapshot_seq.0 + E::SNAPSHOT_ROWS {
            self.snapshot_seq = seq;
        }
        let versioned = Versioned { seq, state: Arc::new(next) };
        let before = self.committed.replace(versioned.clone());
        self.args.cell.latest.store(Some(Arc::new(E::latest(versioned.clone()))));
        let first = Versioned { seq: Seq(0), state: Arc::clone(&versioned.state) };
        E::publish(&self.args.node, Some(&before.unwrap_or(first).state), &versioned);
        E::perform(&self.args.node, effects, false);
        for (reply, answer, changed) in replies {
            Ask::answer(reply, Ok(Applied { entity: versioned.clone(), changed, reply: answer }));
        }
        self.args.cell.touch();
        self.schedule(false);
    }

    /// The append was certainly not made: whoever waits is told, and what nobody waits for is done again.
    fn put_back(&mut self, mut turn: InFlight<E>, error: &CallError) {
        for command in std::mem::take(&mut turn.told).into_iter().rev() {
            self.args.cell.depth.fetch_add(1, Ordering::Relaxed);
            self.queue.push_front(Ask::tell(command));
        }
        turn.fail(error);
    }

    /// Tells the shard when to wake the entity. `quiet`: the last turn changed nothing, so a moment that has passed
    /// must not bring the next turn at once.
    fn schedule(&self, quiet: bool) {
        let context = self.args.node.context();
        let wake_at = self.committed.as_ref().and_then(|versioned| versioned.state.wake_at(&context));
        let earliest = if quiet { context.now + domain::time::Millis(1_000 * self.args.node.ports.clock.scale()) } else { context.now };
        let wake_at = wake_at.map(|at| at.max(earliest));
        self.args.cell.wake_at.store(wake_at.map_or(0, |at| u64::try_from(at.0).unwrap_or(0)), Ordering::Relaxed);
        let _ = self.args.shard.cast(ShardMessage::Scheduled { kind: E::KIND, stream: self.stream(), wake_at });
    }

    /// A stream that is settled, or does not exist, needs no actor.
    fn offer_to_go(&self) {
        let needless = self.committed.as_ref().is_none_or(|versioned| !versioned.state.is_live());
        if needless && self.in_flight.is_none() && self.queue.is_empty() {
            let _ = self.args.shard.cast(ShardMessage::Idle { stream: self.stream() });
        }
    }

    /// Only the shard sends here, and it holds everything back from the moment it sent this.
    fn passivate(&mut self, myself: &ActorRef<EntityMessage<E>>) -> Result<(), ActorProcessingErr> {
        if self.in_flight.is_some() || !self.queue.is_empty() {
            self.args.shard.cast(ShardMessage::StillBusy { stream: self.stream() })?;
            return Ok(());
        }
        myself.drain()?;
        Ok(())
    }
}

impl<E: Hosted> InFlight<E> {
    fn fail(self, error: &CallError) {
        for (reply, ..) in self.replies {
            Ask::answer(reply, Err(error.clone()));
        }
    }
}

fn refold<E: Hosted>(state: Option<E>, events: &[E::Event], at: Timestamp) -> Result<Option<E>, Rejection> {
    fold(state, events, at).map_err(|illegal| Rejection::NotAllowed(format!("internal contradiction: {illegal}")))
}
