//! Reading and finding instances on disk.

use super::*;

#[path = "../../tests/support/replay_day.rs"]
mod replay_day;

use replay_day::small_day;

#[test]
fn a_directory_is_an_instance_or_holds_some() {
    let directory = tempfile::tempdir().expect("a directory");
    let problem = |path: &Path| find(&[path.to_owned()]).expect_err("nothing there").to_string();
    assert!(problem(directory.path()).contains("is no instance and holds none: an instance is"));
    assert!(problem(&directory.path().join("none")).starts_with("cannot read "));

    let [a, b] = ["b", "a"].map(|name| directory.path().join(name));
    for path in [&a, &b] {
        std::fs::create_dir(path).expect("made");
        small_day(4).write(path);
    }
    std::fs::create_dir(directory.path().join("notes")).expect("made");
    assert_eq!(
        find(&[directory.path().to_owned()]).expect("two"),
        [b.clone(), a.clone()]
    );
    assert_eq!(find(&[a.clone(), b.clone()]).expect("two"), [a, b]);
}

#[test]
fn a_directory_without_a_day_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let problem = read(directory.path()).expect_err("empty").to_string();
    assert_eq!(
        problem,
        format!("cannot read {}", directory.path().join(ORDERS).display())
    );
    let day = small_day(4);
    day.write(directory.path());
    let parsed = Instance::parse(&day.orders, &day.restaurants, &day.couriers, &day.parameters);
    assert_eq!(read(directory.path()).expect("a day"), parsed.expect("a day"));
    std::fs::write(directory.path().join(PARAMETERS), "x\n1\n").expect("written");
    let problem = read(directory.path()).expect_err("no parameters").to_string();
    let wanted = format!(
        "{}: {PARAMETERS}:1: the header has no column 'meters_per_minute'",
        directory.path().display()
    );
    assert!(problem.starts_with(&wanted), "{problem}");
}
