//! Watching an order that may live elsewhere: one task for each order that somebody here waits for, which asks the owner
//! for what comes next, and the store for what was missed.

use super::{Cluster, Request, Response};
use crate::ask::Versioned;
use crate::node::Node;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long an owner keeps a question open. Shorter than a call may take, so that its answer comes in time.
pub(super) const WATCH_MAX: Duration = Duration::from_secs(5);
/// The pause after a question that found nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long whoever waited has to go once it knows, before the owner is asked for more: a question that nobody needs would
/// be open for long.
const SATISFIED: Duration = Duration::from_millis(20);

/// Feeds an order's watchers with versions after one that they know, until there are none.
pub(crate) fn follow(node: &Arc<Node>, order: OrderId, known: Seq) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let mut known = known;
        while let Some(watcher) = node.followed_by(order) {
            tokio::select! {
                () = watcher.closed() => {}
                () = look(&node, order, &mut known) => {}
            }
        }
    });
}

/// Waits for one piece of news, or a while.
async fn look(node: &Node, order: OrderId, known: &mut Seq) {
    let Some(cluster) = node.cluster.get() else { return };
    let mut changes = cluster.owners.changes();
    changes.borrow_and_update();
    if node.holds(node.map.shard_of(order.stream())) {
        // Its actor publishes every change by itself; what it was when it came here may be news all the same.
        match node.live_order(order) {
            Some(state) => tell(node, known, &state),
            None => tell_stored(node, order, known).await,
        }
        let _ = timeout(WATCH_MAX, changes.changed()).await;
        return;
    }
    match ask(node, cluster, order, *known).await {
        Some(Some(state)) => {
            tell(node, known, &state);
            sleep(SATISFIED).await;
        }
        Some(None) => {}
        None => {
            let _ = timeout(LOOK_AGAIN, changes.changed()).await;
            tell_stored(node, order, known).await;
        }
    }
}

/// What the owner says: nothing new, a new state, or (outer `None`) nothing at all.
async fn ask(node: &Node, cluster: &Cluster, order: OrderId, after: Seq) -> Option<Option<Versioned<Order>>> {
    let owner = cluster
        .owners
        .elsewhere(node.map.shard_of(order.stream()), &cluster.name)?;
    let request = Request::Watch { order, after };
    match cluster.ask(&owner, request, WATCH_MAX + WATCH_MAX).await {
        Ok(Response::Watched(news)) => Some(news.map(|(seq, state)| Versioned { seq, state })),
        _ => None,
    }
}

async fn tell_stored(node: &Node, order: OrderId, known: &mut Seq) {
    match node.ports.store.load(order.stream()).await {
        Ok(Some(recorded)) => {
            if let Ok(Some(state)) = crate::restore::restore::<Order>(&recorded) {
                tell(node, known, &state);
            }
        }
        Ok(None) => {}
        Err(_) => sleep(LOOK_AGAIN).await,
    }
}

fn tell(node: &Node, known: &mut Seq, state: &Versioned<Order>) {
    if state.seq > *known {
        *known = state.seq;
        node.tell_watchers(state);
    }
}
