//! What happens next to an order, and when: pure.

use super::Roles;
use domain::order::{CourierStage, KitchenStage, Order, OrderStatus};
use domain::saga::{CourierReport, Forward, KitchenReport, Report, Step};
use domain::time::{Millis, Timestamp};
use domain::zone::travel_ms;

/// How long a kitchen takes to begin.
const BEGIN_MS: Millis = Millis::from_secs(30);
/// How long parking takes, and leaving.
const STOP_MS: Millis = Millis::from_mins(2);
/// How fast a courier of whom nothing is known is, in metres a minute.
pub(super) const METRES_PER_MIN: u32 = 320;

/// A report that is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// When.
    pub(super) at: Timestamp,
    /// What.
    pub(super) report: Report,
    round: u32,
}

impl Due {
    /// Whether it is the same thing, perhaps at another time.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        (self.round, &self.report) == (other.round, &other.report)
    }
}

/// What happens next to the order by itself, its courier covering so many metres a minute; `None` when it waits for
/// somebody else.
pub(super) fn next(order: &Order, roles: Roles, now: Timestamp, metres_per_min: u32) -> Option<Due> {
    if order.unwinding.is_some() || order.status.is_terminal() {
        return None;
    }
    let kitchen = if roles.kitchens { kitchen(order, now) } else { None };
    let (at, report) = kitchen.or_else(|| {
        if roles.couriers {
            courier(order, now, metres_per_min)
        } else {
            None
        }
    })?;
    Some(Due {
        at,
        report,
        round: order.round,
    })
}

fn kitchen(order: &Order, now: Timestamp) -> Option<(Timestamp, Report)> {
    let channel = order.candidate()?.channel.clone();
    let ticket = order.record(Step::PlaceTicket, order.round)?;
    let (at, report) = match (ticket.forward, order.kitchen) {
        (Forward::Pending { .. }, _) => (now + BEGIN_MS, KitchenReport::Accepted { ready_at: None }),
        (Forward::Done, KitchenStage::Waiting) if order.status == OrderStatus::Confirmed => {
            (now + BEGIN_MS, KitchenReport::Preparing)
        }
        (Forward::Done, KitchenStage::Preparing) => (order.ready_at.unwrap_or(now).max(now), KitchenReport::Ready),
        _ => return None,
    };
    Some((at, Report::Kitchen(channel, report)))
}

fn courier(order: &Order, now: Timestamp, metres_per_min: u32) -> Option<(Timestamp, Report)> {
    let courier = order.courier.clone()?;
    let candidate = order.candidate()?;
    let (at, report) = match (order.status, order.carriage) {
        (OrderStatus::ReadyForPickup, CourierStage::Waiting) => {
            (order.pickup_at.unwrap_or(now) + STOP_MS, CourierReport::PickedUp)
        }
        (OrderStatus::PickedUp, _) => (order.milestones.picked_up_at? + STOP_MS, CourierReport::InTransit),
        (OrderStatus::InTransit, _) => {
            let way_ms = travel_ms(
                candidate.pickup,
                order.details.delivery_location.place(),
                metres_per_min,
            );
            (
                order.milestones.picked_up_at? + STOP_MS + way_ms + STOP_MS,
                CourierReport::Delivered,
            )
        }
        _ => return None,
    };
    Some((at.max(now), Report::Courier(courier, report)))
}
