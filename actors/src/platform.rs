//! The platform as its users see it: the handle through which commands reach actors and state is read.

use crate::ask::{Applied, CommandOptions, IdempotencyKey, Placed, Versioned};
use crate::call::{Call, Origin};
use crate::delay::Delay;
use crate::directory::Directory;
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::introspect::ActorView;
use crate::node::{Node, Readiness, Recovery};
use crate::options::{ActorOptions, Ports};
use crate::region::{RegionActor, RegionMessage};
use crate::restore::restore;
use domain::channel::{self, Channel};
use domain::ids::{ChannelId, HashSlot, OrderId, Seq, StreamId, ZoneId};
use domain::order::{Details, Order};
use domain::policy::Policy;
use domain::ports::{ClaimRecord, Clock, DISK_FULL, KeyClaim, Recorded, Row, StoreError};
use domain::rejection::Rejection;
use domain::saga;
use domain::zone::{self, Zone};
use ractor::{Actor, ActorRef};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Until authentication brings others, everybody is this tenant.
const TENANT: &str = "default";

/// How often a slot of this node's own is looked for.
const SLOT_DRAWS: usize = 16;

/// A running platform. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    pub(crate) node: Arc<Node>,
    pub(crate) region: ActorRef<RegionMessage>,
}

/// Frees an idempotency key when its request is over.
struct KeyGuard<'a>(&'a Node, String);

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        self.0.keys_in_flight.remove(&self.1);
    }
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

    /// Accepts an order. It is durable when this returns. Under a key that was used with the same request, the first
    /// answer comes again: the order as it was accepted.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn place(&self, details: Details, key: Option<IdempotencyKey>) -> Result<Placed, CallError> {
        self.place_awaiting(details, key, Duration::ZERO).await
    }

    /// The same for whoever will wait for the order's outcome, and for how long: another node that has the order answers
    /// with the outcome if it comes soon enough, so that it need not be asked for by itself.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn place_awaiting(
        &self,
        details: Details,
        key: Option<IdempotencyKey>,
        wait: Duration,
    ) -> Result<Placed, CallError> {
        let (slot, scoped) = match &key {
            Some(key) => {
                let (slot, claim) = scoped(key);
                (slot, Some(claim))
            }
            None => (self.any_slot(), None),
        };
        let id = OrderId::mint(self.node.ports.clock.now(), slot, self.node.ports.ids.random());
        let _guard = scoped.as_ref().map(|claim| self.guard(&claim.key)).transpose()?;
        let command = saga::Command::Place {
            id,
            details: Arc::new(details),
        };
        let call = Call {
            claim: scoped.clone(),
            hold_back_ms: u32::try_from(wait.min(self.node.options.call_timeout / 2).as_millis()).unwrap_or(u32::MAX),
            ..Call::<Order>::new(id.stream(), command, Origin::New)
        };
        match self.ask(call).await {
            Ok(applied) => Ok(Placed {
                order: applied.entity,
                replayed: false,
            }),
            Err(CallError::KeyUsed) => {
                let claim = scoped.ok_or_else(|| CallError::Unavailable("a key clashed that nobody gave".into()))?;
                self.first_answer(self.used(id.stream(), &claim).await?, &claim).await
            }
            // There is no room for a new order; one that was accepted before needs none. But a refusal must be cheap: when
            // many look, the others are refused unseen, and will find their order when they come back.
            Err(CallError::Overloaded { what }) => {
                if let Some(claim) = scoped
                    && let Ok(_place) = self.node.lookups.try_acquire()
                    && let Some(used) = self.find_claim(id.stream(), &claim).await?
                {
                    return self.first_answer(used, &claim).await;
                }
                Err(CallError::Overloaded { what })
            }
            Err(error) => Err(error),
        }
    }

    /// A slot for an order that has no key: one of this node's own shards, if it has enough of them, so that the order
    /// need not cross a link.
    fn any_slot(&self) -> HashSlot {
        let draw = || HashSlot::of(&[&self.node.ports.ids.random().to_be_bytes()]);
        let is_here = |slot: &HashSlot| self.node.holds(self.node.map.shard_of_slot(*slot));
        (1..SLOT_DRAWS).map(|_| draw()).find(is_here).unwrap_or_else(draw)
    }

    fn guard(&self, key: &str) -> Result<KeyGuard<'_>, CallError> {
        if self.node.keys_in_flight.insert(key.to_owned()) {
            Ok(KeyGuard(&self.node, key.to_owned()))
        } else {
            Err(CallError::InProgress)
        }
    }

    /// The first answer to an order that was accepted under this key, if one was; for retries whose request would no
    /// longer pass the checks that it passed the first time.
    ///
    /// # Errors
    /// The key came with another request, its request is under way, or the store is away.
    pub async fn placed(&self, key: &IdempotencyKey) -> Result<Option<Placed>, CallError> {
        let (slot, claim) = scoped(key);
        let _guard = self.guard(&claim.key)?;
        let store = &self.node.ports.store;
        let used = store
            .claim(self.node.map.shard_of_slot(slot), &claim.key)
            .await
            .map_err(away)?;
        let Some(used) = used else { return Ok(None) };
        self.first_answer(used, &claim).await.map(Some)
    }

    /// Who used a key that is known to be used.
    async fn used(&self, near: StreamId, claim: &KeyClaim) -> Result<ClaimRecord, CallError> {
        let found = self.find_claim(near, claim).await?;
        found.ok_or_else(|| CallError::Unavailable("the idempotency key vanished".into()))
    }

    async fn find_claim(&self, near: StreamId, claim: &KeyClaim) -> Result<Option<ClaimRecord>, CallError> {
        let shard = self.node.map.shard_of(near);
        self.node.ports.store.claim(shard, &claim.key).await.map_err(away)
    }

    /// The order that used the key first, as its first row left it.
    async fn first_answer(&self, found: ClaimRecord, claim: &KeyClaim) -> Result<Placed, CallError> {
        let store = &self.node.ports.store;
        if found.fingerprint != claim.fingerprint {
            return Err(CallError::KeyReused);
        }
        let rows = store.rows(found.stream, Seq(0), 1).await.map_err(away)?;
        let recorded = Recorded {
            stream: found.stream,
            kind: domain::ports::StreamKind::Order,
            snapshot: None,
            rows,
        };
        let order = restore::<Order>(&recorded)
            .map_err(away)?
            .ok_or(Rejection::NotFound("order"))?;
        Ok(Placed { order, replayed: true })
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
        let recorded = recorded.filter(|recorded| recorded.kind == domain::ports::StreamKind::Order);
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
        let claim = options.key.map(|key| KeyClaim {
            key: format!("{TENANT}:{id}:{}", key.key),
            fingerprint: key.fingerprint,
        });
        let Some(claim) = claim else {
            return self
                .ask(Call {
                    if_match: options.if_match,
                    ..Call::new(id.stream(), command, Origin::Outside)
                })
                .await;
        };
        let _guard = self.guard(&claim.key)?;
        let stream = id.stream();
        let used = match self.find_claim(stream, &claim).await? {
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
                Err(CallError::KeyUsed) => self.used(stream, &claim).await?,
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
        let recorded = recorded.filter(|recorded| recorded.kind == domain::ports::StreamKind::Channel);
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
        let asked = tokio::time::timeout(self.node.options.call_timeout, self.node.call(call)).await;
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

/// Where the order of a key lives, and the key as it is kept: retries of one request meet in one place.
fn scoped(key: &IdempotencyKey) -> (HashSlot, KeyClaim) {
    let slot = HashSlot::of(&[TENANT.as_bytes(), key.key.as_bytes()]);
    let claim = KeyClaim {
        key: format!("{TENANT}:{}", key.key),
        fingerprint: key.fingerprint.clone(),
    };
    (slot, claim)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn away(error: StoreError) -> CallError {
    CallError::Unavailable(error.to_string())
}
