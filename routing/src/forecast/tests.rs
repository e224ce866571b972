//! What must hold for whatever history there is, and cases that can be reckoned by hand.

use super::*;
use crate::dispatch::{Carried, CourierKey, Day, Move, OrderKey, RestaurantKey, Solution, Spot};
use crate::mdrp::{Instance, Order, Parameters, Restaurant};
use proptest::prelude::*;

mod outlook;
mod shifts;

/// A day whose restaurants are named after a market; orders are (restaurant, minute).
fn day(market: i32, restaurants: usize, orders: &[(usize, u32)]) -> Instance {
    let restaurants: Vec<Restaurant> = (0..).take(restaurants).map(|n| restaurant(market, n)).collect();
    let order = |(n, (restaurant, placed_minute)): (usize, &(usize, u32))| Order {
        id: format!("o{n}"),
        x: 1_000 * market + i32::try_from(n).expect("few"),
        y: 300,
        placed_minute: *placed_minute,
        ready_minute: placed_minute + 10,
        restaurant: restaurants[restaurant % restaurants.len()].id.clone(),
    };
    Instance {
        orders: orders.iter().enumerate().map(order).collect(),
        restaurants: restaurants.clone(),
        couriers: Vec::new(),
        parameters: Parameters {
            metres_per_min: 320,
            pickup_service_min: 4,
            dropoff_service_min: 4,
            click_to_door_target_min: 40,
            click_to_door_limit_min: 90,
            pay_per_order_minor: 1_000,
            pay_per_hour_minor: 1_500,
        },
    }
}

fn restaurant(market: i32, n: i32) -> Restaurant {
    Restaurant {
        id: format!("r{n}"),
        x: 1_000 * market,
        y: n,
    }
}

fn history(days: &[PastDay]) -> Vec<&PastDay> {
    days.iter().collect()
}

/// Up to five days of up to forty orders, each in a market of its own.
fn days() -> impl Strategy<Value = Vec<PastDay>> {
    let orders = prop::collection::vec((0_usize..9, 0_u32..300), 1..40);
    prop::collection::vec((1_usize..9, orders), 1..6).prop_map(|days| {
        let days = (0..).zip(&days);
        days.map(|(market, (restaurants, orders))| PastDay::new(&day(market, *restaurants, orders)))
            .collect()
    })
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn expectations_are_no_less_than_nothing_and_add_up(days in days(), size in 1_i32..12) {
        let restaurants: Vec<Restaurant> = (0..size).map(|n| restaurant(9, n)).collect();
        let forecast = forecast(&history(&days), &restaurants, 0.0).expect("there is a history");
        prop_assert!(close(forecast.weights.iter().sum(), 1.0));
        prop_assert_eq!(forecast.restaurants.len(), restaurants.len());
        for (slot, market) in forecast.expected.iter().enumerate() {
            let parts: Vec<f64> = forecast.restaurants.iter().map(|of| of[slot]).collect();
            prop_assert!(parts.iter().all(|part| *part >= 0.0 && part.is_finite()));
            prop_assert!(close(parts.iter().sum(), *market));
        }
        prop_assert!(forecast.market_size > 0.0 && forecast.restaurant_size > 0.0);
    }

    #[test]
    fn smoothing_loses_no_order(days in days(), size in 1_i32..12) {
        let restaurants: Vec<Restaurant> = (0..size).map(|n| restaurant(9, n)).collect();
        let forecast = forecast(&history(&days), &restaurants, 0.0).expect("there is a history");
        let per_restaurant = days.iter().zip(&forecast.weights).map(|(day, weight)| weight * day.orders() / day.size());
        let wanted = per_restaurant.sum::<f64>() * f64::from(size);
        prop_assert!(close(forecast.expected.iter().sum(), wanted));
    }

    #[test]
    fn everything_grows_with_the_growth_rate(days in days(), rate in -1.0_f64..3.0) {
        let restaurants = [restaurant(9, 0), restaurant(9, 1)];
        let plain = forecast(&history(&days), &restaurants, 0.0).expect("there is a history");
        let grown = forecast(&history(&days), &restaurants, rate).expect("there is a history");
        for (plain, grown) in plain.expected.iter().zip(&grown.expected) {
            prop_assert!(close(plain * (1.0 + rate), *grown));
        }
        let (plain, grown) = (plain.capacity(0.9).expect("a level"), grown.capacity(0.9).expect("a level"));
        for (plain, grown) in plain.iter().flatten().zip(grown.iter().flatten()) {
            prop_assert!((rate < 0.0 && grown <= plain) || (rate >= 0.0 && grown >= plain));
        }
    }

    #[test]
    fn a_quantile_is_the_least_number_that_suffices(mean in 0.0_f64..60.0, size in 0.05_f64..40.0, level in 0.01_f64..0.999) {
        let counts = Counts { mean, size };
        let more = Counts { mean: mean * 1.1, size };
        let poisson = Counts { mean, size: f64::INFINITY };
        let units = counts.quantile(level);
        prop_assert!(counts.quantile(level * 0.9) <= units);
        prop_assert!(more.quantile(level) >= units);
        prop_assert!(poisson.quantile(0.5) <= 61);
    }

    #[test]
    fn no_minute_of_work_is_lost(minutes in prop::collection::vec(0.0_f64..9.0, 1..8), orders in prop::collection::vec(0.0_f64..20.0, 0..30)) {
        let labour = Labour { minutes, orders: 1 };
        let done: f64 = labour.load(&orders).iter().sum::<f64>() * f64::from(SLOT_MIN);
        prop_assert!(close(done, orders.iter().sum::<f64>() * labour.minutes_per_order()));
    }
}

#[test]
fn quantiles_are_those_of_the_tables() {
    let poisson = |mean, level| {
        let size = f64::INFINITY;
        Counts { mean, size }.quantile(level)
    };
    assert_eq!(
        [poisson(10.0, 0.95), poisson(0.5, 0.95), poisson(0.01, 0.95)],
        [15, 2, 0]
    );
    assert_eq!(
        poisson(2_000.0, 0.5),
        2_000,
        "where the chance of none is no number any more"
    );
    // A negative binomial of size 1 is geometric: more than k with a probability of 0.8^(k+1).
    let geometric = Counts { mean: 4.0, size: 1.0 };
    assert_eq!(geometric.quantile(0.95), 13);
    assert_eq!(Counts { mean: 0.0, size: 1.0 }.quantile(0.95), 0);
}

#[test]
fn markets_of_like_size_count_more() {
    // Two small markets that are busy early and two large ones that are busy late.
    let orders = |minute: u32, count: usize| (0..count).map(|n| (n, minute)).collect::<Vec<_>>();
    let days: Vec<PastDay> = [(1, 4, 30, 20), (2, 4, 30, 22), (3, 40, 600, 300), (4, 41, 600, 310)]
        .iter()
        .map(|(market, size, minute, count)| PastDay::new(&day(*market, *size, &orders(*minute, *count))))
        .collect();
    let judged = judge(&history(&days[..3]), &days[3], 0.95).expect("a forecast");
    assert!(judged.forecast.weights[2] > 0.99, "{:?}", judged.forecast.weights);
    assert!(judged.score.absolute_error < judged.plain_per_restaurant.absolute_error);
    assert!(judged.score.absolute_error < judged.plain.absolute_error);
    assert!(judged.score.deviance < judged.plain.deviance);
    assert!(
        judged.held > 0.9 && judged.held_orders > 0.9,
        "{} {}",
        judged.held,
        judged.held_orders
    );
}

#[test]
fn a_restaurant_that_is_known_has_its_own_share() {
    // The first sells 30, the others 2 each: over two days of the same market.
    let orders: Vec<(usize, u32)> = (0..38_usize)
        .zip(60..)
        .map(|(n, minute)| (if n < 30 { 0 } else { 1 + n % 4 }, minute))
        .collect();
    let [first, second] = [0, 400].map(|minute| {
        let moved: Vec<_> = orders
            .iter()
            .map(|(restaurant, at)| (*restaurant, at + minute))
            .collect();
        PastDay::new(&day(1, 5, &moved))
    });
    let known: Vec<Restaurant> = (0..5).map(|n| restaurant(1, n)).chain([restaurant(2, 0)]).collect();
    let forecast = forecast(&[&first, &second], &known, 0.0).expect("a history");
    let all = |at: usize| forecast.restaurants[at].iter().sum::<f64>();
    assert!(
        all(0) > 20.0 && all(0) < 30.0,
        "drawn a little towards the mean: {}",
        all(0)
    );
    assert!(all(1) > 2.0 && all(1) < 7.6, "{}", all(1));
    assert!(close(all(5), 38.0 / 5.0), "a stranger has the mean: {}", all(5));
}

#[test]
fn a_day_is_not_learned_from_itself_or_its_variants() {
    let one = day(1, 3, &[(0, 10), (1, 20), (2, 30), (0, 30)]);
    let moved = day(5, 3, &[(0, 10), (1, 20), (2, 30), (0, 30)]);
    let early = day(1, 3, &[(0, 10), (1, 20)]);
    let late = day(1, 3, &[(2, 30), (0, 30)]);
    let other = day(2, 3, &[(0, 12), (1, 22), (2, 33), (0, 34)]);
    let third = day(3, 3, &[(0, 11)]);
    let all = [&one, &other, &moved, &early, &third, &late];
    assert_eq!(distinct(&all, &third), [0, 1], "of variants the first");
    assert_eq!(
        distinct(&all, &late),
        [1, 4],
        "the early half is a variant of the whole"
    );
    assert_eq!(distinct(&all, &day(4, 2, &[])), [0, 1, 4], "a day ahead has no orders");
}

#[test]
fn nothing_is_planned_without_a_history_or_beyond_reason() {
    let past = PastDay::new(&day(1, 2, &[(0, 10)]));
    let empty = PastDay::new(&day(1, 2, &[]));
    let restaurants = [restaurant(1, 0)];
    assert_eq!(forecast(&[], &restaurants, 0.0), Err(ForecastError::NoHistory));
    assert_eq!(forecast(&[&empty], &restaurants, 0.0), Err(ForecastError::NoOrders));
    for rate in [-1.5, f64::NAN, f64::INFINITY] {
        let wrong = forecast(&[&past], &restaurants, rate).expect_err("no rate");
        assert!(wrong.to_string().starts_with("the growth rate is"), "{wrong}");
    }
    let forecast = forecast(&[&past], &restaurants, 0.0).expect("a history");
    for level in [0.0, 1.0, f64::NAN] {
        assert!(forecast.capacity(level).is_err() && forecast.orders(Some(level)).is_err());
    }
    assert_eq!(forecast.orders(None).as_ref(), Ok(&forecast.expected));
    for utilisation in [0.0, 1.1, f64::NAN] {
        assert!(Staffing { utilisation }.needed(&[1.0]).is_err());
    }
    assert_eq!(
        Labour::mean([(&Labour::default(), 1.0)].into_iter()),
        Err(ForecastError::NoOrders)
    );
}

#[test]
fn couriers_are_needed_for_their_work_and_some_idleness() {
    let needed = Staffing { utilisation: 0.7 }.needed(&[0.0, 0.01, 0.2, 0.7, 0.71, 7.0]);
    assert_eq!(needed, Ok(vec![0, 0, 1, 1, 2, 10]));
}

/// A courier fetches two orders placed at 0 and 16, together: leaves at 14, is back at 40. 26 minutes, 13 each.
#[test]
fn work_is_counted_when_it_is_done() {
    let mut instance = day(1, 1, &[(0, 0), (0, 16)]);
    instance.couriers = vec![crate::mdrp::Courier {
        id: "c1".to_owned(),
        x: 0,
        y: 0,
        on_minute: 0,
        off_minute: 90,
    }];
    let courier = CourierKey(0);
    let solution = Solution {
        carried: vec![Carried {
            courier,
            told_minute: 10,
            assigned_minute: 16,
            pickup_minute: 27,
            orders: vec![(OrderKey(0), 34), (OrderKey(1), 38)],
        }],
        moves: vec![Move {
            courier,
            depart_minute: 14,
            from: Spot::Start(courier),
            to: Spot::Restaurant(RestaurantKey(0)),
        }],
    };
    let labour = Labour::watched(&Day::from(&instance), &solution);
    assert_eq!(labour.orders, 2);
    assert!(close(labour.minutes_per_order(), 13.0), "{labour:?}");
    // Slots of work: minute 14 | 15 to 29 | 30 to 39; of the first order 0, 1 and 2 slots after its own, of the second none before.
    let wanted = [4.25, 6.25, 2.5];
    assert!(
        labour.minutes.iter().zip(wanted).all(|(is, wanted)| close(*is, wanted)),
        "{labour:?}"
    );
}
