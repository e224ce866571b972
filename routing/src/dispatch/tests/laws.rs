//! Rules that hold for any day.

use super::*;
use std::cell::Cell;
use std::collections::BTreeSet;

/// Every order of the outline, and of what is left over.
fn planned(outline: &Outline) -> Vec<OrderKey> {
    let bundles = outline.routes.iter().flat_map(|route| &route.bundles);
    let mut orders: Vec<OrderKey> = bundles.flat_map(|bundle| bundle.orders.iter().copied()).collect();
    orders.extend(&outline.unassigned);
    orders.sort_unstable();
    orders
}

fn keys(orders: &[Order]) -> Vec<OrderKey> {
    let mut keys: Vec<OrderKey> = orders.iter().map(|order| order.key).collect();
    keys.sort_unstable();
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_policy_keeps_every_rule(day in day(), policy in policy(), knowledge in knowledge(), seed in 0..100_u64) {
        let settings = Settings { policy, knowledge, seed, moves_max: 20, ..Settings::default() };
        let played = play(&day, &settings, &|| 0);
        prop_assert_eq!(verify(&day, &played.solution), vec![]);
        prop_assert_eq!(&played, &play(&day, &settings, &|| 0), "a seed decides everything");
    }

    #[test]
    fn a_dispatcher_that_forgets_everything_keeps_every_rule(day in day(), knowledge in knowledge()) {
        let mut game = play::Game::new(&day, knowledge);
        while let Some(now) = game.tick() {
            let (couriers, orders) = (game.couriers(), game.orders());
            let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 1, Tuning::default());
            for commitment in dispatcher.decide(now, &couriers, &orders, Budget::moves(10)) {
                game.commit(&commitment);
            }
            game.pick_up();
        }
        prop_assert_eq!(verify(&day, &game.solution), vec![]);
    }

    #[test]
    fn every_order_is_planned_or_left_over_and_promises_stay(day in day(), part_orders_max in 1..40_usize) {
        let whole = Tuning::default();
        let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 3, whole);
        let mut splitting = Dispatcher::new(day.rules, Policy::Anneal, 3, Tuning { part_orders_max, ..whole });
        for (now, couriers, orders) in questions(&day) {
            let commitments = dispatcher.decide(now, &couriers, &orders, Budget::moves(10));
            let outline = dispatcher.outline();
            prop_assert_eq!(planned(&outline), keys(&orders));
            for courier in &couriers {
                let Some(promise) = &courier.promise else { continue };
                let route = outline.routes.iter().find(|route| route.courier == courier.key);
                let bundle = route.and_then(|route| route.bundles.first()).expect("a promise is planned");
                prop_assert!(promise.orders.iter().all(|order| bundle.orders.contains(order)));
                prop_assert_eq!(bundle.promised, promise.orders.len());
            }
            let apart = splitting.decide(now, &couriers, &orders, Budget::moves(10));
            for commitments in [commitments, apart] {
                let mut told = BTreeSet::new();
                for commitment in &commitments {
                    prop_assert!(commitment.departs_at <= now, "what is not due is not said");
                    prop_assert!(commitment.orders.iter().all(|order| told.insert(*order)));
                }
            }
        }
    }

    #[test]
    fn the_orders_of_a_lost_courier_come_back(day in day(), lost in 0..8_u32) {
        let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 5, Tuning::default());
        for (now, mut couriers, orders) in questions(&day) {
            dispatcher.decide(now, &couriers, &orders, Budget::moves(10));
            couriers.retain(|courier| courier.key != CourierKey(lost));
            dispatcher.decide(now, &couriers, &orders, Budget::moves(10));
            let outline = dispatcher.outline();
            prop_assert_eq!(planned(&outline), keys(&orders));
            prop_assert!(outline.routes.iter().all(|route| route.courier != CourierKey(lost)));
        }
    }

    #[test]
    fn a_budget_of_time_is_kept(day in day(), looks_max in 0..20_u32) {
        let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 5, Tuning::default());
        for (now, couriers, orders) in questions(&day) {
            let looks = Cell::new(0);
            let time_used = || {
                looks.set(looks.get() + 1);
                f64::from(looks.get()) / f64::from(looks_max.max(1))
            };
            let budget = Budget { moves_max: u64::MAX, time_used: Some(&time_used) };
            dispatcher.decide(now, &couriers, &orders, budget);
            prop_assert!(looks.get() <= looks_max + 2, "{} looks at the clock", looks.get());
            prop_assert_eq!(planned(&dispatcher.outline()), keys(&orders));
        }
    }

    #[test]
    fn a_split_has_everything_once(day in day(), orders_max in 1..10_usize) {
        for (_, couriers, orders) in questions(&day) {
            let parts = split(&couriers, &orders, orders_max);
            let mut seen: Vec<usize> = parts.iter().flat_map(|part| part.orders.iter().copied()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..orders.len()).collect::<Vec<_>>());
            let mut seen: Vec<usize> = parts.iter().flat_map(|part| part.couriers.iter().copied()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..couriers.len()).collect::<Vec<_>>());
            for part in &parts {
                let restaurants: BTreeSet<_> = part.orders.iter().map(|&at| orders[at].restaurant.0).collect();
                prop_assert!(part.orders.len() <= orders_max || restaurants.len() == 1);
                for promise in part.couriers.iter().filter_map(|&at| couriers[at].promise.as_ref()) {
                    let own = |key: &OrderKey| part.orders.iter().any(|&at| orders[at].key == *key);
                    prop_assert!(promise.orders.iter().all(own), "a promise is cut off");
                }
            }
        }
    }
}
