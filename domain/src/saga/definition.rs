//! The definition of the fulfilment saga: a table that reads as the specification.

use crate::entity::Context;
use crate::order::{CourierStage, Order, OrderStatus};
use crate::policy::CaptureAt;
use serde::{Deserialize, Serialize};

/// A step of the saga. The names are part of the storage format and of effect keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Choose the channel and its alternates, with a quote.
    Route,
    /// An expiring claim on the channel's slot.
    HoldCapacity,
    /// Set the customer's money aside.
    Authorize,
    /// The kitchen or partner accepts; the pivot.
    PlaceTicket,
    /// The hold becomes a reservation; the order is confirmed.
    ConfirmCapacity,
    /// A courier.
    Dispatch,
    /// Take the money.
    Capture,
    /// The food has left: the reservation has served its purpose.
    CloseCapacity,
    /// It is delivered: the courier is free.
    CompleteDelivery,
}

impl Step {
    /// All steps, in the table's order.
    pub const ALL: [Self; 9] = [
        Self::Route,
        Self::HoldCapacity,
        Self::Authorize,
        Self::PlaceTicket,
        Self::ConfirmCapacity,
        Self::Dispatch,
        Self::Capture,
        Self::CloseCapacity,
        Self::CompleteDelivery,
    ];

    /// The step's name in effect keys, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::HoldCapacity => "hold_capacity",
            Self::Authorize => "authorize",
            Self::PlaceTicket => "place_ticket",
            Self::ConfirmCapacity => "confirm_capacity",
            Self::Dispatch => "dispatch",
            Self::Capture => "capture",
            Self::CloseCapacity => "close_capacity",
            Self::CompleteDelivery => "complete_delivery",
        }
    }
}

/// Who carries a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Participant {
    /// Routing, in this process.
    Router,
    /// A channel's capacity ledger.
    Channel,
    /// The payment provider.
    Payments,
    /// A kitchen or partner.
    Kitchen,
    /// A zone's dispatcher.
    Zone,
}

/// What happens when a step's attempts are used up without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// It is given up and compensated as if it had happened.
    GivenUp,
    /// The saga only goes forward here: an operator must look.
    Stuck,
}

/// One row of the table.
pub struct StepDefinition {
    /// The step.
    pub step: Step,
    /// Who carries it out.
    pub participant: Participant,
    /// The compensation's name; `None`: there is nothing to undo.
    pub compensation: Option<&'static str>,
    /// Whether failures are retried long (past the pivot) or soon given up.
    pub persistent: bool,
    /// What happens when its attempts are used up.
    pub exhausted: Exhausted,
    /// Whether it is to begin now, and as which round.
    pub ready: fn(&Order, &Context<'_>) -> Option<u32>,
}

/// The version new orders follow.
pub const CURRENT_VERSION: u16 = 2;

/// The definition of a version; `None` when this program does not know it.
pub const fn definition(version: u16) -> Option<&'static [StepDefinition; 9]> {
    match version {
        1 => Some(&VERSION_1),
        2 => Some(&VERSION_2),
        _ => None,
    }
}

impl StepDefinition {
    /// The row of a step in the definition an order follows.
    pub fn of(order: &Order, step: Step) -> Option<&'static Self> {
        definition(order.saga_version)?.iter().find(|row| row.step == step)
    }
}

const fn row(
    step: Step,
    participant: Participant,
    compensation: Option<&'static str>,
    persistent: bool,
    exhausted: Exhausted,
    ready: fn(&Order, &Context<'_>) -> Option<u32>,
) -> StepDefinition {
    StepDefinition {
        step,
        participant,
        compensation,
        persistent,
        exhausted,
        ready,
    }
}

/// Capacity is held while the money is set aside, and reserved while the kitchen decides: what does not need each other
/// is asked for together, which saves commits and waits.
#[rustfmt::skip]
static VERSION_2: [StepDefinition; 9] = {
    use Exhausted::{GivenUp, Stuck};
    use Participant::{Channel, Kitchen, Payments, Router, Zone};
    [   //  step                    by        compensation            persistent exhausted begins when
        row(Step::Route,            Router,   None,                   false,     GivenUp,  route),
        row(Step::HoldCapacity,     Channel,  Some("release"),        false,     GivenUp,  hold_capacity),
        row(Step::Authorize,        Payments, Some("void"),           false,     GivenUp,  authorize),
        row(Step::PlaceTicket,      Kitchen,  Some("cancel ticket"),  false,     GivenUp,  place_ticket),
        row(Step::ConfirmCapacity,  Channel,  None,                   true,      Stuck,    confirm_capacity),
        row(Step::Dispatch,         Zone,     Some("unassign"),       true,      GivenUp,  dispatch),
        row(Step::Capture,          Payments, Some("refund"),         true,      Stuck,    capture),
        row(Step::CloseCapacity,    Channel,  None,                   true,      Stuck,    close_capacity),
        row(Step::CompleteDelivery, Zone,     None,                   true,      Stuck,    complete_delivery),
    ]
};

/// One step after the other.
#[rustfmt::skip]
static VERSION_1: [StepDefinition; 9] = {
    use Exhausted::{GivenUp, Stuck};
    use Participant::{Channel, Kitchen, Payments, Router, Zone};
    [   //  step                    by        compensation            persistent exhausted begins when
        row(Step::Route,            Router,   None,                   false,     GivenUp,  route),
        row(Step::HoldCapacity,     Channel,  Some("release"),        false,     GivenUp,  hold_capacity),
        row(Step::Authorize,        Payments, Some("void"),           false,     GivenUp,  authorize_after_hold),
        row(Step::PlaceTicket,      Kitchen,  Some("cancel ticket"),  false,     GivenUp,  place_ticket),
        row(Step::ConfirmCapacity,  Channel,  None,                   true,      Stuck,    confirm_capacity_after_ticket),
        row(Step::Dispatch,         Zone,     Some("unassign"),       true,      GivenUp,  dispatch),
        row(Step::Capture,          Payments, Some("refund"),         true,      Stuck,    capture),
        row(Step::CloseCapacity,    Channel,  None,                   true,      Stuck,    close_capacity),
        row(Step::CompleteDelivery, Zone,     None,                   true,      Stuck,    complete_delivery),
    ]
};

fn done(order: &Order, step: Step, round: u32) -> bool {
    order.record(step, round).is_some_and(super::Record::is_done)
}

fn once(order: &Order, step: Step, round: u32) -> Option<u32> {
    order.record(step, round).is_none().then_some(round)
}

/// At once.
fn route(order: &Order, _: &Context<'_>) -> Option<u32> {
    once(order, Step::Route, 0)
}

/// Once for each candidate that is asked.
fn hold_capacity(order: &Order, _: &Context<'_>) -> Option<u32> {
    order
        .candidate()
        .and_then(|_| once(order, Step::HoldCapacity, order.round))
}

/// When a channel is chosen; again when an authorization lapses before the money is taken.
fn authorize(order: &Order, _: &Context<'_>) -> Option<u32> {
    let wanted = order.candidate().is_some()
        && order.in_force(Step::Authorize).is_none()
        && order.in_force(Step::Capture).is_none();
    wanted.then(|| order.next_round(Step::Authorize))
}

/// As [`authorize`], once capacity is held.
fn authorize_after_hold(order: &Order, context: &Context<'_>) -> Option<u32> {
    let held = done(order, Step::HoldCapacity, order.round);
    held.then(|| authorize(order, context)).flatten()
}

/// Whether capacity is held and the money set aside (or taken).
fn is_held_and_paid(order: &Order) -> bool {
    let paid = [Step::Authorize, Step::Capture]
        .iter()
        .any(|&step| order.in_force(step).is_some_and(super::Record::is_done));
    paid && done(order, Step::HoldCapacity, order.round)
}

/// When capacity is held and the money set aside.
fn place_ticket(order: &Order, _: &Context<'_>) -> Option<u32> {
    is_held_and_paid(order)
        .then(|| once(order, Step::PlaceTicket, order.round))
        .flatten()
}

/// Together with the ticket: however long the kitchen thinks, the hold does not lapse.
fn confirm_capacity(order: &Order, _: &Context<'_>) -> Option<u32> {
    is_held_and_paid(order)
        .then(|| once(order, Step::ConfirmCapacity, order.round))
        .flatten()
}

/// When the kitchen has accepted.
fn confirm_capacity_after_ticket(order: &Order, _: &Context<'_>) -> Option<u32> {
    done(order, Step::PlaceTicket, order.round)
        .then(|| once(order, Step::ConfirmCapacity, order.round))
        .flatten()
}

/// Whether a kitchen makes the order and has reserved capacity for it.
pub(super) fn is_secured(order: &Order) -> bool {
    done(order, Step::PlaceTicket, order.round) && done(order, Step::ConfirmCapacity, order.round)
}

/// When the food will soon be ready; again when a courier drops out.
fn dispatch(order: &Order, context: &Context<'_>) -> Option<u32> {
    let soon = order
        .ready_at
        .is_none_or(|ready_at| context.now + context.policy.dispatch_lead_ms >= ready_at);
    let wanted = soon
        && is_secured(order)
        && order.carriage == CourierStage::Waiting
        && order.in_force(Step::Dispatch).is_none();
    wanted.then(|| order.next_round(Step::Dispatch))
}

/// When the policy says so and an authorization is in force.
fn capture(order: &Order, context: &Context<'_>) -> Option<u32> {
    let due = match context.policy.capture_at {
        CaptureAt::Confirmed => order.milestones.confirmed_at.is_some(),
        CaptureAt::PickedUp => order.status.is_picked_up(),
        CaptureAt::Delivered => order.status == OrderStatus::Delivered,
    };
    let authorized = order.in_force(Step::Authorize).is_some_and(super::Record::is_done);
    (due && authorized && order.in_force(Step::Capture).is_none()).then(|| order.next_round(Step::Capture))
}

/// When the courier has the food.
fn close_capacity(order: &Order, _: &Context<'_>) -> Option<u32> {
    order
        .status
        .is_picked_up()
        .then(|| once(order, Step::CloseCapacity, order.round))
        .flatten()
}

/// When the customer has it.
fn complete_delivery(order: &Order, _: &Context<'_>) -> Option<u32> {
    let dispatch = order.in_force(Step::Dispatch)?;
    (order.status == OrderStatus::Delivered)
        .then(|| once(order, Step::CompleteDelivery, dispatch.round))
        .flatten()
}
