//! A node's process: the actors of the shards it holds, their timers, the journal's writer, and what it believes of the
//! others. All of it is gone when the process dies.

use super::Broken;
use super::actor::{Actor, Ask, Failure, From, Outcome, Turned};
use super::calls::Call;
use super::coordinator::Coordinator;
use super::crash::Restarting;
use super::effects::Task;
use super::event::{What, times};
use super::hub::Hub;
use super::kinds::Command;
use super::queue::Time;
use super::store::{Append, Reply, Request};
use super::world::BEGIN;
use super::writer::{Appended, Want, Writer};
use domain::entity::Context;
use domain::ids::{Epoch, StreamId};
use domain::invariants::Invariant;
use domain::ports::{Refusal, StreamKind};
use domain::saga::{Answer, Receipt};
use domain::shard::ShardId;
use domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the answer of the store is for.
#[derive(Clone, Debug)]
pub(super) enum Then {
    Join(Time),
    Renew(Time),
    Coordinator,
    Recovered,
    Writer,
    Load(StreamId, u64),
    Claimed { errand: usize, attempt: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Alarm {
    at: Timestamp,
    number: u64,
    kind: StreamKind,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: Arc<str>,
    pub(super) node: usize,
    pub(super) incarnation: u32,
    /// How far its clock is off.
    skew: i64,
    pub(super) held: BTreeMap<ShardId, Epoch>,
    /// Taken, but what is in flight there is not known yet.
    pub(super) starting: BTreeSet<ShardId>,
    /// On their way out: nothing more is begun.
    pub(super) stopping: BTreeSet<ShardId>,
    /// Until when it may believe that its shards are its own, by its monotonic clock.
    pub(super) lease_until: Time,
    /// What it believes of who owns what.
    pub(super) owners: Vec<(Epoch, Arc<str>)>,
    pub(super) actors: BTreeMap<StreamId, Actor>,
    /// What is left of actors that crashed.
    pub(super) restarting: BTreeMap<StreamId, Restarting>,
    wheel: BTreeMap<StreamId, Alarm>,
    pub(super) writer: Writer,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) tasks: BTreeMap<u64, Task>,
    rpcs: BTreeMap<u64, Then>,
    pub(super) coordinator: Coordinator,
    pub(super) is_draining: bool,
    /// It ends with the event that is being handled.
    pub(super) is_dead: bool,
}

impl Process {
    pub(super) fn new(hub: &Hub, node: usize, incarnation: u32, skew: i64) -> Self {
        let nobody: Arc<str> = "".into();
        Self {
            name: Hub::name_of(node, incarnation),
            node,
            incarnation,
            skew,
            held: BTreeMap::new(),
            starting: BTreeSet::new(),
            stopping: BTreeSet::new(),
            lease_until: 0,
            owners: hub.store.map.all().map(|_| (Epoch(0), nobody.clone())).collect(),
            actors: BTreeMap::new(),
            restarting: BTreeMap::new(),
            wheel: BTreeMap::new(),
            writer: Writer::new(hub.broken),
            calls: BTreeMap::new(),
            tasks: BTreeMap::new(),
            rpcs: BTreeMap::new(),
            coordinator: Coordinator::default(),
            is_draining: false,
            is_dead: false,
        }
    }

    /// What its clock shows.
    pub(super) fn clock(&self, hub: &Hub) -> Timestamp {
        Timestamp(BEGIN.0 + i64::try_from(hub.now).unwrap_or(i64::MAX) + self.skew)
    }

    /// When its clock shows this, or now if it has shown it already.
    pub(super) fn when(&self, hub: &Hub, at: Timestamp) -> Time {
        let begun = at.0.saturating_sub(BEGIN.0).saturating_sub(self.skew);
        u64::try_from(begun).unwrap_or(0).max(hub.now)
    }

    pub(super) fn later(&self, hub: &mut Hub, pause: Time, what: What) {
        self.at(hub, hub.now + pause, what);
    }

    pub(super) fn at(&self, hub: &mut Hub, at: Time, what: What) {
        hub.put_process(at, self.node, self.incarnation, what);
    }

    /// Whether it may act as the owner of the shard.
    pub(super) fn holds(&self, hub: &Hub, shard: ShardId) -> bool {
        self.runs(shard) && hub.now < self.lease_until
    }

    pub(super) fn runs(&self, shard: ShardId) -> bool {
        self.held.contains_key(&shard) && !self.starting.contains(&shard) && !self.stopping.contains(&shard)
    }

    pub(super) fn rpc(&mut self, hub: &mut Hub, request: Request, then: Then) {
        let rpc = hub.number();
        self.rpcs.insert(rpc, then);
        hub.ask_store(self.node, &self.name, rpc, request);
    }

    pub(super) fn begin(&mut self, hub: &mut Hub) {
        self.rpc(hub, Request::Join, Then::Join(hub.now));
    }

    pub(super) fn handle(&mut self, hub: &mut Hub, what: What) {
        match what {
            What::JoinAgain => self.begin(hub),
            What::Renew => {
                let request = Request::Renew {
                    draining: self.is_draining,
                };
                self.rpc(hub, request, Then::Renew(hub.now));
            }
            What::Look(number) => self.look(hub, number),
            What::Heard(rpc, reply) => self.heard(hub, rpc, reply),
            What::Ask(stream, ask, fresh) => self.admit(hub, stream, ask, fresh),
            What::Served(stream, ask, fresh) => self.deliver(hub, stream, *ask, fresh),
            What::Answered { call, attempt, outcome } => self.call_answered(hub, call, attempt, outcome),
            What::CallAgain(call) => self.try_call(hub, call),
            What::CallLost(call, attempt) => self.call_answered(hub, call, attempt, Err(Failure::TimedOut)),
            What::Owners(owners) => owners.into_iter().for_each(|(shard, epoch, owner)| {
                self.learn(shard, epoch, &owner);
            }),
            What::Timer(stream, number) => self.timer(hub, stream, number),
            What::TaskBegins(task) => self.task_begins(hub, task),
            What::TaskAnswered(task, answer) => self.task_answered(hub, task, answer),
            What::TaskLost(task) => self.task_lost(hub, task),
            What::Insists(task) => self.insist(hub, task),
            What::ActorAgain(stream, activation) => self.actor_again(hub, stream, activation),
            What::Respawn(stream, number) => self.respawn(hub, stream, number),
            What::WriterAgain => {
                let want = self.writer.resumed();
                self.want(hub, want);
            }
            What::RecoverAgain => self.recover(hub),
            What::Errand { errand, attempt } => self.errand(hub, errand, attempt),
            What::Drain => {
                self.is_draining = true;
                self.look_now(hub);
            }
        }
        self.pump(hub);
    }

    fn heard(&mut self, hub: &mut Hub, rpc: u64, reply: Reply) {
        let Some(then) = self.rpcs.remove(&rpc) else { return };
        match (then, reply) {
            (Then::Join(asked), Reply::Done) => {
                self.lease_until = asked + times::LEASE;
                hub.store.hold_lifeline(&self.name);
                self.later(hub, times::RENEW_EVERY, What::Renew);
                self.look_now(hub);
            }
            (Then::Join(_), _) => self.later(hub, times::STORE_BACKOFF, What::JoinAgain),
            (Then::Renew(asked), reply) => {
                match reply {
                    Reply::Renewed(true) => self.lease_until = self.lease_until.max(asked + times::LEASE),
                    Reply::Renewed(false) => self.is_dead = true,
                    _ => {}
                }
                self.later(hub, times::RENEW_EVERY, What::Renew);
            }
            (Then::Coordinator, reply) => self.coordinate(hub, reply),
            (Then::Recovered, reply) => self.recovered(hub, reply),
            (Then::Writer, reply) => {
                let want = self.writer.heard(reply);
                self.want(hub, want);
            }
            (Then::Load(stream, activation), reply) => self.loaded(hub, stream, activation, reply),
            (Then::Claimed { errand, attempt }, reply) => {
                let (stream, outcome) = match reply {
                    Reply::Claims(found) if let [Some(stream)] = found[..] => {
                        (stream, Ok(Answer::Done(Receipt::Empty)))
                    }
                    _ => (Hub::nowhere(), Err(Failure::Unavailable)),
                };
                hub.answer_errand(self.node, errand, attempt, stream, outcome);
            }
        }
    }

    fn want(&mut self, hub: &mut Hub, want: Want) {
        match want {
            Want::Nothing => {}
            Want::Ask(request) => self.rpc(hub, request, Then::Writer),
            Want::Pause(pause) => self.later(hub, pause, What::WriterAgain),
        }
    }

    /// Hands out what the writer has for the actors, and the writer what they have for it, until neither has anything.
    fn pump(&mut self, hub: &mut Hub) {
        loop {
            let want = self.writer.next();
            self.want(hub, want);
            let answers = std::mem::take(&mut self.writer.answers);
            let lost = std::mem::take(&mut self.writer.lost);
            if answers.is_empty() && lost.is_empty() {
                break;
            }
            for (append, outcome) in answers {
                self.appended(hub, &append, &outcome);
            }
            for shard in lost {
                self.fence(hub, shard);
            }
        }
        self.check_stopped(hub);
    }

    pub(super) fn spawn(&mut self, hub: &mut Hub, stream: StreamId, kind: StreamKind, fresh: bool) {
        let activation = hub.number();
        let mut actor = Actor::new(stream, hub.store.map.shard_of(stream), kind, activation);
        if fresh {
            actor.loaded(None);
        } else {
            self.rpc(hub, Request::Load(stream, activation), Then::Load(stream, activation));
        }
        self.actors.insert(stream, actor);
    }

    fn loaded(&mut self, hub: &mut Hub, stream: StreamId, activation: u64, reply: Reply) {
        let Some(actor) = self
            .actors
            .get_mut(&stream)
            .filter(|actor| actor.activation == activation)
        else {
            return;
        };
        let Reply::Loaded(loaded) = reply else {
            return self.later(hub, times::STORE_BACKOFF, What::ActorAgain(stream, activation));
        };
        actor.loaded(loaded);
        let resumed = actor.state.clone().filter(|_| actor.crashes.is_some());
        if self.panics(hub, stream) {
            return;
        }
        if let Some(state) = resumed {
            self.perform(hub, state.resume(&hub.policy.clone()), true);
        }
        self.schedule(hub, stream, false);
        self.run(hub, stream);
    }

    fn actor_again(&mut self, hub: &mut Hub, stream: StreamId, activation: u64) {
        let Some(actor) = self
            .actors
            .get_mut(&stream)
            .filter(|actor| actor.activation == activation)
        else {
            return;
        };
        if actor.is_loading {
            self.rpc(hub, Request::Load(stream, activation), Then::Load(stream, activation));
        } else {
            actor.is_paused = false;
            self.run(hub, stream);
        }
    }

    /// Turns, as long as there is something to decide on and nothing is being written.
    pub(super) fn run(&mut self, hub: &mut Hub, stream: StreamId) {
        let now = self.clock(hub);
        let policy = hub.policy;
        let context = Context { now, policy: &policy };
        let mut answered = Vec::new();
        let mut quiet = false;
        while let Some(actor) = self.actors.get_mut(&stream).filter(|actor| actor.may_turn()) {
            match actor.turn(&context, &mut answered) {
                Turned::Nothing { woken } => quiet |= woken,
                Turned::Waits => {}
                Turned::Row(append) => {
                    if hub.broken == Some(Broken::EffectsFirst) {
                        let todos = actor.in_flight.as_mut().map(|turn| std::mem::take(&mut turn.todos));
                        self.perform(hub, todos.unwrap_or_default(), false);
                    }
                    self.writer.push(*append);
                }
            }
        }
        for (from, outcome) in answered {
            self.answer(hub, from, outcome);
        }
        if quiet {
            self.schedule(hub, stream, true);
        }
        if !self.panics(hub, stream) && self.actors.get(&stream).is_some_and(Actor::may_go) {
            self.actors.remove(&stream);
        }
    }

    fn appended(&mut self, hub: &mut Hub, append: &Append, outcome: &Appended) {
        let (stream, activation) = (append.stream, append.activation);
        let strikes = *outcome == Appended::Committed && self.strikes(hub, stream);
        let Some(actor) = self
            .actors
            .get_mut(&stream)
            .filter(|actor| actor.activation == activation)
        else {
            // Whoever wrote it has crashed.
            hub.figures.orphans += u64::from(*outcome == Appended::Committed);
            return;
        };
        let told = match outcome {
            Appended::Committed => {
                let (todos, told) = actor.commit();
                if strikes {
                    return self.crash_over(hub, stream, todos, told);
                }
                self.perform(hub, todos, false);
                self.schedule(hub, stream, false);
                told
            }
            Appended::Fenced => {
                let told = actor.fail(&Failure::Fenced);
                self.fence(hub, append.shard);
                told
            }
            Appended::Unavailable => {
                actor.is_paused = true;
                let told = actor.put_back(&Failure::Unavailable);
                self.later(hub, times::STORE_BACKOFF, What::ActorAgain(stream, activation));
                told
            }
            Appended::Refused(Refusal::DuplicateKey) => actor.put_back(&Failure::KeyUsed),
            // Somebody else wrote the stream: start over from the store.
            Appended::Refused(_) => {
                let told = actor.fail(&Failure::Unavailable);
                self.crash(hub, stream);
                told
            }
        };
        for (from, outcome) in told {
            self.answer(hub, from, outcome);
        }
        self.run(hub, stream);
        self.bury(hub, stream);
    }

    /// An actor of a shard that goes has gone when nothing of it is in flight.
    fn bury(&mut self, hub: &mut Hub, stream: StreamId) {
        if let Some(actor) = self.actors.get_mut(&stream).filter(|actor| actor.is_fenced) {
            let told = actor.refuse_all(&Failure::Fenced);
            if actor.in_flight.is_none() {
                self.actors.remove(&stream);
            }
            for (from, outcome) in told {
                self.answer(hub, from, outcome);
            }
        }
    }

    /// A shard goes: its actors end, its timers stand still.
    pub(super) fn stop(&mut self, hub: &mut Hub, shard: ShardId) {
        self.wheel.retain(|stream, _| hub.store.map.shard_of(*stream) != shard);
        self.forget_crashed(hub, shard);
        let streams: Vec<StreamId> = self
            .actors
            .values()
            .filter(|actor| actor.shard == shard)
            .map(|actor| actor.stream)
            .collect();
        for stream in streams {
            if let Some(actor) = self.actors.get_mut(&stream) {
                actor.is_fenced = true;
            }
            self.bury(hub, stream);
        }
    }

    /// Whether something of a shard is still under way.
    pub(super) fn has_left(&self, shard: ShardId) -> bool {
        !self.actors.values().any(|actor| actor.shard == shard) && !self.writer.has(|row| row.shard == shard)
    }

    /// The shard is another's.
    pub(super) fn fence(&mut self, hub: &mut Hub, shard: ShardId) {
        hub.trace
            .say(hub.now, || format!("{} has lost shard {shard}", self.name));
        self.held.remove(&shard);
        self.starting.remove(&shard);
        self.writer.release(shard);
        self.stop(hub, shard);
        self.look_now(hub);
    }

    pub(super) fn answer(&mut self, hub: &mut Hub, from: From, outcome: Outcome) {
        if let From::Call { process, call, attempt } = from {
            hub.message(self.node, &process, What::Answered { call, attempt, outcome });
        }
    }

    /// Arms the stream's timer. `quiet`: it was woken and nothing changed.
    pub(super) fn schedule(&mut self, hub: &mut Hub, stream: StreamId, quiet: bool) {
        let Some(actor) = self.actors.get(&stream).filter(|actor| !actor.is_fenced) else {
            return;
        };
        let Some(state) = &actor.state else { return };
        let policy = hub.policy;
        let context = Context {
            now: self.clock(hub),
            policy: &policy,
        };
        let pause = if quiet { times::QUIET } else { 0 };
        let earliest = context.now + domain::time::Millis(pause);
        let wake_at = state.wake_at(&context).map(|at| at.max(earliest));
        self.arm(hub, stream, actor.kind, wake_at);
    }

    pub(super) fn arm(&mut self, hub: &mut Hub, stream: StreamId, kind: StreamKind, wake_at: Option<Timestamp>) {
        let Some(at) = wake_at else {
            self.wheel.remove(&stream);
            return;
        };
        if self.wheel.get(&stream).is_some_and(|alarm| alarm.at == at) {
            return;
        }
        let number = hub.number();
        self.wheel.insert(stream, Alarm { at, number, kind });
        self.at(hub, self.when(hub, at), What::Timer(stream, number));
    }

    fn timer(&mut self, hub: &mut Hub, stream: StreamId, number: u64) {
        let Some(alarm) = self.wheel.get(&stream).copied().filter(|alarm| alarm.number == number) else {
            return;
        };
        self.wheel.remove(&stream);
        if self.clock(hub) < alarm.at {
            let detail = format!("{stream} was woken at {:?} instead of {:?}", self.clock(hub), alarm.at);
            hub.checker.report(Invariant::Tm1, detail);
        }
        let ask = Ask {
            command: Command::wake(alarm.kind),
            from: From::Nobody,
            claim: None,
            inside: true,
            wake: true,
            only: None,
        };
        self.deliver(hub, stream, ask, false);
    }
}
