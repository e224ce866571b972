//! What is let in. A stream's mailbox takes so many commands, as in `actors/src/shard.rs`; and of an overloaded node others
//! ask more than it can take (the bounds of `actors/src/node.rs` and `actors/src/transport`): what is asked of it finds no
//! room, at once, or waits for its turn, longer perhaps than whoever asked. It is carried out then all the same.

use super::actor::{Ask, Failure, From};
use super::event::{What, times};
use super::hub::Hub;
use super::process::Process;
use super::queue::Time;
use domain::ids::StreamId;
use domain::rejection::Rejection;

/// The longest that a command waits for its turn.
const WAIT_MAX: Time = 2 * times::CALL;

impl Hub {
    /// A node has too much to do until then.
    pub(super) fn overload(&mut self, node: usize, until: Time) {
        let known = &mut self.troubles.overloaded[node];
        *known = until.max(*known);
    }
}

impl Process {
    /// A command has reached this node: it is let in, now or once those before it have been served, or refused.
    pub(super) fn admit(&mut self, hub: &mut Hub, stream: StreamId, ask: Box<Ask>, fresh: bool) {
        if hub.now >= hub.troubles.overloaded[self.node] {
            return self.deliver(hub, stream, *ask, fresh);
        }
        if hub.chance(hub.scenario.mood.full) {
            return self.answer(hub, ask.from, Err(Failure::Overloaded));
        }
        let wait = if hub.chance(500) {
            hub.random.between(1, times::LOOK_AGAIN)
        } else {
            hub.random.between(1, WAIT_MAX)
        };
        let is_call = matches!(ask.from, From::Call { .. });
        hub.figures.late_commands += u64::from(is_call && wait > times::LINK);
        self.later(hub, wait, What::Served(stream, ask, fresh));
    }

    /// A command reaches a stream of this node, or one that was this node's.
    pub(super) fn deliver(&mut self, hub: &mut Hub, stream: StreamId, ask: Ask, fresh: bool) {
        let shard = hub.store.map.shard_of(stream);
        let serves = if ask.wake {
            self.runs(shard)
        } else {
            self.holds(hub, shard)
        };
        if !serves {
            return self.answer(hub, ask.from, Err(Failure::Fenced));
        }
        let heard_by = |only| self.actors.get(&stream).is_some_and(|actor| actor.activation == only);
        if !ask.only.is_none_or(heard_by) {
            // There is no use in saying it again.
            return self.answer(hub, ask.from, Err(Failure::Rejected(Rejection::Stale)));
        }
        let Some(ask) = self.keep(hub, stream, ask) else {
            return;
        };
        let kind = ask.command.kind();
        if !self.actors.contains_key(&stream) {
            self.spawn(hub, stream, kind, fresh);
        }
        let Some(actor) = self.actors.get_mut(&stream) else {
            return;
        };
        if actor.queue.len() >= hub.scenario.mood.mailbox && !ask.wake {
            return self.answer(hub, ask.from, Err(Failure::Overloaded));
        }
        actor.queue.push_back(ask);
        if !self.panics(hub, stream) {
            self.run(hub, stream);
        }
    }
}
