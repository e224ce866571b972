//! The promise in small: a day of orders through a server that is killed and participants that fail, and afterwards
//! everybody's books agree. `cargo run -p chaos -- run --day DIR --kills 10` does the same with a real day.

use chaos::run::{Shares, Store};
use chaos::{Options, run};
use std::path::PathBuf;

/// Shares are large, so that a day as short as this one sees some of everything: ids, and so the sandbox's draws, differ
/// from run to run, and the chance that any one of these faults does not happen is below one in ten thousand.
fn a_small_day() -> Options {
    Options {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_uoop")),
        day: None,
        orders: Some(60),
        // An hour and a quarter of orders in 15 s.
        speed: 300,
        kills: 3,
        seed: 4,
        store: Store::Sqlite,
        faults: Shares {
            declines: 15.0,
            refusals: 20.0,
            hangs: 5.0,
            late_successes: 5.0,
            errors: 5.0,
            pending: 30.0,
            drops: 30.0,
            duplicate_callbacks: 30.0,
            cancels: 15.0,
            duplicates: 20.0,
        },
        keep: None,
    }
}

#[tokio::test]
async fn no_order_is_lost_and_all_books_agree() {
    let report = run(&a_small_day()).await.expect("the run is carried out");
    assert_eq!(report.violations, [""; 0], "{report}");
    assert_eq!((report.acknowledged, report.lost), (60, 0), "{report}");
    assert_eq!((report.duplicated_effects, report.leftover_effects), (0, 0), "{report}");
    // NV-1: all of it happened.
    let faults = report.faults;
    assert_eq!((faults.kills, faults.kills_with_work), (3, 3), "{report}");
    for (fault, count) in [
        ("kills while starting", faults.kills_while_starting),
        ("declined", faults.declined),
        ("refused", faults.refused),
        ("put off", faults.put_off),
        ("dropped", faults.dropped),
        ("timed out", faults.timed_out),
        ("failed at once", faults.failed),
        ("done and not answered", faults.done_unanswered),
        ("cancelled", faults.cancelled),
        ("repeated", faults.repeated),
    ] {
        assert!(count > 0, "nothing {fault}:\n{report}");
    }
}
