//! The coordinator: takes the shards that should be this node's, gives away those that should be another's, and finds out
//! who is gone. Every node has one; none leads.
//!
//! A shard comes: it is taken in the store (its epoch grows, which fences whoever had it), the journal adopts it, the
//! region brings what is in flight in it to life, and everybody is told. A shard goes: the region stops its actors, the
//! journal writes what was appended before and refuses the rest as fenced, and only then it is nobody's in the store.
//! Whoever asked meanwhile is answered `Fenced`, which asks again at the next owner: nothing is drained, what is not
//! finished goes on there from the log, as after a crash.

use super::{Cluster, Notice};
use crate::node::{Node, Readiness, Recovery};
use crate::region::RegionMessage;
use domain::cluster::{Plan, plan};
use domain::ids::Epoch;
use domain::ports::{ClusterView, Member, ShardOwner, StoreError};
use domain::shard::{OwnedShard, ShardId};
use fail::fail_point;
use ractor::ActorRef;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often members are looked at while one of them cannot be reached.
const WATCHFUL: Duration = Duration::from_millis(100);
/// How long a connection to a silent node may take to be refused.
const KNOCK: Duration = Duration::from_millis(200);
/// Most shards that are taken at a time: what is in flight in the first should not wait for that in the last.
const TAKE_MAX: usize = 64;

/// What the coordinator is told.
#[derive(Debug)]
pub(crate) enum Word {
    /// Something may have to be done.
    Look,
    /// The link with a node is up, or lost.
    Link { node: String, up: bool },
    /// The journal found that a shard is another's.
    Fenced(ShardId),
    /// Give everything away; answered once nothing is left, or nobody would have it.
    Drain(oneshot::Sender<()>),
}

/// How a round went.
enum Round {
    /// Nothing is left to do.
    Level,
    /// There is more to do at once.
    Busy,
}

pub(crate) struct Coordinator {
    node: Arc<Node>,
    cluster: Arc<Cluster>,
    region: ActorRef<RegionMessage>,
    held: BTreeMap<ShardId, Epoch>,
    words_rx: mpsc::Receiver<Word>,
    /// Who waits for the end of a drain.
    drained: Vec<oneshot::Sender<()>>,
    /// Whether what other nodes said may have been missed.
    stale: bool,
    started: Instant,
    /// What was found in flight so far.
    recovery: Recovery,
}

impl Coordinator {
    pub(crate) fn new(
        node: Arc<Node>,
        cluster: Arc<Cluster>,
        region: ActorRef<RegionMessage>,
        words_rx: mpsc::Receiver<Word>,
    ) -> Self {
        Self {
            node,
            cluster,
            region,
            held: BTreeMap::new(),
            words_rx,
            drained: Vec::new(),
            stale: true,
            started: Instant::now(),
            recovery: Recovery::default(),
        }
    }

    /// Coordinates until the node stops.
    pub(crate) async fn run(mut self) {
        let mut next = Instant::now();
        while !self.node.is_stopped() {
            tokio::select! {
                word = self.words_rx.recv() => {
                    let Some(word) = word else { return };
                    self.hear(word).await;
                    while let Ok(word) = self.words_rx.try_recv() {
                        self.hear(word).await;
                    }
                }
                () = sleep_until(next) => {}
            }
            let pause = match self.round().await {
                Ok(Round::Busy) => Duration::ZERO,
                Ok(Round::Level) if self.is_anybody_silent() || !self.drained.is_empty() => WATCHFUL,
                Ok(Round::Level) => self.cluster.options.renew_every,
                Err(error) => {
                    tracing::warn!(%error, "members and owners cannot be read");
                    self.cluster.options.renew_every
                }
            };
            next = Instant::now() + pause;
        }
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Look => {}
            Word::Link { node, up } => {
                self.stale |= up;
                tracing::info!(node, up, "link");
            }
            Word::Fenced(shard) => self.lose(vec![shard]).await,
            Word::Drain(drained) => {
                self.node.leave();
                self.drained.push(drained);
            }
        }
    }

    async fn round(&mut self) -> Result<Round, StoreError> {
        let membership = &self.cluster.membership;
        if self.node.is_leaving() {
            // So that the plans of all nodes know of it.
            membership
                .renew(&self.cluster.name, self.cluster.lease.length_ms(), true)
                .await?;
        }
        let mut view = membership.view().await?;
        if self.remove_the_gone(&view).await? {
            view = membership.view().await?;
        }
        self.introduce(&view.members);
        self.cluster.owners.learn(&view.shards);
        self.believe(&view);
        if self.stale {
            self.node.refresh_replicas().await?;
            self.stale = false;
        }
        self.forgive(&mut view);
        let todo = plan(&view, &self.cluster.name, &self.held, &self.cluster.rules);
        let is_busy = !todo.release.is_empty() || todo.take.len() > TAKE_MAX;
        self.carry_out(todo).await?;
        metrics::gauge!("uoop_shards_owned").set(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
        self.finish_drain(&view, is_busy);
        if !is_busy {
            self.node.recovered(&Recovery {
                elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                ..self.recovery.clone()
            });
        }
        Ok(if is_busy { Round::Busy } else { Round::Level })
    }

    async fn carry_out(&mut self, todo: Plan) -> Result<(), StoreError> {
        if !todo.lost.is_empty() {
            self.lose(todo.lost).await;
        }
        if !todo.release.is_empty() {
            self.give_away(todo.release).await?;
        }
        let some: Vec<_> = todo.take.into_iter().take(TAKE_MAX).collect();
        if !some.is_empty() {
            self.take(&some).await?;
        }
        Ok(())
    }

    /// An epoch that grew under this node's own name was raised by its journal, to find out about a commit.
    fn believe(&mut self, view: &ClusterView) {
        for row in view.shards.iter().filter(|row| *row.owner == *self.cluster.name) {
            if let Some(epoch) = self.held.get_mut(&row.shard) {
                *epoch = row.epoch.max(*epoch);
            }
        }
    }

    /// Whoever has just reached the store again after an outage may see the leases of all others lapsed, although they are
    /// about to renew them too. They get as long as this node has had.
    fn forgive(&self, view: &mut ClusterView) {
        if !self.cluster.lease.is_settled() {
            for member in &mut view.members {
                member.lease_left_ms = member.lease_left_ms.max(1);
            }
        }
    }

    fn introduce(&self, members: &[Member]) {
        let others = members.iter().filter(|member| *member.name != *self.cluster.name);
        let others: Vec<_> = others
            .map(|member| (member.name.clone(), member.address.clone()))
            .collect();
        if let Some(transport) = self.cluster.transport() {
            transport.set_members(&others);
        }
    }

    fn is_anybody_silent(&self) -> bool {
        let links = self.cluster.transport().map(|transport| transport.links());
        links.is_some_and(|links| links.iter().any(|link| !link.up))
    }

    /// Removes the members that are certainly gone: their lifeline is cut, and where they listened nobody does.
    async fn remove_the_gone(&self, view: &ClusterView) -> Result<bool, StoreError> {
        let links = self.cluster.transport().map(|transport| transport.links());
        let up: Vec<String> = links
            .into_iter()
            .flatten()
            .filter_map(|link| link.up.then_some(link.node))
            .collect();
        let mut removed = false;
        for member in &view.members {
            if *member.name == *self.cluster.name || up.contains(&member.name) {
                continue;
            }
            let alive = self.cluster.membership.is_alive(&member.name).await?;
            if !alive && (self.is_my_predecessor(member) || is_refused(&member.address).await) {
                tracing::warn!(node = member.name, "a node is gone; its shards are free");
                metrics::counter!("uoop_nodes_removed_total").increment(1);
                self.cluster.membership.remove(&member.name).await?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Whether a member is an earlier process of this very node, whose place this one has taken.
    fn is_my_predecessor(&self, member: &Member) -> bool {
        let node = |name: &str| name.rsplit_once('-').map(|(node, _)| node.to_owned());
        node(&member.name) == node(&self.cluster.name)
    }

    async fn take(&mut self, shards: &[(ShardId, Epoch)]) -> Result<(), StoreError> {
        let begun = Instant::now();
        let owned = self.cluster.membership.take(&self.cluster.name, shards).await?;
        if owned.is_empty() {
            return Ok(());
        }
        fail_point!("shard::taken");
        self.node.ports.journal.adopt(&owned).await;
        let ids: Vec<ShardId> = owned.iter().map(|owned| owned.shard).collect();
        self.held.extend(owned.iter().map(|owned| (owned.shard, owned.epoch)));
        let (done_tx, done_rx) = oneshot::channel();
        let adopt = RegionMessage::Adopt {
            shards: ids.clone(),
            done: done_tx,
        };
        // A region that has ended, or is about to, tells nobody: nothing of the shards runs here.
        let adopted = match self.region.cast(adopt) {
            Ok(()) => done_rx.await.ok(),
            Err(_) => None,
        };
        let recovery = match adopted {
            Some(Ok(recovery)) => recovery,
            Some(Err(error)) => return self.give_back(&ids, error).await,
            None => return Ok(()),
        };
        tracing::info!(?recovery, "shards taken");
        self.recovery.orders_live += recovery.orders_live;
        self.recovery.effects_resumed += recovery.effects_resumed;
        self.recovery.timers_armed += recovery.timers_armed;
        metrics::histogram!("uoop_shards_taken_seconds").record(begun.elapsed());
        metrics::counter!("uoop_shards_taken_total").increment(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        self.tell(&owned);
        Ok(())
    }

    /// Makes shards nobody's again in which this node cannot bring to life what is in flight. Nobody was told that they
    /// are here. They are tried again with the next look, here or where they belong by then.
    async fn give_back(&mut self, shards: &[ShardId], why: StoreError) -> Result<(), StoreError> {
        tracing::error!(error = %why, shards = shards.len(), "what is in flight cannot be read; the shards are given back");
        metrics::counter!("uoop_shards_given_back_total").increment(u64::try_from(shards.len()).unwrap_or(u64::MAX));
        self.stop(shards).await;
        self.cluster.membership.release(&self.cluster.name, shards).await?;
        Err(why)
    }

    async fn give_away(&mut self, shards: Vec<ShardId>) -> Result<(), StoreError> {
        let epochs: Vec<(ShardId, Option<Epoch>)> = shards
            .iter()
            .map(|shard| (*shard, self.held.get(shard).copied()))
            .collect();
        self.stop(&shards).await;
        fail_point!("shard::release");
        self.cluster.membership.release(&self.cluster.name, &shards).await?;
        metrics::counter!("uoop_shards_given_total").increment(u64::try_from(shards.len()).unwrap_or(u64::MAX));
        tracing::info!(shards = shards.len(), "shards given away");
        let nobody = epochs.into_iter().filter_map(|(shard, epoch)| {
            Some(ShardOwner {
                shard,
                epoch: epoch?,
                owner: String::new(),
            })
        });
        let nobody: Vec<_> = nobody.collect();
        self.cluster.owners.learn(&nobody);
        self.cluster.tell_all(&Notice::Owners(nobody));
        Ok(())
    }

    /// Stops what runs of shards that are another's already.
    async fn lose(&mut self, shards: Vec<ShardId>) {
        let held: Vec<ShardId> = shards
            .into_iter()
            .filter(|shard| self.held.contains_key(shard))
            .collect();
        if !held.is_empty() {
            tracing::warn!(shards = held.len(), "shards lost: another node has taken them over");
            metrics::counter!("uoop_shards_lost_total").increment(u64::try_from(held.len()).unwrap_or(u64::MAX));
            self.stop(&held).await;
        }
    }

    async fn stop(&mut self, shards: &[ShardId]) {
        let (done_tx, done_rx) = oneshot::channel();
        let leave = RegionMessage::Leave {
            shards: shards.to_vec(),
            done: done_tx,
        };
        if self.region.cast(leave).is_ok() {
            // An error means that the region has ended, and every actor with it.
            let _ = done_rx.await;
        }
        for shard in shards {
            self.held.remove(shard);
        }
        for observer in &self.node.ports.observers {
            observer.forget(&|order| shards.contains(&self.node.map.shard_of(order.stream())));
        }
    }

    fn tell(&self, owned: &[OwnedShard]) {
        let owners: Vec<ShardOwner> = owned
            .iter()
            .map(|owned| ShardOwner {
                shard: owned.shard,
                epoch: owned.epoch,
                owner: self.cluster.name.to_string(),
            })
            .collect();
        self.cluster.owners.learn(&owners);
        self.cluster.owners.announce();
        self.cluster.tell_all(&Notice::Owners(owners));
    }

    /// A drain is over when nothing is held and others have it all, or nobody is there to have it.
    fn finish_drain(&mut self, view: &ClusterView, is_busy: bool) {
        let others = view
            .members
            .iter()
            .any(|member| *member.name != *self.cluster.name && member.lease_left_ms > 0 && !member.draining);
        let is_taken = view.shards.iter().all(|shard| !shard.owner.is_empty());
        if self.node.is_leaving() && !is_busy && (!others || (self.held.is_empty() && is_taken)) {
            for drained in self.drained.drain(..) {
                let _ = drained.send(());
            }
        }
    }
}

/// Whether a host that is there says that nobody listens.
async fn is_refused(address: &str) -> bool {
    let knocked = timeout(KNOCK, TcpStream::connect(address)).await;
    matches!(knocked, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}

/// Renews the node's lease until the node stops. `expelled`: it was removed from the cluster, and is out for good.
pub(crate) async fn renew(node: Arc<Node>, cluster: Arc<Cluster>) {
    while !node.is_stopped() {
        let asked = Instant::now();
        let renewed = cluster
            .membership
            .renew(&cluster.name, cluster.lease.length_ms(), node.is_leaving())
            .await;
        match renewed {
            Ok(true) => cluster.lease.renewed(asked),
            Ok(false) => {
                tracing::error!("this node was removed from the cluster: another saw it gone");
                let why = "this node was removed from the cluster".to_owned();
                node.readiness.store(Arc::new(Readiness::Unavailable { why }));
                cluster.expelled.cancel();
                return;
            }
            Err(error) => tracing::warn!(%error, "the lease cannot be renewed"),
        }
        sleep(cluster.options.renew_every).await;
    }
}
