//! Actors that panic, while their process and what is under way in it go on; the rules are those of `actors/src/shard.rs` and
//! `actors/src/life.rs`. What such an actor had in memory is gone, and whoever waited for its answer knows as much as after a
//! time-out. After a pause its successor begins from the store, resumes what is pending, and hears what came meanwhile. An
//! append that it left with the writer is made, or not, and answered to nobody: its successor waits until that is over.
//!
//! Whoever crashes too often is parked until an operator looks after it; that is left to the tests of the actors, so nothing
//! is made to panic that often.

use super::Broken;
use super::actor::{Ask, Failure, From, Outcome};
use super::event::What;
use super::hub::Hub;
use super::kinds::Todo;
use super::process::Process;
use super::queue::Time;
use domain::ids::StreamId;
use domain::ports::StreamKind;
use domain::shard::ShardId;
use std::collections::VecDeque;

/// The defaults of `config/default.toml`.
const BACKOFF: Time = 100;
const BACKOFF_MAX: Time = 10_000;
const RESTARTS_MAX: u32 = 5;
const WINDOW: Time = 60_000;
/// Most commands that are kept for a successor.
const WAITING_MAX: usize = 1_024;
/// The longest that an actor is dead before its shard hears of it.
const NOTICED_WITHIN: Time = 5;

/// How often an actor crashed of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crashes {
    count: u32,
    last: Time,
}

impl Crashes {
    const fn is_over(self, now: Time) -> bool {
        now > self.last + WINDOW
    }

    /// Whether it may crash once more and is not parked.
    const fn may_grow(self, now: Time) -> bool {
        self.is_over(now) || self.count < RESTARTS_MAX
    }

    /// It crashed once more: the pause before its successor.
    fn add(&mut self, now: Time) -> Time {
        if self.is_over(now) {
            self.count = 0;
        }
        self.last = now;
        self.count += 1;
        (BACKOFF << (self.count - 1).min(16)).min(BACKOFF_MAX)
    }
}

/// The place that a crashed actor left.
#[derive(Debug)]
pub(super) struct Restarting {
    kind: StreamKind,
    pub(super) shard: ShardId,
    crashes: Crashes,
    /// Tells it from those before and after it.
    number: u64,
    noticed_at: Time,
    /// What is for the successor.
    waiting: VecDeque<Ask>,
}

impl Hub {
    /// Actors of a node panic now and then until then.
    pub(super) fn panic(&mut self, node: usize, until: Time) {
        let known = &mut self.troubles.panics[node];
        *known = until.max(*known);
    }
}

impl Process {
    /// Whether a live actor panics at this moment.
    pub(super) fn strikes(&self, hub: &mut Hub, stream: StreamId) -> bool {
        if hub.now >= hub.troubles.panics[self.node] {
            return false;
        }
        let Some(actor) = self.actors.get(&stream) else {
            return false;
        };
        actor.crashes.is_none_or(|crashes| crashes.may_grow(hub.now)) && hub.panics.chance(hub.scenario.mood.panics)
    }

    /// The actor panics with what it is at, if this is the moment for it. Whether it did.
    pub(super) fn panics(&mut self, hub: &mut Hub, stream: StreamId) -> bool {
        let strikes = self.strikes(hub, stream);
        if strikes {
            self.crash(hub, stream);
        }
        strikes
    }

    /// The actor panics over a row that has just become durable: some of what follows has been done, in its order.
    pub(super) fn crash_over(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        mut todos: Vec<Todo>,
        mut told: Vec<(From, Outcome)>,
    ) {
        let mut steps = hub.panics.index(todos.len() + told.len() + 1);
        let begun = steps.min(todos.len());
        steps -= begun;
        todos.truncate(begun);
        self.perform(hub, todos, false);
        for (from, outcome) in told.drain(..steps) {
            self.answer(hub, from, outcome);
        }
        for (from, _) in told {
            self.answer(hub, from, Err(Failure::TimedOut));
        }
        self.crash(hub, stream);
    }

    /// An actor is gone. What the writer has of it, what it began, and the timers of its shard are not.
    pub(super) fn crash(&mut self, hub: &mut Hub, stream: StreamId) {
        let Some(mut actor) = self.actors.remove(&stream) else {
            return;
        };
        hub.figures.actor_crashes += 1;
        hub.trace.say(hub.now, || {
            let leaves = if actor.in_flight.is_some() {
                " and leaves an append"
            } else {
                ""
            };
            format!(
                "{}: the actor of {} crashes{leaves}",
                self.name,
                super::hub::short(stream)
            )
        });
        for (from, outcome) in actor.fail(&Failure::TimedOut) {
            self.answer(hub, from, outcome);
        }
        if actor.is_fenced {
            return;
        }
        let mut crashes = actor.crashes.unwrap_or_default();
        let pause = crashes.add(hub.now);
        let restarting = Restarting {
            kind: actor.kind,
            shard: actor.shard,
            crashes,
            number: hub.number(),
            noticed_at: hub.now + hub.panics.between(0, NOTICED_WITHIN),
            waiting: VecDeque::new(),
        };
        self.later(hub, pause, What::Respawn(stream, restarting.number));
        self.restarting.insert(stream, restarting);
    }

    /// Keeps a command for the successor of a crashed actor; back if there is none to come.
    pub(super) fn keep(&mut self, hub: &mut Hub, stream: StreamId, ask: Ask) -> Option<Ask> {
        let Some(restarting) = self.restarting.get_mut(&stream) else {
            return Some(ask);
        };
        if hub.now < restarting.noticed_at {
            // Its shard takes it for one that runs, and it does not take what is sent there.
            self.answer(hub, ask.from, Err(Failure::Unavailable));
        } else if restarting.waiting.len() >= WAITING_MAX {
            self.answer(hub, ask.from, Err(Failure::Overloaded));
        } else {
            restarting.waiting.push_back(ask);
        }
        None
    }

    /// The pause after a crash is over.
    pub(super) fn respawn(&mut self, hub: &mut Hub, stream: StreamId, number: u64) {
        let is_it = |restarting: &Restarting| restarting.number == number;
        if !self.restarting.get(&stream).is_some_and(is_it) {
            return;
        }
        let is_appending = self.writer.has(|row| row.stream == stream);
        if is_appending && hub.broken != Some(Broken::Orphans) {
            return self.later(hub, BACKOFF, What::Respawn(stream, number));
        }
        let Some(restarting) = self.restarting.remove(&stream) else {
            return;
        };
        self.spawn(hub, stream, restarting.kind, false);
        if let Some(actor) = self.actors.get_mut(&stream) {
            actor.crashes = Some(restarting.crashes);
            actor.queue = restarting.waiting;
        }
    }

    /// Of a shard that goes nobody comes back.
    pub(super) fn forget_crashed(&mut self, hub: &mut Hub, shard: ShardId) {
        let crashed = self
            .restarting
            .extract_if(.., |_, restarting| restarting.shard == shard);
        let waiting: Vec<Ask> = crashed.flat_map(|(_, restarting)| restarting.waiting).collect();
        for ask in waiting {
            self.answer(hub, ask.from, Err(Failure::Fenced));
        }
    }
}
