//! A store and a journal that can be made to fail.

use async_trait::async_trait;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{
    Append, AppendError, ClaimRecord, ClusterView, CommitError, Journal, Membership, OnAppended, Recorded, Row,
    RowOutcome, Store, StoreError, StreamKind,
};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use persistence::MemoryStore;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A memory store with faults.
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    pub(crate) away: AtomicBool,
    /// Which orders are in flight cannot be read, for a reason that does not pass by itself.
    pub(crate) unreadable: AtomicBool,
    /// How often shards were made nobody's.
    pub(crate) releases: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) commits: AtomicU64,
    corrupt: Mutex<HashSet<StreamId>>,
}

impl FaultyStore {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            inner: MemoryStore::new(ShardMap::new(shards).expect("a power of two")),
            away: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            releases: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            corrupt: Mutex::default(),
        }
    }

    /// A stream cannot be read any more, or can again.
    pub(crate) fn set_corrupt(&self, stream: StreamId, corrupt: bool) {
        let mut streams = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        if corrupt {
            streams.insert(stream);
        } else {
            streams.remove(&stream);
        }
    }

    fn spoil(&self, mut recorded: Recorded) -> Recorded {
        if self
            .corrupt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&recorded.stream)
        {
            recorded
                .rows
                .iter_mut()
                .for_each(|row| row.events = "[{\"type\":\"Nonsense\"}]".into());
        }
        recorded
    }

    fn check(&self) -> Result<(), StoreError> {
        let away = self.away.load(Ordering::SeqCst);
        if away {
            Err(StoreError::Unavailable("switched off".into()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn shard_map(&self) -> ShardMap {
        self.inner.shard_map()
    }

    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        self.check()?;
        self.inner.acquire(node, shards).await
    }

    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        self.check()?;
        self.inner.reacquire(node, shards).await
    }

    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        self.check()
            .map_err(|error| CommitError::Unavailable(error.to_string()))?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(batch).await
    }

    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError> {
        self.check()?;
        self.loads.fetch_add(1, Ordering::SeqCst);
        Ok(self.inner.load(stream).await?.map(|recorded| self.spoil(recorded)))
    }

    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.check()?;
        self.inner.rows(stream, after, limit).await
    }

    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError> {
        self.check()?;
        if self.unreadable.load(Ordering::SeqCst) && kinds.contains(&StreamKind::Order) {
            return Err(StoreError::Corrupt("made unreadable".into()));
        }
        let recorded = self.inner.recover(shards, kinds).await?;
        Ok(recorded.into_iter().map(|recorded| self.spoil(recorded)).collect())
    }

    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError> {
        self.check()?;
        self.inner.claims(keys).await
    }

    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.check()?;
        self.inner.positions(shard, after, limit).await
    }

    async fn cursors(&self, follower: &str) -> Result<Vec<(ShardId, Position)>, StoreError> {
        self.inner.cursors(follower).await
    }

    async fn advance(&self, follower: &str, to: &[(ShardId, Position)]) -> Result<(), StoreError> {
        self.inner.advance(follower, to).await
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.inner.setting(name).await
    }

    async fn keep_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        self.inner.keep_setting(name, value).await
    }

    async fn clock_ms(&self) -> Result<Option<i64>, StoreError> {
        self.inner.clock_ms().await
    }
}

#[async_trait]
impl Membership for FaultyStore {
    async fn join(&self, name: &str, address: &str, lease_ms: u64) -> Result<(), StoreError> {
        self.check()?;
        self.inner.join(name, address, lease_ms).await
    }

    async fn renew(&self, name: &str, lease_ms: u64, draining: bool) -> Result<bool, StoreError> {
        self.check()?;
        self.inner.renew(name, lease_ms, draining).await
    }

    async fn view(&self) -> Result<ClusterView, StoreError> {
        self.check()?;
        self.inner.view().await
    }

    async fn take(&self, name: &str, shards: &[(ShardId, Epoch)]) -> Result<Vec<OwnedShard>, StoreError> {
        self.check()?;
        self.inner.take(name, shards).await
    }

    async fn release(&self, name: &str, shards: &[ShardId]) -> Result<(), StoreError> {
        self.check()?;
        self.releases.fetch_add(1, Ordering::SeqCst);
        self.inner.release(name, shards).await
    }

    async fn is_alive(&self, name: &str) -> Result<bool, StoreError> {
        self.check()?;
        self.inner.is_alive(name).await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.check()?;
        self.inner.remove(name).await
    }
}

/// A journal that answers before the real one does.
pub(crate) struct FaultyJournal {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) appends: AtomicU64,
    delay_ms: AtomicU64,
    /// How many others get a turn between the delay and the answer.
    pub(crate) yields: AtomicU64,
    /// How much longer appends of a stream take.
    delays: Mutex<HashMap<StreamId, Duration>>,
    /// How all appends are answered.
    all: Mutex<Option<AppendError>>,
    /// How the next append of a stream is answered.
    next: Mutex<HashMap<StreamId, AppendError>>,
    /// Which version of an order is taken only for its actor to panic; its row is written a second later.
    fatal: Mutex<Option<Seq>>,
}

impl FaultyJournal {
    pub(crate) fn over(inner: Arc<dyn Journal>) -> Self {
        Self {
            inner,
            appends: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            yields: AtomicU64::new(0),
            delays: Mutex::default(),
            all: Mutex::default(),
            next: Mutex::default(),
            fatal: Mutex::default(),
        }
    }

    /// Appends take this long more.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(
            u64::try_from(delay.as_millis()).expect("a short time"),
            Ordering::SeqCst,
        );
    }

    /// Appends of a stream take this long more.
    pub(crate) fn slow_down(&self, stream: StreamId, delay: Duration) {
        self.delays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream, delay);
    }

    /// All appends are answered so, at once, or come through again.
    pub(crate) fn answer_all(&self, error: Option<AppendError>) {
        *self.all.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// The next append of a stream is answered so, once.
    pub(crate) fn answer_next(&self, stream: StreamId, error: AppendError) {
        self.next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream, error);
    }

    /// The next order that appends this version panics when the journal has it, and it is written a second later.
    pub(crate) fn panic_over(&self, version: Seq) {
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }

    /// Whether somebody has panicked over what was said last.
    pub(crate) fn has_panicked(&self) -> bool {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn is_fatal(&self, append: &Append) -> bool {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |version: &mut Seq| append.kind == StreamKind::Order && append.seq == *version;
        fatal.take_if(is_it).is_some()
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn adopt(&self, owned: &[OwnedShard]) {
        self.inner.adopt(owned).await;
    }

    async fn release(&self, shards: &[ShardId]) {
        self.inner.release(shards).await;
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    fn submit(&self, append: Append, on_appended: OnAppended) {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let next = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&append.stream);
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(error) = all {
            return on_appended(Err(error));
        }
        let slow = self
            .delays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&append.stream)
            .copied();
        let (is_fatal, stream) = (self.is_fatal(&append), append.stream);
        let left = Duration::from_secs(u64::from(is_fatal));
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)) + slow.unwrap_or_default() + left;
        let yields = self.yields.load(Ordering::SeqCst);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            match next {
                Some(error) => on_appended(Err(error)),
                None => inner.submit(append, on_appended),
            }
        });
        assert!(!is_fatal, "the journal has it, and {stream} panics");
    }
}
