//! The promise in small: a day of orders through a server that is killed and participants that fail, and afterwards
//! everybody's books agree. `cargo run -p chaos -- run --day DIR --kills 10` does the same with a real day. And the same
//! for three nodes over one Postgres, of which one is killed, one is killed in the midst of a protocol, one stands still for
//! longer than its lease, one does so with a batch in its hands that it sends afterwards, and all are restarted one after the
//! other: `cargo run -p chaos -- run --nodes 3 --faults kill,pause,rolling,failpoints,zombie` is the long form, with a binary
//! built with `--features failpoints`.

use chaos::run::{Fault, Shares, Store};
use chaos::{ClusterOptions, Options, run, run_cluster};
use std::path::PathBuf;
use std::time::Duration;

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
            late_successes: 10.0,
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

/// Few orders: the nodes, the participants and the clients share two cores, and nothing is optimised.
fn three_nodes() -> ClusterOptions {
    ClusterOptions {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_uoop")),
        nodes: 3,
        rate: 8,
        length: Duration::from_secs(20),
        faults: vec![
            Fault::Kill,
            Fault::Pause,
            Fault::Rolling,
            Fault::Failpoints,
            Fault::Zombie,
        ],
        every: Duration::from_secs(5),
        day: None,
        orders: None,
        speed: 240,
        lease: Duration::from_secs(3),
        seed: 5,
        store: None,
        kafka: None,
        shares: Shares {
            declines: 5.0,
            refusals: 10.0,
            hangs: 1.0,
            late_successes: 1.0,
            errors: 2.0,
            pending: 20.0,
            drops: 3.0,
            duplicate_callbacks: 10.0,
            cancels: 10.0,
            duplicates: 20.0,
        },
        keep: None,
        picture: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_nothing_when_its_nodes_break() {
    if std::env::var_os("UOOP_TEST_POSTGRES_URL").is_none() {
        println!("skipped: UOOP_TEST_POSTGRES_URL is not set");
        return;
    }
    let report = run_cluster(&three_nodes()).await.expect("the run is carried out");
    assert_eq!(report.violations, [""; 0], "{report}");
    assert!(report.acknowledged >= 160, "{report}");
    assert_eq!(report.lost, 0, "{report}");
    assert_eq!((report.duplicated_effects, report.leftover_effects), (0, 0), "{report}");
    assert_eq!(report.rolling.failed, 0, "{report}");
    // NV-1: that something was in flight at each of them is among the violations if it was not.
    for fault in [
        "kill",
        "pause",
        "rolling",
        "failpoints",
        "zombie",
        "repeated",
        "cancelled",
        "put_off",
    ] {
        assert!(report.faults[fault] > 0, "no {fault}:\n{report}");
    }
    for zombie in &report.zombies {
        assert!(zombie.fenced_rows > 0 && zombie.lost_shards > 0, "{zombie:?}\n{report}");
    }
    println!("{report}");
}
