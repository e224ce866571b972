//! A store whose commits fail as a script says, and that can be made to wait.

use async_trait::async_trait;
use domain::ids::{Position, Seq, StreamId};
use domain::ports::{Append, ClaimRecord, CommitError, Recorded, Row, RowOutcome, Store, StoreError, StreamKind};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It is made and answered.
    Made,
    /// It is made, and the answer is lost.
    MadeAndLost,
    /// It is made, the answer is lost, and another node takes its shards.
    MadeLostAndTaken,
    /// It is lost on the way there.
    Lost,
    /// It is lost on the way there, and another node takes its shards.
    LostAndTaken,
    /// The store is away.
    Unavailable,
}

/// What happens to one call that takes shards once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The store is away.
    Unavailable,
    /// It is made, and the answer is lost.
    MadeAndLost,
}

/// Wraps a store. What the scripts do not mention goes well.
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    commits: Mutex<VecDeque<Commit>>,
    takes: Mutex<VecDeque<Take>>,
    /// A commit waits until there is a permit; there are more than enough unless a test holds them.
    gate: Semaphore,
    /// Commits that came to the gate.
    arrived: AtomicUsize,
    /// The rows of each commit that passed it.
    sizes: Mutex<Vec<usize>>,
}

const OPEN: usize = 1_000_000;

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Self::scripted(inner, [], [])
    }

    pub(crate) fn scripted(
        inner: Arc<dyn Store>,
        commits: impl IntoIterator<Item = Commit>,
        takes: impl IntoIterator<Item = Take>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            commits: Mutex::new(commits.into_iter().collect()),
            takes: Mutex::new(takes.into_iter().collect()),
            gate: Semaphore::new(OPEN),
            arrived: AtomicUsize::new(0),
            sizes: Mutex::default(),
        })
    }

    /// Lets no further commit pass.
    pub(crate) fn close_gate(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(OPEN);
    }

    /// Waits until so many commits have come to the gate.
    pub(crate) async fn arrived(&self, commits: usize) {
        while self.arrived.load(Ordering::SeqCst) < commits {
            tokio::task::yield_now().await;
        }
    }

    /// The rows of each commit.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().expect("no panic").clone()
    }

    /// Whether everything in the scripts has happened.
    pub(crate) fn is_played(&self) -> bool {
        self.commits.lock().expect("no panic").is_empty() && self.takes.lock().expect("no panic").is_empty()
    }

    async fn take_from(&self, batch: &[Append]) {
        let mut shards: Vec<ShardId> = batch.iter().map(|append| append.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        self.inner
            .acquire("thief", &shards)
            .await
            .expect("the thief takes the shards");
    }
}

#[async_trait]
impl Store for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn shard_map(&self) -> ShardMap {
        self.inner.shard_map()
    }

    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        self.inner.acquire(node, shards).await
    }

    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        let fault = self.takes.lock().expect("no panic").pop_front();
        let lost = StoreError::Unavailable("scripted".into());
        match fault {
            None => self.inner.reacquire(node, shards).await,
            Some(Take::Unavailable) => Err(lost),
            Some(Take::MadeAndLost) => self.inner.reacquire(node, shards).await.and(Err(lost)),
        }
    }

    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let _permit = self.gate.acquire().await.expect("the gate is never taken down");
        self.sizes.lock().expect("no panic").push(batch.len());
        let fault = self
            .commits
            .lock()
            .expect("no panic")
            .pop_front()
            .unwrap_or(Commit::Made);
        let made = match fault {
            Commit::Made | Commit::MadeAndLost | Commit::MadeLostAndTaken => self.inner.commit(batch).await?,
            Commit::Unavailable => return Err(CommitError::Unavailable("scripted".into())),
            Commit::Lost | Commit::LostAndTaken => Vec::new(),
        };
        if matches!(fault, Commit::MadeLostAndTaken | Commit::LostAndTaken) {
            self.take_from(batch).await;
        }
        match fault {
            Commit::Made => Ok(made),
            _ => Err(CommitError::Unknown("scripted".into())),
        }
    }

    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError> {
        self.inner.load(stream).await
    }

    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.inner.rows(stream, after, limit).await
    }

    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError> {
        self.inner.recover(shards, kinds).await
    }

    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError> {
        self.inner.claims(keys).await
    }

    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError> {
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
