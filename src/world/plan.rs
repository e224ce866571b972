//! What happens next to an order, and when: pure.

use super::Roles;
use domain::geo::Location;
use domain::order::{CourierStage, KitchenStage, Order, OrderStatus};
use domain::saga::{CourierReport, Forward, KitchenReport, Report, Step};
use domain::time::{Millis, Timestamp};
use domain::zone::travel_ms;

/// How long a kitchen takes to begin.
const BEGIN_MS: Millis = Millis::from_secs(30);
/// How long parking takes, and leaving.
const STOP_MS: Millis = Millis::from_mins(2);
/// How fast a courier of whom nothing is known is, in metres a minute.
const METRES_PER_MIN: u32 = 320;

/// What the order's zone knows of its courier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Carrier {
    /// How fast it is.
    pub(super) metres_per_min: u32,
    /// Where it was last, and when.
    pub(super) last_seen: Option<(Location, Timestamp)>,
    /// Where and when it dropped off last, if it has fetched nothing since.
    pub(super) dropped_off: Option<(Location, Timestamp)>,
    /// Whether all it is to fetch is ready.
    pub(super) has_all: bool,
    /// Whether the order is the next it drops off.
    pub(super) is_next: bool,
}

impl Carrier {
    /// A courier that carries nothing else.
    pub(super) const ALONE: Self = Self {
        metres_per_min: METRES_PER_MIN,
        last_seen: None,
        dropped_off: None,
        has_all: true,
        is_next: true,
    };
}

/// A report that is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// When; `None`: something else that the courier fetches or carries comes first.
    pub(super) at: Option<Timestamp>,
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

/// What happens next to the order by itself; `None` when it waits for somebody else.
pub(super) fn next(order: &Order, roles: Roles, now: Timestamp, carrier: &Carrier) -> Option<Due> {
    if order.unwinding.is_some() || order.status.is_terminal() {
        return None;
    }
    let kitchen = roles.kitchens.then(|| kitchen(order, now)).flatten();
    let kitchen = kitchen.map(|(at, report)| (Some(at), report));
    let (at, report) = kitchen.or_else(|| roles.couriers.then(|| courier(order, now, carrier)).flatten())?;
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

fn courier(order: &Order, now: Timestamp, carrier: &Carrier) -> Option<(Option<Timestamp>, Report)> {
    let courier = order.courier.clone()?;
    let (at, report) = match (order.status, order.carriage) {
        (OrderStatus::ReadyForPickup, CourierStage::Waiting) => {
            let at = at_kitchen(order, now, carrier)? + STOP_MS;
            (carrier.has_all.then_some(at), CourierReport::PickedUp)
        }
        (OrderStatus::PickedUp, _) => (Some(order.milestones.picked_up_at? + STOP_MS), CourierReport::InTransit),
        (OrderStatus::InTransit, _) => {
            let at = arrives_at(order, carrier)? + STOP_MS;
            (carrier.is_next.then_some(at), CourierReport::Delivered)
        }
        _ => return None,
    };
    Some((at.map(|at| at.max(now)), Report::Courier(courier, report)))
}

/// When the courier is at the kitchen: when it is expected, unless it could not leave the customer before in time for that.
fn at_kitchen(order: &Order, now: Timestamp, carrier: &Carrier) -> Option<Timestamp> {
    let expected = order.pickup_at.unwrap_or(now);
    let pickup = order.candidate()?.pickup;
    let from_door = |(place, since)| since + STOP_MS + travel_ms(place, pickup, carrier.metres_per_min);
    Some(
        carrier
            .dropped_off
            .map(from_door)
            .map_or(expected, |at| at.max(expected)),
    )
}

/// When the courier is at the customer's: it leaves the kitchen, or the customer before, two minutes after it was done there.
fn arrives_at(order: &Order, carrier: &Carrier) -> Option<Timestamp> {
    let kitchen = (order.candidate()?.pickup, order.milestones.picked_up_at?);
    let (place, since) = carrier.last_seen.filter(|(_, at)| *at > kitchen.1).unwrap_or(kitchen);
    let dropoff = order.details.delivery_location.place();
    Some(since + STOP_MS + travel_ms(place, dropoff, carrier.metres_per_min))
}
