//! Carrying out effects, as `actors/src/effector.rs` has it: a task asks the participant, bounded in time, and insists on
//! bringing the order its answer. Tasks belong to the process, not to the actor: a zombie's go on.

use super::Broken;
use super::actor::{Failure, Outcome};
use super::calls::After;
use super::event::{Wanted, What, times};
use super::hub::Hub;
use super::kinds::{Command, Todo};
use super::process::Process;
use super::queue::Time;
use domain::ids::StreamId;
use domain::saga::{self, Action, Answer, Effect};

/// Whose word an ask is: that of an activation of the order, of what nobody can have asked for before; else that of any.
pub(super) type Asker = Option<u64>;

#[derive(Debug)]
enum Phase {
    /// The participant has not answered yet. An earlier attempt of the same number may have left, if it was resumed.
    Asking {
        effect: Box<Effect>,
        resumed: bool,
        asker: Asker,
    },
    /// The order is to hear this; a refusal only as this activation of it.
    Insisting(StreamId, saga::Command, Asker),
}

#[derive(Debug)]
pub(super) struct Task {
    phase: Phase,
    pause: Time,
}

impl Process {
    /// Begins effects whose justification is durable.
    pub(super) fn perform(&mut self, hub: &mut Hub, todos: Vec<Todo>, resumed: bool) {
        for todo in todos {
            let id = hub.number();
            let (phase, begins) = match todo {
                Todo::Effect(effect) => {
                    let begins = self.when(hub, effect.start_at);
                    let asker = self.asker(&effect, resumed);
                    let asking = Phase::Asking { effect, resumed, asker };
                    (asking, Some(begins))
                }
                Todo::Report(order, report) => {
                    let command = saga::Command::Report(report);
                    (Phase::Insisting(order.stream(), command, None), None)
                }
            };
            let pause = times::INSIST;
            self.tasks.insert(id, Task { phase, pause });
            match begins {
                Some(begins) => self.at(hub, begins, What::TaskBegins(id)),
                None => self.later(hub, 0, What::Insists(id)),
            }
        }
    }

    /// Of what may have been asked for before, a refusal is remembered, and true whoever hears it.
    fn asker(&self, effect: &Effect, resumed: bool) -> Asker {
        let asker = self.actors.get(&effect.key.order.stream());
        let activation = asker.map_or(0, |actor| actor.activation);
        effect.is_first(resumed).then_some(activation)
    }

    pub(super) fn task_begins(&mut self, hub: &mut Hub, id: u64) {
        let Some(Task {
            phase: Phase::Asking { effect, resumed, .. },
            ..
        }) = self.tasks.get(&id)
        else {
            return;
        };
        let effect = (**effect).clone();
        let effect = if hub.broken == Some(Broken::Refusals) {
            effect
        } else {
            effect.leaving(*resumed)
        };
        self.later(hub, effect.timeout_ms.0, What::TaskLost(id));
        hub.trace.say(hub.now, || {
            format!("{} asks for {} ({})", self.name, effect.key, effect.attempt)
        });
        match effect.action {
            // Settled within the turn.
            Action::Route => {}
            Action::Payment(request) => hub.ask_participant(&self.name, id, Wanted::Payment(request)),
            Action::Ticket(request) => hub.ask_participant(&self.name, id, Wanted::Ticket(request)),
            Action::Capacity(channel, request) => {
                let command = Command::Channel(domain::channel::Command::Capacity(request));
                self.call(hub, channel.stream(), command, After::Effect(id));
            }
            Action::Job(zone, request) => {
                let stream = zone.stream();
                let command = Command::Zone(domain::zone::Command::Job { zone, request });
                self.call(hub, stream, command, After::Effect(id));
            }
        }
    }

    pub(super) fn effect_answered(&mut self, hub: &mut Hub, id: u64, outcome: Outcome) {
        let answer = match (outcome, self.tasks.get(&id).map(|task| &task.phase)) {
            (Err(Failure::Overloaded), Some(Phase::Asking { effect, resumed, .. })) => {
                effect.overloaded(*resumed, "a channel or zone")
            }
            (outcome, _) => outcome.unwrap_or_else(|failure| Answer::Failed(format!("{failure:?}"))),
        };
        self.task_answered(hub, id, answer);
    }

    pub(super) fn task_lost(&mut self, hub: &mut Hub, id: u64) {
        self.task_answered(hub, id, Answer::Failed("no answer in time".into()));
    }

    /// The first answer counts; whatever comes after the time-out is too late.
    pub(super) fn task_answered(&mut self, hub: &mut Hub, id: u64, answer: Answer) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Phase::Asking { effect, asker, .. } = &task.phase else {
            return;
        };
        let order = effect.key.order;
        let is_refusal = matches!(answer, Answer::Refused(_));
        let asker = asker.filter(|_| is_refusal);
        task.phase = Phase::Insisting(order.stream(), effect.answered(answer), asker);
        self.insist(hub, id);
    }

    pub(super) fn insist(&mut self, hub: &mut Hub, id: u64) {
        if let Some(Task {
            phase: Phase::Insisting(stream, command, _),
            ..
        }) = self.tasks.get(&id)
        {
            let (stream, command) = (*stream, Command::Order(command.clone()));
            self.call(hub, stream, command, After::Insist(id));
        }
    }

    /// Whether a task is to tell an order that something was refused. Believed only where the order lives.
    pub(super) fn is_refusal(&self, id: u64) -> bool {
        let Some(Phase::Insisting(_, saga::Command::Answer { answer, .. }, _)) =
            self.tasks.get(&id).map(|task| &task.phase)
        else {
            return false;
        };
        matches!(answer, Answer::Refused(_))
    }

    /// Which activation of an order alone is to hear what a task has to tell it.
    pub(super) fn only(&self, id: u64) -> Asker {
        match self.tasks.get(&id).map(|task| &task.phase) {
            Some(Phase::Insisting(_, _, asker)) => *asker,
            _ => None,
        }
    }

    pub(super) fn insisted(&mut self, hub: &mut Hub, id: u64, outcome: &Outcome) {
        if matches!(outcome, Ok(_) | Err(Failure::Rejected(_) | Failure::Fenced)) {
            self.tasks.remove(&id);
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let pause = task.pause;
        task.pause = (pause * 2).min(times::INSIST_MAX);
        self.later(hub, pause, What::Insists(id));
    }
}
