//! Names, means and the report of days that need not be played.

use super::published::{in_table_4, is_of_library};
use super::report::{Figures, Report};
use super::{Named, Options, Run};
use crate::replay_day::small_day;
use routing::dispatch::{Day, Knowledge, Metrics, Policy, Solution, Tuning};
use routing::mdrp::Instance;
use std::time::Duration;

#[test]
fn instances_of_the_library_are_known_by_their_names() {
    for name in ["0o50t100s1p100", "0r50t75s2p125"] {
        assert!(is_of_library(name) && in_table_4(name), "{name}");
    }
    for name in ["0o100t100s1p100", "1o50t100s1p100", "9r100t75s2p125"] {
        assert!(is_of_library(name) && !in_table_4(name), "{name}");
    }
    for name in [
        "",
        "0",
        "otsp",
        "0o50",
        "0o50t100s1",
        "0x50t100s1p100",
        "0o50t100s1p",
        "0o50t100s1p100-mine",
        "tuesday",
    ] {
        assert!(!is_of_library(name) && !in_table_4(name), "{name}");
    }
}

fn named(name: &str) -> Named {
    let day = small_day(8);
    let instance = Instance::parse(&day.orders, &day.restaurants, &day.couriers, &day.parameters).expect("a day");
    Named {
        name: name.to_owned(),
        day: Day::from(&instance),
        instance,
    }
}

/// A run that delivered each order in so many minutes.
fn run(days: &[Named], instance: usize, policy: Policy, door_min: f64) -> Run {
    let mut metrics = Metrics::new(&days[instance].day, &Solution::default());
    metrics.delivered = 7;
    metrics.click_to_door.mean = Some(door_min);
    Run {
        instance,
        policy,
        solution: Solution::default(),
        metrics,
        violations: Vec::new(),
        replan_ns: (1..=200).map(|ms| ms * 1_000_000).collect(),
        insertion_ns: vec![1_500],
        open_orders_max: 5,
        took: Duration::from_millis(250),
    }
}

fn report(names: [&str; 2], knowledge: Knowledge) -> Report {
    let days = names.map(named);
    let options = Options {
        policies: vec![Policy::Anneal, Policy::Nearest],
        knowledge,
        seed: 1,
        moves_max: 1,
        budget_ns: None,
        tuning: Tuning::default(),
        threads: 1,
    };
    let doors = [
        (0, Policy::Anneal, 30.0),
        (0, Policy::Nearest, 40.0),
        (1, Policy::Anneal, 33.0),
        (1, Policy::Nearest, 44.0),
    ];
    let runs = doors.map(|(instance, policy, door_min)| run(&days, instance, policy, door_min));
    Report::new(&days, &options, &runs)
}

#[test]
fn anneal_comes_first_and_is_compared_with_nearest() {
    let report = report(["0o50t100s1p100", "1o50t100s1p100"], Knowledge::Exact);
    assert_eq!((report.policy, report.improvement_pct), (Policy::Anneal, Some(25.0)));
    let Figures {
        click_to_door,
        undelivered_pct,
        ..
    } = report.mean;
    assert_eq!((click_to_door, undelivered_pct), (Some(31.5), Some(12.5)));
    assert_eq!((report.replan_ms.p99, report.replan_ms.max), (Some(198.0), Some(200.0)));
    let anneal = &report.policies[0];
    assert_eq!((anneal.orders, anneal.delivered, anneal.wall_s), (16, 14, 0.5));
    let table_4 = anneal.table_4.expect("one of the sixteen");
    assert_eq!((table_4.instances, table_4.mean.click_to_door), (1, Some(30.0)));
    assert!(report.is_feasible());

    let text = report.to_string();
    for wanted in [
        "click-to-door, 1 of table 4's 16",
        "31.88 min",
        "-25.0 %",
        "anneal delivers 25.0 % sooner than nearest",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn only_what_can_be_compared_is_shown_beside_what_is_published() {
    let estimated = report(["0o50t100s1p100", "1o50t100s1p100"], Knowledge::Estimated);
    let published = estimated.published.expect("of the library");
    assert_eq!(
        (published.mean.click_to_door, published.table_4_click_to_door),
        (Some(34.03), None)
    );
    let other = report(["0o50t100s1p100", "tuesday"], Knowledge::Exact);
    assert!(other.published.is_none() && !other.to_string().contains("Reyes"));
}
