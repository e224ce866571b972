//! How shards come and go, as `actors/src/cluster/coordinator.rs` has it: the plan is `domain::cluster::plan`.

use super::Broken;
use super::event::{What, times};
use super::hub::Hub;
use super::process::{Process, Then};
use super::store::{Reply, Request, View};
use domain::cluster::{Plan, Rules, plan};
use domain::entity::Context;
use domain::ids::Epoch;
use domain::shard::{OwnedShard, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;

const RULES: Rules = Rules { moves_max: 2 };
/// How often members are looked at while one of them is silent.
const WATCHFUL: u64 = 200;

#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Sleeping,
    /// Telling the store that it drains.
    Declaring,
    Viewing,
    Removing,
    /// Waiting for what is in flight of these.
    Stopping(Vec<ShardId>, bool),
    Releasing(Vec<(ShardId, Option<Epoch>)>),
    Taking,
    Leaving,
}

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    step: Step,
    todo: Plan,
    /// Which look is the next; earlier ones have been overtaken.
    number: u64,
    /// It was asked to look while it was busy.
    again: bool,
    /// The last view, and what was held, when there was nothing to do.
    level: Option<(Arc<View>, BTreeMap<ShardId, Epoch>)>,
    view: Option<Arc<View>>,
    /// What is in flight there is still to be read.
    unread: Vec<ShardId>,
}

impl Process {
    /// The coordinator looks as soon as it can.
    pub(super) fn look_now(&mut self, hub: &mut Hub) {
        if self.coordinator.step == Step::Sleeping {
            self.look_in(hub, 0);
        } else {
            self.coordinator.again = true;
        }
    }

    fn look_in(&mut self, hub: &mut Hub, pause: u64) {
        self.coordinator.step = Step::Sleeping;
        let pause = if std::mem::take(&mut self.coordinator.again) {
            0
        } else {
            pause
        };
        self.coordinator.number += 1;
        let number = self.coordinator.number;
        self.later(hub, pause, What::Look(number));
    }

    pub(super) fn look(&mut self, hub: &mut Hub, number: u64) {
        if self.coordinator.number != number || self.coordinator.step != Step::Sleeping {
            return;
        }
        if self.is_draining {
            self.coordinator.step = Step::Declaring;
            self.rpc(hub, Request::Renew { draining: true }, Then::Coordinator);
        } else {
            self.see(hub);
        }
    }

    fn see(&mut self, hub: &mut Hub) {
        self.coordinator.step = Step::Viewing;
        self.rpc(hub, Request::View, Then::Coordinator);
    }

    pub(super) fn coordinate(&mut self, hub: &mut Hub, reply: Reply) {
        match (std::mem::take(&mut self.coordinator.step), reply) {
            (Step::Declaring, Reply::Renewed(_)) | (Step::Removing, Reply::Done) => self.see(hub),
            (Step::Viewing, Reply::View(view)) => self.seen(hub, view),
            (Step::Releasing(shards), Reply::Done) => {
                let nobody: Arc<str> = "".into();
                let given = shards
                    .into_iter()
                    .filter_map(|(shard, epoch)| Some((shard, epoch?, nobody.clone())));
                let given: Vec<_> = given.collect();
                for (shard, epoch, owner) in &given {
                    self.learn(*shard, *epoch, owner);
                }
                hub.tell_all(self.node, &given);
                self.carry_out(hub);
            }
            (Step::Taking, Reply::Owned(owned)) => self.adopt(hub, &owned),
            (Step::Leaving, Reply::Done) => self.is_dead = true,
            (Step::Stopping(shards, release), _) => self.coordinator.step = Step::Stopping(shards, release),
            // The next view tells.
            _ => self.look_in(hub, times::RENEW_EVERY),
        }
    }

    fn seen(&mut self, hub: &mut Hub, view: Arc<View>) {
        if let Some(gone) = view.gone.iter().find(|name| **name != self.name) {
            self.coordinator.step = Step::Removing;
            let gone = gone.clone();
            hub.trace.say(hub.now, || format!("{} removes {gone}", self.name));
            return self.rpc(hub, Request::Remove(gone), Then::Coordinator);
        }
        let is_level = self
            .coordinator
            .level
            .as_ref()
            .is_some_and(|(seen, held)| Arc::ptr_eq(seen, &view) && *held == self.held);
        if is_level {
            return self.level(hub, &view);
        }
        for row in &view.cluster.shards {
            let owner = if *row.owner == *self.name {
                self.name.clone()
            } else {
                row.owner.as_str().into()
            };
            self.learn(row.shard, row.epoch, &owner);
            // Raised by this node's own journal, to find out about a commit.
            if *row.owner == *self.name
                && let Some(epoch) = self.held.get_mut(&row.shard)
            {
                *epoch = row.epoch.max(*epoch);
            }
        }
        self.coordinator.todo = plan(&view.cluster, &self.name, &self.held, &RULES);
        if self.coordinator.todo.is_empty() {
            self.coordinator.level = Some((view.clone(), self.held.clone()));
            return self.level(hub, &view);
        }
        let todo = &self.coordinator.todo;
        hub.trace.say(hub.now, || {
            let numbers = |shards: &[ShardId]| shards.iter().map(|shard| shard.0).collect::<Vec<_>>();
            let take: Vec<ShardId> = todo.take.iter().map(|(shard, _)| *shard).collect();
            format!(
                "{} plans: take {:?}, release {:?}, lost {:?}",
                self.name,
                numbers(&take),
                numbers(&todo.release),
                numbers(&todo.lost)
            )
        });
        self.coordinator.view = Some(view);
        self.carry_out(hub);
    }

    /// There is nothing to do, unless to leave.
    fn level(&mut self, hub: &mut Hub, view: &View) {
        let others = view
            .cluster
            .members
            .iter()
            .any(|member| *member.name != *self.name && member.lease_left_ms > 0 && !member.draining);
        if self.is_draining && (self.held.is_empty() || !others) {
            self.coordinator.step = Step::Leaving;
            return self.rpc(hub, Request::Remove(self.name.clone()), Then::Coordinator);
        }
        let is_somebody_silent = view.cluster.members.iter().any(|member| member.lease_left_ms <= 0);
        let pause = if is_somebody_silent || self.is_draining {
            WATCHFUL
        } else {
            times::RENEW_EVERY
        };
        self.look_in(hub, pause);
    }

    /// The next part of the plan.
    fn carry_out(&mut self, hub: &mut Hub) {
        let todo = &mut self.coordinator.todo;
        if !todo.lost.is_empty() {
            let lost = std::mem::take(&mut todo.lost);
            return self.stop_all(hub, lost, false);
        }
        if !todo.release.is_empty() {
            let release = std::mem::take(&mut todo.release);
            return self.stop_all(hub, release, true);
        }
        if !todo.take.is_empty() {
            let take = std::mem::take(&mut todo.take);
            self.coordinator.step = Step::Taking;
            return self.rpc(hub, Request::Take(take), Then::Coordinator);
        }
        self.look_in(hub, 0);
    }

    fn stop_all(&mut self, hub: &mut Hub, shards: Vec<ShardId>, release: bool) {
        self.stopping.extend(&shards);
        self.coordinator.step = Step::Stopping(shards.clone(), release);
        for shard in shards {
            self.stop(hub, shard);
        }
    }

    /// What stopped is nobody's any more, once nothing of it is in flight.
    pub(super) fn check_stopped(&mut self, hub: &mut Hub) {
        let Step::Stopping(shards, release) = &self.coordinator.step else {
            return;
        };
        if !shards.iter().all(|shard| self.has_left(*shard)) {
            return;
        }
        let (shards, release) = (shards.clone(), *release);
        let epochs = shards.iter().map(|shard| (*shard, self.held.get(shard).copied()));
        let epochs = epochs.collect();
        for shard in &shards {
            self.held.remove(shard);
            self.stopping.remove(shard);
            self.writer.release(*shard);
        }
        if release {
            self.coordinator.step = Step::Releasing(epochs);
            self.rpc(hub, Request::Release(shards), Then::Coordinator);
        } else {
            self.carry_out(hub);
        }
    }

    fn adopt(&mut self, hub: &mut Hub, owned: &[OwnedShard]) {
        self.writer.adopt(owned);
        for line in owned {
            self.held.insert(line.shard, line.epoch);
            self.starting.insert(line.shard);
            self.learn(line.shard, line.epoch, &self.name.clone());
        }
        self.coordinator.unread = owned.iter().map(|line| line.shard).collect();
        self.recover(hub);
        let ours: Vec<_> = owned
            .iter()
            .map(|line| (line.shard, line.epoch, self.name.clone()))
            .collect();
        hub.tell_all(self.node, &ours);
    }

    pub(super) fn recover(&mut self, hub: &mut Hub) {
        let shards = self.coordinator.unread.clone();
        if shards.is_empty() {
            return self.look_in(hub, 0);
        }
        self.coordinator.step = Step::Taking;
        self.rpc(hub, Request::Recover(shards), Then::Recovered);
    }

    /// Everything in flight of the new shards moves again: timers are armed, pending effects begun under their old names.
    pub(super) fn recovered(&mut self, hub: &mut Hub, reply: Reply) {
        let Reply::Recovered(live) = reply else {
            return self.later(hub, times::STORE_BACKOFF, What::RecoverAgain);
        };
        for shard in std::mem::take(&mut self.coordinator.unread) {
            self.starting.remove(&shard);
        }
        let policy = hub.policy;
        for (stream, state) in live {
            let is_held = self.held.contains_key(&hub.store.map.shard_of(stream));
            if !is_held || hub.broken == Some(Broken::Timers) {
                continue;
            }
            let context = Context {
                now: self.clock(hub),
                policy: &policy,
            };
            self.arm(hub, stream, state.kind(), state.wake_at(&context));
            self.perform(hub, state.resume(&policy), true);
        }
        self.carry_out(hub);
    }

    /// Takes in who owns a shard, if it is news.
    pub(super) fn learn(&mut self, shard: ShardId, epoch: Epoch, owner: &Arc<str>) {
        let known = &mut self.owners[usize::from(shard.0)];
        if epoch > known.0 || (epoch == known.0 && owner.is_empty()) {
            *known = (epoch, owner.clone());
        }
    }
}
