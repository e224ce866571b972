//! Asking a stream, wherever it lives, as `actors/src/call.rs` has it: at the owner that this node believes in, and again
//! while its shard is on its way.

use super::Broken;
use super::actor::{Ask, Failure, From, Outcome};
use super::event::{What, times};
use super::hub::{Errand, Hub};
use super::kinds::Command;
use super::process::{Process, Then};
use super::queue::Time;
use super::store::{Key, Request};
use domain::attempts::{Attempts, Missed, Next};
use domain::ids::{HashSlot, OrderId, StreamId};
use domain::saga;

/// What the answer of a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Errand { errand: usize, attempt: u32 },
    Effect(u64),
    Insist(u64),
}

#[derive(Debug)]
pub(super) struct Call {
    stream: StreamId,
    command: Command,
    claim: Option<Key>,
    deadline: Time,
    attempt: u32,
    attempts: Attempts,
    after: After,
}

impl Process {
    pub(super) fn call(&mut self, hub: &mut Hub, stream: StreamId, command: Command, after: After) {
        self.call_claiming(hub, stream, command, None, after);
    }

    fn call_claiming(&mut self, hub: &mut Hub, stream: StreamId, command: Command, claim: Option<Key>, after: After) {
        let id = hub.number();
        let call = Call {
            stream,
            command,
            claim,
            deadline: hub.now + times::CALL,
            attempt: 0,
            attempts: Attempts::new(false, false),
            after,
        };
        self.calls.insert(id, call);
        self.try_call(hub, id);
    }

    /// One attempt, at whoever is believed to own the stream.
    pub(super) fn try_call(&mut self, hub: &mut Hub, id: u64) {
        let Some(only) = self.calls.get(&id).map(|call| self.hearer(call)) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.attempt += 1;
        let (attempt, deadline, after) = (call.attempt, call.deadline, call.after);
        let shard = hub.store.map.shard_of(call.stream);
        let fresh = call.claim.is_some() && !call.attempts.may_be_done();
        let command = call.command.clone();
        let ask = Ask {
            command: if call.attempts.may_be_done() && hub.broken != Some(Broken::Refusals) {
                command.again()
            } else {
                command
            },
            from: From::Call {
                process: self.name.clone(),
                call: id,
                attempt,
            },
            claim: call.claim.clone(),
            inside: !matches!(call.after, After::Errand { .. }),
            wake: false,
            only,
        };
        let what = What::Ask(call.stream, Box::new(ask), fresh);
        let owner = &self.owners[usize::from(shard.0)].1;
        if self.holds(hub, shard) {
            self.later(hub, 0, what);
            self.at(hub, deadline, What::CallLost(id, attempt));
        } else if matches!(after, After::Insist(task) if self.is_refusal(task)) {
            // Nobody else believes it.
            self.finish(hub, id, Err(Failure::Fenced));
        } else if !owner.is_empty() && *owner != self.name {
            hub.message(self.node, &owner.clone(), what);
            let noticed = deadline.min(hub.now + times::LINK);
            self.at(hub, noticed, What::CallLost(id, attempt));
        } else {
            self.call_answered(hub, id, attempt, Err(Failure::Fenced));
        }
    }

    /// Which activation alone is to hear a call.
    fn hearer(&self, call: &Call) -> Option<u64> {
        match call.after {
            After::Insist(task) => self.only(task),
            _ => None,
        }
    }

    pub(super) fn call_answered(&mut self, hub: &mut Hub, id: u64, attempt: u32, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.attempt == attempt) else {
            return;
        };
        let missed = outcome.as_ref().err().and_then(missed);
        if missed == Some(Missed::NoRoom) {
            hub.figures.full += 1;
            hub.figures.full_again += u64::from(call.attempts.may_be_done());
        }
        let next = match missed {
            None => Next::AsSaid,
            Some(Missed::NoRoom) if hub.broken == Some(Broken::Room) => Next::AsSaid,
            Some(missed) => call.attempts.missed(missed),
        };
        match next {
            Next::Again => {}
            Next::AsSaid => return self.finish(hub, id, outcome),
            Next::Unknown => return self.finish(hub, id, Err(Failure::TimedOut)),
        }
        if hub.now < call.deadline {
            // Whatever still comes of this attempt is too late.
            call.attempt += 1;
            return self.later(hub, times::LOOK_AGAIN, What::CallAgain(id));
        }
        let failure = if call.attempts.may_be_done() {
            Failure::TimedOut
        } else {
            Failure::Unavailable
        };
        self.finish(hub, id, Err(failure));
    }

    fn finish(&mut self, hub: &mut Hub, id: u64, outcome: Outcome) {
        let Some(call) = self.calls.remove(&id) else { return };
        match call.after {
            After::Errand { errand, attempt } => match (outcome, call.claim) {
                (Err(Failure::KeyUsed), Some(key)) => {
                    self.rpc(hub, Request::Claims(vec![key]), Then::Claimed { errand, attempt });
                }
                (outcome, _) => hub.answer_errand(self.node, errand, attempt, call.stream, outcome),
            },
            After::Effect(task) => self.effect_answered(hub, task, outcome),
            After::Insist(task) => self.insisted(hub, task, &outcome),
        }
    }

    /// Somebody outside asks for something.
    pub(super) fn errand(&mut self, hub: &mut Hub, errand: usize, attempt: u32) {
        let after = After::Errand { errand, attempt };
        match hub.errands[errand].what.clone() {
            Errand::Place { key, details } => {
                let wanted = HashSlot::of(&[b"default", key.as_bytes()]);
                let (map, draw) = (hub.store.map, hub.random.next());
                let takes = !self.is_draining && hub.now >= hub.troubles.overloaded[self.node];
                let slot = map.slot_at_hand(wanted, draw, |shard| takes && self.holds(hub, shard));
                let id = OrderId::mint(self.clock(hub), slot, hub.random.next());
                let command = Command::Order(saga::Command::Place { id, details });
                self.call_claiming(hub, id.stream(), command, Some((map.shard_of_slot(wanted), key)), after);
            }
            Errand::Tell(stream, command) => self.call(hub, stream, command, after),
        }
    }
}

/// How an attempt missed whom it was for; `None`: it was answered, and that is the call's answer.
const fn missed(failure: &Failure) -> Option<Missed> {
    match failure {
        Failure::Fenced => Some(Missed::NotOwner),
        Failure::Overloaded => Some(Missed::NoRoom),
        Failure::TimedOut => Some(Missed::TimedOut),
        Failure::Unavailable => Some(Missed::Away),
        _ => None,
    }
}
