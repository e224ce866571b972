//! What physically happens: kitchens think, cook and drop tickets; couriers ride. What they report is told until somebody
//! has heard it.

use super::event::Event;
use super::hub::{Errand, Hub};
use super::kinds::{Command, State};
use super::participants::Standing;
use super::queue::Time;
use domain::ids::{ChannelId, CourierId, OrderId};
use domain::order::{Order, OrderStatus};
use domain::saga::{self, CourierReport, EffectKey, KitchenReport, Refused, Report, Step};
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: Time = 60_000;
/// How often a courier looks whether the food is ready.
const WAITS: Time = MINUTE;

/// Where the food is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Food {
    Cooking,
    Ready,
    /// By whoever has this job.
    Carried(EffectKey),
}

#[derive(Debug, Default)]
pub(super) struct Life {
    tickets: BTreeMap<EffectKey, (ChannelId, Food)>,
    /// Couriers on their way for an order's dispatch.
    riding: BTreeSet<(OrderId, CourierId)>,
    rides: BTreeMap<EffectKey, CourierId>,
    /// Orders for which an operator has been called.
    repaired: BTreeMap<OrderId, u32>,
}

impl Hub {
    fn tell_order(&mut self, order: OrderId, report: Report) {
        let command = Command::Order(saga::Command::Report(report));
        self.want(self.now, Errand::Tell(order.stream(), command));
    }

    /// A kitchen has a new ticket.
    pub(super) fn took_ticket(&mut self, key: EffectKey, channel: &ChannelId, standing: Standing) {
        let pause = match standing {
            Standing::Thinking => self.random.between(1_000, 70_000),
            Standing::Done => 0,
            Standing::Refused | Standing::Undone => return,
        };
        self.life.tickets.insert(key, (channel.clone(), Food::Cooking));
        if standing == Standing::Thinking {
            self.queue.put(self.now + pause, Event::Decides(key));
        } else {
            self.queue.put(self.now + MINUTE, Event::Cooks(key, 0));
        }
    }

    /// A kitchen has thought about a ticket.
    pub(super) fn decides(&mut self, key: EffectKey) {
        if self.participants.standing(&key) != Some(Standing::Thinking) {
            return;
        }
        let Some((channel, _)) = self.life.tickets.get(&key).cloned() else {
            return;
        };
        let willing = !self.is_rough() || !self.random.chance(self.scenario.mood.refused);
        self.participants.decide(key, willing);
        let report = if willing {
            self.queue.put(self.now + MINUTE, Event::Cooks(key, 0));
            KitchenReport::Accepted { ready_at: None }
        } else {
            KitchenReport::Rejected(Refused::new("sold_out", "no soup"))
        };
        self.tell_order(key.order, Report::Kitchen(channel, report));
    }

    /// A kitchen is further with a ticket that it still has.
    pub(super) fn cooks(&mut self, key: EffectKey, stage: u8) {
        let is_kept = self.participants.standing(&key) == Some(Standing::Done);
        let Some((channel, Food::Cooking)) = self.life.tickets.get(&key).filter(|_| is_kept).cloned() else {
            return;
        };
        if stage == 0 {
            let next = self.now + self.random.between(MINUTE, 6 * MINUTE);
            self.queue.put(next, Event::Cooks(key, 1));
            return self.tell_order(key.order, Report::Kitchen(channel, KitchenReport::Preparing));
        }
        if self.is_rough() && self.random.chance(self.scenario.mood.dropped) {
            self.participants.undo(key);
            let reason = "the oven broke".into();
            return self.tell_order(key.order, Report::Kitchen(channel, KitchenReport::Cancelled { reason }));
        }
        self.life.tickets.insert(key, (channel.clone(), Food::Ready));
        self.tell_order(key.order, Report::Kitchen(channel, KitchenReport::Ready));
    }

    /// A row was committed: a courier hears of a new job from its zone.
    pub(super) fn observe(&mut self, state: &State) {
        let Some(order) = state.order() else { return };
        let (Some(courier), false) = (&order.courier, order.status.is_terminal()) else {
            return;
        };
        let Some(key) = dispatch_of(order) else { return };
        if order.unwinding.is_none() && self.life.rides.get(&key) != Some(courier) {
            let courier = courier.clone();
            self.life.rides.insert(key, courier.clone());
            self.life.riding.insert((order.id, courier));
            let at = self.now + self.random.between(MINUTE, 4 * MINUTE);
            self.queue.put(at, Event::Rides(key, 0));
        }
    }

    /// A courier does the next thing for an order, if it still has the job.
    pub(super) fn rides(&mut self, key: EffectKey, stage: u8) {
        let Some(courier) = self.life.rides.get(&key).cloned() else {
            return;
        };
        let Some(State::Order(order)) = self.checker.state(key.order.stream()) else {
            return;
        };
        let order = order.clone();
        if stage == 0 {
            let has_job = order.courier.as_ref() == Some(&courier) && dispatch_of(&order) == Some(key);
            if !has_job || order.unwinding.is_some() || order.status.is_terminal() {
                return;
            }
            let ticket = EffectKey {
                step: Step::PlaceTicket,
                round: order.round,
                ..key
            };
            let is_there = self.participants.standing(&ticket) == Some(Standing::Done);
            match self.life.tickets.get_mut(&ticket).filter(|_| is_there) {
                // A courier who lost the job just when it took the food has brought it back.
                Some((_, food)) if *food != Food::Cooking => *food = Food::Carried(key),
                _ => return self.queue.put(self.now + WAITS, Event::Rides(key, 0)),
            }
        }
        let (report, pause) = match stage {
            0 => (CourierReport::PickedUp, MINUTE),
            1 => (CourierReport::InTransit, 4 * MINUTE),
            _ => (CourierReport::Delivered, 0),
        };
        self.tell_order(key.order, Report::Courier(courier, report));
        if stage < 2 {
            self.queue.put(self.now + pause, Event::Rides(key, stage + 1));
        }
    }

    /// An operator has what is stuck tried again, once nothing goes wrong any more.
    pub(super) fn repair(&mut self) {
        if self.is_rough() {
            return;
        }
        let stuck: Vec<OrderId> = self
            .checker
            .unsettled()
            .filter(|order| order.is_stuck())
            .map(|order| order.id)
            .collect();
        for order in stuck {
            let calls = self.life.repaired.entry(order).or_default();
            *calls += 1;
            if *calls <= 10 {
                let command = Command::Order(saga::Command::Retry);
                self.want(self.now, Errand::Tell(order.stream(), command));
            }
        }
    }
}

/// The dispatch in force, by its key.
fn dispatch_of(order: &Order) -> Option<EffectKey> {
    let wanted = order.status != OrderStatus::Pending;
    let record = order.in_force(Step::Dispatch).filter(|_| wanted)?;
    Some(EffectKey {
        order: order.id,
        step: Step::Dispatch,
        round: record.round,
        direction: saga::Direction::Forward,
    })
}
