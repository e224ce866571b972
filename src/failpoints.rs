//! Fail points: places of the protocol at which a process can be killed, or held, from outside.
//!
//! They are compiled in with the feature `failpoints` (and into the binary that tests run), and even then do nothing unless
//! the variable `UOOP_FAILPOINTS` names a directory. The file `armed` in it says what is to happen, in one line: a number
//! that is never used again, the point's name, `kill` or `hold`, and the how manieth time that it is reached. It may be
//! written at any time (whole, by renaming), for several processes at once: the first that gets there is struck, alone.
//! Each process adds a line to the file `reached` when it begins to look (`watching PID`) and when it is struck
//! (`NUMBER NAME PID`). Who is held goes on when the line is gone from `armed`.
//!
//! | point | when |
//! | --- | --- |
//! | `effect::send:STEP:DIRECTION` | an effect's justification is durable, and it is about to be asked for |
//! | `effect::answered:STEP:DIRECTION` | it is answered, and its order does not know yet |
//! | `journal::commit` | a writer has a batch, and the store does not have it yet |
//! | `journal::committed` | the store has it, and nobody knows yet |
//! | `shard::taken` | a shard's epoch has grown, and nothing of it lives here yet |
//! | `shard::release` | nothing of a shard lives here any more, and its row still names this node |
//!
//! STEP is the name of the saga's step, DIRECTION is `forward` or `backward` (its compensation).

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// The variable that names the directory.
pub const VARIABLE: &str = "UOOP_FAILPOINTS";
/// What is to happen.
const ARMED: &str = "armed";
/// What has happened.
const REACHED: &str = "reached";
/// How often `armed` is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a process is held at most: whoever armed the point may be gone.
const HELD_MAX: Duration = Duration::from_mins(2);

/// What happens to a process at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It is gone at once, as by `SIGKILL`: nothing is flushed, closed or told.
    Kill,
    /// The thread stands still there.
    Hold,
}

/// A line of `armed`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Armed {
    number: u64,
    point: String,
    act: Act,
    nth: u64,
}

impl Armed {
    /// What a file says; `None`: nothing, or not in this language.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let armed = Self {
            number: words.next()?.parse().ok()?,
            point: words.next()?.to_owned(),
            act: match words.next()? {
                "kill" => Act::Kill,
                "hold" => Act::Hold,
                _ => return None,
            },
            nth: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(armed)
    }

    fn now(directory: &Path) -> Option<Self> {
        Self::read(&fs::read_to_string(directory.join(ARMED)).ok()?)
    }

    /// Whether this process is the first to get there.
    fn claim(&self, directory: &Path) -> bool {
        let mut file = OpenOptions::new();
        let claimed = file.write(true).create_new(true);
        claimed.open(directory.join(format!("claimed-{}", self.number))).is_ok()
    }

    /// The process is there for the nth time.
    fn strike(&self, directory: &Path) {
        if !self.claim(directory) {
            return;
        }
        let line = format!("{} {} {}", self.number, self.point, process::id());
        // Who cannot say that it was struck must not be: nobody would know why it is gone.
        if note(directory, &line).is_err() {
            return;
        }
        match self.act {
            Act::Kill => process::abort(),
            Act::Hold => self.hold(directory),
        }
    }

    fn hold(&self, directory: &Path) {
        let since = Instant::now();
        while since.elapsed() < HELD_MAX && Self::now(directory).as_ref() == Some(self) {
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Adds a line to what has happened, in one write, so that lines of several processes do not mix.
fn note(directory: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join(REACHED))?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Begins to look what is armed, if this process was built with fail points and started with the variable.
///
/// # Errors
/// The directory cannot be written to.
pub fn watch() -> io::Result<()> {
    let Some(directory) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let directory = PathBuf::from(directory);
    if !fail::has_failpoints() {
        tracing::warn!("{VARIABLE} is set, and this program was built without fail points");
        return Ok(());
    }
    tracing::warn!(directory = %directory.display(), "this process can be killed at its fail points");
    note(&directory, &format!("watching {}", process::id()))?;
    thread::Builder::new()
        .name("failpoints".to_owned())
        .spawn(move || look(&directory))?;
    Ok(())
}

fn look(directory: &Path) {
    let mut known: Option<Armed> = None;
    loop {
        let armed = Armed::now(directory);
        if armed != known {
            if let Some(before) = &known {
                fail::remove(&before.point);
            }
            if let Some(armed) = &armed {
                arm(directory.to_owned(), armed.clone());
            }
            known = armed;
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn arm(directory: PathBuf, armed: Armed) {
    let (point, count) = (armed.point.clone(), AtomicU64::new(0));
    let reached = move || {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == armed.nth {
            armed.strike(&directory);
        }
    };
    if let Err(why) = fail::cfg_callback(point, reached) {
        tracing::error!(why, "a fail point cannot be armed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fail::fail_point;
    use std::sync::Arc;

    #[test]
    fn a_line_says_what_is_to_happen() {
        let armed = Armed {
            number: 7,
            point: "journal::commit".to_owned(),
            act: Act::Hold,
            nth: 2,
        };
        assert_eq!(Armed::read("7 journal::commit hold 2\n"), Some(armed));
        for wrong in [
            "",
            "7 journal::commit hold",
            "7 x burn 1",
            "x x kill 1",
            "7 x kill 1 more",
        ] {
            assert_eq!(Armed::read(wrong), None, "{wrong}");
        }
    }

    /// The points of one process are one registry: a name that nothing else has.
    #[test]
    fn who_gets_there_for_the_nth_time_is_held_until_it_is_let_go() {
        let files = tempfile::tempdir().expect("a directory");
        let directory = files.path().to_owned();
        fs::write(directory.join(ARMED), "1 a::test hold 3").expect("written");
        arm(directory.clone(), Armed::now(&directory).expect("armed"));
        let passed = Arc::new(AtomicU64::new(0));
        let passing = Arc::clone(&passed);
        let walker = thread::spawn(move || {
            for _ in 0..5 {
                fail_point!("a::test");
                passing.fetch_add(1, Ordering::SeqCst);
            }
        });
        let reached = || fs::read_to_string(files.path().join(REACHED)).unwrap_or_default();
        while reached().is_empty() {
            thread::sleep(LOOK_EVERY);
        }
        assert_eq!(reached(), format!("1 a::test {}\n", process::id()));
        assert_eq!(passed.load(Ordering::SeqCst), 2);
        fs::remove_file(files.path().join(ARMED)).expect("removed");
        walker.join().expect("it goes on");
        assert_eq!(passed.load(Ordering::SeqCst), 5, "struck once only");
        fail::remove("a::test");
    }
}
