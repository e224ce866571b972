//! A shard: supervises the actors of its streams, holds their timers, and starts, restarts, passivates and parks them.

use crate::ask::{Ask, Envelope};
use crate::cell::{Cell, Status};
use crate::entity::{EntityActor, EntityArgs, EntityMessage};
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::node::Node;
use crate::wheel::Wheel;
use domain::channel::Channel;
use domain::entity::Entity;
use domain::ids::StreamId;
use domain::order::Order;
use domain::ports::StreamKind;
use domain::saga::Command;
use domain::shard::ShardId;
use domain::time::Timestamp;
use domain::zone::Zone;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Most commands that are kept for a stream whose actor is going or coming.
const WAITING_MAX: usize = 1_024;
/// Most timers that fire before the shard looks at its mailbox again.
const TIMERS_AT_ONCE: usize = 64;

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    /// A command for a stream.
    Deliver { stream: StreamId, envelope: Envelope, fresh: bool },
    /// When a stream wants to be woken.
    Scheduled { kind: StreamKind, stream: StreamId, wake_at: Option<Timestamp> },
    /// A timer may be due.
    Tick,
    /// Time to look for idle actors.
    Sweep,
    /// A crashed actor's pause is over.
    Respawn { stream: StreamId },
    /// An actor has nothing more to do: its stream is settled, or there is no such stream.
    Idle { stream: StreamId },
    /// An actor that was to go has something to do.
    StillBusy { stream: StreamId },
}

enum Inbox {
    Order(ActorRef<EntityMessage<Order>>),
    Channel(ActorRef<EntityMessage<Channel>>),
    Zone(ActorRef<EntityMessage<Zone>>),
}

impl Inbox {
    /// Hands the command over; back if it is not taken.
    fn send(&self, envelope: Envelope) -> Option<Envelope> {
        fn cast<E: Hosted>(actor: &ActorRef<EntityMessage<E>>, ask: Ask<E>) -> Option<Envelope> {
            match actor.cast(EntityMessage::Ask(Box::new(ask))) {
                Err(ractor::MessagingErr::SendErr(EntityMessage::Ask(ask))) => Some(E::envelope(*ask)),
                _ => None,
            }
        }
        match (self, envelope) {
            (Self::Order(actor), Envelope::Order(ask)) => cast(actor, ask),
            (Self::Channel(actor), Envelope::Channel(ask)) => cast(actor, ask),
            (Self::Zone(actor), Envelope::Zone(ask)) => cast(actor, ask),
            (_, other) => Some(other),
        }
    }

    fn passivate(&self) {
        // An actor that takes no message any more is going already.
        let _ = match self {
            Self::Order(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
            Self::Channel(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
            Self::Zone(actor) => actor.cast(EntityMessage::Passivate).is_ok(),
        };
    }
}

/// Where a stream's actor is in its life.
enum Life {
    Running(Inbox),
    /// Told to go; what comes meanwhile waits for its successor.
    Passivating(Inbox, VecDeque<Envelope>),
    /// Crashed; its successor comes after a pause.
    Restarting(VecDeque<Envelope>),
    /// Kept still until an operator retries it.
    Parked,
}

struct Child {
    cell: Arc<Cell>,
    life: Life,
    crashes: u32,
    last_crash: Instant,
}

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
    /// When the next tick comes.
    armed: Option<Timestamp>,
}

pub(crate) struct ShardActor;

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = ShardArgs;

    async fn pre_start(&self, myself: ActorRef<ShardMessage>, args: ShardArgs) -> Result<ShardState, ActorProcessingErr> {
        let ShardArgs { node, shard, timers } = args;
        let mut wheel = Wheel::default();
        for (kind, stream, at) in timers {
            wheel.set(kind, stream, Some(at));
        }
        let mut state =
            ShardState { node, shard, children: HashMap::new(), actors: HashMap::new(), wheel, armed: None };
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
            ShardMessage::Deliver { stream, envelope, fresh } => state.deliver(&myself, stream, envelope, fresh),
            ShardMessage::Scheduled { kind, stream, wake_at } => {
                state.wheel.set(kind, stream, wake_at);
                state.arm(&myself);
            }
            ShardMessage::Tick => state.tick(&myself),
            ShardMessage::Sweep => state.sweep(),
            ShardMessage::Respawn { stream } => state.respawn(&myself, stream),
            ShardMessage::Idle { stream } => state.passivate(stream),
            ShardMessage::StillBusy { stream } => state.still_busy(stream),
        }
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
                }
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                if let Some(stream) = state.actors.remove(&actor.get_id()) {
                    state.crashed(&myself, stream, &error.to_string());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl ShardState {
    fn sweep_every(&self) -> Duration {
        (self.node.options.idle_after / 2).max(Duration::from_millis(50))
    }

    fn deliver(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId, envelope: Envelope, fresh: bool) {
        let (mailbox_max, envelope) = (self.node.options.mailbox_max, envelope);
        let Some(child) = self.children.get_mut(&stream) else {
            return self.spawn(myself, stream, VecDeque::from([envelope]), fresh, None);
        };
        match &mut child.life {
            Life::Running(inbox) => {
                if child.cell.depth.load(Ordering::Relaxed) >= mailbox_max {
                    metrics::counter!("uoop_commands_refused_total", "bound" => "mailbox").increment(1);
                    return envelope.refuse(CallError::Overloaded { what: name(&child.cell) });
                }
                child.cell.depth.fetch_add(1, Ordering::Relaxed);
                if let Some(envelope) = inbox.send(envelope) {
                    child.cell.depth.fetch_sub(1, Ordering::Relaxed);
                    envelope.refuse(CallError::Unavailable("the actor is stopping".into()));
                }
            }
            Life::Passivating(_, waiting) | Life::Restarting(waiting) if waiting.len() < WAITING_MAX => {
                waiting.push_back(envelope);
            }
            Life::Passivating(..) | Life::Restarting(_) => {
                envelope.refuse(CallError::Overloaded { what: name(&child.cell) });
            }
            // An operator's retry brings a parked order back.
            Life::Parked if matches!(&envelope, Envelope::Order(ask) if ask.command == Command::Retry) => {
                child.crashes = 0;
                child.life = Life::Restarting(VecDeque::from([envelope]));
                self.respawn(myself, stream);
            }
            Life::Parked => envelope.refuse(CallError::Parked(child.cell.trouble().unwrap_or_default())),
        }
    }

    /// Starts a stream's actor and hands it what waits. `successor_of`: the crashes of the one before it.
    fn spawn(
        &mut self,
        myself: &ActorRef<ShardMessage>,
        stream: StreamId,
        waiting: VecDeque<Envelope>,
        fresh: bool,
        crashed: Option<(Arc<Cell>, u32, Instant)>,
    ) {
        let Some(kind) = waiting.front().map(kind_of).or(crashed.as_ref().map(|(cell, ..)| cell.kind)) else { return };
        let resume = crashed.is_some();
        let (cell, crashes, last_crash) =
            crashed.unwrap_or_else(|| (Arc::new(Cell::new(kind, stream, self.shard)), 0, Instant::now()));
        cell.depth.store(waiting.len() as u64, Ordering::Relaxed);
        let args = EntityArgs {
            node: Arc::clone(&self.node),
            shard: myself.clone(),
            cell: Arc::clone(&cell),
            fresh: fresh && waiting.len() == 1,
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
                for envelope in waiting {
                    envelope.refuse(CallError::Unavailable("the actor cannot be started".into()));
                }
                return;
            }
        };
        for envelope in waiting {
            if let Some(envelope) = inbox.send(envelope) {
                envelope.refuse(CallError::Unavailable("the stream is of another kind".into()));
            }
        }
        self.node.registry.enter(&cell);
        self.actors.insert(id, stream);
        self.children.insert(stream, Child { cell, life: Life::Running(inbox), crashes, last_crash });
    }

    fn tick(&mut self, myself: &ActorRef<ShardMessage>) {
        self.armed = None;
        let now = self.node.ports.clock.now();
        for _ in 0..TIMERS_AT_ONCE {
            let Some((kind, stream)) = self.wheel.pop(now) else { break };
            let envelope = match kind {
                StreamKind::Order => Envelope::Order(Ask::tell(Order::wake())),
                StreamKind::Channel => Envelope::Channel(Ask::tell(Channel::wake())),
                StreamKind::Zone => Envelope::Zone(Ask::tell(Zone::wake())),
            };
            self.deliver(myself, stream, envelope, false);
        }
        self.arm(myself);
    }

    /// Sees to it that a tick comes when the first timer is due.
    fn arm(&mut self, myself: &ActorRef<ShardMessage>) {
        let Some(next) = self.wheel.next() else { return };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        self.armed = Some(next);
        myself.send_after(self.node.wall_until(next), || ShardMessage::Tick);
    }

    fn sweep(&mut self) {
        let idle_ms = u64::try_from(self.node.options.idle_after.as_millis()).unwrap_or(u64::MAX);
        let idle = |child: &Child| child.cell.kind == StreamKind::Order && child.cell.idle_ms() >= idle_ms;
        let streams = self.children.iter().filter(|(_, child)| idle(child)).map(|(stream, _)| *stream);
        for stream in streams.collect::<Vec<_>>() {
            self.passivate(stream);
        }
    }

    /// Tells an actor to go, unless something waits for it.
    fn passivate(&mut self, stream: StreamId) {
        let Some(child) = self.children.get_mut(&stream) else { return };
        if child.cell.depth.load(Ordering::Relaxed) > 0 || !matches!(child.life, Life::Running(_)) {
            return;
        }
        if let Life::Running(inbox) = std::mem::replace(&mut child.life, Life::Parked) {
            inbox.passivate();
            child.cell.set_status(Status::Passivating);
            child.life = Life::Passivating(inbox, VecDeque::new());
        }
    }

    fn still_busy(&mut self, stream: StreamId) {
        let Some(child) = self.children.get_mut(&stream) else { return };
        if let Life::Passivating(inbox, waiting) = std::mem::replace(&mut child.life, Life::Parked) {
            child.cell.set_status(Status::Running);
            child.cell.depth.fetch_add(waiting.len() as u64, Ordering::Relaxed);
            for envelope in waiting {
                if let Some(envelope) = inbox.send(envelope) {
                    envelope.refuse(CallError::Unavailable("the actor is stopping".into()));
                }
            }
            child.life = Life::Running(inbox);
        }
    }

    /// An actor ended as it should: if something waits, its successor starts.
    fn gone(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId) {
        self.node.registry.leave(stream);
        let Some(child) = self.children.remove(&stream) else { return };
        if let Life::Passivating(_, waiting) = child.life
            && !waiting.is_empty()
        {
            self.spawn(myself, stream, waiting, false, None);
        }
    }

    fn crashed(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId, why: &str) {
        let options = self.node.options.clone();
        let Some(child) = self.children.get_mut(&stream) else { return };
        if child.last_crash.elapsed() > options.restart_window {
            child.crashes = 0;
        }
        child.crashes += 1;
        child.last_crash = Instant::now();
        child.cell.restarts.fetch_add(1, Ordering::Relaxed);
        child.cell.set_trouble(Some(why.to_owned()));
        metrics::counter!("uoop_actor_crashes_total").increment(1);
        let waiting = match std::mem::replace(&mut child.life, Life::Parked) {
            Life::Passivating(_, waiting) | Life::Restarting(waiting) => waiting,
            Life::Running(_) | Life::Parked => VecDeque::new(),
        };
        if child.crashes > options.restarts_max {
            tracing::error!(%stream, why, crashes = child.crashes, "parked: the actor keeps crashing");
            metrics::counter!("uoop_actors_parked_total").increment(1);
            child.cell.set_status(Status::Parked);
            for envelope in waiting {
                envelope.refuse(CallError::Parked(why.to_owned()));
            }
            return;
        }
        let pause = options.restart_backoff.saturating_mul(1 << (child.crashes - 1).min(16)).min(options.restart_backoff_max);
        tracing::warn!(%stream, why, crashes = child.crashes, ?pause, "an actor crashed and is started again");
        child.cell.set_status(Status::Restarting);
        child.life = Life::Restarting(waiting);
        myself.send_after(pause, move || ShardMessage::Respawn { stream });
    }

    fn respawn(&mut self, myself: &ActorRef<ShardMessage>, stream: StreamId) {
        let Some(Child { cell, life: Life::Restarting(waiting), crashes, last_crash }) = self.children.remove(&stream)
        else {
            return;
        };
        self.spawn(myself, stream, waiting, false, Some((cell, crashes, last_crash)));
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

const fn kind_of(envelope: &Envelope) -> StreamKind {
    match envelope {
        Envelope::Order(_) => StreamKind::Order,
        Envelope::Channel(_) => StreamKind::Channel,
        Envelope::Zone(_) => StreamKind::Zone,
    }
}

fn name(cell: &Cell) -> String {
    match cell.kind {
        StreamKind::Order => format!("order {}", cell.stream),
        StreamKind::Channel => format!("channel {}", cell.stream),
        StreamKind::Zone => format!("zone {}", cell.stream),
    }
}
