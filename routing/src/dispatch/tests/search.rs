//! The search itself: what is undone, and what is found without looking at everything.

use super::super::plan::Plan;
use super::super::ruin::{Improvement, Ruin, Scratch};
use super::super::situation::{NOBODY, Situation};
use super::*;
use crate::anneal::Landscape;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A situation, and a plan in which nobody carries anything but promises.
fn bare((now, couriers, orders): &(Seconds, Vec<Courier>, Vec<Order>)) -> (Situation, Plan, Vec<u16>) {
    let mut situation = Situation::new(RULES, Objective::default(), 0);
    situation.observe(*now, couriers, orders);
    let usual: Vec<(Place, f64)> = orders.iter().map(|order| (order.pickup, 1.0)).collect();
    situation.measure(&usual);
    let names = (0u16..).zip(orders).map(|(name, order)| (order.key, name)).collect();
    let mut plan = Plan::new();
    plan.clear(&situation);
    for (rider, courier) in couriers.iter().enumerate() {
        situation.promise(rider, courier, &names);
        let mut route = plan.routes[rider];
        if let Some(promise) = &courier.promise {
            route.append(promise.orders.iter().map(|key| names[key]));
        }
        plan.replace(&situation, rider, route);
    }
    let free = (0u16..)
        .zip(&situation.tasks)
        .filter(|(_, task)| task.promised_to == NOBODY);
    let movable: Vec<u16> = free.map(|(name, _)| name).collect();
    plan.unassigned.clone_from(&movable);
    (situation, plan, movable)
}

/// What a plan costs, from scratch.
fn recomputed(situation: &Situation, plan: &Plan) -> i64 {
    let routes = plan
        .routes
        .iter()
        .enumerate()
        .map(|(rider, route)| situation.route_cost(rider, route));
    let carried: usize = plan.routes.iter().map(|route| route.orders().len()).sum();
    let left = i64::try_from(situation.tasks.len() - carried).expect("few orders");
    routes.sum::<i64>() + left * situation.objective.per_unassigned_order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_undone_is_as_it_was_and_costs_are_true(day in day(), seed in 0..1_000_u64) {
        let questions = questions(&day);
        let mut scratch = Scratch::new();
        for question in questions.iter().step_by(5) {
            let (situation, mut plan, movable) = bare(question);
            if movable.is_empty() {
                continue;
            }
            let mut random = SmallRng::seed_from_u64(seed);
            let ruin = Ruin { blink: 0.2, ..Ruin::default() };
            let mut improvement = Improvement {
                situation: &situation, plan: &mut plan, scratch: &mut scratch, movable: &movable, ruin,
            };
            for _ in 0..20 {
                let (before, cost) = (improvement.plan.clone(), improvement.cost());
                let changed = improvement.change(&mut random);
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                let expected = recomputed(&situation, improvement.plan) as f64;
                prop_assert!((changed - expected).abs() < 0.5, "{} is {}", changed, expected);
                if random.random_bool(0.5) {
                    improvement.keep();
                    continue;
                }
                improvement.undo();
                prop_assert_eq!(&before.routes, &improvement.plan.routes);
                prop_assert_eq!(&before.carrier, &improvement.plan.carrier);
                prop_assert_eq!(&before.unassigned, &improvement.plan.unassigned);
                prop_assert!((cost - improvement.cost()).abs() < 0.5);
            }
        }
    }

    #[test]
    fn the_cheapest_courier_is_found_without_asking_all(day in day(), seed in 0..1_000_u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        for question in questions(&day).iter().step_by(5) {
            let (situation, mut plan, mut movable) = bare(question);
            while !movable.is_empty() {
                let order = movable.swap_remove(random.random_range(0..movable.len()));
                let worth = situation.objective.per_unassigned_order;
                let asked = plan.routes.iter().enumerate().filter_map(|(rider, route)| {
                    situation.cheapest_slot(rider, route, order, worth).map(|(added, _)| added)
                });
                let least = asked.min();
                let found = plan.cheapest_rider(&situation, order, || false);
                prop_assert_eq!(found.map(|(_, added)| i64::from(added)), least);
                if random.random_bool(0.7) {
                    plan.insert_cheapest(&situation, order, || false);
                }
            }
        }
    }

    #[test]
    fn a_slot_adds_what_it_is_said_to_add(day in day()) {
        for question in questions(&day).iter().step_by(5) {
            let (situation, mut plan, movable) = bare(question);
            for order in movable {
                for rider in 0..plan.routes.len() {
                    let mut route = plan.routes[rider];
                    let Some((added, slot)) = situation.cheapest_slot(rider, &route, order, i64::MAX) else { continue };
                    route.insert(order, slot);
                    prop_assert_eq!(situation.route_cost(rider, &route), plan.routes[rider].cost + added);
                    let at = route.position(order).expect("it was put in");
                    route.remove(at);
                    prop_assert_eq!(route.orders(), plan.routes[rider].orders());
                    prop_assert_eq!(situation.route_cost(rider, &route), plan.routes[rider].cost);
                }
                plan.insert_cheapest(&situation, order, || false);
            }
        }
    }
}
