//! The region: supervises the shards, and brings back what was in flight when the node starts.

use crate::ask::Versioned;
use crate::hosted::Hosted;
use crate::life::Crashes;
use crate::node::{Node, Readiness, Recovery};
use crate::restore::restore;
use crate::shard::{ShardActor, ShardArgs, ShardMessage};
use domain::channel::Channel;
use domain::entity::Entity;
use domain::ids::StreamId;
use domain::order::Order;
use domain::ports::{Recorded, StoreError, StreamKind};
use domain::saga::Effect;
use domain::shard::ShardId;
use domain::time::Timestamp;
use domain::zone::Zone;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// In how many parts all shards are read: what was read of one is memory until its streams are folded.
const READS: u16 = 8;
/// Effects begun at a time before other tasks get a turn. Beginning one is a microsecond; each turn given away is behind
/// everything that the effects before have already set in motion.
const EFFECTS_AT_ONCE: usize = 1_024;

/// How long the actors of a shard that is another's may take to end, once nothing of them is under way any more.
const ENDING_MAX: Duration = Duration::from_secs(1);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// The pause before a store that is away is asked again.
const STORE_BACKOFF: Duration = Duration::from_millis(200);

/// What a shard consists of.
const KINDS: [StreamKind; 3] = [StreamKind::Channel, StreamKind::Zone, StreamKind::Order];

pub(crate) enum RegionMessage {
    /// A node by itself starts: everything is to be brought back.
    Recover,
    /// Shards were taken: what is in flight in them is to be brought back.
    Adopt {
        shards: Vec<ShardId>,
        done: oneshot::Sender<Result<Recovery, StoreError>>,
    },
    /// Shards are another node's: what runs of them is to end.
    Leave {
        shards: Vec<ShardId>,
        done: oneshot::Sender<()>,
    },
    /// A shard whose actor ended is to be started again.
    Restart(ShardId),
}

impl ractor::Message for RegionMessage {}

pub(crate) struct RegionState {
    node: Arc<Node>,
    shards: HashMap<ActorId, ShardId>,
    /// The shards that are this node's.
    adopted: HashSet<ShardId>,
    crashes: HashMap<ShardId, Crashes>,
    started: Instant,
}

pub(crate) struct RegionActor;

impl Actor for RegionActor {
    type Msg = RegionMessage;
    type State = RegionState;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, _: ActorRef<RegionMessage>, node: Arc<Node>) -> Result<RegionState, ActorProcessingErr> {
        Ok(RegionState {
            node,
            shards: HashMap::new(),
            adopted: HashSet::new(),
            crashes: HashMap::new(),
            started: Instant::now(),
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<RegionMessage>,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        // In a cluster the coordinator says what is this node's.
        if state.node.cluster.get().is_none() {
            myself.cast(RegionMessage::Recover)?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<RegionMessage>,
        message: RegionMessage,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegionMessage::Recover => {
                let shards: Vec<ShardId> = state.node.map.all().collect();
                match Plan::read(&state.node, &shards).await {
                    Ok(plan) => state.recover(&myself, shards, plan).await,
                    Err(StoreError::Unavailable(why)) => {
                        tracing::warn!(why, "the store is away; what is in flight cannot be read yet");
                        myself.send_after(STORE_BACKOFF, || RegionMessage::Recover);
                    }
                    Err(error) => {
                        tracing::error!(%error, "what is in flight cannot be read");
                        let why = error.to_string();
                        state.node.readiness.store(Arc::new(Readiness::Unavailable { why }));
                    }
                }
            }
            RegionMessage::Restart(shard) => state.restart(&myself, shard).await,
            RegionMessage::Adopt { shards, done } => {
                if let Some(adopted) = state.adopt(&myself, shards).await {
                    // Whoever took them may have been stopped meanwhile.
                    let _ = done.send(adopted);
                }
            }
            RegionMessage::Leave { shards, done } => {
                state.leave(&shards).await;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RegionMessage>,
        event: SupervisionEvent,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, why) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, why) => (actor, why.unwrap_or_default()),
            _ => return Ok(()),
        };
        if let Some(shard) = state.shards.remove(&actor.get_id())
            && state.adopted.contains(&shard)
            // One that is another's does not come back; whoever saw that tells this region to leave it.
            && !state.node.slot(shard).is_lost.load(Ordering::Acquire)
        {
            tracing::error!(%shard, why, "a shard ended and is started again");
            metrics::counter!("uoop_shard_crashes_total").increment(1);
            // Its children died with it.
            state.node.registry.clear(shard);
            let pulse = &state.node.slot(shard).pulse;
            pulse.restarts.fetch_add(1, Ordering::Relaxed);
            // What waited in its mailbox is gone with it.
            pulse.depth.store(0, Ordering::Relaxed);
            let pause = state.crashes.entry(shard).or_default().add(&state.node.options);
            myself.send_after(pause, move || RegionMessage::Restart(shard));
        }
        Ok(())
    }
}

impl RegionState {
    /// Starts all shards and everything that was in flight.
    async fn recover(&mut self, myself: &ActorRef<RegionMessage>, shards: Vec<ShardId>, plan: Plan) {
        let recovery = self.bring_back(myself, shards, plan, self.started).await;
        self.node.recovered(&recovery);
    }

    async fn bring_back(
        &mut self,
        myself: &ActorRef<RegionMessage>,
        shards: Vec<ShardId>,
        mut plan: Plan,
        begun: Instant,
    ) -> Recovery {
        for shard in shards {
            self.adopted.insert(shard);
            self.start(myself, shard, &mut plan).await;
        }
        let recovery = Recovery {
            orders_live: plan.orders_live,
            effects_resumed: plan.effects.len(),
            timers_armed: plan.timers_armed,
            elapsed_ms: 0,
        };
        plan.execute(&self.node).await;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Recovery { elapsed_ms, ..recovery }
    }

    /// Starts shards that were just taken, and everything that is in flight in them. A store that is away is waited for;
    /// after any other error nothing of them was started. `None`: the node has stopped.
    async fn adopt(
        &mut self,
        myself: &ActorRef<RegionMessage>,
        shards: Vec<ShardId>,
    ) -> Option<Result<Recovery, StoreError>> {
        let begun = Instant::now();
        while !self.node.is_stopped() {
            match Plan::read(&self.node, &shards).await {
                Ok(plan) => return Some(Ok(self.bring_back(myself, shards, plan, begun).await)),
                Err(StoreError::Unavailable(why)) => {
                    tracing::warn!(why, "the store is away; what is in flight cannot be read yet");
                    tokio::time::sleep(STORE_BACKOFF).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// Ends what runs of shards that are another's: nothing new is taken, what was appended is answered, and what waits
    /// is told to ask there.
    async fn leave(&mut self, shards: &[ShardId]) {
        let mut ending = Vec::new();
        for shard in shards {
            self.adopted.remove(shard);
            self.crashes.remove(shard);
            if let Some(actor) = self.node.slot(*shard).actor.swap(None) {
                // One that takes no message any more has ended already.
                let _ = actor.cast(ShardMessage::Fenced);
                ending.push((*shard, actor));
            }
        }
        self.node.ports.journal.release(shards).await;
        let patience = Instant::now() + ENDING_MAX;
        for (shard, actor) in ending {
            while actor.get_status() != ActorStatus::Stopped && Instant::now() < patience {
                tokio::time::sleep(GLANCE).await;
            }
            if actor.get_status() != ActorStatus::Stopped {
                tracing::warn!(%shard, "a shard's actors did not end by themselves");
                // It cannot write any more; whoever waits is told by the end of the wait.
                let _ = actor.stop_and_wait(None, None).await;
            }
            self.shards.remove(&actor.get_id());
            self.node.registry.clear(shard);
            let pulse = &self.node.slot(shard).pulse;
            pulse.depth.store(0, Ordering::Relaxed);
            pulse.timers.store(0, Ordering::Relaxed);
            pulse.next_timer.store(0, Ordering::Relaxed);
        }
    }

    /// Starts a shard again from the store. As long as an append of its dead actors is under way the store does not say
    /// all; and one that is away is waited for.
    async fn restart(&mut self, myself: &ActorRef<RegionMessage>, shard: ShardId) {
        if !self.adopted.contains(&shard) {
            return;
        }
        let plan = if self.node.is_appending(shard) {
            None
        } else {
            Plan::read(&self.node, &[shard]).await.ok()
        };
        let Some(mut plan) = plan else {
            myself.send_after(STORE_BACKOFF, move || RegionMessage::Restart(shard));
            return;
        };
        self.start(myself, shard, &mut plan).await;
        plan.execute(&self.node).await;
    }

    async fn start(&mut self, myself: &ActorRef<RegionMessage>, shard: ShardId, plan: &mut Plan) {
        let timers = plan.timers.remove(&shard).unwrap_or_default();
        let args = ShardArgs {
            node: Arc::clone(&self.node),
            shard,
            timers,
        };
        match ShardActor::spawn_linked(None, ShardActor, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.shards.insert(actor.get_id(), shard);
                let slot = self.node.slot(shard);
                slot.is_lost.store(false, Ordering::Release);
                slot.actor.store(Some(Arc::new(actor)));
            }
            Err(error) => {
                tracing::error!(%shard, %error, "a shard cannot be started");
                let pause = self.crashes.entry(shard).or_default().add(&self.node.options);
                myself.send_after(pause, move || RegionMessage::Restart(shard));
            }
        }
    }
}

/// What is to be done so that everything in flight moves again: first read, then carried out.
#[derive(Default)]
struct Plan {
    timers: HashMap<ShardId, Vec<(StreamKind, StreamId, Timestamp)>>,
    timers_armed: usize,
    orders_live: usize,
    effects: Vec<Effect>,
    notices: Vec<domain::zone::Effect>,
    channels: Vec<Versioned<Channel>>,
    zones: Vec<Versioned<Zone>>,
}

impl Plan {
    /// Reads every live stream of the shards. Channels and zones become known; nothing else happens yet.
    async fn read(node: &Node, shards: &[ShardId]) -> Result<Self, StoreError> {
        let mut plan = Self::default();
        for some in shards.chunks(usize::from(node.map.len().div_ceil(READS))) {
            for recorded in node.ports.store.recover(some, &KINDS).await? {
                plan.add_recorded(node, &recorded);
            }
        }
        Ok(plan)
    }

    /// One corrupt stream harms nobody else: its actor crashes on loading and is parked, where it can be seen.
    fn add_recorded(&mut self, node: &Node, recorded: &Recorded) {
        let added = catch_unwind(AssertUnwindSafe(|| self.add_stream(node, recorded)));
        let added = added.unwrap_or_else(|_| Err(StoreError::Corrupt("it makes this program panic".into())));
        if let Err(error) = added {
            let wake = (recorded.kind, recorded.stream, Timestamp(0));
            self.timers
                .entry(node.map.shard_of(recorded.stream))
                .or_default()
                .push(wake);
            tracing::error!(stream = %recorded.stream, %error, "a stream cannot be recovered");
            metrics::counter!("uoop_streams_corrupt_total").increment(1);
        }
    }

    fn add_stream(&mut self, node: &Node, recorded: &Recorded) -> Result<(), StoreError> {
        match recorded.kind {
            StreamKind::Order => self
                .add::<Order>(node, recorded)
                .map(|order| self.add_order(node, order)),
            StreamKind::Channel => self
                .add::<Channel>(node, recorded)
                .map(|channel| self.channels.extend(channel)),
            StreamKind::Zone => self.add::<Zone>(node, recorded).map(|zone| self.add_zone(node, zone)),
        }
    }

    fn add<E: Hosted>(&mut self, node: &Node, recorded: &Recorded) -> Result<Option<Versioned<E>>, StoreError> {
        let Some(state) = restore::<E>(recorded)?.filter(|versioned| versioned.state.is_live()) else {
            return Ok(None);
        };
        E::publish(node, None, &state);
        if let Some(at) = state.state.wake_at(&node.context()) {
            self.timers
                .entry(node.map.shard_of(recorded.stream))
                .or_default()
                .push((E::KIND, recorded.stream, at));
            self.timers_armed += 1;
        }
        Ok(Some(state))
    }

    fn add_order(&mut self, node: &Node, order: Option<Versioned<Order>>) {
        if let Some(order) = order {
            self.orders_live += 1;
            self.effects.extend(order.state.resume(&node.ports.policy));
        }
    }

    fn add_zone(&mut self, node: &Node, zone: Option<Versioned<Zone>>) {
        if let Some(zone) = zone {
            self.notices.extend(zone.state.resume(&node.ports.policy));
            self.zones.push(zone);
        }
    }

    /// Begins every pending effect again.
    async fn execute(self, node: &Arc<Node>) {
        let mut effects = self.effects.into_iter();
        loop {
            let some: Vec<Effect> = effects.by_ref().take(EFFECTS_AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            Order::perform(node, some, true);
            tokio::task::yield_now().await;
        }
        Zone::perform(node, self.notices, true);
        for channel in &self.channels {
            Channel::follow_up(node, None, channel);
        }
        for zone in &self.zones {
            Zone::follow_up(node, None, zone);
        }
    }
}
