//! One test over the step table: every step fails in each way, is repeated, and is undone twice. What must follow comes
//! from the table's own columns.

use super::participants::{Mood, Participants, Standing};
use super::script::{Script, done, refusal, silence};
use crate::fixtures::channel_id;
use crate::invariants::Deed;
use crate::order::{Event, OrderStatus};
use crate::policy::{CallPolicy, Policy};
use crate::saga::definition::Exhausted;
use crate::saga::{
    Answer, Backward, CURRENT_VERSION, Command, CourierReport, Direction, Effect, EffectKey, Forward, Participant,
    Receipt, Record, Step, StepDefinition, definition,
};

/// One kitchen, so that a failure before the end has no alternate; few attempts, so that they are soon used up.
fn policy() -> Policy {
    let call = CallPolicy {
        attempts_max: 2,
        persistent_attempts_max: 4,
        ..Policy::default().kitchen
    };
    Policy {
        internal: call,
        payment: call,
        kitchen: call,
        ..Policy::default()
    }
}

/// Every row of every version that orders may still follow.
fn rows() -> impl Iterator<Item = (u16, &'static StepDefinition)> {
    (1..=CURRENT_VERSION).flat_map(|version| {
        let table = definition(version).expect("a known version");
        table.iter().map(move |row| (version, row))
    })
}

fn undoable() -> impl Iterator<Item = (u16, &'static StepDefinition)> {
    rows().filter(|(_, row)| row.compensation.is_some())
}

/// An order whose participants are willing.
struct Order {
    script: Script,
    participants: Participants,
}

impl Order {
    /// Everything goes well until an attempt of the step is under way.
    fn at(version: u16, step: Step) -> (Self, Effect) {
        let mut order = Self {
            script: Script::placed_under(version, policy()),
            participants: Participants::new(None),
        };
        loop {
            let pending = order.script.pending();
            if let Some(effect) = pending.iter().find(|effect| effect.key.step == step) {
                return (order, effect.clone());
            }
            order = order.goes_on();
        }
    }

    fn ask(&mut self, effect: &Effect) -> Answer {
        let (now, policy) = (self.script.now, self.script.policy);
        match self.participants.ask(effect, Mood::Willing, now, &policy).0 {
            // Of the kitchens that can make it, only the first is in this world.
            Answer::Done(Receipt::Routed {
                candidates, infeasible, ..
            }) => Answer::Done(Receipt::Routed {
                candidates: candidates[..1].into(),
                infeasible,
            }),
            answer => answer,
        }
    }

    fn told(mut self, command: Command) -> Self {
        self.script = self.script.told(command).fine();
        self
    }

    fn answers(self, effect: &Effect, answer: Answer) -> Self {
        self.told(answer_to(effect, answer))
    }

    /// The next thing that goes well: an answer, a report, an operator's repair.
    fn goes_on(mut self) -> Self {
        if let Some(effect) = self.script.pending().first().cloned() {
            self.script.now = self.script.now.max(effect.start_at);
            let answer = self.ask(&effect);
            return self.answers(&effect, answer);
        }
        if self.script.order.state().is_stuck() {
            return self.told(Command::Retry);
        }
        let report = match self.script.order.state().status {
            OrderStatus::PickedUp => CourierReport::InTransit,
            OrderStatus::InTransit => CourierReport::Delivered,
            _ => CourierReport::PickedUp,
        };
        let courier = self
            .script
            .order
            .state()
            .courier
            .clone()
            .expect("a courier is on its way");
        self.told(Command::Report(crate::saga::Report::Courier(courier, report)))
    }

    fn record(&self, key: EffectKey) -> Record {
        self.script
            .order
            .state()
            .record(key.step, key.round)
            .expect("it was begun")
            .clone()
    }

    /// Everything goes well to the end, where the books agree.
    fn ends(mut self) -> Self {
        while !self.script.order.state().is_settled() {
            self = self.goes_on();
        }
        self.script = self.script.settled();
        let order = self.script.order.state();
        let (payments, kitchens) = (self.participants.payments.deeds(), self.participants.kitchens.deeds());
        let jobs = self.participants.jobs();
        let books = [
            (Step::Authorize, &payments),
            (Step::Capture, &payments),
            (Step::PlaceTicket, &kitchens),
            (Step::Dispatch, &jobs),
        ];
        for (step, deeds) in books {
            assert_eq!(crate::invariants::agrees(order, step, deeds), []);
        }
        let settled = std::iter::once(order.id).collect();
        for channel in &self.participants.channels {
            assert_eq!(crate::invariants::nothing_reserved(channel.state(), &settled), []);
        }
        self
    }

    fn starts(&self, key: EffectKey) -> u32 {
        let is_start = |event: &&Event| match (event, key.direction) {
            (Event::StepStarted { step, round, .. }, Direction::Forward)
            | (Event::UndoStarted { step, round, .. }, Direction::Backward) => (*step, *round) == (key.step, key.round),
            _ => false,
        };
        u32::try_from(self.script.history().iter().filter(is_start).count()).expect("few")
    }
}

fn answer_to(effect: &Effect, answer: Answer) -> Command {
    let EffectKey {
        step, round, direction, ..
    } = effect.key;
    Command::Answer {
        step,
        round,
        direction,
        attempt: effect.attempt,
        answer,
    }
}

/// What the row's columns say of attempts that are used up.
fn check_exhausted(row: &StepDefinition, order: &Order, key: EffectKey) {
    let call = policy().call(row.participant).to_owned();
    let most = if row.persistent {
        call.persistent_attempts_max
    } else {
        call.attempts_max
    };
    assert_eq!(order.starts(key), most, "{:?}", row.step);
    let record = order.record(key);
    match row.exhausted {
        Exhausted::Stuck => assert_eq!(record.forward, Forward::Stuck, "{:?}", row.step),
        Exhausted::GivenUp => {
            assert_eq!(record.forward, Forward::Unknown, "{:?}", row.step);
            assert!(
                order.script.order.state().unwinding.is_some(),
                "{:?}: there is no alternate",
                row.step
            );
        }
    }
}

/// What the row's columns say of the end of an order whose step was given up, or stuck and repaired.
fn check_end(row: &StepDefinition, order: Order, key: EffectKey) {
    let order = order.ends();
    let record = order.record(key);
    let status = order.script.order.state().status;
    match (row.exhausted, row.compensation) {
        (Exhausted::Stuck, _) => assert_eq!((status, record.forward), (OrderStatus::Delivered, Forward::Done)),
        (Exhausted::GivenUp, Some(_)) => {
            assert_eq!(
                (status, record.backward),
                (OrderStatus::Failed, Backward::Done),
                "what is unknown is undone"
            );
        }
        (Exhausted::GivenUp, None) => assert_eq!((status, record.backward), (OrderStatus::Failed, Backward::Idle)),
    }
}

#[test]
fn every_step_fails_until_its_attempts_are_used_up() {
    for (version, row) in rows() {
        let (mut order, effect) = Order::at(version, row.step);
        while matches!(order.record(effect.key).forward, Forward::Acting(_)) {
            let pending = order.script.pending();
            let attempt = pending
                .iter()
                .find(|pending| pending.key == effect.key)
                .expect("it is under way")
                .clone();
            order = order.answers(&attempt, silence());
        }
        check_exhausted(row, &order, effect.key);
        check_end(row, order, effect.key);
    }
}

/// No answer ever comes, although the participant has done it each time it was asked.
#[test]
fn every_step_gets_no_answer() {
    for (version, row) in rows() {
        let (mut order, effect) = Order::at(version, row.step);
        while let Forward::Acting(attempt) = order.record(effect.key).forward {
            let asked = Effect {
                attempt: attempt.number,
                ..effect.clone()
            };
            order.ask(&asked);
            // Other steps may be under way at the same time, and go well.
            let others: Vec<_> = order
                .script
                .pending()
                .into_iter()
                .filter(|other| other.key != effect.key)
                .collect();
            for other in others {
                let answer = order.ask(&other);
                order = order.answers(&other, answer);
            }
            order.script.now = attempt.deadline;
            order = order.told(Command::Wake);
        }
        check_exhausted(row, &order, effect.key);
        check_end(row, order, effect.key);
    }
}

#[test]
fn every_step_is_refused() {
    for (version, row) in rows() {
        let (order, effect) = Order::at(version, row.step);
        let order = order.answers(&effect, refusal());
        let record = order.record(effect.key);
        if record.is_stuck() {
            assert_eq!(
                row.exhausted,
                Exhausted::Stuck,
                "{:?}: only what must not be given up is stuck",
                row.step
            );
            check_end(row, order, effect.key);
            continue;
        }
        assert_eq!(
            (record.forward, record.backward),
            (Forward::Refused, Backward::Idle),
            "{:?}",
            row.step
        );
        let order = order.ends();
        assert_eq!(order.script.order.state().status, OrderStatus::Failed, "{:?}", row.step);
        assert_eq!(
            order.record(effect.key).backward,
            Backward::Idle,
            "{:?}: what was refused is not undone",
            row.step
        );
    }
}

/// The same answer twice; the same request again after a restart; the same command again.
#[test]
fn every_step_is_repeated() {
    for (version, row) in rows() {
        let (mut order, effect) = Order::at(version, row.step);
        let first = order.ask(&effect);
        order.script = order.script.restarted();
        assert!(
            order.script.pending().contains(&effect),
            "{:?}: asked for again as it was",
            row.step
        );
        order.participants.restart();
        let again = order.ask(&effect);
        assert_eq!(first, again, "{:?}: the participant repeats itself", row.step);
        let mut order = order.answers(&effect, first);
        let state = order.script.order.state.clone();
        order.script = order.script.told(answer_to(&effect, again.clone())).stale();
        order.script = order.script.restarted().told(answer_to(&effect, again)).stale();
        assert_eq!(order.script.order.state, state);
        let order = order.ends();
        assert_eq!(
            order.script.order.state().status,
            OrderStatus::Delivered,
            "{:?}",
            row.step
        );
        assert_eq!(order.starts(effect.key), 1, "{:?}", row.step);
    }
}

/// What a participant's books say of a step's action.
fn deed(order: &Order, row: &StepDefinition, key: EffectKey) -> Deed {
    let participants = &order.participants;
    match row.participant {
        Participant::Payments => participants.payments.deeds()[&key],
        Participant::Kitchen => participants.kitchens.deeds()[&key],
        Participant::Zone => participants.jobs()[&key],
        Participant::Channel => {
            assert_eq!(*participants.channels[0].state().id.as_str(), *channel_id(0).as_str());
            let claim = participants.channels[0]
                .state()
                .ledger
                .claim(&key)
                .expect("it was held");
            Deed {
                done: 1,
                undone: u32::from(!claim.state.takes()),
            }
        }
        Participant::Router => panic!("routing is not undone"),
    }
}

/// The order turns back as it would at that point: it is cancelled, or the courier fails with the food.
fn turns_back(mut order: Order) -> Order {
    if order.script.order.state().status.is_picked_up() {
        let courier = order.script.order.state().courier.clone().expect("it has the food");
        let failed = CourierReport::Failed {
            reason: "an accident".into(),
        };
        return order.told(Command::Report(crate::saga::Report::Courier(courier, failed)));
    }
    order.script = order.script.cancelled().fine();
    order
}

/// The compensation is carried out twice at the participant, and its answer comes twice, with a restart between.
#[test]
fn every_step_is_undone_twice() {
    assert!(undoable().count() >= 5 * usize::from(CURRENT_VERSION));
    for (version, row) in undoable() {
        let (mut order, effect) = Order::at(version, row.step);
        let answer = order.ask(&effect);
        assert_eq!(
            deed(&order, row, effect.key),
            Deed { done: 1, undone: 0 },
            "{:?}",
            row.step
        );
        order = turns_back(order.answers(&effect, answer));
        let key = EffectKey {
            direction: Direction::Backward,
            ..effect.key
        };
        let undo = loop {
            let found = order.script.pending().into_iter().find(|effect| effect.key == key);
            match found {
                Some(undo) => break undo,
                None => order = order.goes_on(),
            }
        };
        let first = order.ask(&undo);
        order.script = order.script.restarted();
        order.participants.restart();
        assert_eq!(order.ask(&undo), first, "{:?}: undone twice is undone", row.step);
        assert_eq!(
            deed(&order, row, effect.key),
            Deed { done: 1, undone: 1 },
            "{:?}",
            row.step
        );
        let mut order = order.answers(&undo, first.clone());
        order.script = order.script.told(answer_to(&undo, first)).stale();
        let order = order.ends();
        assert_eq!(order.record(effect.key).backward, Backward::Done, "{:?}", row.step);
        assert_eq!(order.starts(key), 1, "{:?}", row.step);
    }
}

/// The compensation arrives before the action, which was on a slow road: the action is then refused for ever.
#[test]
fn every_step_undone_before_it_arrives_never_happens() {
    for (version, row) in undoable() {
        let (order, effect) = Order::at(version, row.step);
        let order = turns_back(order).ends();
        let mut order = order;
        let late = order.ask(&effect);
        assert!(matches!(late, Answer::Refused(_)), "{:?}: {late:?}", row.step);
        let mut order = Order {
            script: order.script.told(answer_to(&effect, late)).stale(),
            ..order
        };
        assert!(matches!(order.ask(&effect), Answer::Refused(_)), "{:?}", row.step);
        order.ends();
    }
}

/// A compensation that brings no answer is tried as long as a persistent step, then stuck, passed over and repaired.
#[test]
fn every_compensation_fails_until_its_attempts_are_used_up() {
    for (version, row) in undoable() {
        let (mut order, effect) = Order::at(version, row.step);
        let answer = order.ask(&effect);
        order = turns_back(order.answers(&effect, answer));
        let key = EffectKey {
            direction: Direction::Backward,
            ..effect.key
        };
        while !order.script.order.state().is_stuck() {
            let undo = order.script.pending().into_iter().find(|effect| effect.key == key);
            order = match undo {
                Some(undo) => order.answers(&undo, silence()),
                None => order.goes_on(),
            };
        }
        assert_eq!(
            order.starts(key),
            policy().call(row.participant).persistent_attempts_max,
            "{:?}",
            row.step
        );
        let order = order.ends();
        assert_eq!(order.record(effect.key).backward, Backward::Done, "{:?}", row.step);
    }
}

/// The books of this test keep to the rules themselves.
#[test]
fn the_participants_keep_to_the_rules() {
    let (mut order, effect) = Order::at(CURRENT_VERSION, Step::Authorize);
    assert!(matches!(order.ask(&effect), Answer::Done(_)));
    assert_eq!(order.participants.payments.standing(&effect.key), Some(Standing::Done));
    assert_eq!(order.participants.payments.undo(effect.key), done());
    assert!(matches!(order.ask(&effect), Answer::Refused(_)));
}
