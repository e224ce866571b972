//! Shifts: that they cover, keep their lengths, and cost least; and where couriers begin.

use super::*;

/// The fewest slots of any covering, by trying: the first slot that lacks somebody gets each shift that covers it.
fn fewest_slots(lacking: &mut Vec<u32>, min: usize, max: usize, spent: usize, best: &mut usize) {
    let Some(first) = lacking.iter().position(|need| *need > 0) else {
        *best = spent.min(*best);
        return;
    };
    for slots in min..=max.min(lacking.len()) {
        if spent + slots >= *best {
            break;
        }
        for start in first.saturating_sub(slots - 1)..=first.min(lacking.len() - slots) {
            let before = lacking.clone();
            lacking[start..start + slots]
                .iter_mut()
                .for_each(|need| *need = need.saturating_sub(1));
            fewest_slots(lacking, min, max, spent + slots, best);
            lacking.clone_from(&before);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn shifts_cover_and_keep_their_bounds(needed in prop::collection::vec(0_u32..30, 0..60), min in 1_usize..10, more in 0_usize..12) {
        let shifts = cover(&needed, ShiftLengths::new(min, min + more).expect("lengths")).expect("there is a covering");
        for (slot, need) in needed.iter().enumerate() {
            prop_assert!(shifts.iter().filter(|shift| shift.covers(slot)).count() >= *need as usize);
        }
        let end = needed.len().max(min);
        prop_assert!(shifts.iter().all(|shift| (min..=min + more).contains(&shift.slots) && shift.start + shift.slots <= end));
        prop_assert!(shifts.is_sorted());
    }

    #[test]
    fn no_covering_costs_less(needed in prop::collection::vec(0_u32..3, 3..7), min in 1_usize..4, more in 0_usize..2) {
        let shifts = cover(&needed, ShiftLengths::new(min, min + more).expect("lengths")).expect("there is a covering");
        let mut best = usize::MAX;
        fewest_slots(&mut needed.clone(), min, min + more, 0, &mut best);
        prop_assert_eq!(shifts.iter().map(|shift| shift.slots).sum::<usize>(), best, "{:?}", shifts);
    }

    #[test]
    fn couriers_begin_where_orders_are_expected_and_survive_their_file(seed: u64) {
        // Nobody has ordered from the second yet: over many days it is known to sell nothing.
        let orders: Vec<(usize, u32)> = (0..40).map(|n| (0, 30 + n)).collect();
        let past = PastDay::new(&day(1, 2, &orders));
        let restaurants = [restaurant(1, 0), restaurant(1, 1)];
        let forecast = forecast(&[&past], &restaurants, 0.0).expect("a history");
        let shifts: Vec<Span> = (0..20).map(|start| Span { start, slots: 8 }).collect();
        let couriers = place_couriers(&shifts, &restaurants, &forecast, seed);
        prop_assert_eq!(&couriers, &place_couriers(&shifts, &restaurants, &forecast, seed));
        prop_assert_eq!(couriers.len(), shifts.len());
        prop_assert!(couriers.iter().all(|courier| restaurants.iter().any(|of| (of.x, of.y) == (courier.x, courier.y))));
        prop_assert!(couriers.iter().all(|courier| courier.off_minute - courier.on_minute == 120));
        let parsed = Instance::parse(
            "order\tx\ty\tplacement_time\trestaurant\tready_time\no1\t1\t2\t3\tr1\t9\n",
            "restaurant\tx\ty\nr1\t0\t0\n",
            &Instance::couriers_text(&couriers),
            "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t\
             maximum click-to-door\tpay per order\tguaranteed pay per hour\n320\t4\t4\t40\t90\t10\t15\n",
        );
        prop_assert_eq!(parsed.expect("a file of couriers").couriers, couriers);
    }
}

#[test]
fn of_coverings_as_cheap_the_one_with_the_fewest_shifts_is_taken() {
    let lengths = ShiftLengths::new(2, 8).expect("lengths");
    let shifts = cover(&[1, 1, 1, 1, 1, 1, 1, 1], lengths).expect("a covering");
    assert_eq!(shifts, [Span { start: 0, slots: 8 }]);
    assert_eq!(
        cover(&[], lengths),
        Ok(Vec::new()),
        "where nothing is needed nobody comes"
    );
}

#[test]
fn a_shift_has_a_length() {
    for (min_slots, max_slots) in [(0, 4), (5, 4)] {
        let wrong = ForecastError::Lengths { min_slots, max_slots };
        assert_eq!(ShiftLengths::new(min_slots, max_slots), Err(wrong));
    }
}
