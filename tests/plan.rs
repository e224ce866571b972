//! `uoop plan` as its users run it.

#[path = "support/replay_day.rs"]
mod replay_day;

use replay_day::{DayFiles, small_day};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs a command; words that begin with `@` are paths below the directory.
fn uoop(directory: &TempDir, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uoop"));
    for word in words {
        match word.strip_prefix('@') {
            Some(below) => command.arg(directory.path().join(below)),
            None => command.arg(word),
        };
    }
    command.output().expect("the binary runs")
}

/// A day like the small one, with customers who live farther east and order later: another day.
fn day(orders: u32, by: u32) -> DayFiles {
    let mut day = small_day(orders);
    let moved = day.orders.lines().map(|line| {
        let mut cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        for (at, cell) in cells.iter_mut().enumerate() {
            if let (1 | 3 | 5, Ok(number)) = (at, cell.parse::<u32>()) {
                *cell = (number + by).to_string();
            }
        }
        cells.join("\t") + "\n"
    });
    day.orders = moved.collect();
    day
}

fn write(directory: &TempDir, below: &str, day: &DayFiles) {
    let path = directory.path().join(below);
    std::fs::create_dir_all(&path).expect("made");
    day.write(&path);
}

/// A directory with `days/a`, `days/b` and `days/c`, of 40, 60 and 50 orders.
fn days() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, orders, by) in [("a", 40, 0), ("b", 60, 25), ("c", 50, 51)] {
        write(&directory, &format!("days/{name}"), &day(orders, by));
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

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[test]
fn each_day_is_planned_from_the_others_and_can_be_dispatched() {
    let directory = days();
    let report = last_line(&uoop(&directory, &["plan", "@days", "--json", "--out", "@planned"]));
    assert_eq!(report["mean"]["days"], 3);
    for (day, name) in list(&report["days"]).iter().zip(["a", "b", "c"]) {
        assert_eq!(day["day"], name);
        let others: Vec<&str> = list(&day["learned_from"])
            .iter()
            .filter_map(|of| of["day"].as_str())
            .collect();
        assert!(others.len() == 2 && !others.contains(&name), "{others:?}");
        assert!(day["scores"]["forecast"]["absolute_error"].as_f64().expect("a figure") >= 0.0);
        assert_eq!(day["capacity"].as_object().expect("restaurants").len(), 5);
        for slot in list(&day["slots"]) {
            assert!(slot["suggested"].as_u64() >= slot["needed"].as_u64(), "{slot}");
        }
        for shift in list(&day["shifts"]) {
            let minutes =
                shift["off_minute"].as_u64().expect("a minute") - shift["on_minute"].as_u64().expect("a minute");
            assert!((120..=360).contains(&minutes), "{shift}");
        }
        let couriers = text(&directory.path().join("planned").join(name).join("couriers.txt"));
        assert_eq!(
            couriers.lines().count() as u64,
            1 + day["suggested"]["couriers"].as_u64().expect("a count")
        );
    }
    let played = last_line(&uoop(
        &directory,
        &["dispatch", "@planned", "--json", "--policy", "rolling"],
    ));
    assert_eq!(played["instances"], 3);
    // Each day begins when another ends, nearly: who learned from the others may send couriers home too early.
    let delivered = played["policies"][0]["delivered"].as_u64().expect("a count");
    assert!((120..=150).contains(&delivered), "{delivered} of 150");
    assert_eq!(played["policies"][0]["feasible"], 3, "{played}");
}

#[test]
fn a_day_ahead_needs_only_restaurants_and_rules() {
    let directory = days();
    write(&directory, "tomorrow", &day(50, 77));
    for file in ["orders.txt", "couriers.txt"] {
        std::fs::remove_file(directory.path().join("tomorrow").join(file)).expect("removed");
    }
    let plan = |more: &[&str]| {
        let words = ["plan", "@days", "--for", "@tomorrow", "--json", "--out", "@planned"];
        last_line(&uoop(&directory, &[&words, more].concat()))
    };
    let (usual, doubled) = (plan(&[]), plan(&["--growth-rate", "1"]));
    assert_eq!((list(&usual["days"]).len(), &usual["mean"]), (1, &Value::Null));
    let expected = |report: &Value| report["days"][0]["expected"].as_f64().expect("a figure");
    assert!(
        (40.0..60.0).contains(&expected(&usual)),
        "between what was: {}",
        expected(&usual)
    );
    assert!((expected(&doubled) / expected(&usual) - 2.0).abs() < 1e-9);
    let hours = |report: &Value| report["days"][0]["suggested"]["hours"].as_f64().expect("a figure");
    assert!(hours(&doubled) > hours(&usual));
    assert!(directory.path().join("planned/tomorrow/couriers.txt").exists());
    assert!(!directory.path().join("planned/tomorrow/orders.txt").exists());
}

#[test]
fn plans_are_told_to_people_too() {
    let directory = days();
    let output = uoop(
        &directory,
        &["plan", "@days", "--for", "@days/a", "--courier-level", "0.9"],
    );
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for wanted in [
        "a, slot by slot",
        "10:00",
        "shifts: ",
        "deviance",
        "what 90 % of slots do not exceed",
        "guaranteed",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}

#[test]
fn what_cannot_be_planned_is_said() {
    let directory = days();
    let alone = complaint(&uoop(&directory, &["plan", "@days/a"]));
    assert!(
        alone.contains("cannot plan a: there is no other day to learn from: at least two different days"),
        "{alone}"
    );

    // The same orders with other couriers are no other day.
    let mut variant = day(40, 0);
    variant.couriers = "courier\tx\ty\ton_time\toff_time\nc1\t0\t0\t540\t1080\n".to_owned();
    write(&directory, "variant", &variant);
    let same = complaint(&uoop(&directory, &["plan", "@days/a", "@variant"]));
    assert!(same.contains("at least two different days"), "{same}");

    let before = text(&directory.path().join("days/a/couriers.txt"));
    let onto = complaint(&uoop(&directory, &["plan", "@days", "--out", "@days"]));
    assert!(onto.contains("--out must lead elsewhere"), "{onto}");
    assert_eq!(text(&directory.path().join("days/a/couriers.txt")), before);

    let level = complaint(&uoop(&directory, &["plan", "@days", "--service-level", "1"]));
    assert!(
        level.contains("the service level is 1: it must be between 0 and 1"),
        "{level}"
    );
    let none = complaint(&uoop(&directory, &["plan", "@nowhere"]));
    assert!(none.contains("nowhere"), "{none}");
}
