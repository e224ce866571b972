//! What the actors are built from.

use crate::dispatch::DispatchOptions;
use crate::submission::Front;
use domain::policy::Policy;
use domain::ports::{Clock, IdSource, Journal, Kitchens, OrderObserver, Payments, Store};
use std::sync::Arc;
use std::time::Duration;

/// The bounds and paces of the actors. All durations are wall time.
#[derive(Clone, Debug)]
pub struct ActorOptions {
    /// Commands from outside that a shard takes at a time; beyond it callers are told to come back.
    pub shard_commands_max: usize,
    /// New orders that may be under way at a time, until each rests for the first time (it is confirmed, or has ended, or
    /// waits for somebody); beyond it callers are told to come back.
    pub orders_under_way_max: usize,
    /// How long what is ready to run may wait for its turn; when it has waited longer for a while, new orders are told to come
    /// back, unless few are under way. Zero: however long.
    pub delay_max: Duration,
    /// Commands that may wait for one channel or zone.
    pub mailbox_max: u64,
    /// How long an order's actor may have nothing under way before it is passivated.
    pub idle_after: Duration,
    /// About how many passivated orders are kept in memory, so that they need not be loaded when they come back.
    pub recent_orders_max: usize,
    /// The pause before a crashed actor is started again; it doubles with each crash.
    pub restart_backoff: Duration,
    /// The longest such pause.
    pub restart_backoff_max: Duration,
    /// Crashes within [`ActorOptions::restart_window`] after which an actor is parked.
    pub restarts_max: u32,
    /// After this long without a crash, earlier ones are forgotten.
    pub restart_window: Duration,
    /// How long orders that find capacity scarce wait for others, to be assigned together with them.
    pub gather: Duration,
    /// How long a caller waits for an answer.
    pub call_timeout: Duration,
    /// How couriers are planned for.
    pub dispatch: DispatchOptions,
}

impl Default for ActorOptions {
    fn default() -> Self {
        Self {
            shard_commands_max: 1_024,
            orders_under_way_max: 4_096,
            delay_max: Duration::from_millis(25),
            mailbox_max: 4_096,
            idle_after: Duration::from_millis(500),
            recent_orders_max: 20_000,
            restart_backoff: Duration::from_millis(100),
            restart_backoff_max: Duration::from_secs(10),
            restarts_max: 5,
            restart_window: Duration::from_mins(1),
            gather: Duration::from_millis(2),
            call_timeout: Duration::from_secs(10),
            dispatch: DispatchOptions::default(),
        }
    }
}

/// The outside world, as the actors reach it.
pub struct Ports {
    /// Where streams are kept.
    pub store: Arc<dyn Store>,
    /// The write path to it.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
    /// The payment provider.
    pub payments: Arc<dyn Payments>,
    /// The kitchens and partners.
    pub kitchens: Arc<dyn Kitchens>,
    /// How submissions are read and answered.
    pub front: Arc<dyn Front>,
    /// Who hears of every committed change of an order.
    pub observers: Vec<Arc<dyn OrderObserver>>,
    /// The rules, already on the clock's scale.
    pub policy: Policy,
}
