//! The server under load, and what must be so of its orders afterwards.

use crate::database::Database;
use crate::load::{Answer, CHANNELS, Load, Said};
use crate::settings::Settings;
use chaos::run::{Server, free_port};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use uoop::api::{ChannelBody, MenuBody, Place};
use uoop::client::{Client, RetryPolicy};

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// How often something that must come is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of every server, whatever the environment says.
const COMMON: [&str; 4] = [
    "kafka.brokers=",
    "redis.url=",
    // So that there is work under way at any moment.
    "participants.simulated.latency_ms_min=10",
    "participants.simulated.latency_ms_max=60",
];

/// A server of the profile `bench`, over a store of its own.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) client: Client,
    port: u16,
    /// Where the store is, as `persistence::open` takes it.
    pub(crate) store: String,
    _files: TempDir,
}

/// How a server is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Its store; the embedded one when absent.
    pub(crate) database: Option<&'a Database>,
    /// Settings beside those of the profile.
    pub(crate) set: Vec<String>,
    /// Its data directory; a temporary one when absent.
    pub(crate) data: Option<&'a Path>,
    /// The program that becomes the server, and its arguments.
    pub(crate) by: Option<(PathBuf, Vec<String>)>,
}

impl Rig {
    /// Starts a server, with channels.
    pub(crate) async fn start(start: Start<'_>) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let data = start.data.map_or_else(|| files.path().join("data"), Path::to_owned);
        let port = free_port().expect("a free port");
        let mut arguments = ["--profile", "bench", "--data-dir"].map(str::to_owned).to_vec();
        arguments.push(data.display().to_string());
        let url = start.database.map_or("", |database| database.url());
        for setting in COMMON.iter().copied().map(str::to_owned).chain(start.set) {
            arguments.extend(["--set".to_owned(), setting]);
        }
        arguments.extend(["--database-url".to_owned(), url.to_owned()]);
        let log = files.path().join("server.log");
        let server = Server::new(
            PathBuf::from(env!("CARGO_BIN_EXE_uoop")),
            port,
            arguments,
            Vec::new(),
            log,
        );
        let mut server = match start.by {
            Some((runner, before)) => server.by(runner, before),
            None => server,
        };
        server.start().await.expect("the server starts");
        let client = Client::new(server.url(), RetryPolicy::PATIENT).expect("an address");
        for n in 0..CHANNELS {
            let id = format!("load-{n}");
            client.put_channel(&id, &channel(&id)).await.expect("a channel");
            client.put_menu(&id, &menu()).await.expect("a menu");
        }
        let store = if url.is_empty() {
            data.join("uoop.db").display().to_string()
        } else {
            url.to_owned()
        };
        Self {
            server,
            client,
            port,
            store,
            _files: files,
        }
    }

    /// A load on it.
    pub(crate) fn load(&self, settings: Settings) -> Load {
        Load::start(self.server.url(), settings.rate)
    }

    /// Whether anybody listens at its address.
    pub(crate) async fn is_refused(&self) -> bool {
        is_refused(self.port).await
    }

    /// Whether it says that it takes orders.
    pub(crate) async fn ready(&self) -> bool {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let asked = http.get(format!("{}/readyz", self.server.url())).send().await;
        asked.expect("an answer").status().is_success()
    }

    /// The sum of a figure over the lines of `/metrics` that begin with its name and have these words; 0 without any.
    pub(crate) async fn figure(&self, name: &str, words: &[&str]) -> f64 {
        let text = self.client.figures().await.expect("the figures");
        let lines = text.lines().filter(|line| {
            let of_name = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
            of_name && words.iter().all(|word| line.contains(word))
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a figure is as wanted; its value then.
    pub(crate) async fn figure_is(&self, name: &str, words: &[&str], wanted: impl Fn(f64) -> bool) -> f64 {
        let end = Instant::now() + PATIENCE;
        loop {
            let value = self.figure(name, words).await;
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < end, "{name} {words:?} is {value} and never as wanted");
            sleep(LOOK).await;
        }
    }

    /// Waits until each of these orders is CONFIRMED. All of them must be there.
    pub(crate) async fn all_confirmed(&self, orders: &[String]) {
        let end = Instant::now() + PATIENCE;
        let mut open = orders.to_vec();
        while !open.is_empty() {
            let asked = futures::stream::iter(open).map(async |id| {
                let seen = self.client.status(&id).await;
                let status = seen.unwrap_or_else(|error| panic!("order {id}: {error}")).status;
                if !matches!(status.as_str(), "PENDING" | "CONFIRMED") {
                    let history = self.client.events(&id).await.expect("its history").events;
                    let said = history.iter().skip_while(|event| event.kind != "StepStarted");
                    let said: Vec<String> = said
                        .map(|event| format!("{} {} {}", event.at, event.kind, event.data))
                        .collect();
                    panic!("order {id} is {status}: {}", said.join("\n"));
                }
                (status != "CONFIRMED").then_some(id)
            });
            open = asked.buffer_unordered(16).filter_map(async |open| open).collect().await;
            assert!(open.is_empty() || Instant::now() < end, "never CONFIRMED: {open:?}");
            if !open.is_empty() {
                sleep(LOOK).await;
            }
        }
    }

    /// SG-1 and SG-2: these orders are there, CONFIRMED, and there are no others. The list of orders, which is fed by what
    /// is committed, knows of every one, so it also shows an order that nobody was told of.
    pub(crate) async fn exactly(&self, orders: &[String]) {
        self.all_confirmed(orders).await;
        let expected: BTreeSet<&String> = orders.iter().collect();
        assert_eq!(expected.len(), orders.len(), "an order has two keys");
        let end = Instant::now() + PATIENCE;
        loop {
            let listed = self.client.orders(&[], orders.len() + 1_000).await;
            let listed = listed.expect("the list").orders;
            let confirmed = listed.iter().filter(|order| order.status == "CONFIRMED");
            let found: BTreeSet<&String> = confirmed.map(|order| &order.id).collect();
            if found.is_superset(&expected) {
                let mut of_customer: BTreeMap<&str, u32> = BTreeMap::new();
                for order in &listed {
                    *of_customer.entry(&order.customer_id).or_default() += 1;
                }
                of_customer.retain(|_, orders| *orders > 1);
                assert_eq!(of_customer, BTreeMap::new(), "customers whose one order is there twice");
                assert_eq!(listed.len(), orders.len(), "there are orders that nobody submitted");
                return;
            }
            let missing = expected.difference(&found).count();
            assert!(Instant::now() < end, "{missing} orders never appear in the list");
            sleep(LOOK).await;
        }
    }
}

/// Whether a port of this machine refuses connections.
pub(crate) async fn is_refused(port: u16) -> bool {
    let connected = TcpStream::connect(("127.0.0.1", port)).await;
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// What was not well, in kinds, for people and for messages of failures.
pub(crate) fn kinds<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for answer in answers {
        let kind = match &answer.said {
            Said::Acknowledged(_) => continue,
            Said::Refused(status, kind, detail) => format!("{status} {kind}: {detail}"),
            Said::TimedOut => "no answer in time".to_owned(),
            Said::Broken(why) => format!("broken: {why}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Nothing but good answers to what ended before one moment, or began after another.
pub(crate) fn assert_well_outside(answers: &[Answer], from: Instant, until: Instant) {
    let outside = answers
        .iter()
        .filter(|answer| answer.ended < from || answer.begun >= until);
    assert_eq!(kinds(outside), BTreeMap::new(), "outside of the fault");
}

fn channel(id: &str) -> ChannelBody {
    ChannelBody {
        name: format!("Kitchen {id}"),
        kind: "kitchen".to_owned(),
        serves: vec![id.to_owned()],
        location: Place {
            lat: 41.88,
            lng: -87.63,
        },
        zone: "load".to_owned(),
        currency: "USD".to_owned(),
        hours: Vec::new(),
        utc_offset_min: 0,
        // Until long after the test, so that no courier is asked for: the orders rest at CONFIRMED.
        prep_ms: 6 * 60 * 60 * 1_000,
        capacity_per_slot: 1_000_000_000,
        cost_minor: 450,
        radius_m: 20_000,
    }
}

fn menu() -> MenuBody {
    let item = serde_json::json!({"items": [{"sku": "cheeseburger", "name": "Cheeseburger", "price_minor": 950}]});
    serde_json::from_value(item).expect("a menu")
}
