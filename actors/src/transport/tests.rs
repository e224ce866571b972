//! Several transports in one process, over real sockets.

mod bounds;
mod calls;
mod faults;
mod links;
mod tls;
mod wire;

use super::wire::{VERSIONS, Versions};
use super::{Serve, Transport, TransportError, TransportOptions};
use async_trait::async_trait;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Long enough for whatever should come to pass on a busy machine.
const AMPLE: Duration = Duration::from_mins(1);

/// Answers with what it was asked, and remembers what it was told.
struct Echo {
    /// Requests that begin with `wait` take one of these for good.
    released: Semaphore,
    waiting: AtomicU64,
    heard: Mutex<Vec<(String, Vec<u8>)>>,
    links: Mutex<Vec<(String, bool)>>,
}

#[async_trait]
impl Serve for Echo {
    async fn answer(&self, from: &str, version: u16, request: Vec<u8>) -> Vec<u8> {
        if request.starts_with(b"wait") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.released.acquire().await.expect("it is never closed").forget();
        }
        if request.starts_with(b"long") {
            return vec![0; super::wire::PAYLOAD_BYTES_MAX + 1];
        }
        assert!(!request.starts_with(b"panic"), "as it was asked to");
        if request.starts_with(b"version") {
            return version.to_string().into_bytes();
        }
        [from.as_bytes(), b":", &request].concat()
    }

    fn hear(&self, from: &str, _version: u16, notice: &[u8]) {
        assert!(!notice.starts_with(b"panic"), "as it was told to");
        let mut heard = self.heard.lock().expect("no panic under the lock");
        heard.push((from.to_owned(), notice.to_vec()));
    }

    fn link(&self, node: &str, up: bool) {
        let mut links = self.links.lock().expect("no panic under the lock");
        links.push((node.to_owned(), up));
    }
}

struct TestNode {
    name: String,
    echo: Arc<Echo>,
    transport: Arc<Transport>,
}

impl TestNode {
    /// Starts a node with a name that no other test uses.
    async fn start(name: &str) -> Self {
        Self::start_with(options(name)).await.expect("it starts")
    }

    async fn start_with(options: TransportOptions) -> Result<Self, TransportError> {
        Self::start_speaking(options, VERSIONS).await
    }

    async fn start_speaking(options: TransportOptions, versions: Versions) -> Result<Self, TransportError> {
        let echo = Arc::new(Echo {
            released: Semaphore::new(0),
            waiting: AtomicU64::new(0),
            heard: Mutex::default(),
            links: Mutex::default(),
        });
        let name = options.name.clone();
        let serve = Arc::clone(&echo) as Arc<dyn Serve>;
        let transport = Transport::start_speaking(options, versions, serve).await?;
        Ok(Self { name, echo, transport })
    }

    fn member(&self) -> (String, String) {
        (self.name.clone(), self.transport.address().to_string())
    }

    fn is_linked(&self, other: &str) -> bool {
        self.transport.links().iter().any(|link| link.node == other && link.up)
    }

    async fn linked(&self, other: &str) {
        until("the link is up", || self.is_linked(other)).await;
    }

    async fn ask(&self, other: &Self, request: &[u8]) -> Result<Vec<u8>, super::AskError> {
        self.transport.ask(&other.name, request.to_vec(), AMPLE).await
    }
}

fn options(name: &str) -> TransportOptions {
    static NODES: AtomicU64 = AtomicU64::new(0);
    let number = NODES.fetch_add(1, Ordering::Relaxed);
    TransportOptions {
        name: format!("{name}-{number}"),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        cookie: "a cookie for the tests".to_owned(),
        tls: None,
        heartbeat: Duration::from_millis(250),
        // Tests share two cores with builds; what is lost here is lost for a reason.
        misses_max: 40,
        requests_max: 1_024,
        batch_items_max: 128,
        batch_bytes_max: 256 * 1024,
        wire_version_max: u16::MAX,
        redial: Duration::from_millis(50),
    }
}

/// Makes them members of each other, and waits for the links.
async fn join(nodes: &[&TestNode]) {
    introduce(nodes);
    for one in nodes {
        for other in nodes {
            if one.name != other.name {
                one.linked(&other.name).await;
            }
        }
    }
}

fn introduce(nodes: &[&TestNode]) {
    let members: Vec<_> = nodes.iter().map(|node| node.member()).collect();
    for node in nodes {
        node.transport.set_members(&members);
    }
}

async fn stop(nodes: &[&TestNode]) {
    for node in nodes {
        node.transport.stop().await;
    }
}

async fn until(what: &str, come_to_pass: impl Fn() -> bool) {
    let wait = async {
        while !come_to_pass() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(AMPLE, wait).await.is_ok(), "never: {what}");
}
