//! The region: supervises the shards, and brings back what was in flight when the node starts.

use crate::ask::Versioned;
use crate::hosted::Hosted;
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
use std::sync::Arc;
use tokio::time::Instant;

/// Effects begun at a time before other tasks get a turn.
const EFFECTS_AT_ONCE: usize = 64;

pub(crate) enum RegionMessage {
    /// A shard whose actor ended is to be started again.
    Restart(ShardId),
}

pub(crate) struct RegionState {
    node: Arc<Node>,
    shards: HashMap<ActorId, ShardId>,
}

pub(crate) struct RegionActor;

impl Actor for RegionActor {
    type Msg = RegionMessage;
    type State = RegionState;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, _: ActorRef<RegionMessage>, node: Arc<Node>) -> Result<RegionState, ActorProcessingErr> {
        Ok(RegionState { node, shards: HashMap::new() })
    }

    async fn post_start(&self, myself: ActorRef<RegionMessage>, state: &mut RegionState) -> Result<(), ActorProcessingErr> {
        let started = Instant::now();
        let shards: Vec<ShardId> = state.node.map.all().collect();
        let mut plan = Plan::read(&state.node, &shards).await?;
        for shard in shards {
            let timers = plan.timers.remove(&shard).unwrap_or_default();
            state.start(&myself, shard, timers).await?;
        }
        let recovery = Recovery {
            orders_live: plan.orders_live,
            effects_resumed: plan.effects.len(),
            timers_armed: plan.timers_armed,
            elapsed_ms: 0,
        };
        plan.execute(&state.node).await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let recovery = Recovery { elapsed_ms, ..recovery };
        tracing::info!(?recovery, "everything in flight moves again");
        let _ = state.node.recovery.set(recovery);
        state.node.readiness.store(Arc::new(Readiness::Ready));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<RegionMessage>,
        RegionMessage::Restart(shard): RegionMessage,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        let mut plan = Plan::read(&state.node, &[shard]).await?;
        let timers = plan.timers.remove(&shard).unwrap_or_default();
        state.start(&myself, shard, timers).await?;
        plan.execute(&state.node).await;
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
            myself.send_after(state.node.options.restart_backoff, move || RegionMessage::Restart(shard));
        }
        Ok(())
    }
}

impl RegionState {
    async fn start(
        &mut self,
        myself: &ActorRef<RegionMessage>,
        shard: ShardId,
        timers: Vec<(StreamKind, StreamId, Timestamp)>,
    ) -> Result<(), ActorProcessingErr> {
        let args = ShardArgs { node: Arc::clone(&self.node), shard, timers };
        let (actor, _) = ShardActor::spawn_linked(None, ShardActor, args, myself.get_cell()).await?;
        self.shards.insert(actor.get_id(), shard);
        self.node.shards[usize::from(shard.0)].actor.store(Some(Arc::new(actor)));
        Ok(())
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
        for recorded in node.ports.store.recover(shards).await? {
            let added = match recorded.kind {
                StreamKind::Order => plan.add::<Order>(node, &recorded).map(|order| plan.add_order(node, order)),
                StreamKind::Channel => plan.add::<Channel>(node, &recorded).map(|_| ()),
                StreamKind::Zone => plan.add::<Zone>(node, &recorded).map(|zone| plan.add_zone(node, zone)),
            };
            // One corrupt stream harms nobody else: its actor crashes on loading, and is parked, when it is spoken to.
            if let Err(error) = added {
                tracing::error!(stream = %recorded.stream, %error, "a stream cannot be recovered");
                metrics::counter!("uoop_streams_corrupt_total").increment(1);
            }
        }
        Ok(plan)
    }

    fn add<E: Hosted>(&mut self, node: &Node, recorded: &Recorded) -> Result<Option<Versioned<E>>, StoreError> {
        let Some(state) = restore::<E>(recorded)?.filter(|versioned| versioned.state.is_live()) else { return Ok(None) };
        E::publish(node, None, &state);
        if let Some(at) = state.state.wake_at(&node.context()) {
            self.timers.entry(node.map.shard_of(recorded.stream)).or_default().push((E::KIND, recorded.stream, at));
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
        self.notices.extend(zone.iter().flat_map(|zone| zone.state.resume(&node.ports.policy)));
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
