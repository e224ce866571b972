//! A shard: supervises the actors of its streams, holds their timers, and starts, restarts, passivates and parks them.

mod timers;

use crate::ask::Envelope;
use crate::cell::{Cell, Status};
use crate::entity::{EntityActor, EntityArgs, EntityMessage};
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::life::{Child, Crashes, Inbox, Life};
use crate::node::{Node, Pulse};
use crate::wheel::Wheel;
use domain::channel::Channel;
use domain::ids::StreamId;
use domain::order::Order;
use domain::ports::StreamKind;
use domain::shard::ShardId;
use domain::time::Timestamp;
use domain::zone::Zone;
use hashlink::LruCache;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use timers::Alarm;

/// Most commands that are kept for a stream whose actor is going or coming.
const WAITING_MAX: usize = 1_024;

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    /// A command for a stream.
    Deliver {
        stream: StreamId,
        envelope: Envelope,
        fresh: bool,
    },
    /// When a stream wants to be woken.
    Scheduled {
        kind: StreamKind,
        stream: StreamId,
        wake_at: Option<Timestamp>,
    },
    /// The timer that was armed for this moment may be due.
    Tick { at: Timestamp },
    /// Time to look for idle actors.
    Sweep,
    /// A crashed actor's pause is over.
    Respawn { stream: StreamId },
    /// An actor has nothing more to do: its stream is settled, or there is no such stream.
    Idle { stream: StreamId },
    /// An actor that was to go has something to do.
    StillBusy { stream: StreamId },
    /// Another node owns the shard.
    Fenced,
}

impl ractor::Message for ShardMessage {}

pub(crate) struct ShardArgs {
    pub(crate) node: Arc<Node>,
    pub(crate) shard: ShardId,
    /// Timers to arm, known from the recovery.
    pub(crate) timers: Vec<(StreamKind, StreamId, Timestamp)>,
}

pub(crate) struct ShardState {
    node: Arc<Node>,
    shard: ShardId,
    children: HashMap<StreamId, Child>,
    actors: HashMap<ActorId, StreamId>,
    wheel: Wheel,
    alarm: Option<Alarm>,
    /// The cells of orders whose actors left last: whoever comes back need not be loaded. True while this node owns the
    /// shard, since nobody else writes to it.
    recent: LruCache<StreamId, Arc<Cell>>,
    /// Another node owns the shard: everything is refused.
    fenced: bool,
}

pub(crate) struct ShardActor;

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = ShardArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage>,
        args: ShardArgs,
    ) -> Result<ShardState, ActorProcessingErr> {
        let ShardArgs { node, shard, timers } = args;
        let mut wheel = Wheel::default();
        for (kind, stream, at) in timers {
            wheel.set(kind, stream, Some(at));
        }
        let (children, actors) = (HashMap::new(), HashMap::new());
        let recent = LruCache::new(node.options.recent_orders_max / node.shards.len());
        let mut state = ShardState {
            node,
            shard,
            children,
            actors,
            wheel,
            alarm: None,
            recent,
            fenced: false,
        };
        state.arm(&myself);
        myself.send_interval(state.sweep_every(), || ShardMessage::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Deliver {
                stream,
                envelope,
                fresh,
            } => {
                state.pulse().passed_on();
                state.pulse().handled.fetch_add(1, Ordering::Relaxed);
                state.deliver(&myself, stream, envelope, fresh);
            }
            ShardMessage::Scheduled { kind, stream, wake_at } => state.schedule(&myself, kind, stream, wake_at),
            ShardMessage::Tick { at } => state.tick(&myself, at),
            ShardMessage::Sweep => state.sweep(),
            ShardMessage::Respawn { stream } => state.respawn(&myself, stream),
            ShardMessage::Idle { stream } => state.passivate(stream),
            ShardMessage::StillBusy { stream } => state.still_busy(&myself, stream),
            ShardMessage::Fenced => {
                state.fence();
                state.end_if_empty(&myself);
            }
        }
        state.show_timers();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, ..) => {
                if let Some(stream) = state.actors.remove(&actor.get_id()) {
                    state.gone(&myself, stream);
                    state.end_if_empty(&myself);
                }
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                if let Some(stream) = state.actors.remove(&actor.get_id()) {
                    if state.fenced {
                        state.gone(&myself, stream);
                        state.end_if_empty(&myself);
                    } else {
                        state.crashed(&myself, stream, &error.to_string());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl ShardState {
    fn pulse(&self) -> &Pulse {
        &self.node.slot(self.shard).pulse
    }

    fn sweep_every(&self) -> Duration {
        (self.node.options.idle_after / 2).max(Duration::from_millis(50))
    }

    fn deliver(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId, envelope: Envelope, fresh: bool) {
        if self.fenced {
            return envelope.refuse(CallError::Fenced);
        }
        let Some(child) = self.children.get_mut(&stream) else {
            let kind = envelope.kind();
            return self.spawn(myself, stream, kind, VecDeque::from([envelope]), fresh, None);
        };
        let stranger = envelope.kind() != child.cell.kind;
        match &mut child.life {
            Life::Running if stranger && child.cell.latest.load().is_none() => {
                // The actor has found no stream of its kind (or not yet): it makes room for one of another kind.
                self.passivate_for(stream, envelope);
            }
            Life::Running | Life::Restarting(_) | Life::Parked if stranger => envelope.not_found(),
            Life::Running => {
                if let Some(envelope) = child.cell.hand_over(envelope, self.node.options.mailbox_max) {
                    envelope.refuse(CallError::Unavailable("the actor is stopping".into()));
                }
            }
            Life::Passivating(waiting) | Life::Restarting(waiting) if waiting.len() < WAITING_MAX => {
                child.cell.depth.fetch_add(1, Ordering::Relaxed);
                waiting.push_back(envelope);
            }
            Life::Passivating(..) | Life::Restarting(_) => {
                envelope.refuse(CallError::Overloaded {
                    what: child.cell.name(),
                });
            }
            Life::Parked if envelope.unparks() => {
                // What brings an order back has done its work with that: the order need not be stuck besides.
                let envelope = envelope.unparking();
                child.crashes = Crashes::default();
                child.life = Life::Restarting(VecDeque::from([envelope]));
                self.respawn(myself, stream);
            }
            Life::Parked => envelope.refuse(CallError::Parked(child.cell.trouble().unwrap_or_default())),
        }
    }

    /// Starts a stream's actor and hands it what waits. `previous`: what is left of one that crashed.
    fn spawn(
        &mut self,
        myself: &ActorRef<ShardMessage>,
        stream: StreamId,
        kind: StreamKind,
        waiting: VecDeque<Envelope>,
        fresh: bool,
        previous: Option<(Arc<Cell>, Crashes)>,
    ) {
        let resume = previous.is_some();
        let recent = self
            .recent
            .remove(&stream)
            .filter(|recent| !resume && recent.kind == kind);
        let (cell, crashes) =
            previous.unwrap_or_else(|| (Arc::new(Cell::new(kind, stream, self.shard)), Crashes::default()));
        let (own, strangers): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|envelope| envelope.kind() == kind);
        cell.depth.store(own.len() as u64, Ordering::Relaxed);
        let known = recent.and_then(|recent| {
            cell.snapshot_seq
                .store(recent.snapshot_seq.load(Ordering::Relaxed), Ordering::Relaxed);
            recent.latest.load_full()
        });
        cell.latest.store(known.clone());
        let args = EntityArgs {
            node: Arc::clone(&self.node),
            shard: myself.clone(),
            cell: Arc::clone(&cell),
            fresh: fresh && own.len() == 1,
            known,
            resume,
        };
        let started = match kind {
            StreamKind::Order => start::<Order>(myself, args).map(|(id, actor)| (id, Inbox::Order(actor))),
            StreamKind::Channel => start::<Channel>(myself, args).map(|(id, actor)| (id, Inbox::Channel(actor))),
            StreamKind::Zone => start::<Zone>(myself, args).map(|(id, actor)| (id, Inbox::Zone(actor))),
        };
        let (id, inbox) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(%stream, error, "an actor cannot be started");
                self.node.registry.leave(stream);
                let waiting = own.into_iter().chain(strangers);
                return refuse_all(waiting, &CallError::Unavailable("the actor cannot be started".into()));
            }
        };
        for envelope in own {
            if let Some(envelope) = inbox.send(envelope) {
                cell.left(1);
                envelope.refuse(CallError::Unavailable("the actor is stopping".into()));
            }
        }
        cell.inbox.store(Some(Arc::new(inbox)));
        self.node.registry.enter(&cell);
        self.actors.insert(id, stream);
        self.children.insert(
            stream,
            Child {
                cell,
                life: Life::Running,
                crashes,
            },
        );
        for envelope in strangers {
            self.deliver(myself, stream, envelope, false);
        }
    }

    fn sweep(&mut self) {
        let idle_ms = u64::try_from(self.node.options.idle_after.as_millis()).unwrap_or(u64::MAX);
        let idle = |child: &Child| child.cell.resting.load(Ordering::Relaxed) && child.cell.idle_ms() >= idle_ms;
        let streams = self
            .children
            .iter()
            .filter(|(_, child)| idle(child))
            .map(|(stream, _)| *stream);
        for stream in streams.collect::<Vec<_>>() {
            self.passivate(stream);
        }
    }

    /// Tells an actor to go, unless something waits for it.
    fn passivate(&mut self, stream: StreamId) {
        let Some(child) = self.children.get_mut(&stream) else {
            return;
        };
        if child.cell.depth.load(Ordering::Relaxed) == 0 {
            child.passivate(VecDeque::new());
        }
    }

    /// Tells an actor to go, for the sake of a successor of another kind for whom this is.
    fn passivate_for(&mut self, stream: StreamId, envelope: Envelope) {
        let Some(child) = self.children.get_mut(&stream) else {
            return;
        };
        child.cell.depth.fetch_add(1, Ordering::Relaxed);
        child.passivate(VecDeque::from([envelope]));
    }

    fn still_busy(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId) {
        // It may have crashed since it said so; then its successor is on its way already.
        let Some(child) = self.children.get_mut(&stream) else {
            return;
        };
        if !matches!(child.life, Life::Passivating(_)) {
            return;
        }
        let waiting = std::mem::replace(&mut child.life, Life::Running).into_waiting();
        child.cell.set_status(Status::Running);
        child.cell.left(waiting.len() as u64);
        for envelope in waiting {
            self.deliver(myself, stream, envelope, false);
        }
    }

    /// An actor ended as it should: if something waits, its successor starts.
    fn gone(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId) {
        self.node.registry.leave(stream);
        let Some(child) = self.children.remove(&stream) else {
            return;
        };
        child.cell.inbox.store(None);
        if child.cell.resting.load(Ordering::Relaxed) && !self.fenced {
            self.recent.insert(stream, child.cell);
        }
        let waiting = child.life.into_waiting();
        if let Some(kind) = waiting.front().map(Envelope::kind) {
            self.spawn(myself, stream, kind, waiting, false, None);
        }
    }

    fn crashed(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId, why: &str) {
        let Some(child) = self.children.get_mut(&stream) else {
            return;
        };
        let options = &self.node.options;
        let pause = child.crashes.add(options);
        let crashes = child.crashes.count;
        child.cell.inbox.store(None);
        child.cell.set_trouble(Some(why.to_owned()));
        metrics::counter!("uoop_actor_crashes_total").increment(1);
        let waiting = std::mem::replace(&mut child.life, Life::Parked).into_waiting();
        // What was in its mailbox is gone with it; whoever waited for an answer knows.
        child.cell.depth.store(waiting.len() as u64, Ordering::Relaxed);
        if crashes > options.restarts_max {
            tracing::error!(%stream, why, crashes, "parked: the actor keeps crashing");
            metrics::counter!("uoop_actors_parked_total").increment(1);
            child.cell.depth.store(0, Ordering::Relaxed);
            child.cell.set_status(Status::Parked);
            return refuse_all(waiting, &CallError::Parked(why.to_owned()));
        }
        tracing::warn!(%stream, why, crashes, ?pause, "an actor crashed and is started again");
        child.cell.set_status(Status::Restarting);
        child.life = Life::Restarting(waiting);
        myself.send_after(pause, move || ShardMessage::Respawn { stream });
    }

    /// Starts a crashed actor again, once the append that it may have left with the journal is over: as long as it is not, the
    /// store does not say all, and nobody would begin what follows from it.
    fn respawn(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId) {
        let restarting = |child: &&Child| matches!(child.life, Life::Restarting(_));
        let Some(child) = self.children.get(&stream).filter(restarting) else {
            return;
        };
        if child.cell.is_appending.load(Ordering::Acquire) {
            myself.send_after(self.node.options.restart_backoff, move || ShardMessage::Respawn {
                stream,
            });
            return;
        }
        let Some(Child { cell, life, crashes }) = self.children.remove(&stream) else {
            return;
        };
        cell.restarts.fetch_add(1, Ordering::Relaxed);
        cell.set_status(Status::Starting);
        self.spawn(
            myself,
            stream,
            cell.kind,
            life.into_waiting(),
            false,
            Some((cell, crashes)),
        );
    }

    /// In a cluster the shard may come back: then it begins anew.
    fn end_if_empty(&self, myself: &ActorRef<ShardMessage>) {
        if self.fenced && self.children.is_empty() && self.node.cluster.get().is_some() {
            myself.stop(None);
        }
    }

    /// The shard is lost: its actors go, its timers stand still, and whoever asks is told.
    fn fence(&mut self) {
        self.fenced = true;
        self.node.slot(self.shard).is_lost.store(true, Ordering::Release);
        self.recent.clear();
        self.wheel = Wheel::default();
        if let Some(alarm) = self.alarm.take() {
            alarm.task.abort();
        }
        let mut left = Vec::new();
        for (stream, child) in &mut self.children {
            let was = std::mem::replace(&mut child.life, Life::Running);
            match &*child.cell.inbox.load() {
                Some(inbox) => inbox.fence(),
                None => left.push(*stream),
            }
            refuse_all(was.into_waiting(), &CallError::Fenced);
        }
        for stream in left {
            self.children.remove(&stream);
            self.node.registry.leave(stream);
        }
    }
}

fn start<E: Hosted>(
    myself: &ActorRef<ShardMessage>,
    args: EntityArgs,
) -> Result<(ActorId, ActorRef<EntityMessage<E>>), String> {
    let started = ActorRuntime::spawn_linked_instant(None, EntityActor::<E>::new(), args, myself.get_cell());
    let (actor, _) = started.map_err(|error| error.to_string())?;
    Ok((actor.get_id(), actor))
}

fn refuse_all(waiting: impl IntoIterator<Item = Envelope>, error: &CallError) {
    for envelope in waiting {
        envelope.refuse(error.clone());
    }
}
