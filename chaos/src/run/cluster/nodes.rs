//! The nodes: real processes of the binary under test, each with its own two ports, one database and one secret.

use super::super::{RunError, Server, free_port};
use super::ClusterOptions;
use super::failpoints::VARIABLE;
use super::faults::Fault;
use super::network::{GATEWAY_PORT, HTTP_PORT, Network, Place};
use super::outside::{CIRCUIT_OPEN_MS, MAILBOX_MAX};
use super::reached::Reached;
use rand::Rng;
use rand::rngs::StdRng;
use reqwest::Client;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How wrong the clock of a node is that is started with a skewed one.
const SKEW_MS: i64 = 300_000;
/// How long a node that serves may take to tell its name.
const NAME_MAX: Duration = Duration::from_secs(20);
/// How long a node that was killed at a point may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(10);

/// A node.
pub(super) struct Node {
    pub(super) server: Server,
    /// Where its gateway listens.
    pub(super) gateway: String,
    /// Its name with its incarnation, as the others know it.
    pub(super) name: String,
    /// How far its clock is set ahead.
    pub(super) skew_ms: i64,
    /// The processes of its last start that were killed at a fail point before they were there.
    killed_early: Vec<u32>,
}

/// All of them.
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// How often one was started with a wrong clock.
    pub(super) skewed: u64,
    http: Client,
    is_skewed: bool,
    /// What they say of fail points, if they look at any.
    reached: Option<Reached>,
}

#[derive(Deserialize)]
struct Named {
    node: String,
}

impl Nodes {
    /// Nodes that are not started yet.
    pub(super) fn new(
        options: &ClusterOptions,
        directory: &Path,
        database: &str,
        network: Option<&Network>,
        points: Option<&Path>,
    ) -> Result<Self, RunError> {
        let http = Client::builder().timeout(Duration::from_secs(2)).no_proxy().build();
        let http = http.map_err(|source| RunError::Http {
            path: String::new(),
            source,
        })?;
        let mut all = Vec::new();
        for n in 1..=options.nodes {
            let (server, gateway) = node(options, directory, database, network, points, n)?;
            all.push(Node {
                server,
                gateway,
                name: String::new(),
                skew_ms: 0,
                killed_early: Vec::new(),
            });
        }
        Ok(Self {
            all,
            skewed: 0,
            http,
            is_skewed: options.faults.contains(&Fault::Skew),
            reached: points.map(Reached::of),
        })
    }

    /// Their addresses.
    pub(super) fn urls(&self) -> Vec<String> {
        self.all.iter().map(|node| node.server.url().to_owned()).collect()
    }

    /// Their names, as long as they run.
    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|node| node.name.clone()).collect()
    }

    /// Sets a key of all of them from the next start on.
    pub(super) fn set(&mut self, key: &'static str, value: &str) {
        for node in &mut self.all {
            node.server.set(key, value);
        }
    }

    /// Starts all of them at once.
    pub(super) async fn start(&mut self, random: &mut StdRng) -> Result<(), RunError> {
        for n in 0..self.all.len() {
            self.prepare(n, random);
        }
        let Self { all, http, reached, .. } = self;
        let starts = all.iter_mut().map(|node| node.start(http, reached.as_ref()));
        futures::future::try_join_all(starts).await?;
        Ok(())
    }

    /// Starts one, which takes orders then and has told its name.
    pub(super) async fn start_one(&mut self, n: usize, random: &mut StdRng) -> Result<(), RunError> {
        self.prepare(n, random);
        self.all[n].start(&self.http, self.reached.as_ref()).await
    }

    /// Sets its clock, if clocks are wrong in this run.
    fn prepare(&mut self, n: usize, random: &mut StdRng) {
        if self.is_skewed {
            let node = &mut self.all[n];
            // At the first start one is ahead and one behind, whatever the seed.
            let first = node.name.is_empty() && n < 2;
            let ahead = if first { n == 0 } else { random.random_range(0..2) == 0 };
            node.skew_ms = if ahead { SKEW_MS } else { -SKEW_MS };
            node.server.set("time.skew_ms", node.skew_ms.to_string());
            self.skewed += 1;
        }
    }

    /// The lines of their logs.
    pub(super) fn logs(&self) -> Vec<(PathBuf, String)> {
        let logs = self.all.iter().map(|node| node.server.log().to_owned());
        logs.map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (path, text)
        })
        .collect()
    }
}

impl Node {
    /// Whether this is its process, or was one of those of its last start.
    pub(super) fn is_of(&self, pid: u32) -> bool {
        self.server.last_pid() == Some(pid) || self.was_killed_early(pid)
    }

    /// Whether a process of its last start was killed at a fail point before it was there. Another one runs instead.
    pub(super) fn was_killed_early(&self, pid: u32) -> bool {
        self.killed_early.contains(&pid)
    }

    /// Waits until the process that was killed at a point is gone.
    pub(super) async fn gone(&mut self) -> Result<(), RunError> {
        self.server.ended(GONE_MAX).await.map(drop)
    }

    /// Starts it and learns its name. Killed at a fail point meanwhile, it is started once more, as it would be later; only
    /// one that cannot start, or ends by itself, is an error.
    async fn start(&mut self, http: &Client, reached: Option<&Reached>) -> Result<(), RunError> {
        self.killed_early.clear();
        loop {
            let there = self.be_there(http).await;
            let is_struck = |pid: &u32| reached.is_some_and(|reached| reached.is_struck(*pid));
            match (there, self.server.last_pid().filter(is_struck)) {
                (Err(_), Some(pid)) => {
                    self.gone().await?;
                    self.killed_early.push(pid);
                }
                (there, _) => return there,
            }
        }
    }

    async fn be_there(&mut self, http: &Client) -> Result<(), RunError> {
        self.server.start().await?;
        self.name = self.learn(http).await?;
        Ok(())
    }

    /// Asks it for its name.
    async fn learn(&mut self, http: &Client) -> Result<String, RunError> {
        let path = "/v1/cluster".to_owned();
        let url = format!("{}{path}", self.server.url());
        let begun = Instant::now();
        loop {
            let asked = async { http.get(&url).send().await?.error_for_status()?.json::<Named>().await };
            match asked.await {
                Ok(named) => return Ok(named.node),
                Err(source) if begun.elapsed() >= NAME_MAX || !self.server.is_running() => {
                    return Err(RunError::Http { path, source });
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

fn node(
    options: &ClusterOptions,
    directory: &Path,
    database: &str,
    network: Option<&Network>,
    points: Option<&Path>,
    n: usize,
) -> Result<(Server, String), RunError> {
    let (host, port, gateway) = match network {
        Some(network) => (network.address(Place::Node(n)), HTTP_PORT, GATEWAY_PORT),
        None => ("127.0.0.1".to_owned(), free_port()?, free_port()?),
    };
    let (name, gateway) = (format!("n{n}"), format!("{host}:{gateway}"));
    let mut arguments = vec![
        "--cluster".to_owned(),
        "--time-scale".to_owned(),
        options.speed.to_string(),
        "--data-dir".to_owned(),
        directory.join(&name).display().to_string(),
    ];
    // A node that stood still takes the participants for failed. No order would come past them, to the points behind, while
    // the circuits of all nodes are open.
    let open_circuits = [Fault::Partner, Fault::Failpoints, Fault::Zombie];
    for (faults, key, value) in [
        (&[Fault::Flood][..], "actors.channel_mailbox_max", MAILBOX_MAX),
        (&open_circuits, "participants.breaker_open_ms", CIRCUIT_OPEN_MS),
    ] {
        if options.faults.iter().any(|fault| faults.contains(fault)) {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
    }
    for (key, value) in [
        ("cluster.node", name.as_str()),
        ("http.host", &host),
        ("cluster.listen", &gateway),
        ("cluster.lease_ms", &options.lease.as_millis().to_string()),
        ("participants.payments", "http"),
        ("participants.kitchens", "http"),
        ("participants.couriers", "simulated"),
        ("demo.enabled", "false"),
        ("http.throttle_limit", "0"),
        ("redis.url", ""),
        ("kafka.brokers", options.kafka.as_deref().unwrap_or("")),
        ("kafka.orders_topic", &options.topic()),
    ] {
        arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    // Variables rather than flags: passwords and secrets are nobody's business.
    let mut variables = vec![
        ("DATABASE_URL", database.to_owned()),
        (
            "UOOP_CLUSTER__SECRET",
            format!("chaos-{}-{:016x}", std::process::id(), options.seed),
        ),
    ];
    variables.extend(points.map(|points| (VARIABLE, points.display().to_string())));
    let log = directory.join(format!("{name}.log"));
    let certificates = network.map(|network| network.certificates(n));
    for (key, file) in certificates.into_iter().flatten() {
        arguments.extend(["--set".to_owned(), format!("{key}={file}")]);
    }
    let server = Server::new(options.binary.clone(), port, arguments, variables, log);
    let server = server.at(format!("http://{host}:{port}"));
    let server = match network {
        Some(network) => {
            let inside = ["netns", "exec", &network.namespace(n)].map(str::to_owned);
            server.by(PathBuf::from("ip"), inside)
        }
        None => server,
    };
    Ok((server, gateway))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What all of these processes say first, each in its own life.
    const LIVES: &str = r#"cd "${0%/*}"; echo "watching $$" >> reached; echo x >> lives; life=$(grep -c x lives); "#;
    const SERVE: &str = "touch serves; echo 'listening on a port'; exec sleep 60";

    /// A node whose process is this script: at its address somebody tells its name once it says that it serves.
    async fn rig(directory: &Path, script: &str) -> (Node, Client, Reached) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let started = directory.join("serves");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut request = [0; 1_024];
                let _ = client.read(&mut request).await;
                let body = if started.exists() { r#"{"node":"n1-2"}"# } else { "{}" };
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
                let _ = client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
            }
        });
        let program = directory.join("node.sh");
        std::fs::write(&program, script).expect("written");
        let server = Server::new(program, port, [], Vec::new(), directory.join("node.log"));
        let node = Node {
            server: server.by(PathBuf::from("sh"), []),
            gateway: String::new(),
            name: String::new(),
            skew_ms: 0,
            killed_early: Vec::new(),
        };
        let http = Client::builder().no_proxy().build().expect("a client");
        (node, http, Reached::of(directory))
    }

    fn lives(directory: &Path) -> usize {
        std::fs::read_to_string(directory.join("lives")).map_or(0, |lives| lives.lines().count())
    }

    #[tokio::test]
    async fn killed_at_a_point_before_it_is_there_a_node_is_started_once_more() {
        let killed = "echo \"$life shard::taken $$\" >> reached; kill -9 $$";
        for script in [
            format!("{LIVES} if [ $life -le 2 ]; then {killed}; fi; {SERVE}"),
            // It said that it serves, and nobody asked it yet.
            format!("{LIVES} if [ $life -le 2 ]; then echo 'listening on a port'; {killed}; fi; {SERVE}"),
        ] {
            let files = tempfile::tempdir().expect("a directory");
            let (mut node, http, reached) = rig(files.path(), &script).await;
            node.start(&http, Some(&reached)).await.expect("it is there at last");
            assert_eq!((node.name.as_str(), lives(files.path())), ("n1-2", 3));
            let struck = [1, 2].map(|number| reached.struck_at(number).expect("struck"));
            assert!(struck.iter().all(|pid| node.was_killed_early(*pid) && node.is_of(*pid)));
            let pid = node.server.pid().expect("it runs");
            assert!(node.is_of(pid) && !node.was_killed_early(pid) && !struck.contains(&pid));
        }
    }

    #[tokio::test]
    async fn a_node_that_ends_by_itself_is_not_started_once_more() {
        let other = "echo '1 shard::taken 1' >> reached;";
        for script in [
            format!("{LIVES} {other} exit 1"),
            format!("{LIVES} {other} echo 'listening on a port'; exit 1"),
            format!("{LIVES} {other} kill -9 $$"),
        ] {
            let files = tempfile::tempdir().expect("a directory");
            let (mut node, http, reached) = rig(files.path(), &script).await;
            let started = node.start(&http, Some(&reached)).await;
            assert!(started.is_err(), "{script}");
            assert_eq!(lives(files.path()), 1, "{script}");
        }
    }
}
