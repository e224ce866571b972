//! Small days, and what holds for all of them.

mod cases;
mod laws;
mod search;

use super::*;
use crate::anneal::Budget;
use proptest::prelude::*;

/// The rules of the library's days.
pub(super) const RULES: Rules = Rules {
    pickup_service_s: 240,
    dropoff_service_s: 240,
    target_s: 40 * 60,
    limit_s: 90 * 60,
    pay_per_order_minor: 1_000,
    pay_per_hour_minor: 1_500,
};

fn place() -> impl Strategy<Value = Place> {
    (0..6_000, 0..6_000).prop_map(|(x, y)| Place { x, y })
}

prop_compose! {
    fn placed_order(restaurants: u32)(
        restaurant in 0..restaurants,
        dropoff in place(),
        placed_minute in 0..90,
        prep_minutes in prop_oneof![9 => 0..40, 1 => 80..120],
    ) -> PlacedOrder {
        PlacedOrder {
            restaurant: RestaurantKey(restaurant),
            dropoff,
            placed_minute,
            ready_minute: placed_minute + prep_minutes,
        }
    }
}

prop_compose! {
    fn shift()(start in place(), on_minute in 0..60, length_minutes in 20..180) -> Shift {
        Shift { start, on_minute, off_minute: on_minute + length_minutes }
    }
}

/// Days with few couriers for their orders, so that bundles are made and orders stay behind.
pub(super) fn day() -> impl Strategy<Value = Day> {
    proptest::collection::vec(place(), 1..6).prop_flat_map(|restaurants| {
        let count = u32::try_from(restaurants.len()).unwrap_or(1);
        let orders = proptest::collection::vec(placed_order(count), 0..30);
        let couriers = proptest::collection::vec(shift(), 0..8);
        (Just(restaurants), orders, couriers).prop_map(|(restaurants, orders, couriers)| Day {
            rules: RULES,
            metres_per_min: 320,
            orders,
            restaurants,
            couriers,
        })
    })
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Nearest), Just(Policy::Rolling), Just(Policy::Anneal)]
}

pub(super) fn knowledge() -> impl Strategy<Value = Knowledge> {
    prop_oneof![Just(Knowledge::Exact), Just(Knowledge::Estimated)]
}

/// What a dispatcher is asked in each minute of a day, as it is played with a dispatcher of its own.
pub(super) fn questions(day: &Day) -> Vec<(Seconds, Vec<Courier>, Vec<Order>)> {
    let mut game = play::Game::new(day, Knowledge::Exact);
    let mut dispatcher = Dispatcher::new(day.rules, Policy::Anneal, 7, Tuning::default());
    let mut questions = Vec::new();
    while let Some(now) = game.tick() {
        let (couriers, orders) = (game.couriers(), game.orders());
        for commitment in dispatcher.decide(now, &couriers, &orders, Budget::moves(5)) {
            game.commit(&commitment);
        }
        game.pick_up();
        questions.push((now, couriers, orders));
    }
    questions
}
