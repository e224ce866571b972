//! The region: supervises the shards, and brings back what was in flight when the node starts.

use crate::ask::Versioned;
use crate::hosted::Hosted;
use crate::life::Crashes;
use crate::node::{Node, Readiness, Recovery};
use crate::restore::restore;
use crate::shard::{ShardActor, ShardArgs};
use domain::channel::Channel;
use domain::entity::Entity;
use domain::ids::StreamId;
use domain::order::Order;
use domain::ports::{Recorded, StoreError, StreamKind};
use domain::saga::Effect;
use domain::shard::ShardId;
use domain::time::Timestamp;
use domain::zone::Zone;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Effects begun at a time before other tasks get a turn. Beginning one is a microsecond; each turn given away is behind
/// everything that the effects before have already set in motion.
const EFFECTS_AT_ONCE: usize = 1_024;

/// The pause before a store that is away is asked again.
const STORE_BACKOFF: Duration = Duration::from_millis(200);

/// What a shard consists of.
const KINDS: [StreamKind; 3] = [StreamKind::Channel, StreamKind::Zone, StreamKind::Order];

pub(crate) enum RegionMessage {
    /// The node starts: everything is to be brought back.
    Recover,
    /// A shard whose actor ended is to be started again.
    Restart(ShardId),
}

impl ractor::Message for RegionMessage {}

pub(crate) struct RegionState {
    node: Arc<Node>,
    shards: HashMap<ActorId, ShardId>,
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
            crashes: HashMap::new(),
            started: Instant::now(),
        })
    }

    async fn post_start(&self, myself: ActorRef<RegionMessage>, _: &mut RegionState) -> Result<(), ActorProcessingErr> {
        Ok(myself.cast(RegionMessage::Recover)?)
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
        if let Some(shard) = state.shards.remove(&actor.get_id()) {
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
    async fn recover(&mut self, myself: &ActorRef<RegionMessage>, shards: Vec<ShardId>, mut plan: Plan) {
        for shard in shards {
            self.start(myself, shard, &mut plan).await;
        }
        let recovery = Recovery {
            orders_live: plan.orders_live,
            effects_resumed: plan.effects.len(),
            timers_armed: plan.timers_armed,
            elapsed_ms: 0,
        };
        plan.execute(&self.node).await;
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let recovery = Recovery { elapsed_ms, ..recovery };
        tracing::info!(?recovery, "everything in flight moves again");
        let _ = self.node.recovery.set(recovery);
        // Unless the node has been told to stop, or has failed, meanwhile.
        let recovering = self.node.readiness.load();
        if **recovering == Readiness::Recovering {
            self.node
                .readiness
                .compare_and_swap(&recovering, Arc::new(Readiness::Ready));
        }
    }

    /// Starts a shard again from the store. As long as an append of its dead actors is under way the store does not say
    /// all; and one that is away is waited for.
    async fn restart(&mut self, myself: &ActorRef<RegionMessage>, shard: ShardId) {
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
                self.node.slot(shard).actor.store(Some(Arc::new(actor)));
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
}

impl Plan {
    /// Reads every live stream of the shards. Channels and zones become known; nothing else happens yet.
    async fn read(node: &Node, shards: &[ShardId]) -> Result<Self, StoreError> {
        let mut plan = Self::default();
        for recorded in node.ports.store.recover(shards, &KINDS).await? {
            let added = catch_unwind(AssertUnwindSafe(|| plan.add_stream(node, &recorded)));
            let added = added.unwrap_or_else(|_| Err(StoreError::Corrupt("it makes this program panic".into())));
            // One corrupt stream harms nobody else: its actor crashes on loading and is parked, where it can be seen.
            if let Err(error) = added {
                let wake = (recorded.kind, recorded.stream, Timestamp(0));
                plan.timers
                    .entry(node.map.shard_of(recorded.stream))
                    .or_default()
                    .push(wake);
                tracing::error!(stream = %recorded.stream, %error, "a stream cannot be recovered");
                metrics::counter!("uoop_streams_corrupt_total").increment(1);
            }
        }
        Ok(plan)
    }

    fn add_stream(&mut self, node: &Node, recorded: &Recorded) -> Result<(), StoreError> {
        match recorded.kind {
            StreamKind::Order => self
                .add::<Order>(node, recorded)
                .map(|order| self.add_order(node, order)),
            StreamKind::Channel => self.add::<Channel>(node, recorded).map(|_| ()),
            StreamKind::Zone => self
                .add::<Zone>(node, recorded)
                .map(|zone| self.add_zone(node, zone.as_ref())),
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

    fn add_zone(&mut self, node: &Node, zone: Option<&Versioned<Zone>>) {
        if let Some(zone) = zone {
            self.notices.extend(zone.state.resume(&node.ports.policy));
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
    }
}
