//! Deliveries over real connections, from committed rows to an endpoint of our own.

mod cluster;
mod crash;
mod delivery;
mod endpoint;
mod rig;
mod subscriptions;

use super::Webhooks;

/// Webhooks that nobody uses.
pub(crate) fn idle() -> Webhooks {
    rig::webhooks(
        std::sync::Arc::new(persistence::MemoryWebhooks::default()),
        rig::options(),
        &rig::Wall::default(),
    )
}
