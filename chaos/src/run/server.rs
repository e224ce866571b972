//! The server under test: started, killed and started again, always at the same address with the same data.

use super::process::Process;
use super::{Options, RunError, Store};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
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

/// The server.
pub(super) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
    log: PathBuf,
    url: String,
    process: Option<Process>,
}

impl Server {
    /// A server that is not started yet, with its data and log in a directory, for the participants at `sandbox_url`.
    pub(super) fn new(options: &Options, directory: &Path, port: u16, sandbox_url: &str) -> Self {
        let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let mut arguments: Vec<String> = [
            "serve",
            "--port",
            &port.to_string(),
            "--time-scale",
            &options.speed.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
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
        Self {
            program: options.binary.clone(),
            arguments,
            variables,
            log: directory.join("server.log"),
            url: format!("http://127.0.0.1:{port}"),
            process: None,
        }
    }

    /// Its address, the same over all its lives.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where its log is.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it and waits until it takes orders.
    pub(super) async fn start(&mut self) -> Result<Recovery, RunError> {
        let began = Instant::now();
        let mut process = self.spawn()?;
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
        self.process = Some(process);
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
        Process::start("server", &self.program, &self.arguments, &self.variables, &self.log)
    }

    /// Kills it with SIGKILL. An error when it had ended by itself.
    pub(super) async fn kill(&mut self) -> Result<(), RunError> {
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
pub(super) fn free_port() -> Result<u16, RunError> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(RunError::Port)
}
