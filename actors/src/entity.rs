//! The actor of one entity. While a commit is under way commands gather, and the next turn takes all of them: a hot
//! channel is one commit, not thousands.

use crate::ask::{Ask, Versioned};
use crate::cell::{Cell, Latest, Status};
use crate::cluster::{Notice, ReplicaRow};
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::node::Node;
use crate::restore::restore;
use crate::shard::ShardMessage;
use crate::turn::{Gathered, Heard, InFlight, answer};
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{Append, AppendError, KeyClaim, Refusal, Snapshot, StoreError};
use domain::time::{Millis, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Most commands of one turn.
const TURN_COMMANDS_MAX: usize = 256;
/// The pause before a load or an append that found the store away is tried again.
const STORE_BACKOFF: Duration = Duration::from_millis(200);
/// The pause, in wall time, after an entity was woken for nothing.
const QUIET_MS: Millis = Millis::from_secs(1);

pub(crate) enum EntityMessage<E: Hosted> {
    /// A command.
    Ask(Box<Ask<E>>),
    /// The append under way came to its end.
    Appended(Result<(), AppendError>),
    /// Try again what the store could not take.
    Again,
    /// Go, unless there is something to do.
    Passivate,
    /// Another node owns the shard: refuse everything, and go.
    Fenced,
}

impl<E: Hosted> ractor::Message for EntityMessage<E> {}

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
    /// The stream's last committed state, if its actor left not long ago: nothing needs to be loaded.
    pub(crate) known: Option<Arc<Latest>>,
    /// The actor crashed: what is pending must be begun again.
    pub(crate) resume: bool,
}

pub(crate) struct EntityState<E: Hosted> {
    args: EntityArgs,
    committed: Option<Versioned<E>>,
    queue: VecDeque<Ask<E>>,
    /// A turn that is not written yet, because the next one will write it too: see [`Hosted::may_wait`].
    waiting: Option<Gathered<E>>,
    in_flight: Option<InFlight<E>>,
    /// Its place among the orders under way.
    place: Option<OwnedSemaphorePermit>,
    /// The store could not take the last turn: the next one waits for [`EntityMessage::Again`].
    paused: bool,
    /// The shard is lost: everything is refused.
    fenced: bool,
    /// It is going: what still comes is for its successor.
    leaving: bool,
    /// What the shard was last told of when to wake it.
    scheduled: Option<Timestamp>,
}

impl<E: Hosted> Actor for EntityActor<E> {
    type Msg = EntityMessage<E>;
    type State = EntityState<E>;
    type Arguments = EntityArgs;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, args: EntityArgs) -> Result<Self::State, ActorProcessingErr> {
        Ok(EntityState {
            args,
            committed: None,
            queue: VecDeque::new(),
            waiting: None,
            in_flight: None,
            place: None,
            paused: false,
            fenced: false,
            leaving: false,
            scheduled: None,
        })
    }

    async fn post_start(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        match state.args.known.take() {
            Some(known) => state.committed = E::of_latest(&known).cloned(),
            None if state.args.fresh => {}
            None => state.load().await?,
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
            EntityMessage::Ask(ask) if state.leaving => {
                state.pass_on(*ask);
                return Ok(());
            }
            EntityMessage::Ask(ask) => state.queue.push_back(*ask),
            EntityMessage::Appended(result) => state.appended(&myself, result)?,
            EntityMessage::Again => state.paused = false,
            EntityMessage::Passivate => return state.passivate(&myself),
            EntityMessage::Fenced => return state.fence(&myself),
        }
        if state.fenced {
            state.refuse_all(&CallError::Fenced);
            return Ok(());
        }
        // More than one turn when those before changed nothing: nothing else would bring the next.
        while state.in_flight.is_none() && !state.queue.is_empty() && !state.paused {
            state.turn(&myself)?;
        }
        state.offer_to_go();
        Ok(())
    }
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
        let Some(recorded) = recorded.filter(|recorded| recorded.kind == E::KIND) else {
            return Ok(());
        };
        self.stored_snapshot(recorded.snapshot.as_ref().map_or(Seq(0), |snapshot| snapshot.seq));
        self.committed = restore(&recorded)?;
        if let Some(state) = self.committed.clone() {
            E::publish(&self.args.node, None, &state);
            E::follow_up(&self.args.node, None, &state);
            self.args.cell.latest.store(Some(Arc::new(E::latest(state.clone()))));
            self.args.cell.resting.store(state.state.rests(), Ordering::Relaxed);
            if self.args.resume {
                E::perform(&self.args.node, state.state.resume(&self.args.node.ports.policy), true);
            }
        }
        Ok(())
    }

    /// Decides on everything that waits, and hands what came of it to the journal.
    fn turn(&mut self, myself: &ActorRef<EntityMessage<E>>) -> Result<(), ActorProcessingErr> {
        let node = Arc::clone(&self.args.node);
        let context = node.context();
        let mut turn = self.waiting.take().unwrap_or_else(Gathered::new);
        let mut taken = 0;
        while taken < TURN_COMMANDS_MAX {
            let Some(ask) = self.queue.pop_front_if(|ask| !turn.excludes(ask)) else {
                break;
            };
            taken += 1;
            turn.decide(&node, self.committed.as_ref(), ask, &context);
        }
        self.args.cell.took(taken as u64);
        // Nothing was taken when what waits must be written before the next command.
        if taken > 0 && turn.may_wait() {
            self.waiting = Some(turn);
            return Ok(());
        }
        let (events, claim, woken) = (std::mem::take(&mut turn.events), turn.claim.take(), turn.woken);
        let Some(mut turn) = turn.into_flight() else {
            // Nothing changed, so the timer stands as it stood, unless it was just used up.
            if woken {
                self.schedule(true);
            }
            return Ok(());
        };
        let append = self.append(&turn.next, &events, claim, context.now)?;
        turn.row = replica_row(&node, &turn.next, &append);
        self.in_flight = Some(turn);
        let (myself, cell) = (myself.clone(), Arc::clone(&self.args.cell));
        node.append_begins(&cell);
        let journal = Arc::clone(&node.ports.journal);
        let on_appended = move |result| {
            node.append_ended(&cell);
            // If the actor is gone, or its whole shard, they start again from the store, now that this is over.
            let _ = myself.cast(EntityMessage::Appended(result));
        };
        journal.submit(append, Box::new(on_appended));
        Ok(())
    }

    /// A snapshot at the end, and often enough before that loading stays short.
    fn stores_snapshot(&self, seq: Seq, next: &E) -> bool {
        let last = self.args.cell.snapshot_seq.load(Ordering::Relaxed);
        !next.is_live() || seq.0 >= last + next.snapshot_rows()
    }

    /// What is stored beside a row; with the first one of a stream that lives, only that it does.
    fn snapshot(&self, seq: Seq, next: &E) -> Result<Option<Snapshot>, serde_json::Error> {
        if self.stores_snapshot(seq, next) {
            let (state, live) = (serde_json::to_string(next)?, next.is_live());
            return Ok(Some(Snapshot { seq, state, live }));
        }
        Ok((seq == Seq(1)).then(Snapshot::mark))
    }

    fn stored_snapshot(&self, seq: Seq) {
        self.args.cell.snapshot_seq.store(seq.0, Ordering::Relaxed);
    }

    fn append(
        &self,
        next: &E,
        events: &[E::Event],
        claim: Option<KeyClaim>,
        at: Timestamp,
    ) -> Result<Append, ActorProcessingErr> {
        let seq = self.seq().next();
        Ok(Append {
            shard: self.args.cell.shard,
            epoch: Epoch(0),
            position: Position(0),
            stream: self.stream(),
            kind: E::KIND,
            seq,
            at,
            events: serde_json::to_string(events)?,
            snapshot: self.snapshot(seq, next)?,
            claim,
        })
    }

    fn appended(
        &mut self,
        myself: &ActorRef<EntityMessage<E>>,
        result: Result<(), AppendError>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(turn) = self.in_flight.take() else {
            return Ok(());
        };
        match result {
            Ok(()) => self.commit(turn),
            Err(AppendError::Fenced) => {
                turn.fail(&CallError::Fenced);
                // It is the whole shard that is lost.
                let _ = self.args.shard.cast(ShardMessage::Fenced);
                return self.fence(myself);
            }
            Err(AppendError::Unavailable(why)) => {
                self.put_back(turn, &CallError::Unavailable(why));
                self.paused = true;
                myself.send_after(STORE_BACKOFF, || EntityMessage::Again);
            }
            Err(AppendError::Refused(Refusal::DuplicateKey)) => self.put_back(turn, &CallError::KeyUsed),
            Err(AppendError::Refused(refusal)) => {
                // Somebody else wrote the stream, or the row can never be written: start over from the store.
                let error = CallError::Unavailable(refusal.to_string());
                turn.fail(&error);
                self.refuse_all(&error);
                return Err(refusal.into());
            }
        }
        if self.fenced {
            return self.fence(myself);
        }
        Ok(())
    }

    /// What is durable now: publish it, begin its effects, answer, arm the timer.
    fn commit(&mut self, turn: InFlight<E>) {
        let InFlight {
            next,
            effects,
            heard,
            place,
            row,
            ..
        } = turn;
        let seq = self.seq().next();
        if self.stores_snapshot(seq, &next) {
            self.stored_snapshot(seq);
        }
        let versioned = Versioned {
            seq,
            state: Arc::new(next),
        };
        let before = self.committed.replace(versioned.clone());
        self.args
            .cell
            .latest
            .store(Some(Arc::new(E::latest(versioned.clone()))));
        let rests = versioned.state.rests();
        self.args.cell.resting.store(rests, Ordering::Relaxed);
        self.place = self.place.take().or(place).filter(|_| !rests);
        let before = before.map_or_else(|| Arc::clone(&versioned.state), |before| before.state);
        E::publish(&self.args.node, Some(&before), &versioned);
        E::follow_up(&self.args.node, Some(&before), &versioned);
        if let (Some(row), Some(cluster)) = (row, self.args.node.cluster.get()) {
            cluster.tell_all(&Notice::Row(row));
        }
        E::perform(&self.args.node, effects, false);
        for Heard { reply, outcome, .. } in heard {
            reply.send(answer(outcome, Some(&versioned)));
        }
        self.args.cell.touch();
        self.schedule(false);
    }

    /// The append was certainly not made: see [`InFlight::put_back`].
    fn put_back(&mut self, turn: InFlight<E>, error: &CallError) {
        for ask in turn.put_back(error).into_iter().rev() {
            self.args.cell.depth.fetch_add(1, Ordering::Relaxed);
            self.queue.push_front(ask);
        }
    }

    /// Answers everything that waits with an error.
    fn refuse_all(&mut self, error: &CallError) {
        if let Some(turn) = self.waiting.take().and_then(Gathered::into_flight) {
            turn.fail(error);
        }
        self.args.cell.took(self.queue.len() as u64);
        for ask in self.queue.drain(..) {
            ask.reply.send(Err(error.clone()));
        }
    }

    /// The shard is lost: nothing more is taken, and the actor goes once what is under way has come to its end.
    fn fence(&mut self, myself: &ActorRef<EntityMessage<E>>) -> Result<(), ActorProcessingErr> {
        self.fenced = true;
        self.refuse_all(&CallError::Fenced);
        if self.in_flight.is_none() {
            myself.drain()?;
        }
        Ok(())
    }

    /// Tells the shard when to wake the entity. `quiet`: it was woken and nothing changed, so a moment that has passed
    /// must not bring the next turn at once.
    fn schedule(&mut self, quiet: bool) {
        // Whoever found no stream of its kind has no say in the timers of one of another kind.
        let Some(committed) = &self.committed else { return };
        let context = self.args.node.context();
        let wake_at = committed.state.wake_at(&context);
        let pause = if quiet {
            QUIET_MS.times(self.args.node.ports.clock.scale())
        } else {
            Millis(0)
        };
        let earliest = context.now + pause;
        let wake_at = wake_at.map(|at| at.max(earliest));
        // A timer that is set stays set; one whose time has come may be used up.
        let is_set = self.scheduled == wake_at && wake_at.is_none_or(|at| at > context.now);
        if is_set {
            return;
        }
        self.scheduled = wake_at;
        self.args.cell.wake_at.store(
            wake_at.map_or(0, |at| u64::try_from(at.0).unwrap_or(0)),
            Ordering::Relaxed,
        );
        let _ = self.args.shard.cast(ShardMessage::Scheduled {
            kind: E::KIND,
            stream: self.stream(),
            wake_at,
        });
    }

    /// A stream that is settled, or does not exist, needs no actor.
    fn offer_to_go(&self) {
        let needless = self
            .committed
            .as_ref()
            .is_none_or(|versioned| !versioned.state.is_live());
        if needless && self.in_flight.is_none() && self.waiting.is_none() && self.queue.is_empty() {
            let _ = self.args.shard.cast(ShardMessage::Idle { stream: self.stream() });
        }
    }

    /// What others sent straight to this actor before they could know that it is going.
    fn pass_on(&self, ask: Ask<E>) {
        self.args.cell.left(1);
        self.args.node.deliver_to_shard(self.stream(), E::envelope(ask), false);
    }

    /// Only the shard sends here, and it holds back what comes through it from the moment it sent this.
    fn passivate(&mut self, myself: &ActorRef<EntityMessage<E>>) -> Result<(), ActorProcessingErr> {
        if self.in_flight.is_some() || self.waiting.is_some() || !self.queue.is_empty() {
            self.args
                .shard
                .cast(ShardMessage::StillBusy { stream: self.stream() })?;
            return Ok(());
        }
        self.leaving = true;
        myself.drain()?;
        Ok(())
    }
}

/// What other nodes are told of a row, if this node is in a cluster and they keep copies of the entity.
fn replica_row<E: Hosted>(node: &Node, next: &E, append: &Append) -> Option<ReplicaRow> {
    node.cluster.get()?;
    Some(ReplicaRow {
        of: next.replica()?,
        seq: append.seq,
        at: append.at,
        events: append.events.clone(),
    })
}
