//! A way between two processes that can be slow, silent or gone. In userspace, so that it takes no root and nothing of the
//! kernel's; what it cannot do is lose or turn around single packets.

use crate::run::RunError;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The most of one read.
const PIECE_BYTES: usize = 16 * 1_024;
/// Pieces on their way at a time, in one direction of one connection.
const UNDER_WAY_MAX: usize = 1_024;
/// How often is looked whether somebody is still behind it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long that may take.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As if it were not there.
    Open,
    /// Every piece takes so long, and up to as long again.
    Slow(Duration),
    /// Nothing arrives, and nobody is told.
    Silent,
    /// Connections are cut, and new ones at once.
    Gone,
}

/// The way to one address. It ends with the tasks that it was started in.
pub(super) struct Proxy {
    address: String,
    way_tx: watch::Sender<Way>,
    /// Pieces that were held up, and connections that were cut.
    met: Arc<AtomicU64>,
}

/// What its tasks share.
#[derive(Clone)]
struct Shared {
    target: String,
    way_rx: watch::Receiver<Way>,
    met: Arc<AtomicU64>,
    seed: u64,
}

impl Proxy {
    /// A way to an address. With `behind`, it listens only while somebody does there: who knocks at the proxy of a process
    /// that is gone must find nobody.
    pub(super) async fn start(
        target: &str,
        behind: Option<String>,
        seed: u64,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, RunError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(RunError::Port)?;
        let address = listener.local_addr().map_err(RunError::Port)?.to_string();
        let (way_tx, way_rx) = watch::channel(Way::Open);
        let met = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            target: target.to_owned(),
            way_rx,
            met: Arc::clone(&met),
            seed,
        };
        let listening = address.clone();
        tasks.spawn(async move {
            match behind {
                None => serve(listener, &shared).await,
                Some(behind) => {
                    drop(listener);
                    serve_while(&listening, &behind, &shared).await;
                }
            }
        });
        Ok(Self { address, way_tx, met })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// From now on it is so.
    pub(super) fn set(&self, way: Way) {
        self.way_tx.send_replace(way);
    }

    /// How often something met a way that was not open.
    pub(super) fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }
}

/// Listens as long as somebody is behind it.
async fn serve_while(address: &str, behind: &str, shared: &Shared) {
    loop {
        while !is_there(behind).await {
            sleep(LOOK_EVERY).await;
        }
        let Ok(listener) = TcpListener::bind(address).await else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        let left = async {
            while is_there(behind).await {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = serve(listener, shared) => {}
            () = left => {}
        }
    }
}

/// Whether somebody listens. A host that does not answer has somebody who may.
async fn is_there(address: &str) -> bool {
    !matches!(timeout(LOOK_MAX, TcpStream::connect(address)).await, Ok(Err(_)))
}

async fn serve(listener: TcpListener, shared: &Shared) {
    let mut connections = JoinSet::new();
    for n in 0_u64.. {
        let Ok((client, _)) = listener.accept().await else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let shared = Shared {
            seed: shared.seed.wrapping_add(n),
            ..shared.clone()
        };
        connections.spawn(lead(client, shared));
    }
}

/// One connection, until one of the two ends it, or it is cut.
async fn lead(client: TcpStream, shared: Shared) {
    let mut way_rx = shared.way_rx.clone();
    let led = async {
        let Ok(server) = TcpStream::connect(&shared.target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = carry(from_client, to_server, &shared, 0) => {}
            () = carry(from_server, to_client, &shared, 1) => {}
        }
    };
    tokio::select! {
        () = led => {}
        gone = way_rx.wait_for(|way| *way == Way::Gone) => {
            if gone.is_ok() {
                shared.met.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Carries what comes in one direction, each piece after the one before it.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, direction: u64) {
    let (pieces_tx, mut pieces_rx) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let mut random = StdRng::seed_from_u64(shared.seed.wrapping_mul(2).wrapping_add(direction));
    let reading = async {
        let mut piece = vec![0; PIECE_BYTES];
        let mut due = Instant::now();
        while let Ok(bytes @ 1..) = from.read(&mut piece).await {
            let now = Instant::now();
            let way = *shared.way_rx.borrow();
            if let Way::Slow(delay) = way {
                due = due.max(now + delay.mul_f64(random.random_range(1.0..2.0)));
            }
            if way != Way::Open {
                shared.met.fetch_add(1, Ordering::Relaxed);
            }
            if pieces_tx.send((due.max(now), piece[..bytes].to_vec())).await.is_err() {
                return;
            }
        }
        drop(pieces_tx);
        std::future::pending::<()>().await;
    };
    let writing = async {
        let mut way_rx = shared.way_rx.clone();
        while let Some((due, piece)) = pieces_rx.recv().await {
            sleep_until(due).await;
            if way_rx.wait_for(|way| *way != Way::Silent).await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each byte with itself.
    async fn echo(tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            }
        });
        address
    }

    async fn asks(stream: &mut TcpStream) -> bool {
        let mut byte = [7];
        stream.write_all(&byte).await.is_ok() && stream.read_exact(&mut byte).await.is_ok()
    }

    #[tokio::test]
    async fn a_way_is_open_slow_silent_or_gone() {
        let mut tasks = JoinSet::new();
        let target = echo(&mut tasks).await;
        let proxy = Proxy::start(&target, None, 1, &mut tasks).await.expect("started");
        let connect = || TcpStream::connect(proxy.address().to_owned());
        let mut stream = connect().await.expect("connected");
        assert!(asks(&mut stream).await);
        assert_eq!(proxy.met(), 0);

        let delay = Duration::from_millis(20);
        proxy.set(Way::Slow(delay));
        let begun = Instant::now();
        assert!(asks(&mut stream).await);
        assert!(begun.elapsed() >= 2 * delay, "there and back");
        assert_eq!(proxy.met(), 2);

        proxy.set(Way::Silent);
        assert!(timeout(2 * delay, asks(&mut stream)).await.is_err());
        proxy.set(Way::Open);
        assert!(stream.read_exact(&mut [0]).await.is_ok(), "late, and not lost");

        proxy.set(Way::Gone);
        assert!(!asks(&mut stream).await);
        let mut other = connect().await.expect("connected");
        assert!(!asks(&mut other).await);
        proxy.set(Way::Open);
        assert!(asks(&mut connect().await.expect("connected")).await);
    }
}
