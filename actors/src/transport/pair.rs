//! Starts the two actors of a transport, and starts them again should they ever end.

use super::connections::HANDSHAKE;
use super::gateway::{Events, Gateway, gateway_name};
use super::hub::{Hub, Pair};
use super::options::TransportError;
use super::tls::closed_door;
use ractor::Actor;
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{IncomingEncryptionMode, NodeServer, NodeServerMessage};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The two actors, and what tells that one has ended.
pub(super) struct Started {
    pair: Pair,
    gateway_handle: JoinHandle<()>,
    node_server_handle: JoinHandle<()>,
}

/// Starts both. Connections are made elsewhere and handed to the node server, which insists on a listener of its own: it
/// gets one on loopback that accepts nobody.
pub(super) async fn start(hub: &Arc<Hub>) -> Result<Started, TransportError> {
    let name = &hub.options.name;
    let failed = |error: ractor::SpawnErr| TransportError::Actor(error.to_string());
    // The host is the name again: two nodes whose host and listening port are the same take each other for themselves.
    let node_server = NodeServer::new(
        0,
        hub.options.cookie.clone(),
        name.clone(),
        name.clone(),
        Some(IncomingEncryptionMode::Tls(closed_door()?)),
        Some(NodeConnectionMode::Isolated),
    )
    .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (gateway, gateway_handle) = Actor::spawn(Some(gateway_name(name)), Gateway, Arc::clone(hub))
        .await
        .map_err(failed)?;
    let (node_server, node_server_handle) = match Actor::spawn(None, node_server, ()).await {
        Ok(spawned) => spawned,
        Err(error) => {
            gateway.stop(None);
            return Err(failed(error));
        }
    };
    let subscription = Box::new(Events(gateway.clone()));
    let id = gateway_name(name);
    let _ = node_server.cast(NodeServerMessage::SubscribeToEvents { id, subscription });
    let pair = Pair { gateway, node_server };
    hub.set_pair(Some(pair.clone()));
    Ok(Started {
        pair,
        gateway_handle,
        node_server_handle,
    })
}

/// Waits until either ends, ends the other, and starts both again unless the transport is being stopped.
pub(super) async fn keep(hub: Arc<Hub>, mut started: Started) {
    loop {
        tokio::select! {
            _ = &mut started.gateway_handle => {}
            _ = &mut started.node_server_handle => {}
        }
        hub.set_pair(None);
        started.pair.gateway.stop(None);
        started.pair.node_server.stop(None);
        let links: Vec<_> = hub.links.iter().map(|link| Arc::clone(link.value())).collect();
        for link in links {
            hub.link_ended(&link, "restart");
        }
        if hub.is_stopping() {
            return;
        }
        tracing::error!("an actor of the transport ended; starting it again");
        metrics::counter!("uoop_peer_restarts_total").increment(1);
        loop {
            tokio::time::sleep(hub.options.redial).await;
            if hub.is_stopping() {
                return;
            }
            match start(&hub).await {
                Ok(again) => {
                    started = again;
                    break;
                }
                Err(error) => tracing::error!(%error, "the transport does not start again"),
            }
        }
    }
}

/// Ends both and waits for it, for a while.
pub(super) async fn stop(hub: &Hub) {
    if let Some(pair) = hub.pair() {
        let _ = pair.node_server.stop_and_wait(None, Some(HANDSHAKE)).await;
        let _ = pair.gateway.stop_and_wait(None, Some(HANDSHAKE)).await;
    }
}
