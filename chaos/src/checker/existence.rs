//! SG-1 and SG-2: what was acknowledged exists, once.

use crate::evidence::Evidence;
use domain::ids::OrderId;
use domain::invariants::{Invariant, Violation};
use std::collections::BTreeMap;

/// Whether the server does not know an order.
pub(super) fn is_lost(evidence: &Evidence, id: &OrderId) -> bool {
    !matches!(evidence.orders.get(id), Some(Some(_)))
}

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let violation = |invariant, detail| Violation { invariant, detail };
    let mut found = Vec::new();
    let mut keys: BTreeMap<OrderId, &str> = BTreeMap::new();
    for line in &evidence.submitted {
        let Some(id) = line.id else { continue };
        if is_lost(evidence, &id) {
            let detail = format!("order {id} of key {} was acknowledged and does not exist", line.key);
            found.push(violation(Invariant::Sg1, detail));
        }
        if let Some(other) = keys.insert(id, &line.key) {
            found.push(violation(
                Invariant::Sg2,
                format!("keys {other} and {} have one order, {id}", line.key),
            ));
        }
        // A repetition that was not answered made no order that anybody knows of; if it made one, `doubled` finds it.
        if let Some(again) = line.duplicate_id().filter(|again| *again != id) {
            found.push(violation(
                Invariant::Sg2,
                format!("key {} gave order {id}, then {again}", line.key),
            ));
        }
    }
    found.extend(doubled(evidence));
    found
}

/// Each customer of a replay orders once, under a key of the same name: two orders of one customer are one key's. So
/// orders are found, too, that nobody was told of.
fn doubled(evidence: &Evidence) -> Vec<Violation> {
    let mut of_customer: BTreeMap<&str, Vec<OrderId>> = BTreeMap::new();
    for (id, seen) in evidence.known() {
        of_customer.entry(&seen.view.customer_id).or_default().push(id);
    }
    let twice = of_customer.into_iter().filter(|(_, ids)| ids.len() > 1);
    let detail = |ids: Vec<OrderId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    twice
        .map(|(customer, ids)| Violation {
            invariant: Invariant::Sg2,
            detail: format!("key {customer} has {} orders: {}", ids.len(), detail(ids)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::story::Story;

    fn found(evidence: &Evidence) -> Vec<Invariant> {
        check(evidence)
            .into_iter()
            .map(|violation| violation.invariant)
            .collect()
    }

    #[test]
    fn an_order_that_is_gone_is_found() {
        let mut evidence = Story::delivered(1).evidence();
        assert_eq!(found(&evidence), []);
        let id = evidence.submitted[0].id.expect("acknowledged");
        evidence.orders.insert(id, None);
        assert_eq!(found(&evidence), [Invariant::Sg1]);
        evidence.orders.clear();
        assert_eq!(found(&evidence), [Invariant::Sg1]);
    }

    #[test]
    fn a_second_order_of_a_key_is_found() {
        let mut evidence = Story::delivered(1).evidence();
        let first = evidence.submitted[0].id.expect("acknowledged");
        evidence.submitted[0].repeated = Some(first.to_string());
        assert_eq!(found(&evidence), []);
        let second = Story::delivered(2).evidence();
        evidence.submitted[0].repeated = second.submitted[0].id.map(|id| id.to_string());
        assert_eq!(found(&evidence), [Invariant::Sg2]);
        evidence.submitted[0].repeated = Some("the server is away".to_owned());
        assert_eq!(found(&evidence), [], "no answer is no order");
        evidence.submitted[0].repeated = None;
        evidence.orders.extend(second.orders);
        assert_eq!(found(&evidence), [], "another customer's");
        let customer = evidence
            .known()
            .next()
            .map(|(_, seen)| seen.view.customer_id.clone())
            .expect("an order");
        evidence
            .orders
            .values_mut()
            .flatten()
            .for_each(|seen| seen.view.customer_id.clone_from(&customer));
        assert_eq!(
            found(&evidence),
            [Invariant::Sg2],
            "the same customer's, whom nobody told"
        );
    }

    #[test]
    fn two_keys_with_one_order_are_found() {
        let mut evidence = Story::delivered(1).evidence();
        let mut other = evidence.submitted[0].clone();
        other.key = "another".to_owned();
        evidence.submitted.push(other);
        assert_eq!(found(&evidence), [Invariant::Sg2]);
    }
}
