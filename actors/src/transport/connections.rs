//! Makes connections: takes those that come in, dials those that are wanted.

use super::gateway::GatewayMessage;
use super::hub::Hub;
use super::streams::Connection;
use ractor_cluster::NodeServerMessage;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a connection may take to become a link: to be made and encrypted, and again to be authenticated and greeted.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that may be shaking hands at a time.
const HANDSHAKES_MAX: usize = 64;
/// The pause after a connection could not be accepted, which is when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until it is aborted.
pub(super) async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            count_refused("handshakes");
            continue;
        };
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            let _permit = permit;
            let result = timeout(HANDSHAKE, receive(&hub, stream, address)).await;
            if let Err(error) = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                count_refused("handshake");
                tracing::warn!(%address, %error, "a connection that came in was refused");
            }
        });
    }
}

async fn receive(hub: &Hub, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let label = label(hub, &address.to_string());
    let connection = match &hub.tls {
        Some(tls) => Connection::encrypted(tls.accept(stream).await?, label),
        None => Connection::plain(stream, label),
    };
    open(hub, connection, true)
}

/// Dials a member; what comes of it is the gateway's to see.
pub(super) fn dial(hub: &Arc<Hub>, node: String, address: String, label: String) {
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        let result = timeout(HANDSHAKE, reach(&hub, &address, label)).await;
        if let Err(error) = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            tracing::debug!(node, address, %error, "a peer cannot be reached");
            hub.tell_gateway(GatewayMessage::DialFailed { node });
        }
    });
}

async fn reach(hub: &Hub, address: &str, label: String) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let connection = match &hub.tls {
        Some(tls) => Connection::encrypted(tls.connect(stream).await?, label),
        None => Connection::plain(stream, label),
    };
    open(hub, connection, false)
}

/// Has a session begin on a connection.
fn open(hub: &Hub, connection: Connection, is_server: bool) -> io::Result<()> {
    let gone = || io::Error::other("the node server is not there");
    let pair = hub.pair().filter(|_| !hub.is_stopping()).ok_or_else(gone)?;
    let stream = Box::new(connection);
    pair.node_server
        .cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server })
        .map_err(|_| gone())
}

/// Names a connection, so that it can be told from all others of this node.
pub(super) fn label(hub: &Hub, peer: &str) -> String {
    let number = hub.connections_made.fetch_add(1, Ordering::Relaxed);
    format!("{peer}#{number}")
}

pub(super) fn count_refused(reason: &'static str) {
    metrics::counter!("uoop_peer_refused_total", "reason" => reason).increment(1);
}
