//! The platform as its users see it: the handle through which commands reach actors and state is read.

use crate::ask::{Applied, CommandOptions, IdempotencyKey, Placed, Versioned};
use crate::call::{Call, Origin};
use crate::delay::Delay;
use crate::directory::Directory;
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::introspect::ActorView;
use crate::keys::{away, claim_of};
use crate::node::{Node, Readiness, Recovery};
use crate::options::{ActorOptions, Ports};
use crate::region::{RegionActor, RegionMessage};
use crate::restore::restore;
use domain::channel::{self, Channel};
use domain::ids::{ChannelId, OrderId, Seq, StreamId, ZoneId};
use domain::order::{Details, Order};
use domain::policy::Policy;
use domain::ports::{Clock, DISK_FULL, Row, StreamKind};
use domain::rejection::Rejection;
use domain::saga;
use domain::zone::{self, Zone};
use ractor::{Actor, ActorRef};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A running platform. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    pub(crate) node: Arc<Node>,
    pub(crate) region: ActorRef<RegionMessage>,
}

impl Platform {
    /// Starts the actors. What was in flight moves again in the background: see [`Platform::readiness`].
    ///
    /// # Errors
    /// The actor system does not start.
    pub async fn start(ports: Ports, options: ActorOptions) -> Result<Self, CallError> {
        Self::spawn(Arc::new(Node::new(ports, options))).await
    }

    pub(crate) async fn spawn(node: Arc<Node>) -> Result<Self, CallError> {
        let started = RegionActor::spawn(None, RegionActor, Arc::clone(&node)).await;
        let (region, ending) = started.map_err(|error| CallError::Unavailable(error.to_string()))?;
        tokio::spawn(Delay::measure(Arc::downgrade(&node)));
        let platform = Self { node, region };
        let watched = platform.clone();
        tokio::spawn(async move {
            // How it ended is in the log of whoever panicked; without the region nothing is restarted any more.
            let _ = ending.await;
            if !watched.node.is_stopped() {
                watched.fail("the actors have ended".into());
            }
        });
        Ok(platform)
    }

    /// The platform's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.node.ports.clock
    }

    /// The rules in force.
    pub fn policy(&self) -> &Policy {
        &self.node.ports.policy
    }

    /// Channels and zones.
    pub fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// Whether it serves.
    pub fn readiness(&self) -> Readiness {
        match &**self.node.readiness.load() {
            Readiness::Ready if self.node.is_leaving() => Readiness::Draining,
            Readiness::Ready if !self.node.lease_holds() => Readiness::Unavailable {
                why: "the store has been silent for longer than this node may go on without it".to_owned(),
            },
            Readiness::Ready => match self.node.ports.journal.trouble() {
                // A cluster's nodes go by their leases: that the store refuses one of them says nothing about that one,
                // unless it has no space left for any.
                Some(why) if !self.is_clustered() || why.starts_with(DISK_FULL) => Readiness::Unavailable { why },
                _ => Readiness::Ready,
            },
            other => other.clone(),
        }
    }

    /// How long what is ready to run waited for its turn when that was measured last.
    pub fn scheduling_delay(&self) -> Duration {
        self.node.delay.now()
    }

    /// What the start found in flight; `None` until all of it moves again.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.node.recovery.get()
    }

    /// Takes nothing new from now on. Idempotent.
    pub fn drain(&self) {
        self.node.readiness.store(Arc::new(Readiness::Draining));
    }

    /// The node cannot go on (it was fenced, say). Idempotent.
    pub fn fail(&self, why: String) {
        self.node.readiness.store(Arc::new(Readiness::Unavailable { why }));
    }

    /// Stops all actors at once; what is durable goes on at the next start.
    pub async fn stop(&self) {
        self.drain();
        self.node.stop();
        // An error here means that it has stopped already.
        let _ = self.region.stop_and_wait(None, None).await;
        self.part().await;
    }

    /// Accepts an order whose details are known to be valid. It is durable when this returns. Under a key that was used with
    /// the same request, the first answer comes again: the order as it was accepted.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn place(&self, details: Details, key: Option<IdempotencyKey>) -> Result<Placed, CallError> {
        let (id, claim) = self.node.mint(key.as_ref());
        let _guard = claim.as_ref().map(|claim| self.node.guard(claim)).transpose()?;
        let applied = self.ask(Call::placing(id, details, claim.clone())).await;
        match self.node.placed(applied, id, claim.as_ref()).await {
            Err(CallError::Overloaded { what }) => self.node.placed_despite(what, id, claim.as_ref()).await,
            placed => placed,
        }
    }

    /// An order as its actor last committed it; `None` when it has no actor now. Asks nobody.
    pub fn live_order(&self, id: OrderId) -> Option<Versioned<Order>> {
        self.node.live_order(id)
    }

    /// An order as it stands: from its actor's last commit, or from the store. Wakes nobody.
    ///
    /// # Errors
    /// There is no such order, or the store is away.
    pub async fn order(&self, id: OrderId) -> Result<Versioned<Order>, CallError> {
        if let Some(order) = self.live_order(id) {
            return Ok(order);
        }
        let recorded = self.node.ports.store.load(id.stream()).await.map_err(away)?;
        let recorded = recorded.filter(|recorded| recorded.kind == StreamKind::Order);
        let restored = recorded
            .map(|recorded| restore::<Order>(&recorded))
            .transpose()
            .map_err(away)?;
        restored.flatten().ok_or_else(|| Rejection::NotFound("order").into())
    }

    /// Tells an order something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn command(
        &self,
        id: OrderId,
        command: saga::Command,
        options: CommandOptions,
    ) -> Result<Applied<Order>, CallError> {
        let Some(claim) = options.key.map(|key| claim_of(id, key)) else {
            return self
                .ask(Call {
                    if_match: options.if_match,
                    ..Call::new(id.stream(), command, Origin::Outside)
                })
                .await;
        };
        let _guard = self.node.guard(&claim)?;
        let stream = id.stream();
        let used = match self.node.find_claim(stream, &claim).await? {
            Some(used) => used,
            None => match self
                .ask(Call {
                    if_match: options.if_match,
                    claim: Some(claim.clone()),
                    ..Call::new(stream, command, Origin::Outside)
                })
                .await
            {
                // An earlier call that its caller gave up was carried out after all.
                Err(CallError::KeyUsed) => self.node.used(stream, &claim).await?,
                result => return result,
            },
        };
        if used.fingerprint != claim.fingerprint {
            return Err(CallError::KeyReused);
        }
        Ok(Applied {
            entity: self.order(id).await?,
            changed: false,
            reply: (),
        })
    }

    /// Committed rows of a stream after a version, at most `limit`.
    ///
    /// # Errors
    /// The store is away.
    pub async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, CallError> {
        self.node.ports.store.rows(stream, after, limit).await.map_err(away)
    }

    /// Changes of an order from now on; whoever is slow sees only the newest.
    pub fn subscribe(&self, id: OrderId) -> watch::Receiver<Option<Versioned<Order>>> {
        self.subscribe_after(id, Seq(0))
    }

    /// The same for whoever knows a version already: only later ones are told for certain.
    pub fn subscribe_after(&self, id: OrderId, known: Seq) -> watch::Receiver<Option<Versioned<Order>>> {
        self.node.watch_anywhere(id, known)
    }

    /// A channel as it stands, with who holds what of it: from its actor's last commit or, when that is elsewhere, from the
    /// store. The [`Directory`] knows channels that live elsewhere a moment later, and less of them.
    ///
    /// # Errors
    /// The store is away.
    pub async fn channel_now(&self, id: &ChannelId) -> Result<Option<Versioned<Channel>>, CallError> {
        if self.node.speaks_for(id.stream()) {
            return Ok(self.node.directory.channel(id));
        }
        let recorded = self.node.ports.store.load(id.stream()).await.map_err(away)?;
        let recorded = recorded.filter(|recorded| recorded.kind == StreamKind::Channel);
        let restored = recorded.map(|recorded| restore::<Channel>(&recorded)).transpose();
        restored.map(Option::flatten).map_err(away)
    }

    /// Tells a channel something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn channel(
        &self,
        command: channel::Command,
        id: &ChannelId,
        if_match: Option<Seq>,
    ) -> Result<Applied<Channel>, CallError> {
        let applied = self
            .ask(Call {
                if_match,
                ..Call::<Channel>::new(id.stream(), command, Origin::Outside)
            })
            .await?;
        // Who told it must find it told, wherever it lives.
        self.node.directory.offer_channel(&applied.entity);
        Ok(applied)
    }

    /// Tells a zone something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn zone(&self, command: zone::Command, id: &ZoneId) -> Result<Applied<Zone>, CallError> {
        let call = Call::<Zone>::new(id.stream(), command, Origin::Outside);
        let applied = self.ask(call).await?;
        self.node.directory.offer_zone(&applied.entity);
        Ok(applied)
    }

    async fn ask<E: Hosted>(&self, call: Call<E>) -> Result<Applied<E>, CallError> {
        let asked = tokio::time::timeout(self.node.options.call_timeout, self.node.ask_owner(call)).await;
        asked.unwrap_or(Err(CallError::TimedOut))?.applied()
    }

    /// The supervision tree: the node, its shards, and every actor that lives, by path.
    pub fn introspect(&self) -> Vec<ActorView> {
        self.node.actors(None)
    }

    /// One actor with its observable state.
    pub fn introspect_at(&self, path: &str) -> Option<ActorView> {
        self.node.actors(Some(path)).pop()
    }
}
