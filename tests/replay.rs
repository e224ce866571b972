//! `uoop replay` and `uoop order` as their users run them: the binary, against servers of its own and running ones.

#[path = "support/replay_day.rs"]
mod replay_day;

use replay_day::small_day;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const SPEED: &str = "600";

fn uoop() -> Command {
    Command::new(env!("CARGO_BIN_EXE_uoop"))
}

/// A directory with a day of so many orders.
fn day(orders: u32) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    small_day(orders).write(directory.path());
    directory
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

/// The JSON object in the last line of the output of a command that went well.
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    serde_json::from_str(text.lines().last().expect("an answer")).expect("JSON")
}

fn count(summary: &Value, name: &str) -> u64 {
    summary[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {summary}"))
}

/// Every order placed and none missing.
fn assert_complete(summary: &Value, orders: u64) {
    assert_eq!(
        (count(summary, "placed"), count(summary, "missing")),
        (orders, 0),
        "{summary}"
    );
    let ended: u64 = ["delivered", "failed", "cancelled"]
        .map(|name| count(summary, name))
        .iter()
        .sum();
    assert_eq!(ended, orders, "{summary}");
}

/// A server that can be killed and started again in the same place.
struct Server {
    process: Child,
    port: u16,
    data: TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        // Freed at once: the server must have the same port after a restart.
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("an address")
            .port();
        let process = Self::spawn(data.path(), port);
        Self { process, port, data }
    }

    fn spawn(data: &Path, port: u16) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(data.join("log"))
            .expect("a log file");
        let mut process = uoop()
            .args([
                "serve",
                "--profile",
                "replay",
                "--database-url",
                "",
                "--time-scale",
                SPEED,
            ])
            .args(["--port", &port.to_string(), "--data-dir"])
            .arg(data.join("data"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok);
        let log = || std::fs::read_to_string(data.join("log")).unwrap_or_default();
        assert!(
            lines.any(|line| line.starts_with("listening on ")),
            "the server did not start:\n{}",
            log()
        );
        process
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it is gone");
    }

    fn start_again(&mut self) {
        self.process = Self::spawn(self.data.path(), self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_small_day_is_played_by_a_server_of_its_own() {
    let day = day(30);
    let report = day.path().join("report.jsonl");
    let output = run(uoop()
        .args([
            "replay",
            "--speed",
            SPEED,
            "--cancel-pct",
            "20",
            "--duplicate-pct",
            "20",
            "--json",
            "--report",
        ])
        .arg(&report)
        .arg(day.path()));
    let summary = last_line(&output);
    assert_complete(&summary, 30);
    assert!(count(&summary, "delivered") > 0, "{summary}");
    assert!(count(&summary, "cancelled") > 0, "{summary}");
    assert!(
        count(&summary["duplicates"], "sent") > 0 && count(&summary["duplicates"], "wrong") == 0,
        "{summary}"
    );
    assert!(
        summary["click_to_door_min"]["p50"].as_f64() <= summary["click_to_door_min"]["p90"].as_f64(),
        "{summary}"
    );

    let report = std::fs::read_to_string(report).expect("a report");
    let lines: Vec<Value> = report
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 30);
    for line in lines {
        assert!(
            line["acknowledged"] == true && line["settled"] == true && line["id"].is_string(),
            "{line}"
        );
        let delivered = line["status"] == "DELIVERED";
        assert_eq!(
            delivered,
            line["delivered_at"].as_i64() > line["placed_at"].as_i64(),
            "{line}"
        );
    }
}

#[test]
fn customers_who_look_at_their_orders_are_told_from_the_cache() {
    let day = day(20);
    let output = run(uoop()
        .args(["replay", "--speed", SPEED, "--poll", "--json"])
        .arg(day.path()));
    let summary = last_line(&output);
    assert_complete(&summary, 20);
    let polls = &summary["polls"];
    // Each order lives for more than three looks of ten seconds.
    assert!(count(polls, "answered") > 60, "{summary}");
    assert_eq!((count(polls, "failed"), count(polls, "backward")), (0, 0), "{summary}");
    assert!(
        polls["hit_ratio"].as_f64().is_some_and(|ratio| ratio > 0.9),
        "{summary}"
    );
}

#[test]
fn a_server_that_is_killed_on_the_way_loses_nothing() {
    let mut server = Server::start();
    let day = day(30);
    let replay = uoop()
        .args(["replay", "--speed", SPEED, "--json", "--url", &server.url()])
        .arg(day.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Orders are placed over twelve seconds: the first blow falls among them.
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(4));
        server.kill();
        thread::sleep(Duration::from_secs(1));
        server.start_again();
    }
    let summary = last_line(&replay.wait_with_output().expect("the replay ends"));
    assert_complete(&summary, 30);
    assert!(
        count(&summary, "retries") > 0,
        "nothing was under way when the server was killed: {summary}"
    );

    // Two days of one name on one server do not mix, and a server of another pace is refused.
    let again = run(uoop()
        .args([
            "replay",
            "--speed",
            SPEED,
            "--limit-orders",
            "3",
            "--json",
            "--url",
            &server.url(),
        ])
        .arg(day.path()));
    assert_complete(&last_line(&again), 3);
    let other = run(uoop()
        .args(["replay", "--speed", "60", "--url", &server.url()])
        .arg(day.path()));
    let error = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && error.contains("--time-scale 60"), "{error}");
}

/// The flags of an order from the restaurant `r2` of a small day of this run.
fn flags_of_order(run: &str) -> Vec<String> {
    // Its articles are the preparation times of the day's orders.
    let orders = small_day(4).orders;
    let mut rows = orders.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let row = rows.find(|row| row[4] == "r2").expect("an order");
    let minutes = row[5].parse::<u32>().expect("minutes") - row[3].parse::<u32>().expect("minutes");
    let restaurant = format!("--restaurant={run}-r2");
    let item = format!("--item=meal-{minutes}m:1:1000");
    vec![
        restaurant,
        item,
        "--to=41.88,-87.63".into(),
        "--key=k-1".into(),
        "--json".into(),
    ]
}

#[test]
fn an_order_is_submitted_watched_and_shown_from_the_command_line() {
    let mut server = Server::start();
    let day = day(4);
    let url = server.url();
    let play = [
        "replay",
        "--speed",
        SPEED,
        "--limit-orders",
        "1",
        "--json",
        "--url",
        &url,
    ];
    let played = last_line(&run(uoop().args(play).arg(day.path())));
    let flags = flags_of_order(played["run"].as_str().expect("a run"));
    let order = |command: &str, words: &[&str]| run(uoop().args(["order", command]).args(words).env("UOOP_URL", &url));
    let submit = |more: &str| {
        order(
            "submit",
            &flags.iter().map(String::as_str).chain([more]).collect::<Vec<_>>(),
        )
    };
    let error_of = |output: &Output| {
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let error = error_of(&submit("--item=soup:0:999"));
    assert!(error.contains("/items/1/quantity: "), "{error}");
    let submitted = last_line(&submit("--wait=10"));
    let id = submitted["id"].as_str().expect("an id");
    assert_eq!(
        last_line(&submit("--wait=10"))["id"],
        id,
        "the same key is the same order"
    );

    let watched = order("watch", &[id, "--json"]);
    let settled = last_line(&watched);
    assert!(settled["settled"] == true && settled["id"] == id, "{settled}");
    let text = String::from_utf8_lossy(&watched.stdout);
    let versions = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let versions: Vec<u64> = versions
        .map(|view| view["version"].as_u64().expect("a version"))
        .collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");

    let shown = order("get", &[id]);
    let text = String::from_utf8_lossy(&shown.stdout);
    let status = settled["status"].as_str().expect("a status");
    assert!(
        text.contains(status) && text.contains("OrderPlaced") && text.contains("settled"),
        "{text}"
    );
    let error = error_of(&order("cancel", &[id]));
    assert!(error.contains("HTTP 409"), "{error}");
    server.kill();
    let error = error_of(&order("get", &[id]));
    assert!(error.contains("is `uoop serve` running?"), "{error}");
}
