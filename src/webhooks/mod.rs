//! Webhooks: public events posted to whoever subscribed, as Standard Webhooks 1.0 has it.
//!
//! Events come from the position lines ([`persistence::Follower`]), at least once. A message is attempted at once; what
//! fails, or finds no room, is kept in the [`WebhookStore`] and attempted again by its schedule, and after the last
//! attempt it is a *dead letter*, which an operator can replay. The cursor moves past a row only when each of its messages
//! was taken or is kept. So every message arrives at least once unless it is listed as dead, whatever stops.
//!
//! Messages of one order can arrive out of order (attempts run side by side, and some fail): receivers go by `version`,
//! and tell repetitions by `webhook-id`.
//!
//! In a cluster each node tells what is committed on its own shards; subscriptions are all nodes', and what is kept is
//! attempted by whichever claims it first, when it is due. A change of a subscription is in force at once at the node that
//! made it, and within about a second ([`LOOK`]) at the others. When a shard changes hands, what its owner had read and not
//! settled is told by the next one, so some of it twice. `concurrency_max` and `queue_max` are for each node.
//!
//! *Architecture invariant*: subscriptions share nothing that one of them could use up: each has a task, a queue and
//! attempts of its own ([`endpoint`]).

mod endpoint;
mod figures;
mod follow;
mod guard;
mod hub;
mod message;
mod moments;
mod schedule;
mod sender;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;
mod unsettled;

pub use guard::{Guard, Refused};
pub use schedule::Schedule;
pub use subscription::{Draft, Settings, Subscription};

use crate::participants::wall::WallClock;
use domain::ids::Seq;
use domain::ports::{IdSource, Store, StoreError};
use domain::rejection::Rejection;
use follow::Follow;
pub use follow::NAME as FOLLOWER;
use hub::{Hub, settings_text};
use persistence::{Changed, Delivery, Follower, Tail, WebhookId, WebhookStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often the subscriptions are read again, for the changes that other nodes make. There are few, and reading them costs
/// the store next to nothing.
const LOOK: Duration = Duration::from_secs(1);
/// How often what is kept is counted.
const UPKEEP: Duration = Duration::from_secs(15);
/// Every how many of those dead letters that are too old are dropped.
const UPKEEPS_PER_PURGE: u32 = 240;
/// How often a change without a condition is tried when others change the same.
const CHANGES_MAX: usize = 5;

/// How webhooks are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Who may be called.
    pub guard: Guard,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The delays between attempts, in milliseconds.
    pub retry_schedule_ms: Vec<u64>,
    /// Most subscriptions.
    pub subscriptions_max: usize,
    /// Most attempts under way at a time for one subscription.
    pub concurrency_max: usize,
    /// Most messages of one subscription that wait in memory; further ones are kept in the store.
    pub queue_max: usize,
    /// Most messages that are kept for one subscription, waiting or dead; beyond it, it is switched off.
    pub kept_max: u64,
    /// After how long dead letters are dropped.
    pub dead_letter_ttl: Duration,
}

/// Why something asked of webhooks was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The request is not one that can be done.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a subscription that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// As it is now.
    pub subscription: Subscription,
    /// Whether it is new.
    pub created: bool,
    /// The secret that was made for it; it is not shown again.
    pub secret: Option<String>,
}

/// Subscriptions and dead letters. Clones are the same.
#[derive(Clone)]
pub struct Webhooks(Arc<Hub>);

/// Deliveries going on; see [`Webhooks::start`].
pub struct Delivering {
    hub: Arc<Hub>,
    follow: JoinHandle<Follow>,
}

impl Webhooks {
    /// Webhooks over a store. Nothing is delivered before [`Self::start`].
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(
        store: Arc<dyn WebhookStore>,
        options: WebhookOptions,
        wall: WallClock,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self(Arc::new(Hub::new(store, options, wall, ids)?)))
    }

    /// Delivers what is committed from now on, what was committed since the cursor, and what waits in the store.
    ///
    /// # Errors
    /// A store is away.
    pub async fn start(&self, tail: &Arc<Tail>, store: &Arc<dyn Store>) -> Result<Delivering, StoreError> {
        let follower = Follower::start(tail, store, follow::NAME).await?;
        self.0.reload().await?;
        let follow = tokio::spawn(Follow::new(&self.0, follower).run());
        self.0.tasks.spawn(look(Arc::clone(&self.0)));
        self.0.tasks.spawn(upkeep(Arc::clone(&self.0)));
        Ok(Delivering {
            hub: Arc::clone(&self.0),
            follow,
        })
    }

    /// All subscriptions, by id.
    ///
    /// # Errors
    /// The store is away.
    pub async fn list(&self) -> Result<Vec<Subscription>, WebhookError> {
        Ok(self.0.subscriptions().await?)
    }

    /// A subscription.
    ///
    /// # Errors
    /// There is none of that name, or the store is away.
    pub async fn get(&self, id: &WebhookId) -> Result<Subscription, WebhookError> {
        self.find(id)
            .await?
            .ok_or(WebhookError::Rejected(Rejection::NotFound("webhook")))
    }

    async fn find(&self, id: &WebhookId) -> Result<Option<Subscription>, WebhookError> {
        Ok(self.list().await?.into_iter().find(|one| one.id == *id))
    }

    /// Creates or changes a subscription, if it is at the expected version (0: there is none). What it is already is
    /// not changed, so asking again does nothing more. Events that are committed after the answer are told as it says; those
    /// that other nodes commit, from about a second after it on.
    ///
    /// # Errors
    /// The draft is not valid, the version is another, there are too many, or the store is away.
    pub async fn put(&self, id: &WebhookId, draft: Draft, expected: Option<Seq>) -> Result<Put, WebhookError> {
        for _ in 0..CHANGES_MAX {
            let present = self.find(id).await?;
            let version = present.as_ref().map_or(0, |one| one.version);
            check_version(expected, version)?;
            let settings = present.as_ref().map(|one| &one.settings);
            let applied = draft.clone().applied(settings, self.0.options.guard);
            let (settings, secret) = applied.map_err(Rejection::Invalid)?;
            if let Some(present) = present.filter(|one| one.settings == settings) {
                return Ok(Put {
                    subscription: present,
                    created: false,
                    secret: None,
                });
            }
            let (text, most) = (settings_text(&settings)?, self.0.options.subscriptions_max);
            match self.0.store.put(id, &text, version, most).await? {
                Changed::Done(version) => {
                    self.in_force().await;
                    let subscription = Subscription {
                        id: id.clone(),
                        version,
                        settings,
                    };
                    return Ok(Put {
                        subscription,
                        created: version == 1,
                        secret,
                    });
                }
                Changed::Conflict(_) => {}
                Changed::Full => {
                    let text = format!("there are {most} webhooks, and no more are allowed: remove one first");
                    return Err(Rejection::NotAllowed(text).into());
                }
            }
        }
        Err(StoreError::Unavailable("others keep changing this webhook".into()).into())
    }

    /// Removes a subscription, if it is at the expected version, with all that is kept for it: nothing more is
    /// delivered, except attempts that are under way, and for about a second attempts of other nodes.
    ///
    /// # Errors
    /// There is none of that name, the version is another, or the store is away.
    pub async fn remove(&self, id: &WebhookId, expected: Option<Seq>) -> Result<(), WebhookError> {
        for _ in 0..CHANGES_MAX {
            let version = self.get(id).await?.version;
            check_version(expected, version)?;
            if let Changed::Done(_) = self.0.store.remove(id, version).await? {
                self.in_force().await;
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("others keep changing this webhook".into()).into())
    }

    /// What was changed is in force here now, or, if the store cannot be read just now, a little later.
    async fn in_force(&self) {
        if let Err(error) = self.0.reload().await {
            tracing::warn!(%error, "a change of webhooks is not in force yet");
        }
    }

    /// Dead letters in the order of (subscription, id), after that pair; of one subscription or of all.
    ///
    /// # Errors
    /// The store is away.
    pub async fn dead_letters(
        &self,
        of: Option<&WebhookId>,
        after: Option<(&WebhookId, &str)>,
        limit: usize,
    ) -> Result<Vec<Delivery>, WebhookError> {
        Ok(self.0.store.dead(of, after, limit).await?)
    }

    /// Delivers a dead letter after all: it is attempted at once and then by the whole schedule (as soon as its
    /// subscription is switched on, if it is not).
    ///
    /// # Errors
    /// There is no such dead letter, or the store is away.
    pub async fn replay(&self, id: &str) -> Result<(), WebhookError> {
        let now = self.0.now();
        let Some(subscription) = self.0.store.replay(id, now).await? else {
            return Err(Rejection::NotFound("dead letter").into());
        };
        if let Some(endpoint) = self.0.endpoints().iter().find(|one| *one.id() == subscription) {
            endpoint.wake_at(now);
        }
        Ok(())
    }
}

fn check_version(expected: Option<Seq>, actual: u64) -> Result<(), Rejection> {
    match expected {
        Some(expected) if expected.0 != actual => Err(Rejection::WrongVersion {
            expected: expected.0,
            actual,
        }),
        _ => Ok(()),
    }
}

impl Delivering {
    /// Stops: nothing new is attempted, what is under way gets a moment to finish, and the cursor is written. What is
    /// neither delivered nor kept then comes again at the next start.
    pub async fn stop(self) {
        self.hub.stopping.cancel();
        self.hub.tasks.close();
        self.hub.tasks.wait().await;
        match self.follow.await {
            Ok(mut follow) => follow.save().await,
            Err(error) => tracing::error!(%error, "the task that follows events for webhooks broke"),
        }
    }
}

/// Keeps up with what other nodes change.
async fn look(hub: Arc<Hub>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_away = false;
    loop {
        tokio::select! {
            () = hub.stopping.cancelled() => return,
            _ = looks.tick() => {}
        }
        let result = hub.reload().await;
        if let (Err(error), false) = (&result, is_away) {
            tracing::warn!(%error, "the webhooks cannot be read at present: those that are known stay in force");
        }
        is_away = result.is_err();
    }
}

/// Keeps up with how much is kept, and with what grows too old.
async fn upkeep(hub: Arc<Hub>) {
    let mut passed = 0;
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = hub.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let purge = passed % UPKEEPS_PER_PURGE == 0;
        passed += 1;
        if let Err(error) = tend(&hub, purge).await {
            tracing::warn!(%error, "webhooks cannot be looked after at present");
        }
    }
}

async fn tend(hub: &Arc<Hub>, purge: bool) -> Result<(), StoreError> {
    hub.count().await?;
    if purge {
        let ttl_ms = i64::try_from(hub.options.dead_letter_ttl.as_millis()).unwrap_or(i64::MAX);
        let dropped = hub.store.purge(hub.now().saturating_sub(ttl_ms)).await?;
        if dropped > 0 {
            tracing::info!(dropped, "dead letters that were too old were dropped");
        }
    }
    Ok(())
}
