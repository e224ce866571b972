//! A server of the replay's own: this very executable, on a free port, with its data in a temporary directory.

use super::ReplayError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long the server may take to listen.
const START_MAX: Duration = Duration::from_mins(1);
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
    /// Starts a server and waits until it listens.
    pub(super) async fn start(speed: u64, store: Option<&str>, set: &[(String, String)]) -> Result<Self, ReplayError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| ReplayError::Start {
                problem: format!("{what}: {error}"),
            }
        };
        let directory = Directory::create().map_err(failed("no temporary directory"))?;
        let executable = std::env::current_exe().map_err(failed("this executable is not found"))?;
        let log = File::create(directory.log()).map_err(failed("no log file"))?;
        let mut command = Command::new(executable);
        command
            .args([
                "serve",
                "--port",
                "0",
                "--profile",
                "replay",
                "--time-scale",
                &speed.to_string(),
            ])
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            // Empty: the embedded store, whatever the environment says.
            .args(["--database-url", store.unwrap_or_default()])
            .args(set.iter().map(|(key, value)| format!("--set={key}={value}")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed("this executable does not run"))?;
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let url = timeout(START_MAX, url_in(said)).await;
        let problem = match url {
            Ok(Some(url)) => return Ok(Self { child, url, directory }),
            Ok(None) => match child.wait().await {
                Ok(status) => format!("it ended ({status}) before it listened"),
                Err(error) => format!("it ended before it listened ({error})"),
            },
            Err(_) => format!("it does not listen after {} s", START_MAX.as_secs()),
        };
        Err(ReplayError::Start {
            problem: problem + &directory.end_of_log(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server. Its directory goes with it unless it is to be kept; then it is returned.
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

/// A temporary directory, removed when it is dropped.
struct Directory(Option<PathBuf>);

impl Directory {
    fn create() -> io::Result<Self> {
        const ATTEMPTS_MAX: u32 = 100;
        let mut taken = None;
        for n in 0..ATTEMPTS_MAX {
            let path = std::env::temp_dir().join(format!("uoop-replay-{}-{n}", std::process::id()));
            // Fails when it exists: nobody else's directory is ever used.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(Some(path))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(taken.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn log(&self) -> PathBuf {
        self.path().join("server.log")
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
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed is left to the system's own tidying of its temporary files.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
