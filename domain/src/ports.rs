//! The ports: what the core needs from the outside world, as traits that stores, clocks and participants implement.

use crate::circuit::Circuit;
use crate::ids::{Epoch, OrderId, Position, Seq, StreamId};
use crate::saga::{Answer, PaymentRequest, TicketRequest};
use crate::shard::{OwnedShard, ShardId, ShardMap};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Where time comes from. The only one: nothing else reads a clock for business time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment on the platform's time line. Never runs backwards within a process.
    fn now(&self) -> Timestamp;

    /// How many milliseconds of business time pass in a millisecond of wall time; at least 1.
    fn scale(&self) -> u64;
}

/// Where randomness comes from.
pub trait IdSource: Send + Sync + 'static {
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum StreamKind {
    /// An order and its saga.
    Order = 1,
    /// A channel and its capacity ledger.
    Channel = 2,
    /// A zone with its couriers and jobs.
    Zone = 3,
}

impl StreamKind {
    /// The kind's number in the store.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this number, if there is one.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Order),
            2 => Some(Self::Channel),
            3 => Some(Self::Zone),
            _ => None,
        }
    }
}

/// One row to append: everything one turn of one actor wrote, committed together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The shard the stream lives in.
    pub shard: ShardId,
    /// The epoch under which the writer owns it.
    pub epoch: Epoch,
    /// The row's place on the shard's position line. Assigned by the journal; what the caller puts here is ignored.
    pub position: Position,
    /// The stream.
    pub stream: StreamId,
    /// What the stream is.
    pub kind: StreamKind,
    /// The version this row makes: the version it was decided on, plus one.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// The events, a JSON array.
    pub events: String,
    /// The folded state at `seq`, if this row is one that stores it.
    pub snapshot: Option<Snapshot>,
    /// The idempotency key that this row uses up, if any.
    pub claim: Option<KeyClaim>,
}

/// Folded state at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The version the state is of; 0: see [`Self::mark`].
    pub seq: Seq,
    /// The state, JSON.
    pub state: String,
    /// Whether something is still to happen to the stream: only live streams are recovered at a start.
    pub live: bool,
}

impl Snapshot {
    /// Marks a new stream as live without repeating what its first row says: whoever loads it folds its rows from the
    /// beginning. Any later snapshot takes its place.
    pub const fn mark() -> Self {
        Self {
            seq: Seq(0),
            state: String::new(),
            live: true,
        }
    }

    /// The snapshot, unless it is only a mark.
    pub fn of_state(self) -> Option<Self> {
        (self.seq > Seq(0)).then_some(self)
    }
}

impl Append {
    /// The idempotency key that this row uses up, if any, with the shard that the key belongs to.
    pub fn claimed(&self) -> Option<(ShardId, &KeyClaim)> {
        let claim = self.claim.as_ref()?;
        Some((claim.home.unwrap_or(self.shard), claim))
    }
}

/// An idempotency key as committed with the row that it caused. Unique per shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyClaim {
    /// The shard that the key belongs to; `None`: its row's. A key is looked for there and nowhere else, so it must follow
    /// from the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<ShardId>,
    /// The key with its scope (tenant, operation), at most 300 bytes.
    pub key: String,
    /// A hash of the request it came with.
    pub fingerprint: String,
}

/// A used idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The stream whose row used it.
    pub stream: StreamId,
    /// That row's version.
    pub seq: Seq,
    /// The hash of the request it came with.
    pub fingerprint: String,
    /// When.
    pub at: Timestamp,
}

/// A committed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stream.
    pub stream: StreamId,
    /// What the stream is.
    pub kind: StreamKind,
    /// The version it made.
    pub seq: Seq,
    /// Its place on the shard's position line.
    pub position: Position,
    /// When it was decided.
    pub at: Timestamp,
    /// The events, a JSON array.
    pub events: String,
}

/// A stream as the store has it: the last snapshot, if any, and the rows after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The stream.
    pub stream: StreamId,
    /// What the stream is.
    pub kind: StreamKind,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// The rows after the snapshot, by version.
    pub rows: Vec<Row>,
}

/// What became of one row of a committed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// It is durable.
    Committed,
    /// Its epoch is not its shard's: this node does not own the shard. Nothing of it was written.
    Fenced,
}

/// Why the database refused a batch: something in it can never be committed as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The stream has that version already.
    #[error("the stream has this version already")]
    DuplicateSeq,
    /// The idempotency key is used.
    #[error("the idempotency key is used already")]
    DuplicateKey,
    /// Anything else in the data that the database will not take.
    #[error("the database refuses the row: {0}")]
    Poison(String),
}

/// Why a batch was not committed as a whole. In every case but [`CommitError::Unknown`] nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Some row of it is refused; a smaller batch without that row would be committed.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The store cannot commit now: away, busy, out of disk. Certainly not committed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The answer to the commit was lost: it is committed or it is not. Also the answer when a row's position is taken:
    /// then the writer's view of the line is wrong, and it must read again how things stand.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
}

/// Why the store could not do something else than commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is away, busy or broken; the same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read as what it should be.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// It was created with other fixed settings.
    #[error("{0}")]
    Mismatch(String),
}

/// A place where streams are kept. All implementations are held to one contract suite.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The implementation's name: `sqlite`, `postgres` or `memory`.
    fn name(&self) -> &'static str;

    /// How slots map onto shards in this store.
    fn shard_map(&self) -> ShardMap;

    /// Takes ownership of the shards: increments each one's epoch, which fences every earlier owner, and returns the
    /// new epochs and the highest committed positions, in the order asked. Not idempotent: each call fences the last.
    ///
    /// # Errors
    /// The store is away.
    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError>;

    /// Takes shards that `node` owns once more: increments their epochs, which fences whatever it has still under way.
    /// Shards whose owner is another by now are left out, and left alone.
    ///
    /// # Errors
    /// The store is away; the epochs may have been incremented.
    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError>;

    /// Commits a batch in one transaction: the epoch check, rows, snapshots and keys. Rows of a shard whose epoch is
    /// another are left out and answered as fenced; all others are committed together. Outcomes are in input order.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing was written, except possibly for [`CommitError::Unknown`].
    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError>;

    /// A stream's last snapshot and the rows after it, read consistently; `None` when there is no such stream.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError>;

    /// Rows of a stream with a version greater than `after`, by version, at most `limit`.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Every live stream of these kinds in the shards, as [`Store::load`] gives it.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError>;

    /// Who used idempotency keys, each in the shard that it belongs to; for each `None` if nobody has.
    ///
    /// # Errors
    /// The store is away.
    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError>;

    /// [`Store::claims`] for one key.
    ///
    /// # Errors
    /// The store is away.
    async fn claim(&self, shard: ShardId, key: &str) -> Result<Option<ClaimRecord>, StoreError> {
        let found = self.claims(&[(shard, key)]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Rows of a shard's position line after `after`, in position order, at most `limit`. Gapless: this is the outbox.
    ///
    /// # Errors
    /// The store is away or corrupt.
    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// How far a follower of the position lines has come; shards where it has not begun are left out.
    ///
    /// # Errors
    /// The store is away.
    async fn cursors(&self, follower: &str) -> Result<Vec<(ShardId, Position)>, StoreError>;

    /// Keeps how far a follower has come. A cursor never moves backward. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn advance(&self, follower: &str, to: &[(ShardId, Position)]) -> Result<(), StoreError>;

    /// A setting kept with the data (such as the anchor of scaled time); `None` when it was never set.
    ///
    /// # Errors
    /// The store is away.
    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Keeps a setting if it has no value yet, and returns the value it has then. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn keep_setting(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// The store's own wall clock, in milliseconds since the Unix epoch, by which all who share it can go; `None`: it has
    /// none but this machine's.
    ///
    /// # Errors
    /// The store is away.
    async fn clock_ms(&self) -> Result<Option<i64>, StoreError>;
}

/// Why an append was not made. In every case nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This node does not own the shard (any more): stop, do not retry.
    #[error("fenced: another node owns the shard")]
    Fenced,
    /// The database refuses this row; its neighbours were not harmed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot commit now.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// What a problem of the store begins with when there is no space left where it writes.
pub const DISK_FULL: &str = "the disk is full";

/// Who hears what became of an append. Called by whoever finds out, in the midst of its work: it must not block.
pub type OnAppended = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// The write path: gathers appends of many actors into few commits.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends one row and tells once it is durable, or certainly not written: an unknown commit is resolved first. If the
    /// journal dies with the row in its hands, nobody can say what became of it, and nothing is told: no answer is better
    /// than a wrong one.
    fn submit(&self, append: Append, on_appended: OnAppended);

    /// Takes shards in, which were just taken from the store: from now on their rows are written.
    async fn adopt(&self, owned: &[OwnedShard]);

    /// Gives shards up: what was appended before is written, and what comes after is answered as fenced. Returns once
    /// nothing of them is under way any more. Shards that it does not hold are passed over.
    async fn release(&self, shards: &[ShardId]);

    /// Why the store takes nothing at present, as far as is known; `None` when it takes what comes. Begins with
    /// [`DISK_FULL`] if that is why.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A node of a cluster, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, with its incarnation: no two processes ever have the same.
    pub name: String,
    /// Where its gateway listens: host and port.
    pub address: String,
    /// How long its lease still runs by the store's clock, in milliseconds; negative: so long ago it lapsed.
    pub lease_left_ms: i64,
    /// Whether it gives its shards away and takes none.
    pub draining: bool,
}

/// Who owns a shard, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOwner {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch of the last ownership.
    pub epoch: Epoch,
    /// The node's name; empty: nobody.
    pub owner: String,
}

/// The members of a cluster and what they own, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The members, by name.
    pub members: Vec<Member>,
    /// All shards, in order.
    pub shards: Vec<ShardOwner>,
    /// The store's clock, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// Who is in the cluster and who owns what: kept with the data, since there the epochs are checked. Leases are compared
/// by the store's clock.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// Enters a node under a name that nobody had before, and holds its lifeline: something in the store that ends by
    /// itself when this process dies.
    ///
    /// # Errors
    /// The store is away.
    async fn join(&self, name: &str, address: &str, lease_ms: u64) -> Result<(), StoreError>;

    /// Renews a node's lease and its lifeline, and says whether it drains. `false`: it was removed, and is out for good.
    /// Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn renew(&self, name: &str, lease_ms: u64, draining: bool) -> Result<bool, StoreError>;

    /// Members and owners, read consistently.
    ///
    /// # Errors
    /// The store is away.
    async fn view(&self) -> Result<ClusterView, StoreError>;

    /// Takes shards for a node that is in the cluster: each whose epoch is still the one given has it incremented, which
    /// fences the owner before, and is returned with its new epoch and highest position. Others are left out, and left
    /// alone. Waits out the batches under way.
    ///
    /// # Errors
    /// The store is away; some may have been taken: the next [`Membership::view`] tells.
    async fn take(&self, name: &str, shards: &[(ShardId, Epoch)]) -> Result<Vec<OwnedShard>, StoreError>;

    /// Makes shards of a node nobody's. Those that are another's are left alone. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn release(&self, name: &str, shards: &[ShardId]) -> Result<(), StoreError>;

    /// Whether a node's lifeline holds. `false` is certain: its process is gone, or has lost its connection for good.
    ///
    /// # Errors
    /// The store is away.
    async fn is_alive(&self, name: &str) -> Result<bool, StoreError>;

    /// Removes a node from the cluster; its shards are then nobody's. Idempotent.
    ///
    /// # Errors
    /// The store is away.
    async fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// A payment provider.
#[async_trait]
pub trait Payments: Send + Sync + 'static {
    /// Asks for one effect. The request's key makes it idempotent: asked again, it answers the same and does nothing
    /// more; an action whose compensation came first is refused.
    async fn request(&self, request: &PaymentRequest) -> Answer;

    /// How calls to it stand. Waits for none of them.
    fn circuits(&self) -> Vec<Circuit> {
        Vec::new()
    }
}

/// The kitchens and partners that cook.
#[async_trait]
pub trait Kitchens: Send + Sync + 'static {
    /// Asks for one effect, as [`Payments::request`] does. A ticket may be answered [`Answer::Pending`]; the decision
    /// then comes as a report.
    async fn request(&self, request: &TicketRequest) -> Answer;

    /// Asks for a new ticket of which no attempt ever left. Whoever stands before the kitchen (a limit, a circuit
    /// breaker) may then refuse at once, since it is certain that nothing happened.
    async fn offer(&self, request: &TicketRequest) -> Answer {
        self.request(request).await
    }

    /// How calls to each of them stand, as far as any were made. Waits for none of them.
    fn circuits(&self) -> Vec<Circuit> {
        Vec::new()
    }
}

/// Somebody who wants to know of every committed change of an order (the simulated world, caches, streams).
pub trait OrderObserver: Send + Sync + 'static {
    /// The order is now as given; `seq` is its version. Also called for each live order at a start. Must not block.
    fn observe(&self, id: OrderId, seq: Seq, order: &std::sync::Arc<crate::order::Order>);

    /// These orders are another node's now: what is kept of them is no longer told when they change. Must not block.
    fn forget(&self, _is_lost: &dyn Fn(OrderId) -> bool) {}
}
