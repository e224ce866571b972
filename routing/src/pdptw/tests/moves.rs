//! What holds before and after every move.

use super::*;
use crate::pdptw::route::{Route, Stop};

type Copied = (Vec<(Vec<Stop>, f64, u64)>, Vec<u16>, Vec<Option<usize>>);

fn copied(draft: &Draft<'_>) -> Copied {
    let routes = draft
        .routes
        .iter()
        .map(|route| (route.stops.clone(), route.distance, route.version));
    let owners = (0..draft.problem.requests()).map(|request| draft.route_of(u16::try_from(request).expect("few")));
    (routes.collect(), draft.absent.clone(), owners.collect())
}

/// Every number a route carries is what it is when computed anew, and every window and the capacity are kept.
fn assert_sound(draft: &Draft<'_>) {
    for (slot, route) in draft.routes.iter().enumerate() {
        let mut anew = Route::new(draft.problem);
        anew.stops.clone_from(&route.stops);
        anew.retime(draft.problem);
        assert_eq!(anew.stops, route.stops);
        assert!((anew.distance - route.distance).abs() < 1e-9);
        assert!(route.is_feasible(draft.problem), "{:?}", route.tasks());
        for task in route.tasks() {
            let request = draft.problem.nodes[usize::from(task)].request;
            assert_eq!(draft.route_of(request), Some(slot));
        }
    }
}

/// Every pair of positions, tried by building the route.
fn cheapest_by_trying(route: &Route, problem: &Problem, request: u16) -> Option<f64> {
    let ends = problem.requests[usize::from(request)];
    let mut best: Option<f64> = None;
    for pickup in 0..route.stops.len() - 1 {
        for delivery in pickup..route.stops.len() - 1 {
            let mut tried = Route::new(problem);
            tried.stops.clone_from(&route.stops);
            tried.put(delivery, ends.delivery);
            tried.put(pickup, ends.pickup);
            tried.retime(problem);
            let longer = tried.distance - route.distance;
            if tried.is_feasible(problem) && best.is_none_or(|best| longer < best) {
                best = Some(longer);
            }
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_move_is_sound_and_its_undo_exact(requests in 1_u16..25, seed: u64) {
        let (_, problem) = problem(requests, seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draft = Draft::new(&problem);
        draft.construct(&mut random);
        assert_sound(&draft);
        for step in 0..40 {
            let before = copied(&draft);
            draft.begin();
            draft.ruin(&mut random);
            assert_sound(&draft);
            let room = (step % 3 == 0).then_some(20.0);
            let done = draft.recreate(room, &mut random);
            if done {
                assert_sound(&draft);
                prop_assert_eq!(draft.absent.iter().filter(|request| draft.route_of(**request).is_some()).count(), 0);
            }
            if !done || step % 2 == 0 {
                draft.undo();
                prop_assert_eq!(copied(&draft), before);
            } else if step % 7 == 1 && draft.routes.len() > 1 {
                draft.drop_route(0);
                assert_sound(&draft);
            }
        }
    }

    #[test]
    fn the_cheapest_place_is_the_cheapest(requests in 2_u16..14, seed: u64) {
        let (_, problem) = problem(requests, seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draft = Draft::new(&problem);
        draft.construct(&mut random);
        draft.begin();
        draft.ruin(&mut random);
        for request in &draft.absent {
            for route in &draft.routes {
                let found = route.cheapest(&problem, problem.requests[usize::from(*request)]).map(|place| place.longer);
                let tried = cheapest_by_trying(route, &problem, *request);
                let same = match (found, tried) {
                    (Some(found), Some(tried)) => (found - tried).abs() < 1e-6,
                    (found, tried) => found.is_none() && tried.is_none(),
                };
                prop_assert!(same, "found {:?}, tried {:?}", found, tried);
            }
        }
    }

    #[test]
    fn what_is_known_is_what_would_be_found(requests in 2_u16..20, seed: u64) {
        let (_, problem) = problem(requests, seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draft = Draft::new(&problem);
        draft.construct(&mut random);
        for step in 0..60 {
            draft.begin();
            draft.ruin(&mut random);
            if !draft.recreate(Some(f64::INFINITY), &mut random) || step % 2 == 0 {
                draft.undo();
            }
            for (slot, route) in draft.routes.iter().enumerate() {
                for request in (0..requests).filter(|request| draft.route_of(*request) != Some(slot)) {
                    if let Ok(known) = draft.known.place(slot, request, route.version, f64::INFINITY) {
                        let found = route.cheapest(&problem, problem.requests[usize::from(request)]);
                        prop_assert_eq!(known, found);
                    }
                }
            }
        }
    }
}
