//! The nodes: real processes of the binary under test, each with its own two ports, one database and one secret.

use super::super::{RunError, Server, free_port};
use super::ClusterOptions;
use super::failpoints::VARIABLE;
use super::faults::Fault;
use super::network::{GATEWAY_PORT, HTTP_PORT, Network, Place};
use super::outside::{CIRCUIT_OPEN_MS, MAILBOX_MAX};
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

/// A node.
pub(super) struct Node {
    pub(super) server: Server,
    /// Where its gateway listens.
    pub(super) gateway: String,
    /// Its name with its incarnation, as the others know it.
    pub(super) name: String,
    /// How far its clock is set ahead.
    pub(super) skew_ms: i64,
}

/// All of them.
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// How often one was started with a wrong clock.
    pub(super) skewed: u64,
    http: Client,
    is_skewed: bool,
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
            });
        }
        Ok(Self {
            all,
            skewed: 0,
            http,
            is_skewed: options.faults.contains(&Fault::Skew),
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
        let starts = self.all.iter_mut().map(|node| node.server.start());
        futures::future::try_join_all(starts).await?;
        for n in 0..self.all.len() {
            self.learn(n).await?;
        }
        Ok(())
    }

    /// Starts one, which takes orders then. How long that took.
    pub(super) async fn start_one(&mut self, n: usize, random: &mut StdRng) -> Result<Duration, RunError> {
        self.prepare(n, random);
        let recovery = self.all[n].server.start().await?;
        self.learn(n).await?;
        Ok(recovery.elapsed)
    }

    /// Sets its clock, if clocks are wrong in this run.
    pub(super) fn prepare(&mut self, n: usize, random: &mut StdRng) {
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

    /// Asks a node for its name.
    pub(super) async fn learn(&mut self, n: usize) -> Result<(), RunError> {
        let path = "/v1/cluster".to_owned();
        let url = format!("{}{path}", self.all[n].server.url());
        let begun = Instant::now();
        loop {
            let asked = async {
                self.http
                    .get(&url)
                    .send()
                    .await?
                    .error_for_status()?
                    .json::<Named>()
                    .await
            };
            match asked.await {
                Ok(named) => {
                    self.all[n].name = named.node;
                    return Ok(());
                }
                Err(source) if begun.elapsed() >= NAME_MAX => return Err(RunError::Http { path, source }),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
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
    for (fault, key, value) in [
        (Fault::Flood, "actors.channel_mailbox_max", MAILBOX_MAX),
        (Fault::Partner, "participants.breaker_open_ms", CIRCUIT_OPEN_MS),
    ] {
        if options.faults.contains(&fault) {
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
