//! What must always hold, each with its id. The same predicates run in property tests, in the chaos checker and, where
//! they are cheap, in production.

use crate::channel::{Channel, ClaimState};
use crate::entity::{Entity, fold};
use crate::ids::{OrderId, Seq};
use crate::order::{Event, Order, OrderStatus};
use crate::saga::{Backward, Direction, EffectKey, Forward, Step, StepDefinition};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The ids of the invariants, as the architecture names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every acknowledged order exists.
    Sg1,
    /// One order for one idempotency key.
    Sg2,
    /// Once faults stop, every order reaches a terminal state.
    Sg3,
    /// Only legal transitions; versions without gaps.
    Sg4,
    /// Compensations: reverse order, none for a step that never ran, all for one whose outcome is unknown.
    Sg5,
    /// Captured less refunded is the amount due, with at most one capture.
    Py1,
    /// Per participant, each effect is kept or undone exactly once.
    Pt1,
    /// Reserved capacity never exceeds the limit.
    Cp1,
    /// Nothing is reserved for a finished order.
    Cp2,
    /// Epochs only grow.
    Ls1,
    /// No commit under an old epoch.
    Ls2,
    /// At most one live activation commits.
    Ls3,
    /// Replaying the events gives the snapshot.
    Ev1,
    /// The topic holds every row of the outbox, per order in order: so positions have no gaps.
    Ev2,
    /// No timer is lost or early.
    Tm1,
}

impl Invariant {
    /// The id, such as `SG-1`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Sg1 => "SG-1",
            Self::Sg2 => "SG-2",
            Self::Sg3 => "SG-3",
            Self::Sg4 => "SG-4",
            Self::Sg5 => "SG-5",
            Self::Py1 => "PY-1",
            Self::Pt1 => "PT-1",
            Self::Cp1 => "CP-1",
            Self::Cp2 => "CP-2",
            Self::Ls1 => "LS-1",
            Self::Ls2 => "LS-2",
            Self::Ls3 => "LS-3",
            Self::Ev1 => "EV-1",
            Self::Ev2 => "EV-2",
            Self::Tm1 => "TM-1",
        }
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Of what, and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.id(), self.detail)
    }
}

fn violation(invariant: Invariant, detail: impl Into<String>) -> Violation {
    Violation {
        invariant,
        detail: detail.into(),
    }
}

/// SG-3: the order has come to its end.
pub fn settled(order: &Order) -> Option<Violation> {
    let open: Vec<_> = order
        .ledger
        .iter()
        .filter(|r| r.is_open())
        .map(|r| format!("{} {}", r.step.as_str(), r.round))
        .collect();
    let detail = || format!("order {} is {} with {} open", order.id, order.status, open.join(", "));
    (!order.is_settled()).then(|| violation(Invariant::Sg3, detail()))
}

/// SG-4: versions run from 1 without gaps.
pub fn gapless(order: OrderId, seqs: &[Seq]) -> Option<Violation> {
    let expected = (1..).map(Seq);
    let wrong = seqs.iter().zip(expected).find(|(seq, expected)| **seq != *expected)?;
    Some(violation(
        Invariant::Sg4,
        format!("order {order} has version {} where {} should be", wrong.0, wrong.1),
    ))
}

/// SG-5 and PY-1 and PT-1 as far as the order's own ledger shows them: what a settled order kept and undid fits its end.
pub fn ledger(order: &Order) -> Vec<Violation> {
    if !order.is_settled() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let delivered = order.status == OrderStatus::Delivered;
    for record in &order.ledger {
        let name = format!("order {}: {} {}", order.id, record.step.as_str(), record.round);
        let compensated = StepDefinition::of(order, record.step).is_some_and(|row| row.compensation.is_some());
        let undone = matches!(record.backward, Backward::Done | Backward::Resolved);
        if undone && !compensated {
            found.push(violation(
                Invariant::Sg5,
                format!("{name} was undone but has no compensation"),
            ));
        }
        if undone && record.forward == Forward::Refused {
            found.push(violation(Invariant::Sg5, format!("{name} was refused and undone")));
        }
        if record.forward == Forward::Unknown && compensated && !undone {
            found.push(violation(
                Invariant::Sg5,
                format!("{name} has an unknown outcome and was not undone"),
            ));
        }
    }
    let kept = |step| {
        order
            .ledger
            .iter()
            .filter(|record| record.step == step && record.is_done())
            .count()
    };
    let captured = kept(Step::Capture);
    if captured != usize::from(delivered) {
        found.push(violation(
            Invariant::Py1,
            format!("order {} is {} with {captured} captures kept", order.id, order.status),
        ));
    }
    let picked_up = order.milestones.picked_up_at.is_some();
    for (step, wanted) in [(Step::PlaceTicket, picked_up), (Step::Dispatch, delivered)] {
        if kept(step) != usize::from(wanted) {
            let detail = format!(
                "order {} is {} with {} of {} kept",
                order.id,
                order.status,
                kept(step),
                step.as_str()
            );
            found.push(violation(Invariant::Pt1, detail));
        }
    }
    found
}

/// SG-5: within one unwinding, compensations begin in the reverse order of their steps.
pub fn reverse_order(order: &Order, events: &[Event]) -> Option<Violation> {
    let turned = events
        .iter()
        .position(|event| matches!(event, Event::UnwindingStarted { .. }))?;
    let begins = |event: &Event| match *event {
        Event::UndoStarted {
            step,
            round,
            attempt: 1,
            ..
        } => order.ledger.iter().position(|r| r.step == step && r.round == round),
        _ => None,
    };
    // The first beginning counts: an operator may have a stuck one tried again at any time.
    let mut seen: BTreeSet<usize> = events[..turned].iter().filter_map(begins).collect();
    let begun: Vec<usize> = events[turned..]
        .iter()
        .filter_map(begins)
        .filter(|n| seen.insert(*n))
        .collect();
    let sorted = begun.windows(2).all(|pair| pair[0] >= pair[1]);
    (!sorted).then(|| {
        violation(
            Invariant::Sg5,
            format!("order {} was undone in the order {begun:?}", order.id),
        )
    })
}

/// CP-1: no slot of the channel has more taken than there is, and the books agree with the claims.
///
/// `limit` is the highest limit that was in force while the claims were made.
pub fn capacity(channel: &Channel, limit: u32) -> Vec<Violation> {
    let mut sums: BTreeMap<Timestamp, u32> = BTreeMap::new();
    for (_, claim) in channel.ledger.claims().filter(|(_, claim)| claim.state.takes()) {
        *sums.entry(claim.slot).or_default() += claim.units;
    }
    let mut found: Vec<_> = sums
        .iter()
        .filter(|(_, units)| **units > limit)
        .map(|(slot, units)| {
            violation(
                Invariant::Cp1,
                format!("{}: {units} of {limit} taken at {}", channel.id, slot.0),
            )
        })
        .collect();
    if channel.ledger.slots().collect::<BTreeMap<_, _>>() != sums {
        found.push(violation(
            Invariant::Cp1,
            format!("{}: the books differ from the claims", channel.id),
        ));
    }
    found
}

/// CP-2: no claim of the channel takes capacity for one of these settled orders.
pub fn nothing_reserved(channel: &Channel, settled: &BTreeSet<OrderId>) -> Vec<Violation> {
    let taken = channel
        .ledger
        .claims()
        .filter(|(key, claim)| claim.state.takes() && settled.contains(&key.order));
    let detail =
        |key: &EffectKey, state: ClaimState| format!("{}: {key} is {state:?} for a finished order", channel.id);
    taken
        .map(|(key, claim)| violation(Invariant::Cp2, detail(key, claim.state)))
        .collect()
}

/// CP-2: no claim of the channel takes capacity for a hold that the order was refused, and so will not release.
pub fn nothing_for_refused(channel: &Channel, order: &Order) -> Vec<Violation> {
    let refused = order
        .ledger
        .iter()
        .filter(|record| record.step == Step::HoldCapacity && record.forward == Forward::Refused);
    let keys = refused.map(|record| EffectKey {
        order: order.id,
        step: record.step,
        round: record.round,
        direction: Direction::Forward,
    });
    let taken = keys.filter_map(|key| {
        let claim = channel.ledger.claim(&key).filter(|claim| claim.state.takes())?;
        let detail = format!("{}: {key} is {:?} although it was refused", channel.id, claim.state);
        Some(violation(Invariant::Cp2, detail))
    });
    taken.collect()
}

/// What a participant did in the outside world for one effect key, by its own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// How often the action was carried out.
    pub done: u32,
    /// How often it was undone (by us, or by the participant itself).
    pub undone: u32,
}

/// PT-1 and PY-1 across the border: what the participant's books say agrees with the settled order's ledger, effect by
/// effect. `deeds` is keyed by the action's key.
pub fn agrees(order: &Order, step: Step, deeds: &BTreeMap<EffectKey, Deed>) -> Vec<Violation> {
    let invariant = if matches!(step, Step::Authorize | Step::Capture) {
        Invariant::Py1
    } else {
        Invariant::Pt1
    };
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for record in order.ledger.iter().filter(|record| record.step == step) {
        let key = EffectKey {
            order: order.id,
            step,
            round: record.round,
            direction: Direction::Forward,
        };
        known.insert(key);
        let deed = deeds.get(&key).copied().unwrap_or_default();
        let fits = match (record.forward, record.backward) {
            (Forward::Done | Forward::Resolved, Backward::Idle) => deed == Deed { done: 1, undone: 0 },
            // A kitchen that accepted and dropped the ticket before we heard of the acceptance has, to us, refused it.
            _ => deed.done == deed.undone && deed.done <= 1,
        };
        if !fits {
            let detail = format!(
                "{key} is {:?}/{:?} here and {deed:?} there",
                record.forward, record.backward
            );
            found.push(violation(invariant, detail));
        }
    }
    let strangers = deeds
        .keys()
        .filter(|key| key.order == order.id && key.step == step && !known.contains(key));
    found.extend(strangers.map(|key| violation(invariant, format!("{key} was done there and is unknown here"))));
    found
}

/// EV-1: replaying the rows gives the state.
///
/// # Errors
/// The rows cannot be replayed, or give another state.
pub fn replays<E: Entity>(rows: &[(Timestamp, Vec<E::Event>)], state: &E) -> Result<(), Violation> {
    let folded = rows
        .iter()
        .try_fold(None, |folded, (at, events)| fold::<E>(folded, events, *at));
    match folded {
        Ok(Some(folded)) if folded == *state => Ok(()),
        Ok(folded) => Err(violation(
            Invariant::Ev1,
            format!("replaying gives {folded:?} instead of {state:?}"),
        )),
        Err(illegal) => Err(violation(Invariant::Ev1, illegal.to_string())),
    }
}
