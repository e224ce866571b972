//! What all actors of this node share.

use crate::ask::{Envelope, Versioned};
use crate::cell::{Cell, Latest, Registry};
use crate::choice::Chooser;
use crate::cluster::{Cluster, watch};
use crate::delay::Delay;
use crate::directory::Directory;
use crate::dispatch::Dispatch;
use crate::error::CallError;
use crate::life::Inbox;
use crate::options::{ActorOptions, Ports};
use crate::shard::ShardMessage;
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::{DashMap, DashSet};
use domain::entity::Context;
use domain::ids::{OrderId, Seq, StreamId};
use domain::order::Order;
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use ractor::ActorRef;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch as channel};
use tokio::time::Instant;

/// Most look-ups at a time of keys that may have been used, by those whom there is no room for.
const LOOKUPS_MAX: usize = 2;

/// Watchers below this number are never looked through for those that nobody holds any more.
const WATCHERS_MIN: usize = 64;

/// Whether the node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Readiness {
    /// It reads what is in flight.
    Recovering,
    /// It serves.
    Ready,
    /// It stops: what is under way is finished, nothing new is taken.
    Draining,
    /// It cannot serve.
    Unavailable {
        /// Why.
        why: String,
    },
}

/// What a start found in flight, and how long it took until all of it moved again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Orders that were not settled.
    pub orders_live: usize,
    /// Effects under way that were begun again.
    pub effects_resumed: usize,
    /// Timers that were armed again.
    pub timers_armed: usize,
    /// From the beginning of the recovery until all timers were armed and all effects begun, in wall time.
    pub elapsed_ms: u64,
}

/// A shard's address.
pub(crate) struct ShardSlot {
    pub(crate) actor: ArcSwapOption<ActorRef<ShardMessage>>,
    /// Another node owns it, as a commit has shown; its actors are about to end.
    pub(crate) is_lost: AtomicBool,
    pub(crate) admission: Arc<Semaphore>,
    /// Appends of its streams that are under way.
    appends: AtomicUsize,
    pub(crate) pulse: Pulse,
}

/// A shard's vital signs.
pub(crate) struct Pulse {
    /// Commands that wait for the shard to pass them on.
    pub(crate) depth: AtomicU64,
    /// Commands for its streams, whether it passed them on or not.
    pub(crate) handled: AtomicU64,
    pub(crate) restarts: AtomicU32,
    /// Timers that are set.
    pub(crate) timers: AtomicUsize,
    /// When the first of them is due, in business time; 0: none is set.
    pub(crate) next_timer: AtomicU64,
}

impl Pulse {
    /// A command has left the shard's mailbox. A shard that is started anew counts from zero, whatever was on its way.
    pub(crate) fn passed_on(&self) {
        let _ = self
            .depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| depth.checked_sub(1));
    }
}

/// Where those who watch an order hear of it.
pub(crate) type Watcher = channel::Sender<Option<Versioned<Order>>>;

pub(crate) struct Node {
    pub(crate) started: Instant,
    pub(crate) ports: Ports,
    pub(crate) options: ActorOptions,
    pub(crate) map: ShardMap,
    pub(crate) directory: Directory,
    pub(crate) dispatch: Dispatch,
    pub(crate) registry: Registry,
    pub(crate) chooser: Chooser,
    pub(crate) shards: Vec<ShardSlot>,
    pub(crate) watchers: DashMap<OrderId, Watcher>,
    /// Watched orders that are followed wherever they live.
    followed: DashSet<OrderId>,
    pub(crate) keys_in_flight: DashSet<String>,
    pub(crate) readiness: ArcSwap<Readiness>,
    pub(crate) recovery: OnceLock<Recovery>,
    /// This node's part in a cluster, if it is in one.
    pub(crate) cluster: OnceLock<Arc<Cluster>>,
    /// Channels and zones of other nodes that are being read.
    pub(crate) reading: DashSet<StreamId>,
    leaving: AtomicBool,
    /// Places for orders under way.
    places: Arc<Semaphore>,
    pub(crate) delay: Delay,
    /// Places for those who look whether their order was accepted before, when there is no room for a new one.
    pub(crate) lookups: Semaphore,
    stopped: AtomicBool,
    /// How many watchers there may be before those that nobody holds any more are looked for.
    watchers_max: AtomicUsize,
}

impl Node {
    pub(crate) fn new(ports: Ports, options: ActorOptions) -> Self {
        let map = ports.store.shard_map();
        let slot = |_| ShardSlot {
            actor: ArcSwapOption::empty(),
            is_lost: AtomicBool::new(false),
            admission: Arc::new(Semaphore::new(options.shard_commands_max)),
            pulse: Pulse {
                depth: AtomicU64::new(0),
                handled: AtomicU64::new(0),
                restarts: AtomicU32::new(0),
                timers: AtomicUsize::new(0),
                next_timer: AtomicU64::new(0),
            },
            appends: AtomicUsize::new(0),
        };
        Self {
            started: Instant::now(),
            map,
            shards: map.all().map(slot).collect(),
            directory: Directory::default(),
            dispatch: Dispatch::new(&options.dispatch),
            registry: Registry::default(),
            chooser: Chooser::default(),
            watchers: DashMap::new(),
            followed: DashSet::new(),
            cluster: OnceLock::new(),
            reading: DashSet::new(),
            leaving: AtomicBool::new(false),
            keys_in_flight: DashSet::new(),
            readiness: ArcSwap::from_pointee(Readiness::Recovering),
            recovery: OnceLock::new(),
            stopped: AtomicBool::new(false),
            watchers_max: AtomicUsize::new(WATCHERS_MIN),
            lookups: Semaphore::new(LOOKUPS_MAX),
            delay: Delay::new(options.delay_max),
            places: Arc::new(Semaphore::new(options.orders_under_way_max)),
            ports,
            options,
        }
    }

    /// A place for a new order. There are so many: what more is offered is refused at once, so that what was taken goes
    /// on at its pace.
    pub(crate) fn admit_order(&self) -> Result<OwnedSemaphorePermit, CallError> {
        let (under_way, max) = self.orders_under_way();
        metrics::gauge!("uoop_orders_under_way").set(u32::try_from(under_way).unwrap_or(u32::MAX));
        let refuse = |bound| {
            metrics::counter!("uoop_commands_refused_total", "bound" => bound).increment(1);
            CallError::Overloaded {
                what: "the platform".to_owned(),
            }
        };
        if self.delay.refuses(under_way, max) {
            return Err(refuse("delay"));
        }
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| refuse("orders"))
    }

    /// Whether a new order would be taken.
    pub(crate) fn has_room(&self) -> bool {
        let (under_way, max) = self.orders_under_way();
        under_way < max && !self.delay.refuses(under_way, max)
    }

    /// Whether a shard would take a command from outside.
    pub(crate) fn has_room_in(&self, shard: ShardId) -> bool {
        self.slot(shard).admission.available_permits() > 0
    }

    /// How many orders are under way, and how many may be.
    fn orders_under_way(&self) -> (usize, usize) {
        let max = self.options.orders_under_way_max;
        (max - self.places.available_permits().min(max), max)
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            now: self.ports.clock.now(),
            policy: &self.ports.policy,
        }
    }

    /// Wall time until a moment of business time; zero when it has passed.
    pub(crate) fn wall_until(&self, at: Timestamp) -> Duration {
        let business_ms = at.ms_since(self.ports.clock.now());
        Duration::from_millis(business_ms.div_ceil(self.ports.clock.scale().max(1)))
    }

    pub(crate) fn slot(&self, shard: ShardId) -> &ShardSlot {
        // The map and the slots are made together, so every shard of the map has its slot.
        &self.shards[usize::from(shard.0)]
    }

    /// A place among the commands that the stream's shard takes at a time.
    pub(crate) fn admit(&self, stream: StreamId) -> Result<OwnedSemaphorePermit, CallError> {
        match &**self.readiness.load() {
            Readiness::Ready => {}
            // In a cluster each shard serves as soon as it is here.
            Readiness::Recovering if self.cluster.get().is_some() => {}
            Readiness::Recovering => return Err(CallError::Unavailable("the node is still recovering".into())),
            Readiness::Draining => return Err(CallError::Unavailable("the node is stopping".into())),
            Readiness::Unavailable { why } => return Err(CallError::Unavailable(why.clone())),
        }
        if !self.lease_holds() {
            return Err(CallError::Unavailable(
                "the store has been silent for longer than this node may go on without it".into(),
            ));
        }
        let shard = self.map.shard_of(stream);
        let admission = Arc::clone(&self.slot(shard).admission);
        admission.try_acquire_owned().map_err(|_| {
            metrics::counter!("uoop_commands_refused_total", "bound" => "shard").increment(1);
            CallError::Overloaded {
                what: format!("shard {shard}"),
            }
        })
    }

    /// Hands a command to the stream's actor, or to its shard if there is none that would take it. `fresh`: the stream is
    /// known not to exist yet.
    pub(crate) fn deliver(&self, stream: StreamId, envelope: Envelope, fresh: bool) {
        let Some(cell) = self.registry.get(stream) else {
            return self.deliver_to_shard(stream, envelope, fresh);
        };
        match cell.hand_over(envelope, self.options.mailbox_max) {
            Some(envelope) => self.deliver_to_shard(stream, envelope, false),
            None => {
                self.slot(cell.shard).pulse.handled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The stream's actor, if there is one.
    pub(crate) fn actor_of(&self, stream: StreamId) -> Option<Arc<Inbox>> {
        self.registry.get(stream)?.inbox.load_full()
    }

    /// Hands a command to this actor of the stream, and refuses it if another has taken its place.
    pub(crate) fn deliver_to(&self, actor: &Arc<Inbox>, stream: StreamId, envelope: Envelope) {
        let back = match self.registry.get(stream) {
            Some(cell) => cell.hand_over_to(actor, envelope, self.options.mailbox_max),
            None => Some(envelope),
        };
        if let Some(envelope) = back {
            envelope.refuse(CallError::Fenced);
        }
    }

    /// Hands a command to the stream's shard, which starts an actor if need be.
    pub(crate) fn deliver_to_shard(&self, stream: StreamId, envelope: Envelope, fresh: bool) {
        let shard = self.map.shard_of(stream);
        let message = ShardMessage::Deliver {
            stream,
            envelope,
            fresh,
        };
        let slot = self.slot(shard);
        slot.pulse.depth.fetch_add(1, Ordering::Relaxed);
        let rejected = match &*slot.actor.load() {
            Some(actor) => match actor.cast(message) {
                Err(ractor::MessagingErr::SendErr(message)) => Some(message),
                _ => None,
            },
            None => Some(message),
        };
        if let Some(ShardMessage::Deliver { envelope, .. }) = rejected {
            slot.pulse.passed_on();
            envelope.refuse(match self.cluster.get() {
                Some(_) if !self.holds(shard) => CallError::Fenced,
                _ => CallError::Unavailable(format!("shard {shard} is starting")),
            });
        }
    }

    /// Nothing begins any more. Idempotent.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// An append of a stream begins.
    pub(crate) fn append_begins(&self, cell: &Cell) {
        cell.is_appending.store(true, Ordering::Release);
        self.slot(cell.shard).appends.fetch_add(1, Ordering::AcqRel);
    }

    /// It is known what became of it. As long as nobody can say, it is under way.
    pub(crate) fn append_ended(&self, cell: &Cell) {
        cell.is_appending.store(false, Ordering::Release);
        self.slot(cell.shard).appends.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether an append of one of the shard's streams is under way.
    pub(crate) fn is_appending(&self, shard: ShardId) -> bool {
        self.slot(shard).appends.load(Ordering::Acquire) > 0
    }

    /// Whether the shard's actors run here.
    pub(crate) fn holds(&self, shard: ShardId) -> bool {
        let slot = self.slot(shard);
        slot.actor.load().is_some() && !slot.is_lost.load(Ordering::Acquire)
    }

    /// Whether a stream lives here, as far as is known.
    pub(crate) fn is_here(&self, stream: StreamId) -> bool {
        self.cluster.get().is_none() || self.holds(self.map.shard_of(stream))
    }

    /// Whether this node may still believe in its shards.
    pub(crate) fn lease_holds(&self) -> bool {
        self.cluster.get().is_none_or(|cluster| cluster.lease.holds())
    }

    /// Whether a stream lives here and this node may still believe so: what its actor holds is what the store has.
    pub(crate) fn speaks_for(&self, stream: StreamId) -> bool {
        self.cluster.get().is_none() || (self.lease_holds() && self.holds(self.map.shard_of(stream)))
    }

    /// Its shards go to other nodes; what is asked goes on being answered. Idempotent.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// It takes shards again. Idempotent.
    pub(crate) fn stay(&self) {
        self.leaving.store(false, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Everything in flight moves: it serves from now on, unless it has been told to stop, or has failed, meanwhile.
    pub(crate) fn recovered(&self, recovery: &Recovery) {
        if self.recovery.set(recovery.clone()).is_ok() {
            tracing::info!(?recovery, "everything in flight moves again");
        }
        let recovering = self.readiness.load();
        if **recovering == Readiness::Recovering {
            self.readiness.compare_and_swap(&recovering, Arc::new(Readiness::Ready));
        }
    }

    /// An order as its actor last committed it; `None` when it has no actor here, or one that others may have overtaken
    /// (this node was paused or cut off for longer than its lease). Asks nobody.
    pub(crate) fn live_order(&self, id: OrderId) -> Option<Versioned<Order>> {
        if !self.speaks_for(id.stream()) {
            return None;
        }
        let cell = self.registry.get(id.stream())?;
        match cell.latest.load().as_deref() {
            Some(Latest::Order(order)) => Some(order.clone()),
            _ => None,
        }
    }

    /// Watches an order here. Watchers that nobody holds any more are dropped whenever their number has doubled.
    pub(crate) fn watch(&self, order: OrderId) -> channel::Receiver<Option<Versioned<Order>>> {
        if self.watchers.len() >= self.watchers_max.load(Ordering::Relaxed) {
            self.watchers.retain(|_, watcher| watcher.receiver_count() > 0);
            self.watchers_max
                .store(WATCHERS_MIN.max(2 * self.watchers.len()), Ordering::Relaxed);
        }
        let watcher = self.watchers.entry(order).or_insert_with(|| channel::channel(None).0);
        watcher.subscribe()
    }

    /// Watches an order, wherever it lives, for versions after one that is known.
    pub(crate) fn watch_anywhere(
        self: &Arc<Self>,
        order: OrderId,
        known: Seq,
    ) -> channel::Receiver<Option<Versioned<Order>>> {
        let changes = self.watch(order);
        if self.cluster.get().is_some() && self.followed.insert(order) {
            watch::follow(self, order, known);
        }
        changes
    }

    /// Where an order is watched, if somebody still does; if not, it is followed no more, and a new watcher begins anew.
    pub(crate) fn followed_by(&self, order: OrderId) -> Option<Watcher> {
        let watched = || {
            let watcher = self.watchers.get(&order)?.clone();
            (watcher.receiver_count() > 0).then_some(watcher)
        };
        watched().or_else(|| {
            self.followed.remove(&order);
            // Somebody may have come just before.
            watched().filter(|_| self.followed.insert(order))
        })
    }

    /// Tells an order's watchers, unless they know.
    pub(crate) fn tell_watchers(&self, order: &Versioned<Order>) {
        if let Some(watcher) = self.watchers.get(&order.state.id) {
            watcher.send_if_modified(|known| {
                let is_newer = known.as_ref().is_none_or(|known| known.seq < order.seq);
                if is_newer {
                    *known = Some(order.clone());
                }
                is_newer
            });
        }
    }
}
