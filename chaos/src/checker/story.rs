//! Orders that live as the domain says, with honest participants that keep their ledger: what the checker's own tests
//! begin from before they spoil something.

use super::history::{History, expected_view};
use crate::evidence::{
    CapacitySeen, EventView, Evidence, LedgerLine, OUTSIDE, OrderSeen, OrderView, Outcome, RowSeen, SnapshotSeen,
    StreamSeen, Submitted,
};
use domain::entity::{Context, Entity};
use domain::geo::Location;
use domain::ids::{HashSlot, OrderId, StreamId};
use domain::order::{DeliveryLocation, Draft, DraftItem, Event, Order};
use domain::policy::Policy;
use domain::ports::StreamKind;
use domain::saga::{
    Answer, Candidate, Command, CourierReport, Direction, Drawbacks, Effect, EffectKey, KitchenReport, Receipt, Report,
    Step,
};
use domain::time::{Millis, Timestamp};
use serde_json::{Value, to_value};
use std::collections::BTreeMap;

const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
/// More turns than any of these orders needs.
const TURNS_MAX: u32 = 200;

pub(crate) struct Story {
    id: OrderId,
    now: Timestamp,
    policy: Policy,
    order: Option<Order>,
    rows: Vec<(Timestamp, Vec<Event>)>,
    ledger: Vec<LedgerLine>,
}

impl Story {
    /// An order that is placed, and no more.
    pub(crate) fn begun(n: u64) -> Self {
        let id = OrderId::mint(BEGIN, HashSlot::of(&[b"stories"]), n);
        let mut story = Self {
            id,
            now: BEGIN,
            policy: Policy::default(),
            order: None,
            rows: Vec::new(),
            ledger: Vec::new(),
        };
        let details = draft(n).check(BEGIN).expect("a fine draft");
        story.tell(Command::Place {
            id,
            details: details.into(),
        });
        story
    }

    /// An order that was delivered.
    pub(crate) fn delivered(n: u64) -> Self {
        let mut story = Self::begun(n);
        story.settle();
        let (kitchen, courier) = ("kitchen".parse().expect("a name"), "courier".parse().expect("a name"));
        let kitchen = |report| Report::Kitchen(Clone::clone(&kitchen), report);
        let courier = |report| Report::Courier(Clone::clone(&courier), report);
        for report in [
            kitchen(KitchenReport::Preparing),
            kitchen(KitchenReport::Ready),
            courier(CourierReport::PickedUp),
            courier(CourierReport::InTransit),
            courier(CourierReport::Delivered),
        ] {
            story.tell(Command::Report(report));
            story.settle();
        }
        story
    }

    /// An order that was cancelled after its kitchen had begun.
    pub(crate) fn cancelled(n: u64) -> Self {
        let mut story = Self::begun(n);
        story.settle();
        story.tell(Command::Cancel {
            reason: "hungry no more".to_owned(),
        });
        story.settle();
        story
    }

    /// An order whose first authorization is carried out and answered too late, and whose first ticket is answered with an
    /// error at once.
    pub(crate) fn troubled(n: u64) -> Self {
        let mut story = Self::begun(n);
        let (mut authorized, mut ticketed) = (false, false);
        for _ in 0..TURNS_MAX {
            let Some(effect) = story.next_effect() else { break };
            match effect.key.step {
                Step::Authorize if !authorized => {
                    authorized = true;
                    story.carry_out(&effect);
                    story.now = story.now + Millis::from_secs(3);
                    story.answer(&effect, Answer::Failed("no answer in time".to_owned()));
                }
                Step::PlaceTicket if !ticketed => {
                    ticketed = true;
                    story.answer(&effect, Answer::Failed("500".to_owned()));
                }
                Step::Authorize => story.answer(&effect, Answer::Done(Receipt::Empty)),
                _ => story.do_and_answer(&effect),
            }
        }
        story
    }

    pub(crate) const fn id(&self) -> OrderId {
        self.id
    }

    fn tell(&mut self, command: Command) {
        let context = Context {
            now: self.now,
            policy: &self.policy,
        };
        let decision = Order::decide(self.order.as_ref(), command, &context).expect("allowed");
        for event in &decision.events {
            self.order = Some(Order::evolve(self.order.take(), event, self.now).expect("legal"));
        }
        if !decision.events.is_empty() {
            self.rows.push((self.now, decision.events));
        }
        self.now = self.now + Millis::from_secs(1);
    }

    /// Has everything pending answered, one after the other, until nothing is.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let Some(effect) = self.next_effect() else { return };
            self.do_and_answer(&effect);
        }
        panic!("after {TURNS_MAX} turns something is still pending");
    }

    /// What is pending, at the moment at which it may begin.
    fn next_effect(&mut self) -> Option<Effect> {
        let order = self.order.as_ref().expect("placed");
        let effect = order.resume(&self.policy).into_iter().next()?;
        self.now = self.now.max(effect.start_at);
        Some(effect)
    }

    fn do_and_answer(&mut self, effect: &Effect) {
        self.carry_out(effect);
        let receipt = match (effect.key.direction, effect.key.step) {
            (Direction::Forward, Step::Route) => Receipt::Routed {
                candidates: [self.candidate()].into(),
                infeasible: [].into(),
            },
            (Direction::Forward, Step::Dispatch) => Receipt::Assigned {
                courier: "courier".parse().expect("a name"),
                pickup_at: self.now,
            },
            _ => Receipt::Empty,
        };
        self.answer(effect, Answer::Done(receipt));
    }

    fn answer(&mut self, effect: &Effect, answer: Answer) {
        let EffectKey {
            step, round, direction, ..
        } = effect.key;
        self.tell(Command::Answer {
            step,
            round,
            direction,
            attempt: effect.attempt,
            answer,
        });
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            channel: "kitchen".parse().expect("a name"),
            zone: "zone".parse().expect("a name"),
            pickup: Location {
                lat: 41.88,
                lng: -87.63,
            },
            slot: self.now,
            units: 1,
            prep_ms: Millis::from_mins(5),
            ready_at: self.now + Millis::from_mins(5),
            delivered_at: self.now + Millis::from_mins(20),
            cost_minor: 0,
            menu_prep_ms: None,
            drawbacks: Drawbacks::default(),
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        if !OUTSIDE.contains(&effect.key.step) {
            return;
        }
        let outcome = match effect.key.direction {
            Direction::Forward => Outcome::Done,
            Direction::Backward => Outcome::Undone,
        };
        self.ledger.push(LedgerLine {
            at_ms: self.now.as_ms(),
            participant: "outside".to_owned(),
            action: effect.key.step.as_str().to_owned(),
            key: effect.key,
            outcome,
            refused: None,
        });
    }

    /// Its history, as the interface tells it.
    pub(crate) fn told(&self) -> Vec<EventView> {
        let row = |(version, (at, events)): (u64, &(Timestamp, Vec<Event>))| {
            let events = events.iter().enumerate();
            events
                .map(|(index, event)| told(version, index, *at, event))
                .collect::<Vec<_>>()
        };
        (1..).zip(&self.rows).flat_map(row).collect()
    }

    /// Its view.
    pub(crate) fn view(&self) -> OrderView {
        let version = u64::try_from(self.rows.len()).expect("few");
        let order = self.order.clone().expect("placed");
        expected_view(&History {
            order,
            version,
            events: Vec::new(),
        })
    }

    /// What a store would hold of it, in a line with so many places taken.
    pub(crate) fn stored(&self, places: usize) -> (StreamId, StreamSeen) {
        let (mut seq, mut position) = (0, u64::try_from(places).expect("few"));
        let row = |(at, events): &(Timestamp, Vec<Event>)| {
            seq += 1;
            position += 1;
            RowSeen {
                seq,
                shard: 0,
                position,
                at: at.as_ms(),
                events: serde_json::to_string(events).expect("JSON"),
            }
        };
        let rows: Vec<RowSeen> = self.rows.iter().map(row).collect();
        let order = self.order.as_ref().expect("placed");
        let snapshot = SnapshotSeen {
            seq: u64::try_from(rows.len()).expect("few"),
            live: order.is_live(),
            state: serde_json::to_string(order).expect("JSON"),
        };
        let stream = StreamSeen {
            kind: StreamKind::Order.code(),
            rows,
            snapshot: Some(snapshot),
        };
        (self.id.stream(), stream)
    }

    /// What a run with this order alone would have left.
    pub(crate) fn evidence(&self) -> Evidence {
        let customer = self.view().customer_id;
        Evidence {
            submitted: vec![Submitted {
                order: "o1".to_owned(),
                key: customer,
                id: Some(self.id),
                repeated: None,
                cancel_granted: None,
            }],
            orders: BTreeMap::from([(
                self.id,
                Some(OrderSeen {
                    view: self.view(),
                    events: self.told(),
                }),
            )]),
            ledger: self.ledger.clone(),
            channels: vec![CapacitySeen {
                id: "kitchen".to_owned(),
                capacity_per_slot: 10,
                slots: Vec::new(),
                claims: BTreeMap::new(),
            }],
            couriers: Vec::new(),
        }
    }
}

fn told(version: u64, index: usize, at: Timestamp, event: &Event) -> EventView {
    let Ok(Value::Object(mut data)) = to_value(event) else {
        panic!("{event:?} is not an object");
    };
    data.remove("type");
    // As the interface does.
    if let Some(details) = data.get_mut("details").and_then(Value::as_object_mut) {
        details.remove("payment_token").expect("a token");
    }
    EventView {
        version,
        index,
        at: at.as_ms(),
        kind: event.name().to_owned(),
        data,
    }
}

fn draft(n: u64) -> Draft {
    Draft {
        customer_id: format!("customer-{n}"),
        restaurant_id: "restaurant".to_owned(),
        items: vec![DraftItem {
            sku: "soup".to_owned(),
            name: "Soup".to_owned(),
            quantity: 1,
            unit_price_minor: 500,
        }],
        currency: "USD".to_owned(),
        delivery_location: DeliveryLocation {
            lat: 41.89,
            lng: -87.63,
            address: String::new(),
        },
        requested_for: None,
        payment_token: "token".to_owned(),
        notes: None,
    }
}
