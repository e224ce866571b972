//! CP-1 and CP-2: no slot has more taken than there is, the books agree with the claims, and no finished order holds
//! anything: neither a kitchen's capacity nor a courier.

use super::History;
use crate::evidence::{CapacitySeen, Evidence};
use domain::ids::OrderId;
use domain::invariants::{Invariant, Violation};
use domain::saga::EffectKey;
use std::collections::BTreeMap;

type Histories = BTreeMap<OrderId, History>;

pub(super) fn check(evidence: &Evidence, histories: &Histories) -> Vec<Violation> {
    let mut found = Vec::new();
    for channel in &evidence.channels {
        found.extend(within_limits(channel));
        found.extend(books(channel, histories));
        let held = channel.claims.iter().filter(|(key, _)| !is_open(key.order, histories));
        found.extend(held.map(|(key, state)| Violation {
            invariant: Invariant::Cp2,
            detail: format!(
                "{}: {key} is {state} for an order that is finished or does not exist",
                channel.id
            ),
        }));
    }
    for courier in &evidence.couriers {
        for order in courier.orders.iter().filter(|order| !is_open(**order, histories)) {
            let detail = format!(
                "courier {} is kept for order {order}, which is finished or does not exist",
                courier.id
            );
            found.push(Violation {
                invariant: Invariant::Pt1,
                detail,
            });
        }
    }
    found
}

fn is_open(order: OrderId, histories: &Histories) -> bool {
    histories.get(&order).is_some_and(|history| !history.order.is_settled())
}

fn within_limits(channel: &CapacitySeen) -> impl Iterator<Item = Violation> {
    let over = channel
        .slots
        .iter()
        .filter(|slot| slot.used > channel.capacity_per_slot);
    over.map(|slot| Violation {
        invariant: Invariant::Cp1,
        detail: format!(
            "{}: {} of {} taken at {}",
            channel.id, slot.used, channel.capacity_per_slot, slot.starts_at
        ),
    })
}

/// What the slots have taken is what the claims take.
fn books(channel: &CapacitySeen, histories: &Histories) -> Option<Violation> {
    let used: u64 = channel.slots.iter().map(|slot| u64::from(slot.used)).sum();
    let claimed: u64 = channel.claims.keys().map(|key| u64::from(units(key, histories))).sum();
    (used != claimed).then(|| Violation {
        invariant: Invariant::Cp1,
        detail: format!(
            "{}: the slots have {used} units taken and the claims {claimed}",
            channel.id
        ),
    })
}

/// The units that a hold takes, by its order's quote; 1 when the order is not there to tell.
fn units(hold: &EffectKey, histories: &Histories) -> u32 {
    let order = histories.get(&hold.order).map(|history| &history.order);
    let candidate = order.and_then(|order| order.candidate_of(order.record(hold.step, hold.round)?.candidate));
    candidate.map_or(1, |candidate| candidate.units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::check;
    use crate::checker::story::Story;
    use crate::evidence::{CourierSeen, SlotSeen};
    use domain::saga::{Direction, Step};

    fn found(evidence: &Evidence) -> Vec<Invariant> {
        check(evidence)
            .violations
            .into_iter()
            .map(|violation| violation.invariant)
            .collect()
    }

    fn claim(evidence: &mut Evidence, order: OrderId) {
        let key = EffectKey {
            order,
            step: Step::HoldCapacity,
            round: 0,
            direction: Direction::Forward,
        };
        evidence.channels[0].claims.insert(key, "reserved".to_owned());
        evidence.channels[0].slots.push(SlotSeen { starts_at: 0, used: 1 });
    }

    #[test]
    fn a_claim_of_a_finished_order_is_found() {
        let story = Story::delivered(1);
        let mut evidence = story.evidence();
        claim(&mut evidence, story.id());
        assert_eq!(found(&evidence), [Invariant::Cp2]);
        let mut evidence = story.evidence();
        claim(&mut evidence, Story::delivered(2).id());
        assert_eq!(found(&evidence), [Invariant::Cp2], "of an order that does not exist");
    }

    #[test]
    fn a_claim_of_an_order_under_way_is_none_of_ours() {
        let story = Story::begun(1);
        let mut evidence = story.evidence();
        claim(&mut evidence, story.id());
        assert_eq!(found(&evidence), [Invariant::Sg3]);
    }

    #[test]
    fn more_than_there_is_and_books_that_differ_are_found() {
        let mut evidence = Story::delivered(1).evidence();
        evidence.channels[0].slots.push(SlotSeen { starts_at: 0, used: 1 });
        assert_eq!(found(&evidence), [Invariant::Cp1], "taken by nobody");
        evidence.channels[0].capacity_per_slot = 0;
        assert_eq!(
            found(&evidence),
            [Invariant::Cp1, Invariant::Cp1],
            "and more than there is"
        );
    }

    #[test]
    fn a_courier_kept_for_a_finished_order_is_found() {
        let story = Story::delivered(1);
        let mut evidence = story.evidence();
        let courier = |orders| CourierSeen {
            id: "c1".to_owned(),
            orders,
        };
        evidence.couriers = vec![courier(Vec::new())];
        assert_eq!(found(&evidence), []);
        evidence.couriers = vec![courier(vec![story.id()])];
        assert_eq!(found(&evidence), [Invariant::Pt1]);
    }
}
