//! The sweeper: the task that has what is old deleted, a little at a time.
//!
//! Each node sweeps the orders of the shards that it owns when a pass begins; that two do so at once while one moves harms
//! nothing. A pass goes through the idempotency keys first, those of all shards, since a key may belong to another one than
//! its order: no order goes before all keys that lead to it. It ends with the lists, from which it also removes what an
//! interrupted pass left there.

use super::{Expiry, RetentionStore, minted_at};
use crate::projection::{Projection, Search};
use crate::tail::Tail;
use domain::ids::{OrderId, Position};
use domain::ports::{Clock, Store, StoreError};
use domain::shard::ShardId;
use domain::time::{Millis, Timestamp};
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Of a pause, how many times it is as long as the batch before it: so much of the store's time is left to others.
const PAUSE_FACTOR: u32 = 4;

/// By how much the time in an order's id and its acceptance can differ, in wall time.
const ID_SLACK: Millis = Millis::from_mins(1);

/// What is deleted, and how fast. Lengths of time are wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionOptions {
    /// For how long orders are kept after their last row; `None`: for ever.
    pub orders: Option<Duration>,
    /// For how long idempotency keys are kept, no longer than orders; `None`: for ever.
    pub keys: Option<Duration>,
    /// How many orders are looked at in one transaction: commits wait for it on the embedded store.
    pub orders_at_once: usize,
    /// How many keys are; most of them stay.
    pub keys_at_once: usize,
    /// The shortest pause between two transactions.
    pub pause: Duration,
    /// The pause between two passes.
    pub every: Duration,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self {
            orders: None,
            keys: None,
            orders_at_once: 64,
            keys_at_once: 1_024,
            pause: Duration::from_millis(20),
            every: Duration::from_hours(1),
        }
    }
}

impl RetentionOptions {
    /// Whether anything is ever deleted.
    pub const fn is_needed(&self) -> bool {
        self.orders.is_some() || self.keys.is_some()
    }
}

/// What a sweep is over.
#[derive(Clone)]
pub struct Sweep {
    /// Where what is old is.
    pub kept: Arc<dyn RetentionStore>,
    /// The same store.
    pub store: Arc<dyn Store>,
    /// The lists of its orders.
    pub projection: Arc<dyn Projection>,
    /// The lines that this node owns.
    pub tail: Arc<Tail>,
    /// Business time.
    pub clock: Arc<dyn Clock>,
    /// The followers that keep their cursors in the store. The projection is one more.
    pub followers: Vec<&'static str>,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Orders that are gone.
    pub orders: u64,
    /// Their rows.
    pub rows: u64,
    /// Keys that are gone.
    pub keys: u64,
    /// Entries of lists that are gone without an order of this pass: an earlier one had not come so far.
    pub strays: u64,
    /// Orders that are old enough, but not passed by all who follow their line, or hold its newest row.
    pub held_back: u64,
}

/// The task, until this is dropped. Wherever that interrupts it, the next pass goes on.
pub struct Sweeper {
    task: JoinHandle<()>,
}

impl Sweeper {
    /// Sweeps now and then for ever.
    ///
    /// Must be called within a tokio runtime. Install the metrics recorder first: the figures are looked up once, here.
    pub fn start(sweep: Sweep, options: RetentionOptions) -> Self {
        let figures = Figures::new();
        Self {
            task: tokio::spawn(async move {
                loop {
                    match sweep.pass(&options).await {
                        Ok(swept) => sweep.tell(&figures, &swept).await,
                        Err(error) => tracing::warn!(%error, "what is old could not be deleted; trying again later"),
                    }
                    sleep(options.every).await;
                }
            }),
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Figures {
    orders: Counter,
    rows: Counter,
    keys: Counter,
    held_back: Gauge,
    oldest: Gauge,
}

impl Figures {
    fn new() -> Self {
        describe_counter!("uoop_retention_orders_total", "Orders that were deleted for their age");
        describe_counter!("uoop_retention_rows_total", "Event rows that were deleted with them");
        describe_counter!(
            "uoop_retention_keys_total",
            "Idempotency keys that were deleted for their age"
        );
        describe_gauge!(
            "uoop_retention_held_back_orders",
            Unit::Count,
            "Orders of this node that are old enough to be deleted, and are not because a follower has not passed them"
        );
        describe_gauge!(
            "uoop_retention_oldest_order_seconds",
            Unit::Seconds,
            "Age of the oldest order that is kept"
        );
        Self {
            orders: counter!("uoop_retention_orders_total"),
            rows: counter!("uoop_retention_rows_total"),
            keys: counter!("uoop_retention_keys_total"),
            held_back: gauge!("uoop_retention_held_back_orders"),
            oldest: gauge!("uoop_retention_oldest_order_seconds"),
        }
    }
}

/// A pause after each batch, in proportion to it.
struct Pace {
    began: Instant,
    shortest: Duration,
}

impl Pace {
    fn begin(options: &RetentionOptions) -> Self {
        Self {
            began: Instant::now(),
            shortest: options.pause,
        }
    }

    async fn rest(self) {
        sleep(self.shortest.max(self.began.elapsed() * PAUSE_FACTOR)).await;
    }
}

impl Sweep {
    /// One pass over all keys, and the orders of the shards that this node owns now.
    ///
    /// # Errors
    /// The store or the projection is away. What was done stays done.
    pub async fn pass(&self, options: &RetentionOptions) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let now = self.clock.now();
        let shards: Vec<ShardId> = self.tail.ends().into_iter().map(|(shard, _)| shard).collect();
        if let Some(length) = options.keys {
            for shard in self.store.shard_map().all() {
                swept.keys += self.keys(shard, self.before(now, length), options).await?;
            }
        }
        if let Some(length) = options.orders {
            let expiry = Expiry {
                before: self.before(now, length),
                lines: self.passed(&shards).await?,
            };
            self.orders(&expiry, options, &mut swept).await?;
            swept.strays = self.strays(&shards, expiry.before, options).await?;
        }
        Ok(swept)
    }

    /// The moment on the platform's time line that was so long ago on the wall.
    fn before(&self, now: Timestamp, length: Duration) -> Timestamp {
        let length = Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        now - length.times(self.clock.scale())
    }

    /// How far everybody has come on each of these lines.
    async fn passed(&self, shards: &[ShardId]) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let mut cursors = vec![self.projection.cursors().await?];
        for follower in &self.followers {
            cursors.push(self.store.cursors(follower).await?);
        }
        let cursors: Vec<HashMap<ShardId, Position>> = cursors
            .into_iter()
            .map(|cursors| cursors.into_iter().collect())
            .collect();
        let at = |shard: &ShardId| {
            cursors
                .iter()
                .map(|of| of.get(shard).copied().unwrap_or_default())
                .min()
        };
        Ok(shards.iter().filter_map(|shard| Some((*shard, at(shard)?))).collect())
    }

    async fn keys(&self, shard: ShardId, before: Timestamp, options: &RetentionOptions) -> Result<u64, StoreError> {
        let mut keys = 0;
        let mut after = None;
        loop {
            let pace = Pace::begin(options);
            let expired = self
                .kept
                .expire_keys(shard, before, after.as_deref(), options.keys_at_once)
                .await?;
            keys += expired.keys;
            after = expired.next;
            if after.is_none() {
                return Ok(keys);
            }
            pace.rest().await;
        }
    }

    async fn orders(&self, expiry: &Expiry, options: &RetentionOptions, swept: &mut Swept) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let pace = Pace::begin(options);
            let expired = self.kept.expire_orders(expiry, after, options.orders_at_once).await?;
            if !expired.orders.is_empty() {
                self.projection.forget(&expired.orders).await?;
            }
            swept.orders += expired.orders.len() as u64;
            swept.rows += expired.rows;
            swept.held_back += expired.held_back;
            after = expired.next;
            if after.is_none() {
                return Ok(());
            }
            pace.rest().await;
        }
    }

    /// Removes from the lists what the store does not have: a pass that was interrupted leaves that behind, and so does a
    /// rebuild of the projection that read an order's rows just before they went.
    async fn strays(
        &self,
        shards: &[ShardId],
        before: Timestamp,
        options: &RetentionOptions,
    ) -> Result<u64, StoreError> {
        let shards: BTreeSet<ShardId> = shards.iter().copied().collect();
        let map = self.store.shard_map();
        let mut search = Search {
            placed_before: Some(before),
            id_slack: ID_SLACK.times(self.clock.scale()),
            limit: options.orders_at_once,
            ..Search::default()
        };
        let mut strays = 0;
        loop {
            let pace = Pace::begin(options);
            let found = self.projection.search(&search).await?;
            let is_own = |order: &OrderId| shards.contains(&map.shard_of(order.stream()));
            let own: Vec<OrderId> = found.iter().map(|entry| entry.order).filter(is_own).collect();
            let missing = self.kept.missing(&own).await?;
            if !missing.is_empty() {
                self.projection.forget(&missing).await?;
            }
            strays += missing.len() as u64;
            let Some(last) = found.last().filter(|_| found.len() == options.orders_at_once) else {
                return Ok(strays);
            };
            search.behind = Some(last.order);
            pace.rest().await;
        }
    }

    async fn tell(&self, figures: &Figures, swept: &Swept) {
        figures.orders.increment(swept.orders);
        figures.rows.increment(swept.rows);
        figures.keys.increment(swept.keys);
        figures
            .held_back
            .set(u32::try_from(swept.held_back).unwrap_or(u32::MAX));
        if let Ok(oldest) = self.kept.oldest().await {
            let now = self.clock.now();
            let age_ms = oldest.map_or(0, |order| now.ms_since(minted_at(order))) / self.clock.scale().max(1);
            figures.oldest.set(Duration::from_millis(age_ms).as_secs_f64());
        }
        if *swept != Swept::default() {
            tracing::info!(
                orders = swept.orders,
                rows = swept.rows,
                keys = swept.keys,
                held_back = swept.held_back,
                "deleted what is older than the store keeps"
            );
        }
    }
}
