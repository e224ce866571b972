//! `uoop dispatch` as its users run it.

#[path = "support/replay_day.rs"]
mod replay_day;

use replay_day::small_day;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the command; words that begin with `@` are paths below the directory.
fn dispatch(directory: &TempDir, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uoop"));
    command.arg("dispatch");
    for word in words {
        match word.strip_prefix('@') {
            Some(below) => command.arg(directory.path().join(below)),
            None => command.arg(word),
        };
    }
    command.output().expect("the binary runs")
}

/// A directory with `days/a` and `days/b`, of 40 and 60 orders.
fn days() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, orders) in [("a", 40), ("b", 60)] {
        let day = directory.path().join("days").join(name);
        std::fs::create_dir_all(&day).expect("made");
        small_day(orders).write(&day);
    }
    directory
}

/// The JSON object in the last line of the output of a command that went well.
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    serde_json::from_str(text.lines().last().expect("an answer")).expect("JSON")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The report without what depends on how fast the machine is.
fn without_times(mut report: Value) -> Value {
    let mut forget = |value: &mut Value| {
        let object = value.as_object_mut().expect("an object");
        for name in ["replan_ms", "insertion_us", "wall_s"] {
            object.remove(name);
        }
    };
    forget(&mut report);
    for list in ["policies", "runs"] {
        report[list]
            .as_array_mut()
            .expect("a list")
            .iter_mut()
            .for_each(&mut forget);
    }
    report
}

#[test]
fn policies_are_compared_over_several_days() {
    let directory = days();
    let words = ["@days", "--json", "--moves", "30", "--out", "@out"];
    let report = last_line(&dispatch(&directory, &words));
    assert_eq!((&report["instances"], &report["policy"]), (&2.into(), &"anneal".into()));
    let figures = [
        "click_to_door",
        "undelivered_pct",
        "overdue",
        "ready_to_pickup",
        "cost_per_order",
        "orders_per_bundle",
    ];
    for figure in figures {
        assert!(report["mean"][figure].is_number(), "{figure}: {report}");
    }
    for figure in ["p99", "max"] {
        assert!(report["replan_ms"][figure].is_number(), "{figure}: {report}");
    }
    let policies: Vec<&str> = report["policies"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|of| of["policy"].as_str())
        .collect();
    assert_eq!(policies, ["nearest", "rolling", "anneal"]);
    assert!(
        report["policies"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|of| of["feasible"] == 2 && of["orders"] == 100)
    );
    let runs: Vec<(&str, &str)> = report["runs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| {
            (
                run["instance"].as_str().expect("a name"),
                run["policy"].as_str().expect("a name"),
            )
        })
        .collect();
    let wanted = [
        ("a", "nearest"),
        ("a", "rolling"),
        ("a", "anneal"),
        ("b", "nearest"),
        ("b", "rolling"),
        ("b", "anneal"),
    ];
    assert_eq!(runs, wanted);

    // Solutions are as the evaluator reads them, and the figures beside them are those of the report.
    for (run, (instance, policy)) in report["runs"].as_array().expect("a list").iter().zip(runs) {
        let solution = directory.path().join("out").join(policy).join(instance);
        let lines = |file: &str| {
            text(&solution.join(file))
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let orders = lines("solution_info_orders.txt");
        assert_eq!(
            orders[0],
            "order placement_time ready_time pickup_time dropoff_time courier"
        );
        assert_eq!(
            orders.len() as u64,
            1 + run["metrics"]["delivered"].as_u64().expect("a count")
        );
        let bundles = lines("solution_info_assignments.txt");
        assert_eq!(
            bundles.len() as u64,
            1 + run["metrics"]["orders_per_bundle"]["count"].as_u64().expect("a count")
        );
        let ways = lines("solution_info_couriers.txt");
        assert_eq!(ways[0], "courier departure_time origin destination");
        assert!(
            ways[1..].iter().any(|way| way.split(' ').nth(2) == Some("0")),
            "somebody leaves its start"
        );
        let figures = text(&solution.join("solution_performance.txt"));
        let payment = run["metrics"]["total_payment"].as_f64().expect("a number");
        assert!(
            figures.contains(&format!("\ntotal payment: {payment:.2}\n")),
            "{figures}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_day_on_any_number_of_threads() {
    let directory = days();
    let play = |threads: &str, seed: &str| {
        let words = [
            "@days",
            "--json",
            "--policy",
            "anneal",
            "--moves",
            "50",
            "--threads",
            threads,
            "--seed",
            seed,
        ];
        without_times(last_line(&dispatch(&directory, &words)))
    };
    assert_eq!(play("1", "7"), play("3", "7"));
}

#[test]
fn a_day_is_told_and_drawn_for_people() {
    let directory = days();
    let words = ["@days/a", "--moves", "20", "--plot", "@day.svg", "--at", "665"];
    let output = dispatch(&directory, &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "nearest",
        "rolling",
        "anneal against nearest",
        "click-to-door",
        "40 of 40",
        "than nearest",
        "utilization",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
    let drawing = text(&directory.path().join("day.svg"));
    assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    for wanted in [
        "a at minute 665 (11:05), dispatched by anneal",
        "km to the east",
        "since minute 0",
        "courier carrying",
        "curve nearest",
    ] {
        assert!(drawing.contains(wanted), "{wanted}");
    }
}

#[test]
fn guessed_preparation_times_make_another_day() {
    let directory = days();
    let play = |prep: &str| {
        last_line(&dispatch(
            &directory,
            &["@days", "--json", "--policy", "rolling", "--prep", prep],
        ))
    };
    let (exact, estimated) = (play("exact"), play("estimated"));
    assert_eq!(
        (&exact["prep"], &estimated["prep"]),
        (&"exact".into(), &"estimated".into())
    );
    assert_ne!(exact["mean"], estimated["mean"]);
    assert_eq!(exact["improvement_pct"], Value::Null, "nothing to compare with");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_played() {
    let directory = days();
    let twin = directory.path().join("more/a");
    std::fs::create_dir_all(&twin).expect("made");
    small_day(4).write(&twin);
    let broken = directory.path().join("broken");
    std::fs::create_dir(&broken).expect("made");
    small_day(4).write(&broken);
    let orders = text(&broken.join("orders.txt")).replace("\tr1\t", "\tr9\t");
    std::fs::write(broken.join("orders.txt"), orders).expect("written");
    std::fs::create_dir(directory.path().join("empty")).expect("made");

    for (words, code, wanted) in [
        (&["@none"][..], 1, "cannot read "),
        (
            &["@empty"],
            1,
            "is no instance and holds none: an instance is a directory with orders.txt",
        ),
        (&["@broken"], 1, "column 'restaurant': 'r9' is not in restaurants.txt"),
        (&["@days", "@more"], 1, "have the same name"),
        (
            &["@days", "--plot", "@day.svg"],
            1,
            "--plot draws one day, and 2 were given",
        ),
        (
            &["@days/a", "--plot", "@day.svg", "--at", "30"],
            1,
            "minute 30 is not in the day, which lasts from 6",
        ),
        (
            &["@days/a", "--policy", "best"],
            2,
            "[possible values: nearest, rolling, anneal]",
        ),
        (&["@days/a", "--at", "600"], 2, "--plot"),
        (&["@days/a", "--threads", "0"], 2, "--threads"),
        (&[], 2, "<DIR>"),
    ] {
        let output = dispatch(&directory, words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(wanted), "{words:?}: {error}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}
