//! A server of the run's own: this very executable under the profile `bench`, as a process beside.

use super::{BenchError, Store};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long the server may take to listen: it may have a million orders to recover.
const START_MAX: Duration = Duration::from_mins(5);
/// What it says when it does.
const LISTENING: &str = "listening on ";
/// How much of its log is shown when it does not, in lines.
const LOG_LINES_SHOWN: usize = 20;

/// A server that lives as long as this value.
pub(super) struct OwnServer {
    child: Child,
    url: String,
    // Behind `child`: the process is killed before its directory goes.
    directory: Directory,
}

impl OwnServer {
    /// Starts a server and waits until it listens. `data_dir` is where it keeps its data, a temporary directory when absent.
    pub(super) async fn start(
        store: &Store,
        data_dir: Option<&Path>,
        set: &[(String, String)],
    ) -> Result<Self, BenchError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| BenchError::Start {
                problem: format!("{what}: {error}"),
            }
        };
        let directory = Directory::new(data_dir).map_err(failed("no data directory"))?;
        let executable = std::env::current_exe().map_err(failed("this executable is not found"))?;
        let log = File::create(directory.log()).map_err(failed("no log file"))?;
        let mut command = Command::new(executable);
        command
            .args(["serve", "--port", "0", "--profile", "bench"])
            .arg("--data-dir")
            .arg(directory.data());
        match store {
            // Empty: the embedded store, whatever the environment says.
            Store::Embedded => command.args(["--database-url", ""]),
            // Not as an argument, which everybody on the machine can read.
            Store::At(url) => command.env("UOOP_STORE__DATABASE_URL", url),
        };
        for (key, value) in set {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed("this executable does not run"))?;
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let problem = match timeout(START_MAX, url_in(said)).await {
            Ok(Some(url)) => return Ok(Self { child, url, directory }),
            Ok(None) => match child.wait().await {
                Ok(status) => format!("it ended ({status}) before it listened"),
                Err(error) => format!("it ended before it listened ({error})"),
            },
            Err(_) => format!("it does not listen after {} s", START_MAX.as_secs()),
        };
        Err(BenchError::Start {
            problem: problem + &directory.end_of_log(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// `None` once it is over.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where it keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.data()
    }

    /// Its directory, which exists.
    pub(super) fn directory(&self) -> PathBuf {
        self.directory.path.clone()
    }

    /// Stops the server. A temporary directory goes with it unless it is to be kept; then its path is returned.
    pub(super) async fn stop(mut self, keep: bool) -> Option<PathBuf> {
        // Killed, not asked: nobody is served any more, and the store is built for it. A failure means it is gone.
        let _ = self.child.kill().await;
        keep.then(|| self.directory.keep())
    }
}

/// The address that the server names. What it says later is read and dropped, so that it never waits for a reader.
async fn url_in(said: Option<Lines<BufReader<ChildStdout>>>) -> Option<String> {
    let mut said = said?;
    while let Ok(Some(line)) = said.next_line().await {
        if let Some((_, url)) = line.split_once(LISTENING) {
            let url = url.split_whitespace().next()?.to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
            return Some(url);
        }
    }
    None
}

/// The server's directory: one that was given and stays, or a temporary one that is removed when it is dropped.
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    fn new(given: Option<&Path>) -> io::Result<Self> {
        const ATTEMPTS_MAX: u32 = 100;
        if let Some(path) = given {
            std::fs::create_dir_all(path)?;
            return Ok(Self {
                path: path.to_owned(),
                temporary: false,
            });
        }
        let mut taken = None;
        for n in 0..ATTEMPTS_MAX {
            let path = std::env::temp_dir().join(format!("uoop-bench-{}-{n}", std::process::id()));
            // Fails when it exists: nobody else's directory is ever used.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(taken.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    fn data(&self) -> PathBuf {
        if self.temporary {
            self.path.join("data")
        } else {
            self.path.clone()
        }
    }

    fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        if shown.is_empty() {
            return String::new();
        }
        format!("; the end of its log:\n{}", shown.join("\n"))
    }

    /// Leaves the directory where it is.
    fn keep(&mut self) -> PathBuf {
        self.temporary = false;
        self.path.clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is left to the system's own tidying of its temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
