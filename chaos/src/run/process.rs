//! A process of ours: started with a log file, read line by line, killed by its handle.

use super::RunError;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How much of a log is shown when something went wrong, in lines.
const LOG_LINES_SHOWN: usize = 20;

/// A running process. It is killed when this is dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts a program. What it says on standard error is added to the log.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        variables: &[(&str, String)],
        log: &Path,
    ) -> Result<Self, RunError> {
        let failed = |source| RunError::Start { name, source };
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let Some(stdout) = child.stdout.take() else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            name,
            child,
            said: BufReader::new(stdout).lines(),
            log: log.to_owned(),
        })
    }

    /// The next line on its standard output; `None` when it says no more.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.said.next_line().await.ok().flatten()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        // Fails only when it is gone already.
        let _ = self.child.kill().await;
    }

    /// Its number; `None` once it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal, by its name without `SIG`.
    pub(super) async fn signal(&self, signal: &str) -> Result<(), RunError> {
        let Some(pid) = self.pid() else {
            return Err(self.failure("it has ended"));
        };
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {pid}")])
            .status()
            .await;
        match sent {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.failure(format!("SIG{signal} cannot be sent"))),
        }
    }

    /// Waits until it ends.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, RunError> {
        let name = self.name;
        self.child
            .wait()
            .await
            .map_err(|source| RunError::Start { name, source })
    }

    /// That it does not do what it should, with the end of its log.
    pub(super) fn failure(&self, problem: impl Into<String>) -> RunError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        RunError::Process {
            name: self.name,
            problem: problem.into(),
            log: shown.join("\n"),
        }
    }
}
