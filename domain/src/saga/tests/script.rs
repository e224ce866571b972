//! Scripts: given what happened to an order, when it is told something, then these events follow.

use super::checks::turn;
use crate::entity::Context;
use crate::fixtures::{Journalled, T0, candidate, channel_id, courier_id, details, order_id, ready_at};
use crate::order::{Event, Order};
use crate::policy::{CaptureAt, Policy};
use crate::rejection::Rejection;
use crate::saga::{
    Answer, Command, CourierReport, Direction, Effect, KitchenReport, Receipt, Refused, Report, Step, decide, wake_at,
};
use crate::time::{Millis, Timestamp};

/// An order and the time of its world.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) order: Journalled<Order>,
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    /// What the last turn asked for.
    pub(super) effects: Vec<Effect>,
}

/// What a command brought.
#[derive(Debug)]
#[must_use]
pub(super) struct Then {
    script: Script,
    result: Result<Vec<Event>, Rejection>,
}

impl Then {
    /// The events, one line for each.
    pub(super) fn expect<const N: usize>(self, lines: [&str; N]) -> Script {
        let events = self.result.expect("the command is carried out");
        let found: Vec<String> = events.iter().map(line).collect();
        assert_eq!(found, lines);
        self.script
    }

    /// It was carried out, whatever followed.
    pub(super) fn fine(self) -> Script {
        self.result.expect("the command is carried out");
        self.script
    }

    /// It was carried out and changed nothing.
    pub(super) fn nothing(self) -> Script {
        self.expect([])
    }

    /// It was refused, with a text that says this.
    pub(super) fn refused(self, part: &str) -> Script {
        match self.result {
            Err(Rejection::NotAllowed(why)) => assert!(why.contains(part), "'{why}' does not say '{part}'"),
            other => panic!("not refused: {other:?}"),
        }
        self.script
    }

    /// It was an answer that nobody waits for.
    pub(super) fn stale(self) -> Script {
        assert_eq!(self.result, Err(Rejection::Stale));
        self.script
    }
}

/// An event as a script writes it.
pub(super) fn line(event: &Event) -> String {
    let name = |step: &Step, round: &u32| format!("{} {round}", step.as_str());
    let nth = |attempt: &u32| {
        if *attempt == 1 {
            String::new()
        } else {
            format!(" #{attempt}")
        }
    };
    match event {
        Event::StepStarted {
            step, round, attempt, ..
        } => format!("do {}{}", name(step, round), nth(attempt)),
        Event::StepPending { step, round, .. } => format!("{} pending", name(step, round)),
        Event::StepDone { step, round, .. } => format!("{} done", name(step, round)),
        Event::StepRefused { step, round, .. } => format!("{} refused", name(step, round)),
        Event::StepUnknown { step, round, .. } => format!("{} unknown", name(step, round)),
        Event::StepStuck { step, round, .. } => format!("{} stuck", name(step, round)),
        Event::UndoWanted { step, round } => format!("{} to be undone", name(step, round)),
        Event::UndoStarted {
            step, round, attempt, ..
        } => format!("undo {}{}", name(step, round), nth(attempt)),
        Event::UndoDone { step, round } => format!("{} undone", name(step, round)),
        Event::UndoStuck { step, round, .. } => format!("{} stuck in undoing", name(step, round)),
        Event::Resolved { step, round, .. } => format!("{} resolved", name(step, round)),
        Event::KitchenReported { stage } => format!("kitchen {stage:?}"),
        Event::CourierReported { stage } => format!("courier {stage:?}"),
        Event::TicketDropped { round, .. } => format!("TicketDropped {round}"),
        Event::OrderRerouted { round, .. } => format!("OrderRerouted {round}"),
        Event::CourierLost { round, .. } => format!("CourierLost {round}"),
        Event::OrderFailed { code } => format!("OrderFailed {}", code.as_str()),
        other => other.name().to_owned(),
    }
}

pub(super) fn done() -> Answer {
    Answer::Done(Receipt::Empty)
}

pub(super) fn refusal() -> Answer {
    Answer::Refused(Refused::new("no", "not today"))
}

pub(super) fn silence() -> Answer {
    Answer::Failed("connection reset".into())
}

pub(super) fn routed(candidates: usize) -> Answer {
    Answer::Done(Receipt::Routed {
        candidates: (0..candidates).map(candidate).collect(),
        infeasible: [].into(),
    })
}

pub(super) fn authorized(until: Option<Timestamp>) -> Answer {
    Answer::Done(Receipt::Authorized { until })
}

pub(super) fn accepted() -> Answer {
    Answer::Done(Receipt::Accepted { ready_at: None })
}

pub(super) fn assigned(courier: usize) -> Answer {
    Answer::Done(Receipt::Assigned {
        courier: courier_id(courier),
        pickup_at: ready_at(0),
    })
}

pub(super) const fn kitchen_accepts() -> KitchenReport {
    KitchenReport::Accepted { ready_at: None }
}

pub(super) fn kitchen_drops() -> KitchenReport {
    KitchenReport::Cancelled {
        reason: "the oven broke".into(),
    }
}

fn place() -> Command {
    Command::Place {
        id: order_id(1),
        details: details().into(),
    }
}

/// The log of an order that was just accepted under a version of the definition, read back.
pub(super) fn placed_under(version: u16, policy: &Policy) -> Journalled<Order> {
    let context = Context { now: T0, policy };
    let mut events = decide(None, place(), &context).expect("it is accepted").events;
    for event in &mut events {
        if let Event::OrderPlaced { saga_version, .. } = event {
            *saga_version = version;
        }
    }
    Journalled::from_log(vec![(T0, serde_json::to_string(&events).expect("events are JSON"))])
}

impl Script {
    /// An order that was just accepted.
    pub(super) fn placed(policy: Policy) -> Self {
        let script = Self {
            order: Journalled::new(),
            now: T0,
            policy,
            effects: Vec::new(),
        };
        script.told(place()).expect(["OrderPlaced", "do route 0"])
    }

    /// An order whose log a program that knew this version of the definition began.
    pub(super) fn placed_under(version: u16, policy: Policy) -> Self {
        let script = Self {
            order: placed_under(version, &policy),
            now: T0,
            policy,
            effects: Vec::new(),
        };
        assert_eq!(
            script.history().iter().map(line).collect::<Vec<_>>(),
            ["OrderPlaced", "do route 0"]
        );
        script
    }

    /// Capacity is being held with the first of so many kitchens, and the money set aside.
    pub(super) fn routed(policy: Policy, kitchens: usize) -> Self {
        Self::placed(policy).answered(Step::Route, 0, routed(kitchens)).expect([
            "route 0 done",
            "do hold_capacity 0",
            "do authorize 0",
        ])
    }

    /// Capacity is held, and the money is still being set aside.
    pub(super) fn held(policy: Policy, kitchens: usize) -> Self {
        Self::routed(policy, kitchens)
            .answered(Step::HoldCapacity, 0, done())
            .expect(["hold_capacity 0 done"])
    }

    /// The money is set aside, and capacity is still being held.
    pub(super) fn paid(policy: Policy, kitchens: usize) -> Self {
        Self::routed(policy, kitchens)
            .answered(Step::Authorize, 0, authorized(None))
            .expect(["authorize 0 done"])
    }

    /// The first kitchen has been asked, and its capacity is being reserved.
    pub(super) fn ticketed(policy: Policy, kitchens: usize) -> Self {
        Self::held(policy, kitchens)
            .answered(Step::Authorize, 0, authorized(None))
            .expect(["authorize 0 done", "do place_ticket 0", "do confirm_capacity 0"])
    }

    /// Its capacity is reserved, and it has not answered yet.
    pub(super) fn reserved(policy: Policy, kitchens: usize) -> Self {
        Self::ticketed(policy, kitchens)
            .answered(Step::ConfirmCapacity, 0, done())
            .expect(["confirm_capacity 0 done"])
    }

    /// It has accepted, and its capacity is still being reserved.
    pub(super) fn accepted(policy: Policy, kitchens: usize) -> Self {
        Self::ticketed(policy, kitchens)
            .answered(Step::PlaceTicket, 0, accepted())
            .expect(["place_ticket 0 done"])
    }

    /// The order is confirmed and a courier asked for.
    pub(super) fn confirmed(policy: Policy, kitchens: usize) -> Self {
        Self::accepted(policy, kitchens)
            .answered(Step::ConfirmCapacity, 0, done())
            .fine()
    }

    /// A courier is on its way, and the kitchen cooks.
    pub(super) fn preparing(policy: Policy, kitchens: usize) -> Self {
        let script = Self::confirmed(policy, kitchens)
            .answered(Step::Dispatch, 0, assigned(1))
            .expect(["dispatch 0 done"]);
        script
            .kitchen(0, KitchenReport::Preparing)
            .expect(["kitchen Preparing", "OrderPreparing"])
    }

    /// The food is ready.
    pub(super) fn ready(policy: Policy, kitchens: usize) -> Self {
        let script = Self::preparing(policy, kitchens);
        script
            .kitchen(0, KitchenReport::Ready)
            .expect(["kitchen Ready", "OrderReady"])
    }

    /// The courier has the food.
    pub(super) fn picked_up(policy: Policy, kitchens: usize) -> Self {
        Self::ready(policy, kitchens).courier(1, CourierReport::PickedUp).fine()
    }

    /// The courier is on its way to the customer.
    pub(super) fn in_transit(policy: Policy, kitchens: usize) -> Self {
        Self::picked_up(policy, kitchens)
            .courier(1, CourierReport::InTransit)
            .fine()
    }

    /// The customer has it; nothing is pending any more.
    pub(super) fn delivered() -> Self {
        let script = Self::in_transit(Policy::default(), 2)
            .courier(1, CourierReport::Delivered)
            .fine();
        let script = script
            .answered(Step::Capture, 0, done())
            .fine()
            .answered(Step::CloseCapacity, 0, done())
            .fine();
        script.answered(Step::CompleteDelivery, 0, done()).fine().settled()
    }

    pub(super) fn told(mut self, command: Command) -> Then {
        let told = turn(&mut self.order, command, self.now, &self.policy);
        let result = told.map(|told| {
            self.effects = told.effects;
            told.events
        });
        Then { script: self, result }
    }

    /// The participant answers the attempt under way (or, when there is none, the first).
    pub(super) fn answered(self, step: Step, round: u32, answer: Answer) -> Then {
        let attempt = self.attempt(step, round, Direction::Forward);
        self.told(Command::Answer {
            step,
            round,
            direction: Direction::Forward,
            attempt,
            answer,
        })
    }

    /// The participant answers the compensation under way.
    pub(super) fn undone(self, step: Step, round: u32, answer: Answer) -> Then {
        let attempt = self.attempt(step, round, Direction::Backward);
        self.told(Command::Answer {
            step,
            round,
            direction: Direction::Backward,
            attempt,
            answer,
        })
    }

    fn attempt(&self, step: Step, round: u32, direction: Direction) -> u32 {
        let record = self.order.state().record(step, round);
        record
            .and_then(|record| record.attempt(direction))
            .map_or(1, |attempt| attempt.number)
    }

    pub(super) fn kitchen(self, kitchen: usize, report: KitchenReport) -> Then {
        self.told(Command::Report(Report::Kitchen(channel_id(kitchen), report)))
    }

    pub(super) fn courier(self, courier: usize, report: CourierReport) -> Then {
        self.told(Command::Report(Report::Courier(courier_id(courier), report)))
    }

    pub(super) fn courier_lost(self, round: u32, courier: usize) -> Then {
        self.told(Command::Report(Report::CourierLost {
            round,
            courier: courier_id(courier),
        }))
    }

    pub(super) fn cancelled(self) -> Then {
        self.told(Command::Cancel {
            reason: "changed my mind".into(),
        })
    }

    /// Time passes until the order wants to be woken.
    pub(super) fn woken(mut self) -> Then {
        self.now = self.now.max(self.wake_at().expect("it wants to be woken"));
        self.told(Command::Wake)
    }

    pub(super) fn later(mut self, length: Millis) -> Self {
        self.now = self.now + length;
        self
    }

    /// The compensations under way are answered until none is left.
    pub(super) fn unwound(mut self) -> Self {
        while let Some(effect) = self
            .pending()
            .into_iter()
            .find(|effect| effect.key.direction == Direction::Backward)
        {
            self = self.undone(effect.key.step, effect.key.round, done()).fine();
        }
        self
    }

    pub(super) fn restarted(mut self) -> Self {
        self.order.restart();
        self
    }

    pub(super) fn pending(&self) -> Vec<Effect> {
        crate::saga::resume(self.order.state(), &self.policy)
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let context = Context {
            now: self.now,
            policy: &self.policy,
        };
        wake_at(self.order.state(), context.policy)
    }

    /// SG-3, SG-5, PY-1, PT-1 and EV-1 of the order at its end.
    pub(super) fn settled(mut self) -> Self {
        self.order.restart();
        let order = self.order.state();
        assert_eq!(crate::invariants::settled(order), None);
        assert_eq!(crate::invariants::ledger(order), []);
        assert_eq!(crate::invariants::reverse_order(order, &self.history()), None);
        assert_eq!(self.pending(), []);
        assert_eq!(self.wake_at(), None);
        self
    }

    pub(super) fn history(&self) -> Vec<Event> {
        self.order
            .read_back()
            .into_iter()
            .flat_map(|(_, events)| events)
            .collect()
    }
}

/// The default rules with another moment to take the money.
pub(super) fn capturing(capture_at: CaptureAt) -> Policy {
    Policy {
        capture_at,
        ..Policy::default()
    }
}
