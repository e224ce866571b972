//! Servers of the run's own: this very executable under the profile `bench`, as processes beside.

use super::{BenchError, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a server may take to listen: it may have a million orders to recover.
const START_MAX: Duration = Duration::from_mins(5);
/// What it says when it does.
const LISTENING: &str = "listening on ";
/// How much of its log is shown when it does not, in lines.
const LOG_LINES_SHOWN: usize = 20;

/// Bytes of a cluster's secret.
const SECRET_BYTES: usize = 24;

/// Servers that live as long as this value.
pub(super) struct OwnServers {
    servers: Vec<OwnServer>,
    // Behind `servers`: the processes are killed before their directory goes.
    directory: Directory,
}

/// One of them.
pub(super) struct OwnServer {
    name: String,
    child: Child,
    url: String,
}

impl OwnServers {
    /// Starts one server, or `nodes` of them as a cluster, and waits until all listen. `data_dir` is where they keep their
    /// data, each node in a directory of its name; a temporary directory when absent.
    pub(super) async fn start(
        store: &Store,
        nodes: Option<usize>,
        data_dir: Option<&Path>,
        set: &[(String, String)],
    ) -> Result<Self, BenchError> {
        let directory = Directory::new(data_dir).map_err(failed("no data directory"))?;
        let servers = match nodes {
            None => {
                let mut command = command(store, &directory.data())?;
                vec![OwnServer::start("server".to_owned(), configured(&mut command, set), &directory).await?]
            }
            Some(nodes) => {
                let secret = new_secret()?;
                let nodes = (1..=nodes).map(|n| {
                    let (directory, secret, name) = (&directory, &secret, format!("bench-{n}"));
                    async move {
                        let mut command = command(store, &directory.data().join(&name))?;
                        command
                            .args(["--cluster", "--set", "cluster.listen=127.0.0.1:0"])
                            .args(["--set", &format!("cluster.node={name}")])
                            .env("UOOP_CLUSTER__SECRET", secret);
                        OwnServer::start(name, configured(&mut command, set), directory).await
                    }
                });
                try_join_all(nodes).await?
            }
        };
        Ok(Self { servers, directory })
    }

    pub(super) fn all(&self) -> &[OwnServer] {
        &self.servers
    }

    /// Where a sole server keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.data()
    }

    /// Their directory, which exists.
    pub(super) fn directory(&self) -> PathBuf {
        self.directory.path.clone()
    }

    /// Stops the servers. A temporary directory goes with them unless it is to be kept; then its path is returned.
    pub(super) async fn stop(mut self, keep: bool) -> Option<PathBuf> {
        for server in &mut self.servers {
            // Killed, not asked: nobody is served any more, and the store is built for it. A failure means it is gone.
            let _ = server.child.kill().await;
        }
        keep.then(|| self.directory.keep())
    }
}

impl OwnServer {
    async fn start(name: String, command: &mut Command, directory: &Directory) -> Result<Self, BenchError> {
        let log = directory.log(&name);
        let file = File::create(&log).map_err(failed("no log file"))?;
        let child = command.stderr(file).spawn();
        let mut child = child.map_err(failed("this executable does not run"))?;
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let problem = match timeout(START_MAX, url_in(said)).await {
            Ok(Some(url)) => return Ok(Self { name, child, url }),
            Ok(None) => match child.wait().await {
                Ok(status) => format!("it ended ({status}) before it listened"),
                Err(error) => format!("it ended before it listened ({error})"),
            },
            Err(_) => format!("it does not listen after {} s", START_MAX.as_secs()),
        };
        Err(BenchError::Start {
            problem: problem + &end_of(&log),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// `None` once it is over.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |error| BenchError::Start {
        problem: format!("{what}: {error}"),
    }
}

/// A server under the profile `bench` over this store, on a free port.
fn command(store: &Store, data: &Path) -> Result<Command, BenchError> {
    let executable = std::env::current_exe().map_err(failed("this executable is not found"))?;
    let mut command = Command::new(executable);
    command
        .args(["serve", "--port", "0", "--profile", "bench", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    match store {
        // Empty: the embedded store, whatever the environment says.
        Store::Embedded => command.args(["--database-url", ""]),
        // Not as an argument, which everybody on the machine can read.
        Store::At(url) => command.env("UOOP_STORE__DATABASE_URL", url),
    };
    Ok(command)
}

/// With these keys of its configuration, which come last.
fn configured<'a>(command: &'a mut Command, set: &[(String, String)]) -> &'a mut Command {
    for (key, value) in set {
        command.args(["--set", &format!("{key}={value}")]);
    }
    command
}

/// A secret for the nodes of one run.
fn new_secret() -> Result<String, BenchError> {
    let mut bytes = [0; SECRET_BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| BenchError::Start {
        problem: format!("no secret can be made: {error}"),
    })?;
    Ok(STANDARD.encode(bytes))
}

/// The end of a server's log, as the end of a sentence.
fn end_of(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    if shown.is_empty() {
        return String::new();
    }
    format!("; the end of its log:\n{}", shown.join("\n"))
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

/// The servers' directory: one that was given and stays, or a temporary one that is removed when it is dropped.
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

    fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
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
