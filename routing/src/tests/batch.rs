//! Orders that come together.

use super::properties::{assert_feasible, build, order, site};
use super::*;
use crate::Choice;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn together(orders: &[Details], channels: &[Channel], promised: &Promised) -> Vec<Choice> {
    let channels: Vec<_> = channels.iter().cloned().map(Arc::new).collect();
    let orders: Vec<&Details> = orders.iter().collect();
    let policy = Policy::default();
    let context = Context {
        now: NOW,
        policy: &policy,
    };
    choose_batch(&orders, &channels, promised, &context)
}

/// First come, first served: each is told what those before it took.
fn in_turn(orders: &[Details], channels: &[Channel]) -> Vec<Choice> {
    let mut promised = Promised::default();
    let choice = |order: &Details| {
        let found = together(std::slice::from_ref(order), channels, &promised).remove(0);
        if let Some(first) = found.candidates.first() {
            promised.add(&first.channel, first.slot, first.units);
        }
        found
    };
    orders.iter().map(choice).collect()
}

/// How many found nothing, and what the others cost, each unit of a slot dearer than the one before.
fn cost(choices: &[Choice]) -> (usize, i64) {
    let first = choices.iter().filter_map(|choice| choice.candidates.first());
    let mut taken: BTreeMap<(String, Timestamp), Vec<i64>> = BTreeMap::new();
    let mut rest = 0;
    for candidate in first {
        rest += candidate.total_minor() - candidate.drawbacks.load_minor;
        let slot = taken
            .entry((candidate.channel.to_string(), candidate.slot))
            .or_default();
        slot.push(candidate.drawbacks.load_minor);
    }
    let loads: i64 = taken.values().flatten().sum();
    let nothing = choices.iter().filter(|choice| choice.candidates.is_empty()).count();
    (nothing, rest + loads)
}

fn to(lat: f64) -> Details {
    let mut order = details();
    order.delivery_location.lat = lat;
    order
}

/// The first comer saves a minute with the south's last unit; the second would have to wait for the next slot.
#[test]
fn the_last_unit_goes_to_whom_it_saves_most() {
    let at = |lat| ChannelConfig {
        location: Location { lat, lng: -87.0 },
        prep_ms: Millis(0),
        capacity_per_slot: 1,
        radius_m: 20_000,
        ..config()
    };
    let channels = [channel("north", at(41.05)), channel("south", at(41.0))];
    let orders = [to(41.024), to(41.0)];
    let names = |choices: &[Choice]| -> Vec<String> {
        let first = choices.iter().map(|choice| &choice.candidates[0]);
        first.map(|candidate| candidate.channel.to_string()).collect()
    };
    assert_eq!(names(&in_turn(&orders, &channels)), ["south", "south"]);
    let choices = together(&orders, &channels, &Promised::default());
    assert_eq!(names(&choices), ["north", "south"]);
    assert!(cost(&choices) < cost(&in_turn(&orders, &channels)));
    let alternate = &choices[0].candidates[1];
    assert_eq!(alternate.channel.to_string(), "south");
    assert_eq!(
        alternate.slot,
        choices[1].candidates[0].slot + Policy::default().slot_ms,
        "an alternate is as the others leave it"
    );
}

#[test]
fn what_is_promised_is_not_given_away_again() {
    let small = channel(
        "small",
        ChannelConfig {
            capacity_per_slot: 2,
            ..config()
        },
    );
    let alone = together(&[details()], std::slice::from_ref(&small), &Promised::default());
    let first = alone[0].candidates[0].clone();
    let mut promised = Promised::default();
    promised.add(&first.channel, first.slot, 2);
    let next = together(&[details()], std::slice::from_ref(&small), &promised);
    assert!(next[0].candidates[0].slot > first.slot);
}

#[test]
fn orders_of_different_restaurants_are_no_rivals() {
    let of = |restaurant: &str| ChannelConfig {
        serves: vec![restaurant.parse().expect("a name")],
        capacity_per_slot: 1,
        ..config()
    };
    let channels = [channel("one", of("restaurant-1")), channel("two", of("restaurant-2"))];
    let other = Details {
        restaurant_id: "restaurant-2".parse().expect("a name"),
        ..details()
    };
    let choices = together(&[other.clone(), details(), other], &channels, &Promised::default());
    let found: Vec<_> = choices
        .iter()
        .map(|choice| {
            let first = &choice.candidates[0];
            (
                first.channel.to_string(),
                choice.candidates.len() + choice.infeasible.len(),
            )
        })
        .collect();
    assert_eq!(found, [("two".into(), 1), ("one".into(), 1), ("two".into(), 1)]);
    assert!(choices[0].candidates[0].slot < choices[2].candidates[0].slot);
}

/// More orders than are assigned at once, and more than all slots have room for.
#[test]
fn a_burst_beyond_all_capacity_leaves_the_rest_with_a_reason() {
    let small = |name| {
        channel(
            name,
            ChannelConfig {
                capacity_per_slot: 5,
                ..config()
            },
        )
    };
    let channels = [small("a"), small("b")];
    let orders = vec![details(); 100];
    let choices = together(&orders, &channels, &Promised::default());
    let (nothing, _) = cost(&choices);
    assert_eq!(nothing, 100 - 2 * 9 * 5, "two kitchens, nine slots of five");
    let refused = choices
        .iter()
        .find(|choice| choice.candidates.is_empty())
        .expect("some");
    assert!(refused.infeasible.iter().all(|no| no.why == "has no capacity left"));
    within_capacity(&choices, &channels, &Promised::default());
}

#[test]
fn batches_are_as_long_as_they_can_be_without_taking_long() {
    let len = |orders, channels| crate::batch_len(std::iter::repeat_n(channels, orders));
    assert_eq!((len(0, 5), len(1, 5), len(200, 5)), (0, 1, crate::BATCH_MAX));
    assert_eq!((len(200, 50), len(200, 200), len(200, 100_000)), (64, 16, 1));
    assert_eq!(crate::batch_len([3_000, 200, 1].into_iter()), 2);
}

fn within_capacity(choices: &[Choice], channels: &[Channel], promised: &Promised) {
    let mut taken: BTreeMap<(String, Timestamp), u32> = BTreeMap::new();
    for candidate in choices.iter().filter_map(|choice| choice.candidates.first()) {
        *taken
            .entry((candidate.channel.to_string(), candidate.slot))
            .or_default() += candidate.units;
    }
    for ((name, slot), units) in taken {
        let channel = channels
            .iter()
            .find(|channel| channel.id.to_string() == name)
            .expect("one of them");
        let before = channel.ledger.used(slot) + promised.units(&channel.id, slot);
        assert!(
            before + units <= channel.config.capacity_per_slot,
            "{name}: {units} after {before}"
        );
    }
}

fn places() -> impl Strategy<Value = Details> {
    (order(), 40.98..41.04_f64).prop_map(|(mut order, lat)| {
        order.delivery_location.lat = lat;
        order
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn a_batch_of_one_is_a_choice(sites in proptest::collection::vec(site(), 1..6), order in places()) {
        let channels = build(&sites);
        let batch = together(std::slice::from_ref(&order), &channels, &Promised::default()).remove(0);
        let alone = route(&order, &channels);
        prop_assert_eq!(&batch.candidates, &alone.candidates);
        prop_assert_eq!(batch.infeasible.len(), alone.infeasible.len());
    }

    #[test]
    fn a_batch_is_feasible_within_capacity_and_no_dearer_than_first_come_first_served(
        sites in proptest::collection::vec(site(), 1..6),
        orders in proptest::collection::vec(places(), 1..24),
        promises in proptest::collection::vec((0..6_usize, 0..9_u64, 1..3_u32), 0..4),
    ) {
        let channels = build(&sites);
        let mut promised = Promised::default();
        let slot_ms = Policy::default().slot_ms;
        for (n, slot, units) in promises {
            let channel = &channels[n % channels.len()];
            promised.add(&channel.id, slot_of(NOW, slot_ms) + slot_ms.times(slot), units);
        }
        let choices = together(&orders, &channels, &promised);
        let taken = choices.iter().filter_map(|choice| choice.candidates.first());
        let mut used: BTreeMap<(String, Timestamp), u32> = BTreeMap::new();
        for first in taken {
            *used.entry((first.channel.to_string(), first.slot)).or_default() += first.units;
        }
        for ((name, slot), units) in used {
            let channel = channels.iter().find(|channel| channel.id.to_string() == name).expect("one of them");
            let before = channel.ledger.used(slot) + promised.units(&channel.id, slot);
            prop_assert!(before + units <= channel.config.capacity_per_slot, "{} of {} in all", before + units, name);
        }
        for (order, choice) in orders.iter().zip(&choices) {
            for candidate in &choice.candidates {
                let channel = channels.iter().find(|channel| channel.id == candidate.channel).expect("one of them");
                assert_feasible(channel, order, candidate);
            }
        }
        prop_assert_eq!(&choices, &together(&orders, &channels, &promised), "the same again");
        if promised == Promised::default() {
            prop_assert!(cost(&choices) <= cost(&in_turn(&orders, &channels)));
        }
    }

    /// No order of arrival would have been better.
    #[test]
    fn a_small_batch_costs_as_little_as_can_be(
        sites in proptest::collection::vec(site(), 2..4),
        orders in proptest::collection::vec(places(), 2..4),
    ) {
        let channels = build(&sites);
        let choices = together(&orders, &channels, &Promised::default());
        let all = permutations(orders.len());
        let best = all.iter().map(|order| {
            let orders: Vec<Details> = order.iter().map(|&n| orders[n].clone()).collect();
            cost(&in_turn(&orders, &channels))
        });
        prop_assert!(cost(&choices) <= best.min().expect("some"));
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let longer = |short: &Vec<usize>| {
        (0..n)
            .map(|at| {
                let mut longer = short.clone();
                longer.insert(at, n - 1);
                longer
            })
            .collect::<Vec<_>>()
    };
    shorter.iter().flat_map(longer).collect()
}
