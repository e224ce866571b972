//! What can happen to an order.

use super::Details;
use super::status::FailureCode;
use crate::ids::{ChannelId, CourierId, OrderId};
use crate::saga::{Receipt, Refused, Step};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How an order that does not end well ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Somebody cancelled it.
    Cancelled,
    /// It failed.
    Failed(FailureCode),
}

/// How far the kitchen is, by its own reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KitchenStage {
    /// Nothing reported.
    #[default]
    Waiting,
    /// Cooking.
    Preparing,
    /// Done.
    Ready,
}

/// How far the courier is, by its own reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CourierStage {
    /// Nothing reported.
    #[default]
    Waiting,
    /// Has the food.
    PickedUp,
    /// On the way.
    InTransit,
    /// At the customer's door.
    Delivered,
}

/// One event of an order's log. The names are part of the storage format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The order was accepted; its saga follows this version of the definition to its end.
    OrderPlaced {
        /// Its id.
        id: OrderId,
        /// What was ordered.
        details: Arc<Details>,
        /// The version of the saga's definition.
        saga_version: u16,
    },
    /// An attempt of a step begins.
    StepStarted {
        /// Which step.
        step: Step,
        /// For which legitimate repetition of it.
        round: u32,
        /// The how manieth attempt.
        attempt: u32,
        /// Not before.
        start_at: Timestamp,
        /// When it counts as failed.
        deadline: Timestamp,
    },
    /// The participant took the step and decides later.
    StepPending {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// Until when.
        deadline: Timestamp,
    },
    /// A step is done.
    StepDone {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// What came of it.
        receipt: Receipt,
    },
    /// The participant says no.
    StepRefused {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// Why.
        refused: Refused,
    },
    /// The step is given up and may or may not have happened: it is compensated as if it had.
    StepUnknown {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// Why.
        detail: String,
    },
    /// A step past the pivot cannot be carried out: an operator must look.
    StepStuck {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// Why.
        detail: String,
    },
    /// A step is to be undone although the order goes on.
    UndoWanted {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
    },
    /// An attempt of a compensation begins.
    UndoStarted {
        /// Of which step.
        step: Step,
        /// Which round.
        round: u32,
        /// The how manieth attempt.
        attempt: u32,
        /// Not before.
        start_at: Timestamp,
        /// When it counts as failed.
        deadline: Timestamp,
    },
    /// A compensation is done.
    UndoDone {
        /// Of which step.
        step: Step,
        /// Which round.
        round: u32,
    },
    /// A compensation cannot be carried out: an operator must look.
    UndoStuck {
        /// Of which step.
        step: Step,
        /// Which round.
        round: u32,
        /// Why.
        detail: String,
    },
    /// An operator declares a stuck step or compensation settled.
    Resolved {
        /// Which step.
        step: Step,
        /// Which round.
        round: u32,
        /// What the operator says.
        note: String,
    },
    /// A kitchen or partner makes the order and has reserved capacity for it.
    OrderConfirmed {
        /// Who makes it; absent in rows of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelId>,
        /// When the food is expected to be ready, as far as is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready_at: Option<Timestamp>,
    },
    /// The kitchen reported how far it is.
    KitchenReported {
        /// How far.
        stage: KitchenStage,
    },
    /// The kitchen estimates anew when the food is ready.
    ReadyEstimated {
        /// When.
        ready_at: Timestamp,
    },
    /// The kitchen dropped the ticket it had accepted.
    TicketDropped {
        /// The ticket's round.
        round: u32,
        /// Why.
        reason: String,
    },
    /// The order goes to the next channel.
    OrderRerouted {
        /// The new round.
        round: u32,
        /// Which that is; absent in rows of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelId>,
    },
    /// The courier dropped out before pick-up.
    CourierLost {
        /// Who.
        courier: CourierId,
        /// The dispatch round.
        round: u32,
    },
    /// The courier reported how far it is.
    CourierReported {
        /// How far.
        stage: CourierStage,
    },
    /// Cooking began.
    OrderPreparing,
    /// The food waits for its courier.
    OrderReady,
    /// The courier has it.
    OrderPickedUp,
    /// The courier is on the way.
    OrderInTransit,
    /// The customer has it.
    OrderDelivered,
    /// The saga turns back: everything done is to be undone.
    UnwindingStarted {
        /// How it will end.
        ending: Ending,
        /// Why.
        reason: String,
    },
    /// Everything is undone; it was cancelled.
    OrderCancelled,
    /// Everything is undone; it failed.
    OrderFailed {
        /// Why.
        code: FailureCode,
    },
}

impl Event {
    /// The event's name, as in the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OrderPlaced { .. } => "OrderPlaced",
            Self::StepStarted { .. } => "StepStarted",
            Self::StepPending { .. } => "StepPending",
            Self::StepDone { .. } => "StepDone",
            Self::StepRefused { .. } => "StepRefused",
            Self::StepUnknown { .. } => "StepUnknown",
            Self::StepStuck { .. } => "StepStuck",
            Self::UndoWanted { .. } => "UndoWanted",
            Self::UndoStarted { .. } => "UndoStarted",
            Self::UndoDone { .. } => "UndoDone",
            Self::UndoStuck { .. } => "UndoStuck",
            Self::Resolved { .. } => "Resolved",
            Self::OrderConfirmed { .. } => "OrderConfirmed",
            Self::KitchenReported { .. } => "KitchenReported",
            Self::ReadyEstimated { .. } => "ReadyEstimated",
            Self::TicketDropped { .. } => "TicketDropped",
            Self::OrderRerouted { .. } => "OrderRerouted",
            Self::CourierLost { .. } => "CourierLost",
            Self::CourierReported { .. } => "CourierReported",
            Self::OrderPreparing => "OrderPreparing",
            Self::OrderReady => "OrderReady",
            Self::OrderPickedUp => "OrderPickedUp",
            Self::OrderInTransit => "OrderInTransit",
            Self::OrderDelivered => "OrderDelivered",
            Self::UnwindingStarted { .. } => "UnwindingStarted",
            Self::OrderCancelled => "OrderCancelled",
            Self::OrderFailed { .. } => "OrderFailed",
        }
    }
}
