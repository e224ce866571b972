//! `uoop bench` as its users run it: the binary, against servers of its own.
//!
//! That with several nodes needs `UOOP_TEST_POSTGRES_URL`; without it, it says that it is skipped.

#[path = "load_faults/database.rs"]
mod database;

use database::Database;
use serde_json::Value;
use std::process::Command;

/// Runs the bench and returns the JSON object in its last line.
fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .arg("bench")
        .args(["--channels", "10", "--json"])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    serde_json::from_str(text.lines().last().expect("an answer")).expect("JSON")
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn number(report: &Value, pointer: &str) -> f64 {
    let value = report.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

/// All of it accepted, there, and confirmed.
fn assert_sound(report: &Value, acknowledged: u64) {
    assert_eq!(report["errors"], Value::Object(serde_json::Map::new()), "{report}");
    assert_eq!(count(report, "accepted"), count(report, "offered"), "{report}");
    assert_eq!((count(report, "missing"), count(report, "stalled")), (0, 0), "{report}");
    assert_eq!(
        (count(report, "acknowledged"), count(report, "checked")),
        (acknowledged, acknowledged)
    );
    assert_eq!(report["by_status"]["CONFIRMED"], acknowledged, "{report}");
    assert!(number(report, "/completed_per_s") > 0.0, "{report}");
    assert!(number(report, "/drain_s") >= 0.0, "{report}");
}

#[test]
fn an_open_load_on_the_embedded_store_is_measured_and_accounted_for() {
    let report = bench(&["--rate", "50", "--seconds", "2", "--warmup", "1"]);
    assert_sound(&report, 150);
    assert_eq!(
        (count(&report, "offered"), report["store"].as_str()),
        (100, Some("sqlite"))
    );
    assert_eq!(
        count(&report["submit_ms"], "count") + count(&report["confirmed_ms"], "count"),
        100
    );
    for name in [
        "/offered_per_s",
        "/accepted_per_s",
        "/submit_ms/p50",
        "/submit_ms/p999",
        "/confirmed_ms/p99",
    ] {
        assert!(number(&report, name) > 0.0, "{name}: {report}");
    }
    for name in [
        "/cpu_ms_per_order",
        "/cpu_ms_by_process/server",
        "/rss_mb",
        "/batch_rows",
        "/commit_ms",
        "/fsync_ms/p50",
    ] {
        assert!(number(&report, name) > 0.0, "{name}: {report}");
    }
    assert!(number(&report, "/disk_bytes_per_order") >= 0.0, "{report}");
    assert!(report["wal_bytes_per_order"].is_null(), "nobody counts them: {report}");
    assert_eq!(
        (count(&report, "nodes"), report["by_node"][0]["node"].as_str()),
        (1, Some("server"))
    );
    for name in [
        "forwarded_per_order",
        "frames_per_order",
        "link_bytes_per_order",
        "requests_per_frame",
    ] {
        assert!(report[name].is_null(), "there is no cluster: {report}");
    }
}

#[test]
fn a_closed_load_waits_for_each_order() {
    let report = bench(&[
        "--closed",
        "4",
        "--seconds",
        "1",
        "--warmup",
        "0",
        "--database-url",
        "memory:",
    ]);
    let acknowledged = count(&report, "acknowledged");
    assert_sound(&report, acknowledged);
    assert!(acknowledged >= 4, "{report}");
    assert_eq!(count(&report["confirmed_ms"], "count"), acknowledged);
    assert_eq!(
        (count(&report["submit_ms"], "count"), report["store"].as_str()),
        (0, Some("memory"))
    );
}

#[test]
fn a_ramp_tries_rates_until_it_knows() {
    let ramp = [
        "--ramp",
        "--rate",
        "1",
        "--seconds",
        "1",
        "--warmup",
        "0",
        "--confirm-share",
        "1",
    ];
    let report = bench(&[&ramp[..], &["--database-url", "memory:"]].concat());
    // Nobody's submission is measured when all wait for their outcome, so no rate can be kept up with.
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(1), "{report}");
    assert!(report["rate_at_2000_ms"].is_null() && report["rate_at_100_ms"].is_null());
    assert_eq!((count(&report, "acknowledged"), count(&report, "missing")), (1, 0));
}

#[test]
fn subscribers_hear_of_their_orders_confirmation() {
    let slow = [
        "--set",
        "participants.simulated.latency_ms_min=100",
        "--set",
        "participants.simulated.latency_ms_max=100",
    ];
    let report = bench(&[&["--sse", "50", "--database-url", "memory:"][..], &slow].concat());
    for name in ["subscribers", "opened", "confirmed", "open_at_end"] {
        assert_eq!(count(&report, name), 50, "{name}: {report}");
    }
    assert_eq!(count(&report["pushed_ms"], "count"), 50, "{report}");
    assert_eq!(report["errors"], Value::Object(serde_json::Map::new()), "{report}");
}

#[test]
fn the_nodes_of_a_cluster_share_a_load() {
    let Some(database) = Database::create() else { return };
    let cluster = ["--nodes", "2", "--database-url", database.url()];
    let report = bench(&[&cluster[..], &["--rate", "50", "--seconds", "3", "--warmup", "1"]].concat());
    assert_sound(&report, 200);
    assert_eq!(
        (count(&report, "nodes"), report["store"].as_str()),
        (2, Some("postgres"))
    );
    let nodes = report["by_node"].as_array().expect("nodes");
    let names: Vec<_> = nodes.iter().map(|node| node["node"].as_str()).collect();
    assert_eq!(names, [Some("bench-1"), Some("bench-2")]);
    for node in nodes {
        assert!(count(node, "completed") > 0, "{report}");
        assert!(number(node, "/cpu_ms_per_order") > 0.0 && number(node, "/rss_mb") > 0.0);
    }
    // Half of the orders are made by a channel that lives at the other node.
    for name in [
        "/forwarded_per_order",
        "/frames_per_order",
        "/link_bytes_per_order",
        "/requests_per_frame",
        "/commits_per_order",
    ] {
        assert!(number(&report, name) > 0.0, "{name}: {report}");
    }
    let largest = number(&report, "/rss_largest_mb");
    assert!(largest > 0.0 && largest < number(&report, "/rss_mb"), "{report}");
}

#[test]
fn a_server_that_does_not_start_is_told_with_its_log() {
    let output = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .args(["bench", "--set", "time.scale=0"])
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("cannot start a server") && errors.contains("time.scale"),
        "{errors}"
    );
}

#[test]
fn an_address_without_a_server_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_uoop"))
        .args(["bench", "--url", "https://127.0.0.1:9"])
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("no address of plain HTTP"), "{errors}");
}
