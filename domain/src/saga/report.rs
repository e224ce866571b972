//! What kitchens, couriers and dispatchers report about an order: late, doubled and out of order, as such reports come.

use super::ledger::{Forward, Record};
use super::turn::Turn;
use super::{Answer, Receipt, Refused, Step};
use crate::ids::{ChannelId, CourierId};
use crate::order::{CourierStage, Ending, Event, FailureCode, KitchenStage};
use crate::rejection::Rejection;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A report about an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// By the kitchen or partner.
    Kitchen(ChannelId, KitchenReport),
    /// By the courier.
    Courier(CourierId, CourierReport),
    /// By the zone's dispatcher: a courier is on its way to the kitchen.
    Assigned {
        /// For which round of the dispatch.
        round: u32,
        /// Who.
        courier: CourierId,
        /// When it is expected there.
        pickup_at: Timestamp,
    },
    /// By the zone's dispatcher: the courier dropped out.
    CourierLost {
        /// In which round of the dispatch.
        round: u32,
        /// Who.
        courier: CourierId,
    },
}

/// What a kitchen or partner reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KitchenReport {
    /// It takes the ticket.
    Accepted {
        /// When it expects to be done.
        ready_at: Option<Timestamp>,
    },
    /// It does not take the ticket.
    Rejected(Refused),
    /// It cooks.
    Preparing,
    /// The food is ready.
    Ready,
    /// The courier has taken it.
    PickedUp,
    /// It drops the ticket that it had accepted.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// What a courier reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CourierReport {
    /// It has the food.
    PickedUp,
    /// It is on the way to the customer.
    InTransit,
    /// The customer has it.
    Delivered,
    /// It cannot deliver.
    Failed {
        /// Why.
        reason: String,
    },
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::NotAllowed(text.into()))
}

impl Turn<'_> {
    pub(super) fn reported(&mut self, report: Report) -> Result<(), Rejection> {
        if let (true, false) = (
            self.order.unwinding.is_some(),
            matches!(report, Report::CourierLost { .. }),
        ) {
            return refuse(format!(
                "the order is {} and being undone or undone: nothing can be reported for it",
                self.describe()
            ));
        }
        match report {
            Report::Kitchen(channel, report) => self.kitchen_reported(&channel, report),
            Report::Courier(courier, report) => self.courier_reported(&courier, report),
            Report::Assigned {
                round,
                courier,
                pickup_at,
            } => self.assigned(round, courier, pickup_at),
            Report::CourierLost { round, courier } => self.courier_lost(round, courier),
        }
    }

    fn describe(&self) -> String {
        match &self.order.unwinding {
            Some(unwinding) if !self.order.status.is_terminal() => {
                format!("{} ({})", self.order.status, unwinding.reason)
            }
            _ => self.order.status.to_string(),
        }
    }

    fn kitchen_reported(&mut self, channel: &ChannelId, report: KitchenReport) -> Result<(), Rejection> {
        if self
            .order
            .candidate()
            .is_none_or(|candidate| candidate.channel != *channel)
        {
            return refuse(format!("the order is not, or no longer, with channel {channel}"));
        }
        let round = self.order.round;
        let Some(forward) = self.order.record(Step::PlaceTicket, round).map(|record| record.forward) else {
            return refuse(format!("channel {channel} has no ticket for the order yet"));
        };
        let waiting = matches!(forward, Forward::Acting(_) | Forward::Pending { .. });
        match report {
            KitchenReport::Rejected(_) if forward == Forward::Refused => Ok(()),
            KitchenReport::Rejected(refused) if waiting => {
                self.step_answered(Step::PlaceTicket, round, Answer::Refused(refused))
            }
            KitchenReport::Rejected(_) => refuse("the ticket was accepted; report 'cancelled' to drop it"),
            KitchenReport::Cancelled { reason } => self.ticket_dropped(round, forward, reason),
            KitchenReport::Accepted { ready_at } => self.accepted(round, forward, ready_at),
            KitchenReport::Preparing => self.kitchen_at(round, forward, KitchenStage::Preparing),
            KitchenReport::Ready => self.kitchen_at(round, forward, KitchenStage::Ready),
            KitchenReport::PickedUp => {
                self.kitchen_at(round, forward, KitchenStage::Ready)?;
                self.carriage_at(CourierStage::PickedUp)
            }
        }
    }

    fn accepted(&mut self, round: u32, forward: Forward, ready_at: Option<Timestamp>) -> Result<(), Rejection> {
        match forward {
            Forward::Acting(_) | Forward::Pending { .. } => {
                self.step_answered(Step::PlaceTicket, round, Answer::Done(Receipt::Accepted { ready_at }))
            }
            Forward::Done if self.order.kitchen < KitchenStage::Ready => match ready_at {
                Some(ready_at) if self.order.ready_at != Some(ready_at) => {
                    self.emit(Event::ReadyEstimated { ready_at })
                }
                _ => Ok(()),
            },
            Forward::Done => Ok(()),
            _ => refuse("the ticket is no longer wanted"),
        }
    }

    /// What a kitchen does implies that it accepted.
    fn kitchen_at(&mut self, round: u32, forward: Forward, stage: KitchenStage) -> Result<(), Rejection> {
        if forward != Forward::Done {
            self.accepted(round, forward, None)?;
        }
        if self.order.kitchen < stage {
            self.emit(Event::KitchenReported { stage })
        } else {
            Ok(())
        }
    }

    fn ticket_dropped(&mut self, round: u32, forward: Forward, reason: String) -> Result<(), Rejection> {
        if self.order.status.is_picked_up() {
            return refuse("the courier has the food: the ticket cannot be dropped any more");
        }
        match forward {
            Forward::Acting(_) | Forward::Pending { .. } => {
                let refused = Refused::new("cancelled", reason);
                self.step_answered(Step::PlaceTicket, round, Answer::Refused(refused))
            }
            Forward::Done => {
                self.emit(Event::TicketDropped {
                    round,
                    reason: reason.clone(),
                })?;
                if self.order.reroutes > self.context.policy.reroutes_max {
                    return self.unwind(Ending::Failed(FailureCode::KitchenCancelled), reason);
                }
                self.next_candidate(round, FailureCode::KitchenCancelled, reason)
            }
            _ => Ok(()),
        }
    }

    fn courier_reported(&mut self, courier: &CourierId, report: CourierReport) -> Result<(), Rejection> {
        if self.order.courier.as_ref() != Some(courier) {
            return refuse(format!("courier {courier} does not carry the order"));
        }
        match report {
            CourierReport::PickedUp => self.carriage_at(CourierStage::PickedUp),
            CourierReport::InTransit => self.carriage_at(CourierStage::InTransit),
            CourierReport::Delivered => self.carriage_at(CourierStage::Delivered),
            CourierReport::Failed { .. } if self.order.status.is_terminal() => {
                refuse(format!("the order is {}", self.order.status))
            }
            CourierReport::Failed { reason } if self.order.carriage > CourierStage::Waiting => {
                self.unwind(Ending::Failed(FailureCode::DeliveryFailed), reason)
            }
            CourierReport::Failed { .. } => {
                let round = self.order.in_force(Step::Dispatch).map_or(0, |record| record.round);
                self.courier_lost(round, courier.clone())
            }
        }
    }

    /// What a courier does implies that the kitchen was ready, and all that lies before.
    fn carriage_at(&mut self, stage: CourierStage) -> Result<(), Rejection> {
        if !self.order.in_force(Step::Dispatch).is_some_and(Record::is_done) {
            return refuse("no courier is assigned to the order");
        }
        if self.order.kitchen < KitchenStage::Ready {
            self.emit(Event::KitchenReported {
                stage: KitchenStage::Ready,
            })?;
        }
        if self.order.carriage < stage {
            self.emit(Event::CourierReported { stage })
        } else {
            Ok(())
        }
    }

    fn assigned(&mut self, round: u32, courier: CourierId, pickup_at: Timestamp) -> Result<(), Rejection> {
        match self.order.record(Step::Dispatch, round).map(|record| record.forward) {
            Some(Forward::Acting(_) | Forward::Pending { .. }) => self.step_answered(
                Step::Dispatch,
                round,
                Answer::Done(Receipt::Assigned { courier, pickup_at }),
            ),
            _ => Ok(()),
        }
    }

    fn courier_lost(&mut self, round: u32, courier: CourierId) -> Result<(), Rejection> {
        // It may be the first that is heard of the courier: the report of its assignment can be late or lost.
        let current = self
            .order
            .in_force(Step::Dispatch)
            .is_some_and(|record| record.round == round);
        if !current || self.order.unwinding.is_some() || self.order.status.is_terminal() {
            return Ok(());
        }
        if self.order.carriage > CourierStage::Waiting {
            let reason = format!("courier {courier} dropped out with the food");
            return self.unwind(Ending::Failed(FailureCode::DeliveryFailed), reason);
        }
        self.emit(Event::CourierLost { courier, round })
    }
}
