//! What stands before the nodes, as a load balancer does: it looks at each node's `/readyz`, and leads whoever comes to one
//! that is ready. Our own clients ask it for a node; kitchens, couriers and the replay, which know one address, connect
//! through it.

use super::super::RunError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often each node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to say that it is ready.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long a connection to a node may take.
const CONNECT_MAX: Duration = Duration::from_millis(300);

/// A node as it is seen from outside.
struct Seen {
    url: String,
    /// Host and port.
    address: String,
    ready: AtomicBool,
}

/// The nodes, and which of them are ready.
pub(super) struct Front {
    nodes: Vec<Seen>,
    next: AtomicUsize,
    url: String,
}

impl Front {
    /// Stands before the nodes at these addresses until it is dropped with the tasks that it adds to `tasks`.
    pub(super) async fn start(host: &str, urls: Vec<String>, tasks: &mut JoinSet<()>) -> Result<Arc<Self>, RunError> {
        let listener = TcpListener::bind((host, 0)).await.map_err(RunError::Port)?;
        let address = listener.local_addr().map_err(RunError::Port)?;
        let node = |url: String| Seen {
            address: url.trim_start_matches("http://").to_owned(),
            url,
            ready: AtomicBool::new(false),
        };
        let front = Arc::new(Self {
            nodes: urls.into_iter().map(node).collect(),
            next: AtomicUsize::new(0),
            url: format!("http://{address}"),
        });
        for n in 0..front.nodes.len() {
            tasks.spawn(watch(Arc::clone(&front), n));
        }
        tasks.spawn(balance(Arc::clone(&front), listener));
        Ok(front)
    }

    /// Its own address, behind which there always is a node that is ready, if there is any.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node's address.
    pub(super) fn node(&self, n: usize) -> &str {
        &self.nodes[n].url
    }

    /// Which node has a name that begins with `n` and its number, whatever its incarnation.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let (node, _) = name.rsplit_once('-')?;
        let number: usize = node.strip_prefix('n')?.parse().ok()?;
        (1..=self.nodes.len()).contains(&number).then(|| number - 1)
    }

    /// Whether a node says that it takes orders.
    pub(super) fn is_ready(&self, n: usize) -> bool {
        self.nodes[n].ready.load(Ordering::Acquire)
    }

    /// Whose turn it is among the nodes that are ready, but not `other`, if possible.
    pub(super) fn turn(&self, other: Option<usize>) -> usize {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turns = || (0..self.nodes.len()).map(|n| (first + n) % self.nodes.len());
        turns()
            .find(|n| self.is_ready(*n) && Some(*n) != other)
            .or_else(|| turns().find(|n| self.is_ready(*n)))
            .or_else(|| turns().find(|n| Some(*n) != other))
            .unwrap_or(0)
    }

    /// Waits until every node is ready; `false` when that takes longer.
    pub(super) async fn all_ready(&self, within: Duration) -> bool {
        let all = async {
            while !(0..self.nodes.len()).all(|n| self.is_ready(n)) {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(within, all).await.is_ok()
    }
}

async fn watch(front: Arc<Front>, n: usize) {
    // A connection for each look: one that is kept says nothing about whether the node takes others.
    let http = reqwest::Client::builder()
        .timeout(LOOK_MAX)
        .no_proxy()
        .pool_max_idle_per_host(0);
    let Ok(http) = http.build() else { return };
    let node = &front.nodes[n];
    loop {
        let looked = http.get(format!("{}/readyz", node.url)).send().await;
        let ready = looked.is_ok_and(|answer| answer.status().is_success());
        node.ready.store(ready, Ordering::Release);
        sleep(LOOK_EVERY).await;
    }
}

async fn balance(front: Arc<Front>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let front = Arc::clone(&front);
        connections.spawn(async move { lead(&front, client).await });
    }
}

/// Leads a connection to a node; when none takes it, it is closed.
async fn lead(front: &Front, mut client: TcpStream) {
    let mut other = None;
    for _ in 0..front.len() {
        let n = front.turn(other);
        if let Ok(Ok(mut node)) = timeout(CONNECT_MAX, TcpStream::connect(&front.nodes[n].address)).await {
            let _ = (client.set_nodelay(true), node.set_nodelay(true));
            // How it ends is a matter of the two.
            let _ = copy_bidirectional(&mut client, &mut node).await;
            return;
        }
        other = Some(n);
    }
}
