//! What the parts share: the store, the subscriptions in force with their endpoints, and how these come and go.

use super::WebhookOptions;
use super::endpoint::Endpoint;
use super::figures;
use super::schedule::Schedule;
use super::sender::Sender;
use super::subscription::{Settings, Subscription, Target};
use super::unsettled::Unsettled;
use crate::participants::wall::WallClock;
use arc_swap::ArcSwap;
use domain::ports::{IdSource, StoreError};
use persistence::{Changed, Delivery, Kept, WebhookId, WebhookStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first and the longest pause before the store is asked again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Hub {
    pub(super) store: Arc<dyn WebhookStore>,
    pub(super) options: WebhookOptions,
    pub(super) schedule: Schedule,
    pub(super) sender: Sender,
    pub(super) wall: WallClock,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) unsettled: Unsettled,
    /// The endpoints of the subscriptions that are switched on.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Held while the endpoints change.
    changing: Mutex<()>,
    /// Raised when somebody subscribed and nobody was before: what was passed over need not come again.
    pub(super) first: Notify,
    pub(super) tasks: TaskTracker,
    /// Where the tasks run.
    pub(super) runtime: Handle,
    /// Raised when the process stops.
    pub(super) stopping: CancellationToken,
}

/// The process stops before it could be done.
#[derive(Debug)]
pub(super) struct Stopped;

impl Hub {
    pub(super) fn new(
        store: Arc<dyn WebhookStore>,
        options: WebhookOptions,
        wall: WallClock,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, reqwest::Error> {
        figures::describe();
        Ok(Self {
            store,
            schedule: Schedule::new(options.retry_schedule_ms.clone()),
            sender: Sender::new(options.guard, options.timeout, Arc::clone(&wall))?,
            options,
            wall,
            ids,
            unsettled: Unsettled::default(),
            endpoints: ArcSwap::default(),
            changing: Mutex::default(),
            first: Notify::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            stopping: CancellationToken::new(),
        })
    }

    /// Wall time in milliseconds.
    pub(super) fn now(&self) -> i64 {
        (self.wall)()
    }

    /// The endpoints of the subscriptions that are switched on.
    pub(super) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// All subscriptions, by id.
    pub(super) async fn subscriptions(&self) -> Result<Vec<Subscription>, StoreError> {
        let records = self.store.subscriptions().await?;
        records.into_iter().map(Subscription::read).collect()
    }

    /// Brings the endpoints in line with what the store says. Events that are handed over afterwards go to those.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        let before = self.endpoints();
        let wanted = self.subscriptions().await?;
        let mut now = Vec::new();
        for subscription in wanted.into_iter().filter(|one| one.settings.enabled) {
            let present = before.iter().find(|one| one.id() == &subscription.id);
            match present {
                Some(endpoint) if endpoint.is_of(&subscription) => now.push(Arc::clone(endpoint)),
                Some(endpoint) => {
                    endpoint.retarget(Target::new(subscription)?);
                    now.push(Arc::clone(endpoint));
                }
                None => now.push(Endpoint::start(Target::new(subscription)?, self)),
            }
        }
        let kept: Vec<WebhookId> = now.iter().map(|one| one.id().clone()).collect();
        let is_first = before.is_empty() && !now.is_empty();
        self.endpoints.store(Arc::new(now));
        for gone in before.iter().filter(|one| !kept.contains(one.id())) {
            gone.stop();
        }
        if is_first {
            self.first.notify_one();
        }
        Ok(())
    }

    /// Switches a subscription off, unless somebody has changed it since.
    pub(super) async fn disable(self: &Arc<Self>, subscription: &Subscription, reason: &str) -> Result<(), StoreError> {
        let settings = Settings {
            enabled: false,
            disabled_reason: Some(reason.to_owned()),
            ..subscription.settings.clone()
        };
        let count_max = self.options.subscriptions_max;
        let text = settings_text(&settings)?;
        let put = self.store.put(&subscription.id, &text, subscription.version, count_max);
        if let Changed::Done(_) = put.await? {
            tracing::warn!(webhook = %subscription.id, reason, "a webhook subscription was switched off");
        }
        self.reload().await
    }

    /// Keeps deliveries, however long that takes.
    pub(super) async fn keep(&self, deliveries: &[Delivery]) -> Result<(), Stopped> {
        if deliveries.is_empty() {
            return Ok(());
        }
        self.persist("kept", || self.store.keep(deliveries)).await
    }

    /// Does something to the store until it succeeds, or the process stops.
    pub(super) async fn persist<T, F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = PAUSE;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            tracing::warn!(%error, "webhook deliveries cannot be {what} at present");
            tokio::select! {
                () = self.stopping.cancelled() => return Err(Stopped),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// Looks how much is kept: for the figures, and so that no subscription keeps more than it may.
    pub(super) async fn count(self: &Arc<Self>) -> Result<(), StoreError> {
        let counts = self.store.kept().await?;
        let mut all = Kept::default();
        for (_, kept) in &counts {
            all.waiting += kept.waiting;
            all.dead += kept.dead;
        }
        figures::kept(all);
        for endpoint in self.endpoints().iter() {
            let kept = counts.iter().find(|(id, _)| id == endpoint.id());
            endpoint.count_kept(kept.map_or(0, |(_, kept)| kept.waiting + kept.dead));
        }
        self.enforce().await
    }

    /// Switches off every subscription that keeps more than it may.
    pub(super) async fn enforce(self: &Arc<Self>) -> Result<(), StoreError> {
        for endpoint in self.endpoints().iter() {
            if endpoint.kept() > self.options.kept_max {
                let max = self.options.kept_max;
                let reason = format!("more than {max} messages were waiting or dead");
                self.disable(&endpoint.target().subscription, &reason).await?;
            }
        }
        Ok(())
    }
}

/// Settings as the store keeps them.
pub(super) fn settings_text(settings: &Settings) -> Result<String, StoreError> {
    serde_json::to_string(settings).map_err(|error| StoreError::Corrupt(error.to_string()))
}
