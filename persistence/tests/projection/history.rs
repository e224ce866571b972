//! Orders and what happens to them, as rows; and what a list must show of them, told by the plainest means.

use crate::fixture::shard_map;
use domain::ids::{HashSlot, OrderId, Position, Seq, StreamId};
use domain::order::{DeliveryLocation, Draft, DraftItem, Ending, Event, FailureCode, OrderStatus};
use domain::ports::{Append, StreamKind};
use domain::saga::{Receipt, Step};
use domain::shard::{OwnedShard, ShardId};
use domain::time::Timestamp;
use persistence::projection::OrderSummary;
use std::collections::{BTreeMap, BTreeSet};

/// How many different customers, restaurants and channels there are.
pub(crate) const NAMES: u8 = 4;

/// What may happen to an order after it is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    Step,
    Confirmed(u8),
    /// Confirmed by a program that did not say by whom.
    ConfirmedBySomebody,
    Rerouted,
    Preparing,
    Ready,
    PickedUp,
    InTransit,
    Delivered,
    Cancelled,
    Failed,
    /// A compensation of this round is stuck.
    UndoStuck(u32),
    /// A step is stuck.
    StepStuck,
    /// What is stuck of this round is tried again.
    UndoAgain(u32),
    /// An operator has settled the step.
    Resolved,
    /// All is to be undone.
    Unwinding,
}

/// The `n`th order. Ids sort by `n`.
pub(crate) fn order(n: u32) -> OrderId {
    OrderId::mint(id_time(n), HashSlot::of(&[&n.to_be_bytes()]), n.into())
}

/// The time in an order's id. Two orders share each moment.
pub(crate) fn id_time(n: u32) -> Timestamp {
    Timestamp(1_000_000 + i64::from(n / 2) * 10)
}

pub(crate) fn name<T: std::str::FromStr>(kind: &str, n: u8) -> T {
    let parsed = format!("{kind}-{}", n % NAMES).parse();
    parsed.unwrap_or_else(|_| panic!("not a name"))
}

/// All that happens, and what becomes of it.
pub(crate) struct World {
    pub(crate) owned: Vec<OwnedShard>,
    /// What a list must show, by id.
    pub(crate) expected: BTreeMap<OrderId, OrderSummary>,
    seqs: BTreeMap<OrderId, u64>,
    /// What waits for an operator, by order.
    stuck: BTreeMap<OrderId, BTreeSet<Turn>>,
    now: i64,
}

impl World {
    pub(crate) fn new(owned: Vec<OwnedShard>) -> Self {
        Self {
            owned,
            expected: BTreeMap::new(),
            seqs: BTreeMap::new(),
            stuck: BTreeMap::new(),
            now: 2_000_000,
        }
    }

    /// A row of an order: placed a moment after the id was made.
    pub(crate) fn place(&mut self, n: u32, who: u8) -> Append {
        let id = order(n);
        let details = draft(who).check(Timestamp(0)).expect("a valid order");
        let at = Timestamp(id_time(n).0 + i64::from(who % 3));
        let summary = OrderSummary {
            order: id,
            seq: Seq(1),
            status: OrderStatus::Pending,
            customer: details.customer_id.clone(),
            restaurant: details.restaurant_id.clone(),
            channel: None,
            total: details.total,
            placed_at: at,
            updated_at: at,
            stuck: false,
        };
        assert!(
            self.expected.insert(id, summary).is_none(),
            "order {n} is placed already"
        );
        let placed = Event::OrderPlaced {
            id,
            details: details.into(),
            saga_version: 1,
        };
        self.row(id, at, &[placed, step()])
    }

    /// A row of an order that is placed.
    pub(crate) fn turn(&mut self, n: u32, turn: Turn) -> Append {
        let id = order(n);
        self.now += 1;
        let at = Timestamp(self.now);
        let append = self.row(id, at, &[step(), event(turn)]);
        let is_shown = if is_of_operators(turn) {
            let stuck = self.stuck.entry(id).or_default();
            let before = stuck.clone();
            repair(stuck, turn);
            *stuck != before
        } else {
            turn != Turn::Step
        };
        if is_shown {
            let summary = self.expected.get_mut(&id).expect("placed");
            show(summary, turn);
            summary.stuck = self.stuck.get(&id).is_some_and(|stuck| !stuck.is_empty());
            (summary.seq, summary.updated_at) = (append.seq, at);
        }
        append
    }

    /// A row of a channel, which concerns no list.
    pub(crate) fn channel(&mut self, n: u8) -> Append {
        let stream = name::<domain::ids::ChannelId>("k", n).stream();
        self.now += 1;
        let seq = self.now.unsigned_abs();
        self.append(
            stream,
            StreamKind::Channel,
            seq,
            Timestamp(self.now),
            "[{\"type\":\"OrderPlaced\"}]".into(),
        )
    }

    /// A row that nobody can read.
    pub(crate) fn poison(&mut self, n: u32) -> Append {
        let seq = self.next_seq(order(n));
        self.append(
            order(n).stream(),
            StreamKind::Order,
            seq,
            Timestamp(1),
            "[{\"type\":\"OrderSold\"}]".into(),
        )
    }

    fn row(&mut self, id: OrderId, at: Timestamp, events: &[Event]) -> Append {
        let seq = self.next_seq(id);
        let events = serde_json::to_string(events).expect("JSON");
        self.append(id.stream(), StreamKind::Order, seq, at, events)
    }

    fn next_seq(&mut self, id: OrderId) -> u64 {
        let seq = self.seqs.entry(id).or_default();
        *seq += 1;
        *seq
    }

    fn append(&mut self, stream: StreamId, kind: StreamKind, seq: u64, at: Timestamp, events: String) -> Append {
        let shard: ShardId = shard_map().shard_of(stream);
        let owned = self.owned.iter_mut().find(|owned| owned.shard == shard).expect("owned");
        owned.position = Position(owned.position.0 + 1);
        Append {
            shard,
            epoch: owned.epoch,
            position: owned.position,
            stream,
            kind,
            seq: Seq(seq),
            at,
            events,
            snapshot: None,
            claim: None,
        }
    }

    /// What a list of everything shows, newest first.
    pub(crate) fn list(&self) -> Vec<OrderSummary> {
        self.expected.values().rev().cloned().collect()
    }
}

const fn is_of_operators(turn: Turn) -> bool {
    matches!(
        turn,
        Turn::UndoStuck(_) | Turn::StepStuck | Turn::UndoAgain(_) | Turn::Resolved | Turn::Unwinding
    )
}

/// What is stuck after a turn.
fn repair(stuck: &mut BTreeSet<Turn>, turn: Turn) {
    match turn {
        Turn::UndoStuck(_) | Turn::StepStuck => {
            stuck.insert(turn);
        }
        Turn::UndoAgain(round) => {
            stuck.remove(&Turn::UndoStuck(round));
        }
        _ => {
            stuck.remove(&Turn::StepStuck);
        }
    }
}

fn show(summary: &mut OrderSummary, turn: Turn) {
    let cooking = [OrderStatus::Preparing, OrderStatus::ReadyForPickup];
    summary.status = match turn {
        Turn::Rerouted if cooking.contains(&summary.status) => OrderStatus::Confirmed,
        Turn::Step | Turn::Rerouted => summary.status,
        other if is_of_operators(other) => summary.status,
        Turn::Confirmed(_) | Turn::ConfirmedBySomebody => OrderStatus::Confirmed,
        Turn::Preparing => OrderStatus::Preparing,
        Turn::Ready => OrderStatus::ReadyForPickup,
        Turn::PickedUp => OrderStatus::PickedUp,
        Turn::InTransit => OrderStatus::InTransit,
        Turn::Delivered => OrderStatus::Delivered,
        Turn::Cancelled => OrderStatus::Cancelled,
        _ => OrderStatus::Failed,
    };
    match turn {
        Turn::Confirmed(k) => summary.channel = Some(name("k", k)),
        Turn::ConfirmedBySomebody | Turn::Rerouted => summary.channel = None,
        _ => {}
    }
}

fn step() -> Event {
    Event::StepDone {
        step: Step::HoldCapacity,
        round: 0,
        receipt: Receipt::Empty,
    }
}

fn event(turn: Turn) -> Event {
    match turn {
        Turn::Step => step(),
        Turn::Confirmed(k) => Event::OrderConfirmed {
            channel: Some(name("k", k)),
            ready_at: None,
        },
        Turn::ConfirmedBySomebody => Event::OrderConfirmed {
            channel: None,
            ready_at: None,
        },
        Turn::Rerouted => Event::OrderRerouted {
            round: 1,
            channel: None,
        },
        Turn::Preparing => Event::OrderPreparing,
        Turn::Ready => Event::OrderReady,
        Turn::PickedUp => Event::OrderPickedUp,
        Turn::InTransit => Event::OrderInTransit,
        Turn::Delivered => Event::OrderDelivered,
        Turn::Cancelled => Event::OrderCancelled,
        Turn::Failed => Event::OrderFailed {
            code: FailureCode::NoCourier,
        },
        Turn::UndoStuck(round) => Event::UndoStuck {
            step: Step::PlaceTicket,
            round,
            detail: "gone".into(),
        },
        Turn::StepStuck => Event::StepStuck {
            step: Step::Capture,
            round: 0,
            detail: "gone".into(),
        },
        Turn::UndoAgain(round) => Event::UndoStarted {
            step: Step::PlaceTicket,
            round,
            attempt: 1,
            start_at: Timestamp(0),
            deadline: Timestamp(1),
        },
        Turn::Resolved => Event::Resolved {
            step: Step::Capture,
            round: 0,
            note: "by hand".into(),
        },
        Turn::Unwinding => Event::UnwindingStarted {
            ending: Ending::Cancelled,
            reason: "StepStuck".into(),
        },
    }
}

fn draft(who: u8) -> Draft {
    Draft {
        customer_id: format!("c-{}", who % NAMES),
        restaurant_id: format!("r-{}", who / NAMES % NAMES),
        items: vec![DraftItem {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 1 + i64::from(who),
            unit_price_minor: 450,
        }],
        currency: "EUR".into(),
        delivery_location: DeliveryLocation {
            lat: 1.0,
            lng: 2.0,
            address: "1 Order St".into(),
        },
        requested_for: None,
        payment_token: "tok".into(),
        notes: None,
    }
}
