//! The server under test: started, killed and started again, always at the same address with the same data.

use super::process::Process;
use super::{Options, RunError, Store};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_mins(1);
/// What it says when it does.
const LISTENING: &str = "listening on ";
/// What it says of its recovery.
const RECOVERED: &str = " orders in flight move again after ";

/// How long a start took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// From the start of the process until it took orders, which it does once everything in flight moves again.
    pub elapsed: Duration,
    /// How many orders it found in flight, in its own words.
    pub orders: u64,
}

/// A server of ours, which always serves at the same address. Its process is killed when this is dropped.
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    /// Settings that may change from start to start.
    settings: BTreeMap<&'static str, String>,
    variables: Vec<(&'static str, String)>,
    log: PathBuf,
    url: String,
    process: Option<Process>,
    last_pid: Option<u32>,
}

/// What a running server is told by its process' number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It stands still, with all its connections.
    Stop,
    /// It goes on.
    Continue,
    /// It is to end in good order.
    Terminate,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::Terminate => "TERM",
        }
    }
}

impl Server {
    /// A server that is not started yet: `program serve --port PORT` with further arguments and environment variables,
    /// what it says on standard error going to the file `log`.
    pub fn new(
        program: PathBuf,
        port: u16,
        arguments: impl IntoIterator<Item = String>,
        variables: Vec<(&'static str, String)>,
        log: PathBuf,
    ) -> Self {
        let mut all: Vec<String> = ["serve", "--port", &port.to_string()].map(str::to_owned).to_vec();
        all.extend(arguments);
        Self {
            program,
            arguments: all,
            settings: BTreeMap::new(),
            variables,
            log,
            url: format!("http://127.0.0.1:{port}"),
            process: None,
            last_pid: None,
        }
    }

    /// The same, reached at another address than this machine's loopback one.
    pub fn at(self, url: String) -> Self {
        Self { url, ..self }
    }

    /// Sets a key from the next start on.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.settings.insert(key, value.into());
    }

    /// The same, run by another program (`sudo`, `unshare`, a shell) whose arguments these are; the program and its
    /// arguments follow them. It must become the program, not start it beside itself: it is what is killed.
    pub fn by(mut self, runner: PathBuf, arguments: impl IntoIterator<Item = String>) -> Self {
        let program = std::mem::replace(&mut self.program, runner);
        let mut all: Vec<String> = arguments.into_iter().collect();
        all.push(program.display().to_string());
        all.append(&mut self.arguments);
        self.arguments = all;
        self
    }

    /// The server of a run, with its data and log in a directory, for the participants at `sandbox_url`.
    pub(super) fn of_run(options: &Options, directory: &Path, port: u16, sandbox_url: &str) -> Self {
        let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let mut arguments = vec!["--time-scale".to_owned(), options.speed.to_string()];
        for (key, value) in [
            ("participants.payments", "http"),
            ("participants.payments_url", sandbox_url),
            ("participants.kitchens", "http"),
            ("participants.kitchens_url", sandbox_url),
            ("participants.couriers", "simulated"),
            ("demo.enabled", "false"),
        ] {
            arguments.extend(set(key, value));
        }
        arguments.extend(["--data-dir".to_owned(), directory.join("data").display().to_string()]);
        let variables = match &options.store {
            Store::Sqlite => Vec::new(),
            // A variable rather than a flag: its password is nobody's business.
            Store::Postgres(url) => vec![("DATABASE_URL", url.clone())],
        };
        Self::new(
            options.binary.clone(),
            port,
            arguments,
            variables,
            directory.join("server.log"),
        )
    }

    /// Its address, the same over all its lives.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of its process; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// The number of the process that was started last, whether it still runs or not.
    pub fn last_pid(&self) -> Option<u32> {
        self.last_pid
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it and waits until it takes orders.
    ///
    /// # Errors
    /// It ends, or does not listen within a minute. How it ended can be [asked](Self::ended) then.
    pub async fn start(&mut self) -> Result<Recovery, RunError> {
        let began = Instant::now();
        let spawned = self.spawn()?;
        self.last_pid = spawned.pid();
        let process = self.process.insert(spawned);
        let mut orders = 0;
        let listening = async {
            while let Some(line) = process.line().await {
                if let Some((count, _)) = line.split_once(RECOVERED) {
                    orders = count.trim().parse().unwrap_or(0);
                }
                if line.starts_with(LISTENING) {
                    return true;
                }
            }
            false
        };
        match timeout(START_MAX, listening).await {
            Ok(true) => {}
            Ok(false) => return Err(process.failure("it ended before it listened")),
            Err(_) => return Err(process.failure(format!("it does not listen after {} s", START_MAX.as_secs()))),
        }
        Ok(Recovery {
            elapsed: began.elapsed(),
            orders,
        })
    }

    /// Starts it and kills it again so soon that it may still be recovering.
    pub(super) async fn start_and_kill(&self, after: Duration) -> Result<(), RunError> {
        let mut process = self.spawn()?;
        sleep(after).await;
        if process.has_ended() {
            return Err(process.failure("it ended by itself"));
        }
        process.kill().await;
        Ok(())
    }

    fn spawn(&self) -> Result<Process, RunError> {
        let settings = self.settings.iter();
        let settings = settings.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let arguments: Vec<String> = self.arguments.iter().cloned().chain(settings).collect();
        Process::start("server", &self.program, &arguments, &self.variables, &self.log)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub async fn signal(&self, signal: Signal) -> Result<(), RunError> {
        match &self.process {
            Some(process) => process.signal(signal.name()).await,
            None => Err(RunError::NotRunning),
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| !process.has_ended())
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Errors
    /// It does not within this time, or was not started.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus, RunError> {
        let Some(mut process) = self.process.take() else {
            return Err(RunError::NotRunning);
        };
        match timeout(within, process.ended()).await {
            Ok(ended) => ended,
            Err(_) => Err(process.failure(format!("it has not ended after {} s", within.as_secs()))),
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It had ended by itself.
    pub async fn kill(&mut self) -> Result<(), RunError> {
        if let Some(mut process) = self.process.take() {
            if process.has_ended() {
                return Err(process.failure("it ended by itself"));
            }
            process.kill().await;
        }
        Ok(())
    }
}

/// A port that is free now. Somebody could take it before we do; then the server says so.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16, RunError> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(RunError::Port)
}
