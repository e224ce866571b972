//! The projector: the task that feeds the projection from the ends of the lines.
//!
//! It looks at the lines several times an interval and reduces what it finds to one change for each order; once an
//! interval it writes them. So an order that is placed and confirmed within an interval is written once.

use super::write::{Written, write};
use super::{Batch, FOLLOWER, OrderSummary, Pending, Projection, Search, StuckOrders};
use crate::follower::Follower;
use crate::tail::Tail;
use domain::ids::{OrderId, Position};
use domain::ports::{Clock, Store, StoreError};
use domain::shard::ShardId;
use domain::time::Timestamp;
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep};

/// Rows that are taken in at a time, before others get their turn on the thread.
const ROWS_MAX: usize = 1_024;

/// The longest time between two looks. The tail keeps a second or two of a heavy load: who looks seldom reads the store.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a projection to which nothing is written is looked at, lest somebody else has emptied it.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The longest pause before a database that is away is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How the projection is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectorOptions {
    /// How long changes are gathered before they are written.
    pub interval: Duration,
    /// How many changed orders are written at once at most, about.
    pub batch_orders_max: usize,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            batch_orders_max: 8_192,
        }
    }
}

/// The projection as those see it who search it. Clones are the same.
#[derive(Clone)]
pub struct OrderSearch {
    projection: Arc<dyn Projection>,
    as_of_rx: watch::Receiver<Option<Timestamp>>,
}

impl OrderSearch {
    /// A projection that is as it is: nobody feeds it.
    pub fn unfed(projection: Arc<dyn Projection>) -> Self {
        Self {
            projection,
            as_of_rx: watch::Sender::new(None).subscribe(),
        }
    }

    /// The moment up to which everything that was committed is found, at least; `None` while the projection is filled
    /// after a start or a rebuild and that cannot be said.
    pub fn as_of(&self) -> Option<Timestamp> {
        *self.as_of_rx.borrow()
    }

    /// The orders that match, newest first.
    ///
    /// # Errors
    /// The projection's database is away, or needs too long.
    pub async fn search(&self, search: &Search) -> Result<Vec<OrderSummary>, StoreError> {
        self.projection.search(search).await
    }
}

/// The task that feeds a projection, until this is dropped. What it had not written then is fed again at the next start.
pub struct Projector {
    search: OrderSearch,
    task: JoinHandle<()>,
}

impl Projector {
    /// Feeds a projection with all that is committed to the lines of `tail`, which is that of `store`.
    ///
    /// Must be called within a tokio runtime. Install the metrics recorder first: the figures are looked up once, here.
    pub fn start(
        projection: Arc<dyn Projection>,
        tail: &Arc<Tail>,
        store: &Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        options: ProjectorOptions,
    ) -> Self {
        let (as_of_tx, as_of_rx) = watch::channel(None);
        let search = OrderSearch {
            projection: Arc::clone(&projection),
            as_of_rx,
        };
        let feed = Feed {
            projection,
            tail: Arc::clone(tail),
            store: Arc::clone(store),
            clock,
            options,
            figures: Figures::new(),
            pending: Pending::default(),
            cursors: HashMap::new(),
            stuck: StuckOrders::new(),
            level_at: None,
            as_of_tx,
        };
        Self {
            search,
            task: tokio::spawn(feed.run()),
        }
    }

    /// What searches it.
    pub fn search(&self) -> OrderSearch {
        self.search.clone()
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        // A batch under way is written or not; either way its cursors say so.
        self.task.abort();
    }
}

struct Figures {
    rows: Counter,
    orders: Counter,
    poison: Counter,
    lag_seconds: Gauge,
    stuck: Gauge,
}

impl Figures {
    fn new() -> Self {
        describe_counter!(
            "uoop_projection_rows_total",
            "Rows that the search projection has taken in"
        );
        describe_counter!(
            "uoop_projection_orders_total",
            "Changes of orders that the search projection has written"
        );
        describe_counter!(
            "uoop_projection_poison_rows_total",
            "Rows and orders that could not be projected and were passed over"
        );
        describe_gauge!(
            "uoop_projection_lag_seconds",
            Unit::Seconds,
            "Age of the oldest row that the search projection does not show yet"
        );
        describe_gauge!(
            "uoop_orders_stuck",
            "Orders of this node's shards of which something waits for an operator"
        );
        Self {
            rows: counter!("uoop_projection_rows_total"),
            orders: counter!("uoop_projection_orders_total"),
            poison: counter!("uoop_projection_poison_rows_total"),
            lag_seconds: gauge!("uoop_projection_lag_seconds"),
            stuck: gauge!("uoop_orders_stuck"),
        }
    }
}

/// What a look at the lines has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All that is there is taken in.
    Level,
    /// More than there is room for.
    More,
    /// Something that cannot be read for the moment.
    Away,
}

struct Feed {
    projection: Arc<dyn Projection>,
    tail: Arc<Tail>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    options: ProjectorOptions,
    figures: Figures,
    pending: Pending,
    /// Where the projection is on the lines of this node, as far as is known.
    cursors: HashMap<ShardId, Position>,
    /// The orders on them that are stuck, as of what was taken in.
    stuck: StuckOrders,
    /// When all lines were last seen to hold no more than what was taken in.
    level_at: Option<Timestamp>,
    as_of_tx: watch::Sender<Option<Timestamp>>,
}

impl Feed {
    async fn run(mut self) {
        loop {
            let mut follower = Follower::at(&self.tail, &self.store, FOLLOWER);
            self.cursors.clear();
            self.stuck.clear();
            self.feed(&mut follower).await;
            // Somebody else moved the cursors: all over again from where they are now.
            self.pending = Pending::default();
            self.level_at = None;
            self.as_of_tx.send_replace(None);
        }
    }

    /// Begins the lines that this node has adopted where the projection is, however long it takes to know that.
    async fn place(&mut self, follower: &mut Follower) {
        let mut pause = LOOK_EVERY;
        loop {
            let unplaced = follower.unplaced();
            self.forget(follower);
            if unplaced.is_empty() {
                return;
            }
            match self.standing().await {
                Ok((cursors, stuck)) => {
                    let map = self.store.shard_map();
                    let is_new =
                        |order: &OrderId| unplaced.iter().any(|line| line.shard() == map.shard_of(order.stream()));
                    self.stuck.extend(stuck.into_iter().filter(|(order, _)| is_new(order)));
                    for line in unplaced {
                        let at = cursors.get(&line.shard()).copied().unwrap_or_default();
                        follower.place(line, at);
                        self.cursors.insert(line.shard(), at);
                    }
                    return;
                }
                Err(error) => self.wait(&mut pause, &error.to_string()).await,
            }
        }
    }

    /// Where the lines are, and what of them is stuck.
    async fn standing(&self) -> Result<(HashMap<ShardId, Position>, StuckOrders), StoreError> {
        let cursors = self.projection.cursors().await?.into_iter().collect();
        Ok((cursors, self.projection.stuck().await?))
    }

    /// Drops what is gathered of lines that this node has lost: their new owners write it.
    fn forget(&mut self, follower: &mut Follower) {
        let lost = follower.forgotten();
        self.cursors.retain(|shard, _| !lost.contains(shard));
        let map = self.store.shard_map();
        self.pending.forget(&lost, map);
        self.stuck
            .retain(|order, _| !lost.contains(&map.shard_of(order.stream())));
    }

    /// Feeds the projection for as long as nobody else does.
    async fn feed(&mut self, follower: &mut Follower) {
        let step = self.options.interval.min(LOOK_EVERY);
        let mut written_at = Instant::now();
        loop {
            let look = self.look(follower).await;
            let due = written_at.elapsed() >= self.options.interval;
            if !self.pending.is_empty() && (due || self.is_full()) {
                self.show_lag(self.pending.oldest());
                if !self.write(follower).await {
                    return;
                }
                written_at = Instant::now();
            } else if written_at.elapsed() >= CHECK_EVERY {
                if self.is_elsewhere(follower).await {
                    return;
                }
                written_at = Instant::now();
            }
            if look == Look::Level {
                self.tell();
            }
            if look != Look::More {
                sleep(step).await;
            }
        }
    }

    fn is_full(&self) -> bool {
        // Rows count too: those that change nothing must not hold the cursors back for ever.
        self.pending.orders() >= self.options.batch_orders_max
            || self.pending.rows() >= 16 * self.options.batch_orders_max as u64
    }

    /// Takes in what is there, as far as there is room for it.
    async fn look(&mut self, follower: &mut Follower) -> Look {
        self.place(follower).await;
        while !self.is_full() {
            let looked_at = self.clock.now();
            let rows = match follower.look(ROWS_MAX).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "the projection cannot be fed for the moment");
                    return Look::Away;
                }
            };
            self.forget(follower);
            for row in &rows {
                let after = self.cursors.get(&row.shard).copied().unwrap_or_default();
                self.pending.take_in(row.shard, after, &row.row, &mut self.stuck);
            }
            if follower.is_level() {
                self.level_at = Some(looked_at);
                return Look::Level;
            }
            if rows.is_empty() {
                return Look::Away;
            }
            yield_now().await;
        }
        Look::More
    }

    /// Writes what is gathered, however long that takes; `false` if somebody else has moved the cursors.
    async fn write(&mut self, follower: &mut Follower) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let (rows, poison, oldest) = (pending.rows(), pending.poison(), pending.oldest());
        let batch = Arc::new(pending.into_batch());
        let mut pause = LOOK_EVERY;
        let refused = loop {
            match write(&*self.projection, &batch).await {
                Ok(Written::Done { refused }) => break refused,
                Ok(Written::Stale) => {
                    tracing::info!("the projection's cursors were moved by somebody else; going on from there");
                    return false;
                }
                Err(error) => {
                    self.show_lag(oldest);
                    self.wait(&mut pause, &error.to_string()).await;
                }
            }
        };
        self.settle(follower, &batch, rows, poison + refused);
        true
    }

    /// Whether somebody else has moved the cursors of this node's lines.
    async fn is_elsewhere(&mut self, follower: &mut Follower) -> bool {
        // If it cannot be read now, the next write will tell.
        let Ok(now) = self.projection.cursors().await else {
            return false;
        };
        let now: HashMap<ShardId, Position> = now.into_iter().collect();
        // Those of lines that were lost in the meantime are their new owners' to move.
        follower.unplaced();
        self.forget(follower);
        let is_moved = |(shard, at): (&ShardId, &Position)| now.get(shard).copied().unwrap_or_default() != *at;
        self.cursors.iter().any(is_moved)
    }

    fn settle(&mut self, follower: &mut Follower, batch: &Batch, rows: u64, poison: u64) {
        for line in &batch.lines {
            follower.done(line.shard, line.to);
            if let Some(at) = self.cursors.get_mut(&line.shard) {
                *at = line.to;
            }
        }
        self.figures.rows.increment(rows);
        self.figures.orders.increment(batch.orders.len() as u64);
        self.figures.poison.increment(poison);
    }

    async fn wait(&self, pause: &mut Duration, problem: &str) {
        tracing::warn!(
            problem,
            pause_ms = pause.as_millis(),
            "the projection cannot be written for the moment"
        );
        sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSE_MAX);
    }

    /// Says how far the projection is, when all that was there at the last look is taken in. It is never said to be less
    /// far than before.
    fn tell(&self) {
        let oldest = self.pending.oldest();
        self.show_lag(oldest);
        self.figures
            .stuck
            .set(u32::try_from(self.stuck.len()).unwrap_or(u32::MAX));
        let Some(level_at) = self.level_at else { return };
        let as_of = Some(oldest.map_or(level_at, |oldest| oldest.min(level_at)));
        self.as_of_tx.send_if_modified(|known| {
            let further = *known < as_of;
            *known = as_of.max(*known);
            further
        });
    }

    fn show_lag(&self, oldest: Option<Timestamp>) {
        let age_ms = oldest.map_or(0, |oldest| self.clock.now().ms_since(oldest)) / self.clock.scale().max(1);
        self.figures
            .lag_seconds
            .set(Duration::from_millis(age_ms).as_secs_f64());
    }
}
