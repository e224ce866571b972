//! Whole searches, judged by the checker.

use super::*;
use crate::pdptw::Violation;
use std::{env, fs, path::Path};

const FEW: Budget<'_> = Budget::moves(400);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_plan_is_feasible_and_as_long_as_it_says(requests in 1_u16..30, seed: u64) {
        let (text, problem) = problem(requests, seed);
        let Solution { plan, effort } = solve(&problem, FEW, seed).expect("there is a vehicle for each request");
        let Verdict { vehicles, distance } = check(&text, &plan.routes).expect("it is feasible");
        prop_assert_eq!(vehicles, plan.routes.len());
        prop_assert!((distance - plan.distance).abs() < 1e-6);
        prop_assert_eq!(effort.fleet_moves + effort.moves, 400);
    }

    #[test]
    fn the_checker_finds_what_is_broken(requests in 2_u16..12, seed: u64) {
        let (text, problem) = problem(requests, seed);
        let plan = solve(&problem, FEW, seed).expect("there is a vehicle for each request").plan;
        let mut twice = plan.routes.clone();
        let again = twice[0].clone();
        twice.push(again);
        prop_assert!(check(&text, &twice).is_err());
        let mut missing = plan.routes.clone();
        missing[0].pop();
        prop_assert!(check(&text, &missing).is_err());
        let mut swapped = plan.routes.clone();
        swapped[0].reverse();
        let backwards = matches!(check(&text, &swapped), Err(Violation::Precedence(_) | Violation::Late(_)));
        // The depot is task 0, and nothing has a number as large as this.
        prop_assert!(backwards || plan.routes[0].len() < 2);
        prop_assert!(check(&text, &[vec![0], plan.routes.concat()]).is_err());
        prop_assert!(check(&text, &[vec![10_000]]).is_err());
    }
}

#[test]
fn the_checker_names_the_violation() {
    let text = "1 5 1\n0 0 0 0 0 100 0 0 0\n1 10 0 3 0 50 1 0 2\n2 20 0 -3 0 50 1 1 0\n3 10 0 3 0 50 1 0 4\n4 20 0 -3 0 35 1 3 0\n";
    let judged = |routes: &[&[u16]]| check(text, &routes.iter().map(|route| route.to_vec()).collect::<Vec<_>>());
    assert_eq!(judged(&[&[1, 3, 2, 4]]), Err(Violation::Load(3)));
    assert_eq!(judged(&[&[1, 2, 3, 4]]), Err(Violation::Late(4)));
    assert_eq!(judged(&[&[3, 4, 2, 1]]), Err(Violation::Precedence(2)));
    assert_eq!(judged(&[&[3, 4]]), Err(Violation::Once(1)));
    assert_eq!(judged(&[&[3, 4], &[1, 2]]), Err(Violation::Vehicles));
    let verdict = judged(&[&[3, 4, 1, 2]]).expect("it is feasible");
    assert_eq!((verdict.vehicles, verdict.distance), (1, 60.0));
}

/// Pickups on one side of a line, deliveries on the other: one vehicle that goes there and back once is the best there is.
#[test]
fn a_small_known_optimum_is_found() {
    let mut tasks = tasks(0, 0);
    let at = |x: f64, demand, role| Task {
        x,
        demand,
        role,
        ..tasks[0]
    };
    let served: Vec<Task> = (0..4_u16)
        .flat_map(|n| {
            let (pickup, x) = (2 * n + 1, f64::from(n));
            [
                at(50.0 + x, 1, Role::Pickup { to: pickup + 1 }),
                at(60.0 - x, -1, Role::Delivery { from: pickup }),
            ]
        })
        .collect();
    tasks.extend(served);
    let problem = Problem::new(4, 4, &tasks).expect("it can be served");
    let plan = solve(&problem, Budget::moves(2_000), 1)
        .expect("there are vehicles enough")
        .plan;
    assert_eq!(plan.routes.len(), 1);
    assert!((plan.distance - 20.0).abs() < 1e-9, "{}", plan.distance);
}

#[test]
fn the_seed_decides() {
    let (_, problem) = problem(40, 7);
    let run = |seed, moves| solve(&problem, Budget::moves(moves), seed).expect("there are vehicles enough");
    assert_eq!(run(1, 2_000), run(1, 2_000));
    assert_ne!(run(1, 50).plan.routes, run(2, 50).plan.routes);
    let (first, last) = (run(1, 0).plan, run(1, 2_000).plan);
    assert!((last.routes.len(), last.distance) < (first.routes.len(), first.distance));
}

#[test]
fn time_ends_it_too() {
    let (_, problem) = problem(20, 3);
    let looks = std::cell::Cell::new(0.0);
    let used = || {
        looks.set(looks.get() + 0.05);
        looks.get()
    };
    let budget = Budget {
        moves_max: u64::MAX,
        time_used: Some(&used),
    };
    let effort = solve(&problem, budget, 1).expect("there are vehicles enough").effort;
    assert!((1..10_000).contains(&(effort.fleet_moves + effort.moves)), "{effort:?}");
}

#[test]
fn too_few_vehicles_are_an_error() {
    let mut tasks = tasks(2, 0);
    for (index, x) in [(1, 0.0), (2, 0.0), (3, 100.0), (4, 100.0)] {
        tasks[index] = Task {
            x,
            y: 50.0,
            earliest: 100.0 * f64::from(u8::from(index % 2 == 0)),
            ..tasks[index]
        };
        tasks[index].latest = tasks[index].earliest + 60.0;
    }
    let problem = Problem::new(1, 60, &tasks).expect("each can be served alone");
    let error = solve(&problem, FEW, 1).expect_err("nobody is at both ends at once");
    assert_eq!(
        error.to_string(),
        "there are 1 vehicles, and the best plan found needs 2"
    );
}

#[test]
fn published_instances_are_solved_well() {
    let Ok(dir) = env::var("UOOP_LILIM_DIR") else {
        eprintln!("skipped: UOOP_LILIM_DIR names no directory of instances");
        return;
    };
    // The best known plans use 10, 9, 3, 10, 2 and 3 vehicles.
    for (name, vehicles_max) in [
        ("lc101", 10),
        ("lr112", 11),
        ("lc204", 4),
        ("lrc108", 12),
        ("lr211", 4),
        ("lrc205", 5),
    ] {
        let text = fs::read_to_string(Path::new(&dir).join(format!("{name}.txt"))).expect("it is there");
        let problem: Problem = text.parse().expect("it is well formed");
        let plan = solve(&problem, Budget::moves(2_000), 1)
            .expect("there are vehicles enough")
            .plan;
        let verdict = check(&text, &plan.routes).expect("it is feasible");
        assert!(verdict.vehicles <= vehicles_max, "{name}: {verdict:?}");
        assert!((verdict.distance - plan.distance).abs() < 1e-6);
    }
}
