//! Has a peer's requests answered: each in a task of its own, so that a slow one holds up no other, and so many at a time.

use super::hub::Hub;
use super::link::Link;
use super::wire::{Item, PAYLOAD_BYTES_MAX};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Begins to answer a request. Whatever happens, an answer is sent, as long as the link is there.
pub(super) fn begin(hub: &Arc<Hub>, link: &Arc<Link>, id: u64, body: Vec<u8>) {
    let Ok(permit) = Arc::clone(&link.answering).try_acquire_owned() else {
        metrics::counter!("uoop_peer_refused_total", "reason" => "requests").increment(1);
        // There is room for twice as many as may be under way. Who does not take its answers will not get this one.
        let _ = link.answers_tx.try_send(Item::Overloaded { id });
        return;
    };
    let (serve, link) = (Arc::clone(&hub.serve), Arc::clone(link));
    tokio::spawn(async move {
        let _permit = permit;
        let answer = AssertUnwindSafe(serve.answer(&link.node, link.version(), body))
            .catch_unwind()
            .await;
        let item = match answer {
            Ok(body) if body.len() <= PAYLOAD_BYTES_MAX => Item::Answer { id, body },
            Ok(body) => {
                tracing::error!(
                    node = &*link.node,
                    bytes = body.len(),
                    "an answer is too long to be sent"
                );
                Item::Failed { id }
            }
            Err(_) => {
                tracing::error!(node = &*link.node, "a panic while a request was answered");
                metrics::counter!("uoop_peer_panics_total").increment(1);
                Item::Failed { id }
            }
        };
        let _ = link.answers_tx.send(item).await;
    });
}
