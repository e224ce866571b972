//! The disk of the embedded store is full, and then is not any more.

use crate::load::{Answer, Said};
use crate::rig::{PATIENCE, Rig, Start, assert_well_outside, kinds};
use crate::settings::Settings;
use crate::turn;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Whoever asks for a bigger small disk has made a mistake: it would be filled.
const DISK_BYTES_MAX: u64 = 2 << 30;

/// A small file system.
enum Disk {
    /// One that was given.
    Given(tempfile::TempDir),
    /// One in memory, below this folder, for the server alone: it is mounted where only that process sees it.
    Private(tempfile::TempDir),
}

impl Disk {
    /// `None`, and a word about it, when there is none and none can be made.
    fn find(settings: Settings) -> Option<Self> {
        if let Some(disk) = std::env::var_os("UOOP_TEST_SMALL_DISK") {
            return Some(Self::Given(
                tempfile::tempdir_in(disk).expect("a folder on the small disk"),
            ));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (program, arguments) = private(folder.path(), settings);
        let tried = Command::new(program)
            .args(arguments)
            .arg("true")
            .stderr(Stdio::null())
            .status();
        if tried.is_ok_and(|status| status.success()) {
            return Some(Self::Private(folder));
        }
        println!("skipped: UOOP_TEST_SMALL_DISK is not set, and a small file system cannot be made here");
        None
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Given(folder) | Self::Private(folder) => folder.path(),
        }
    }

    fn start(&self, settings: Settings) -> Start<'_> {
        Start {
            data: Some(self.folder()),
            by: match self {
                Self::Given(_) => None,
                Self::Private(folder) => Some(private(folder.path(), settings)),
            },
            ..Start::default()
        }
    }

    /// A path on it, as we reach it while the server runs.
    fn path(&self, server: u32, name: &str) -> PathBuf {
        let folder = match self {
            Self::Given(folder) => folder.path().to_owned(),
            Self::Private(folder) => {
                let inside = folder.path().strip_prefix("/").expect("an absolute path");
                Path::new("/proc").join(server.to_string()).join("root").join(inside)
            }
        };
        folder.join(name)
    }
}

/// What runs a program with a file system of its own in a folder.
fn private(folder: &Path, settings: Settings) -> (PathBuf, Vec<String>) {
    let size = disk_mb(settings);
    let mount = format!(r#"mount -t tmpfs -o size={size}m tmpfs "$0" && exec "$@""#);
    let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", &mount];
    let mut arguments = unshare.map(str::to_owned).to_vec();
    arguments.push(folder.display().to_string());
    (PathBuf::from("unshare"), arguments)
}

/// Room for every order of the load, at some 16 kB each with their log, and for what the server begins with.
fn disk_mb(settings: Settings) -> u64 {
    let seconds = (settings.outage + 4 * settings.calm).as_secs();
    192 + u64::from(settings.rate) * seconds * 16 / 1_024
}

/// Writes a file until there is no space left at all.
fn fill(path: &Path) -> u64 {
    let mut ballast = File::create(path).expect("a file");
    for block in [1 << 20, 4_096, 1] {
        let bytes = vec![0; block];
        loop {
            match ballast.write_all(&bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
            let written = ballast.metadata().expect("metadata").len();
            assert!(written < DISK_BYTES_MAX, "a small disk is wanted");
        }
    }
    ballast.metadata().expect("metadata").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_orders_are_taken_again_when_there_is_space() {
    let _turn = turn().await;
    let settings = Settings::read();
    let Some(disk) = Disk::find(settings) else { return };
    let mut rig = Rig::start(disk.start(settings)).await;
    let pid = rig.server.pid().expect("it runs");
    let mut load = rig.load(settings);
    sleep(settings.calm).await;
    rig.figure_is("uoop_orders_under_way", &[], |orders| orders > 0.0).await;

    let begun = Instant::now();
    let path = disk.path(pid, "ballast");
    let written = fill(&path);
    let end = Instant::now() + PATIENCE;
    while !load.submissions().iter().any(is_told) {
        let answers = kinds(&load.submissions());
        assert!(
            Instant::now() < end,
            "no client is ever told that the disk is full: {answers:?}"
        );
        // What has been freed meanwhile (a log that was started over) is taken, too.
        fill(&disk.path(pid, "more-ballast"));
        sleep(Duration::from_millis(100)).await;
    }
    // Whoever sends clients here is told as well.
    let end = Instant::now() + PATIENCE;
    while rig.ready().await {
        assert!(Instant::now() < end, "it is ready all the time");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(settings.outage).await;
    let failed = rig.figure("uoop_journal_unavailable_total", &[]).await;
    assert!(failed > 0.0, "commits failed");
    std::fs::remove_file(&path).expect("the ballast goes");
    let _ = std::fs::remove_file(disk.path(pid, "more-ballast"));
    let space = Instant::now();
    let recovered = load.recovered().await;
    sleep(settings.calm).await;
    assert!(rig.ready().await, "it takes orders");

    let orders = load.end().await;
    let (submissions, polls) = (load.submissions(), load.polls());
    for answers in [&submissions, &polls] {
        assert_well_outside(answers, begun, recovered);
        let strange = answers.iter().filter(|answer| !answer.is_good() && !is_503(answer));
        assert_eq!(strange.count(), 0, "nothing but 503: {:?}", kinds(answers));
    }
    rig.exactly(&orders).await;
    assert_eq!(rig.server.pid(), Some(pid), "the server went on by itself");
    println!(
        "disk full ({written} bytes of ballast) for {:?} at {}/s: {} orders; accepted again {:?} after there was space; \
         {failed} commits failed; answers {:?}; polls {:?}",
        settings.outage,
        settings.rate,
        orders.len(),
        load.accepted_again_after(space),
        kinds(&submissions),
        kinds(&polls),
    );
    rig.server.kill().await.expect("it ran until now");
}

const fn is_503(answer: &Answer) -> bool {
    matches!(answer.said, Said::Refused(503, ..))
}

fn is_told(answer: &Answer) -> bool {
    matches!(&answer.said, Said::Refused(503, kind, detail) if kind.ends_with(":unavailable") && detail.contains("disk is full"))
}
