//! Days that a reader can follow by hand.

use super::*;

const fn at(x: i32, y: i32) -> Place {
    Place { x, y }
}

fn order(restaurant: u32, dropoff: Place, placed_minute: i32, ready_minute: i32) -> PlacedOrder {
    PlacedOrder {
        restaurant: RestaurantKey(restaurant),
        dropoff,
        placed_minute,
        ready_minute,
    }
}

/// One restaurant at the origin, a courier in it, hundred metres a minute.
fn corner(orders: Vec<PlacedOrder>, couriers: &[(Place, i32, i32)]) -> Day {
    let shift = |&(start, on_minute, off_minute): &(Place, i32, i32)| Shift {
        start,
        on_minute,
        off_minute,
    };
    Day {
        rules: RULES,
        metres_per_min: 100,
        orders,
        restaurants: vec![at(0, 0)],
        couriers: couriers.iter().map(shift).collect(),
    }
}

fn played(day: &Day, policy: Policy) -> Solution {
    let settings = Settings {
        policy,
        ..Settings::default()
    };
    let solution = play(day, &settings, &|| 0).solution;
    assert_eq!(verify(day, &solution), []);
    solution
}

#[test]
fn ways_take_whole_minutes_rounded_up() {
    assert_eq!(travel_s(at(0, 0), at(300, 400), 100.0), 300);
    assert_eq!(travel_s(at(0, 0), at(300, 401), 100.0), 360);
    assert_eq!(travel_s(at(5, 5), at(5, 5), 100.0), 0);
}

#[test]
fn a_courier_leaves_as_late_as_it_can() {
    let day = corner(vec![order(0, at(0, 300), 10, 30)], &[(at(500, 0), 0, 100)]);
    let solution = played(&day, Policy::Anneal);
    let [carried] = &solution.carried[..] else {
        panic!("{solution:?}")
    };
    // Five minutes of way and two of service before the food is ready.
    assert_eq!(
        (carried.told_minute, carried.assigned_minute, carried.pickup_minute),
        (23, 23, 30)
    );
    // Two minutes of service, three of way, two of service.
    assert_eq!(carried.orders, [(OrderKey(0), 37)]);
    let left: Vec<i32> = solution.moves.iter().map(|way| way.depart_minute).collect();
    assert_eq!(left, [23, 32]);
}

#[test]
fn the_baseline_sends_the_nearest_at_once_with_one_order() {
    let orders = vec![order(0, at(0, 300), 10, 30), order(0, at(0, 400), 11, 30)];
    let day = corner(orders, &[(at(900, 0), 0, 100), (at(500, 0), 0, 100)]);
    let solution = played(&day, Policy::Nearest);
    let told: Vec<_> = solution
        .carried
        .iter()
        .map(|carried| (carried.courier.0, carried.told_minute))
        .collect();
    assert_eq!(told, [(0, 11), (1, 10)]);
    assert!(solution.carried.iter().all(|carried| carried.orders.len() == 1));
}

#[test]
fn orders_for_one_street_go_together() {
    let orders = vec![order(0, at(0, 3_000), 10, 30), order(0, at(0, 3_100), 12, 31)];
    let day = corner(orders, &[(at(0, 0), 0, 200)]);
    let solution = played(&day, Policy::Anneal);
    let [carried] = &solution.carried[..] else {
        panic!("{solution:?}")
    };
    assert_eq!(carried.pickup_minute, 31);
    assert_eq!(carried.orders, [(OrderKey(0), 65), (OrderKey(1), 70)]);
}

#[test]
fn an_order_joins_a_courier_on_its_way_until_the_pick_up() {
    // The courier leaves at 10 for ten minutes; the second order is placed while it drives.
    let orders = vec![order(0, at(0, 3_000), 10, 10), order(0, at(0, 3_100), 20, 20)];
    let day = corner(orders, &[(at(1_000, 0), 0, 200)]);
    let solution = played(&day, Policy::Anneal);
    let [carried] = &solution.carried[..] else {
        panic!("{solution:?}")
    };
    assert_eq!(
        (carried.told_minute, carried.assigned_minute, carried.pickup_minute),
        (10, 22, 22)
    );
}

#[test]
fn a_kitchen_that_is_too_slow_is_excused_and_a_lack_of_couriers_is_not() {
    let slow = corner(vec![order(0, at(0, 300), 10, 110)], &[(at(0, 0), 0, 200)]);
    assert_eq!(slow.limit_of_s(OrderKey(0)), None);
    assert_eq!(played(&slow, Policy::Anneal).carried[0].orders, [(OrderKey(0), 117)]);
    let nobody = corner(vec![order(0, at(0, 300), 10, 30)], &[(at(0, 0), 120, 200)]);
    assert_eq!(played(&nobody, Policy::Anneal).carried, []);
}

#[test]
fn who_stands_far_off_is_sent_while_there_is_time() {
    let couriers = [(at(200, 0), 0, 100), (at(900, 0), 0, 100)];
    let calm = corner(vec![order(0, at(0, 300), 10, 30)], &couriers);
    assert_eq!(played(&calm, Policy::Anneal).carried[0].courier, CourierKey(1));
    let urgent = corner(vec![order(0, at(0, 300), 10, 15)], &couriers);
    assert_eq!(played(&urgent, Policy::Anneal).carried[0].courier, CourierKey(0));
}

#[test]
fn an_explanation_names_the_cost_and_who_else_could() {
    let day = corner(
        vec![order(0, at(0, 300), 10, 15)],
        &[(at(500, 0), 0, 100), (at(900, 0), 0, 100)],
    );
    let (now, couriers, orders) = &questions(&day)[0];
    let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 1, Tuning::default());
    dispatcher.decide(*now, couriers, orders, Budget::moves(10));
    let explanation = dispatcher.explain(OrderKey(0)).expect("it is planned");
    assert_eq!(explanation.ideal_s, 12 * 60);
    assert_eq!(explanation.chosen.map(|chosen| chosen.courier), Some(CourierKey(0)));
    let [alternate] = explanation.alternates[..] else {
        panic!("{explanation:?}")
    };
    assert_eq!(alternate.courier, CourierKey(1));
    assert!(alternate.added_s > explanation.chosen.expect("chosen").added_s);
    assert_eq!(dispatcher.explain(OrderKey(9)), None);
}

/// A way to make a solution look better than it is.
type Cheat = fn(&mut Solution);

#[test]
fn every_kind_of_cheating_is_noticed() {
    let orders = vec![order(0, at(0, 300), 10, 30), order(0, at(0, 400), 11, 30)];
    let day = corner(orders, &[(at(500, 0), 0, 100)]);
    let fair = played(&day, Policy::Anneal);
    assert_eq!(fair.carried[0].orders.len(), 2, "{fair:?}");
    let cheats: [(&str, Cheat); 9] = [
        ("raw", |played| played.carried[0].pickup_minute = 29),
        ("afterthought", |played| played.carried[0].assigned_minute = 31),
        ("clairvoyant", |played| played.carried[0].assigned_minute = 10),
        ("sent before anything was placed", |played| {
            played.carried[0].told_minute = 9;
        }),
        ("left before it was told", |played| played.carried[0].told_minute = 24),
        ("twice", |played| played.carried.push(played.carried[0].clone())),
        ("faster than it can drive", |played| played.carried[0].orders[0].1 -= 1),
        ("late", |played| played.carried[0].orders[1].1 = 102),
        ("teleport", |played| played.moves.clear()),
    ];
    for (name, cheat) in cheats {
        let mut cheating = fair.clone();
        cheat(&mut cheating);
        assert_ne!(verify(&day, &cheating), [], "{name}");
    }
}
