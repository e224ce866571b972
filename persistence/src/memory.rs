//! The memory store: the contract in its plainest form. Tests use it, and the contract suite uses it as the model that
//! the databases are compared with.

mod membership;
mod retention;

use crate::record::{KEY_BYTES_MAX, SHARDS_SETTING, in_order, no_such_shard, outcomes, poison, position_taken, signed};
use async_trait::async_trait;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{
    Append, ClaimRecord, Clock, CommitError, Recorded, Refusal, Row, RowOutcome, Snapshot, Store, StoreError,
    StreamKind,
};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use membership::Node;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A store that is forgotten when its last handle is dropped. Cheap, and as strict as the databases.
///
/// A handle is what a process has of a database: over several of them ([`MemoryStore::another`]) nodes form a cluster
/// within one process. With a handle end the lifelines of the nodes that joined over it.
pub struct MemoryStore {
    shards: ShardMap,
    contents: Arc<Mutex<Contents>>,
    /// By which leases are compared.
    watch: Watch,
    /// This handle's number.
    handle: u64,
}

/// What tells a store the time.
#[derive(Clone)]
enum Watch {
    /// The runtime's clock, since the store was made.
    Since(Instant),
    Clock(Arc<dyn Clock>),
}

#[derive(Default)]
struct Contents {
    settings: HashMap<String, String>,
    cursors: BTreeMap<(String, ShardId), Position>,
    epochs: HashMap<ShardId, u64>,
    /// Shards that are left out are nobody's.
    owners: HashMap<ShardId, String>,
    nodes: BTreeMap<String, Node>,
    /// The handle that holds each node's lifeline.
    lifelines: BTreeMap<String, u64>,
    handles: u64,
    rows: BTreeMap<(StreamId, Seq), Row>,
    positions: BTreeMap<(ShardId, Position), (StreamId, Seq)>,
    snapshots: BTreeMap<StreamId, Kept>,
    claims: HashMap<(ShardId, String), ClaimRecord>,
}

struct Kept {
    shard: ShardId,
    kind: StreamKind,
    snapshot: Snapshot,
}

impl MemoryStore {
    /// An empty store with so many shards. Leases run by the runtime's clock, which tests may pause.
    pub fn new(shards: ShardMap) -> Self {
        Self::watched(shards, Watch::Since(Instant::now()))
    }

    /// The same, with leases that run by a clock, as a simulation has one.
    pub fn timed(shards: ShardMap, clock: Arc<dyn Clock>) -> Self {
        Self::watched(shards, Watch::Clock(clock))
    }

    fn watched(shards: ShardMap, watch: Watch) -> Self {
        let contents = Contents {
            epochs: shards.all().map(|shard| (shard, 0)).collect(),
            settings: HashMap::from([(SHARDS_SETTING.to_owned(), shards.len().to_string())]),
            ..Contents::default()
        };
        Self {
            shards,
            contents: Arc::new(Mutex::new(contents)),
            watch,
            handle: 0,
        }
    }

    /// Another handle on the same contents, as another process has it.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut contents = self.contents();
        contents.handles += 1;
        Self {
            shards: self.shards,
            contents: Arc::clone(&self.contents),
            watch: self.watch.clone(),
            handle: contents.handles,
        }
    }

    fn now_ms(&self) -> i64 {
        match &self.watch {
            Watch::Since(began) => i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
            Watch::Clock(clock) => clock.now().0,
        }
    }

    /// No change leaves the contents half done (checks come first), so a panic elsewhere does not spoil them.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let own = self.handle;
        self.contents().lifelines.retain(|_, handle| *handle != own);
    }
}

impl Contents {
    /// Gives a shard to a node under a new epoch.
    fn take(&mut self, node: &str, shard: ShardId) -> OwnedShard {
        self.owners.insert(shard, node.to_owned());
        OwnedShard {
            shard,
            epoch: self.next_epoch(shard),
            position: self.end_of(shard),
        }
    }

    fn next_epoch(&mut self, shard: ShardId) -> Epoch {
        let epoch = self.epochs.entry(shard).or_default();
        *epoch += 1;
        Epoch(*epoch)
    }

    fn end_of(&self, shard: ShardId) -> Position {
        let line = self.positions.range((shard, Position(0))..=(shard, Position(u64::MAX)));
        line.last().map_or(Position(0), |((_, position), _)| *position)
    }

    /// One lifeline for each handle, and one handle for each lifeline.
    fn hold_lifeline(&mut self, name: &str, handle: u64) {
        self.lifelines.retain(|_, other| *other != handle);
        self.lifelines.insert(name.to_owned(), handle);
    }

    /// The checks that the databases make by types, constraints and unique indexes.
    fn check(&self, admitted: &[&Append]) -> Result<(), CommitError> {
        let mut versions = HashSet::new();
        let mut positions = HashSet::new();
        let mut keys = HashSet::new();
        for append in admitted {
            check_values(append)?;
            let version = (append.stream, append.seq);
            if self.rows.contains_key(&version) || !versions.insert(version) {
                return Err(CommitError::Refused(Refusal::DuplicateSeq));
            }
            let position = (append.shard, append.position);
            if self.positions.contains_key(&position) || !positions.insert(position) {
                return Err(position_taken());
            }
            let Some((home, claim)) = append.claimed() else {
                continue;
            };
            let key = (home, claim.key.clone());
            if self.claims.contains_key(&key) || !keys.insert(key) {
                return Err(CommitError::Refused(Refusal::DuplicateKey));
            }
        }
        Ok(())
    }

    fn apply(&mut self, append: &Append) {
        let Append {
            shard,
            position,
            stream,
            kind,
            seq,
            at,
            ..
        } = *append;
        self.rows.insert(
            (stream, seq),
            Row {
                stream,
                kind,
                seq,
                position,
                at,
                events: append.events.clone(),
            },
        );
        self.positions.insert((shard, position), (stream, seq));
        if let Some(snapshot) = &append.snapshot {
            let newer = self
                .snapshots
                .get(&stream)
                .is_none_or(|kept| kept.snapshot.seq < snapshot.seq);
            if newer {
                self.snapshots.insert(
                    stream,
                    Kept {
                        shard,
                        kind,
                        snapshot: snapshot.clone(),
                    },
                );
            }
        }
        if let Some((home, claim)) = append.claimed() {
            let record = ClaimRecord {
                stream,
                seq,
                fingerprint: claim.fingerprint.clone(),
                at,
            };
            self.claims.insert((home, claim.key.clone()), record);
        }
    }

    fn rows_after(&self, stream: StreamId, after: Seq) -> impl Iterator<Item = Row> {
        let first = (stream, Seq(after.0.saturating_add(1)));
        self.rows
            .range(first..)
            .take_while(move |(key, _)| key.0 == stream)
            .map(|(_, row)| row.clone())
    }

    fn load(&self, stream: StreamId) -> Option<Recorded> {
        let kept = self.snapshots.get(&stream);
        let after = kept.map_or(Seq(0), |kept| kept.snapshot.seq);
        let rows: Vec<Row> = self.rows_after(stream, after).collect();
        let kind = kept.map(|kept| kept.kind).or(rows.first().map(|row| row.kind))?;
        Some(Recorded {
            stream,
            kind,
            snapshot: kept.and_then(|kept| kept.snapshot.clone().of_state()),
            rows,
        })
    }
}

fn check_values(append: &Append) -> Result<(), CommitError> {
    if signed("version", append.seq.0)? == 0 || signed("position", append.position.0)? == 0 {
        return Err(poison("versions and positions start at 1".into()));
    }
    if let Some(snapshot) = &append.snapshot {
        signed("version", snapshot.seq.0)?;
    }
    let Some(claim) = &append.claim else { return Ok(()) };
    if claim.key.len() > KEY_BYTES_MAX {
        return Err(poison(format!(
            "the idempotency key is longer than {KEY_BYTES_MAX} bytes"
        )));
    }
    if claim.key.contains('\0') || claim.fingerprint.contains('\0') {
        return Err(poison("a NUL in an idempotency key".into()));
    }
    Ok(())
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn shard_map(&self) -> ShardMap {
        self.shards
    }

    async fn acquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        let mut contents = self.contents();
        if let Some(unknown) = shards.iter().find(|shard| !contents.epochs.contains_key(shard)) {
            return Err(no_such_shard(*unknown));
        }
        let distinct: HashSet<ShardId> = shards.iter().copied().collect();
        let take = |shard| (shard, contents.take(node, shard));
        in_order(shards, &distinct.into_iter().map(take).collect())
    }

    async fn reacquire(&self, node: &str, shards: &[ShardId]) -> Result<Vec<OwnedShard>, StoreError> {
        let mut contents = self.contents();
        let mut seen = HashSet::new();
        let mut owned = Vec::new();
        for shard in shards.iter().copied().filter(|shard| seen.insert(*shard)) {
            match contents.owners.get(&shard).map(|owner| owner == node) {
                Some(true) => owned.push(contents.take(node, shard)),
                // Nobody has fenced it yet, so what is under way could still be committed.
                None if contents.epochs.contains_key(&shard) => {
                    contents.next_epoch(shard);
                }
                Some(false) | None => {}
            }
        }
        Ok(owned)
    }

    async fn commit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        let mut contents = self.contents();
        let outcomes = outcomes(batch, &contents.epochs);
        let committed = |(append, outcome): (_, &RowOutcome)| (*outcome == RowOutcome::Committed).then_some(append);
        let admitted: Vec<&Append> = batch.iter().zip(&outcomes).filter_map(committed).collect();
        contents.check(&admitted)?;
        for append in admitted {
            contents.apply(append);
        }
        Ok(outcomes)
    }

    async fn load(&self, stream: StreamId) -> Result<Option<Recorded>, StoreError> {
        Ok(self.contents().load(stream))
    }

    async fn rows(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(self.contents().rows_after(stream, after).take(limit).collect())
    }

    async fn recover(&self, shards: &[ShardId], kinds: &[StreamKind]) -> Result<Vec<Recorded>, StoreError> {
        let contents = self.contents();
        let wanted: HashSet<&ShardId> = shards.iter().collect();
        let live = contents
            .snapshots
            .iter()
            .filter(|(_, kept)| kept.snapshot.live && wanted.contains(&kept.shard) && kinds.contains(&kept.kind));
        Ok(live.filter_map(|(stream, _)| contents.load(*stream)).collect())
    }

    async fn claims(&self, keys: &[(ShardId, &str)]) -> Result<Vec<Option<ClaimRecord>>, StoreError> {
        let contents = self.contents();
        let claim = |(shard, key): &(ShardId, &str)| contents.claims.get(&(*shard, (*key).to_owned())).cloned();
        Ok(keys.iter().map(claim).collect())
    }

    async fn positions(&self, shard: ShardId, after: Position, limit: usize) -> Result<Vec<Row>, StoreError> {
        let contents = self.contents();
        let line = (shard, Position(after.0.saturating_add(1)))..=(shard, Position(u64::MAX));
        let keys = contents.positions.range(line).take(limit).map(|(_, key)| key);
        Ok(keys.filter_map(|key| contents.rows.get(key)).cloned().collect())
    }

    async fn cursors(&self, follower: &str) -> Result<Vec<(ShardId, Position)>, StoreError> {
        let contents = self.contents();
        let own = contents.cursors.iter().filter(|((name, _), _)| name == follower);
        Ok(own.map(|((_, shard), position)| (*shard, *position)).collect())
    }

    async fn advance(&self, follower: &str, to: &[(ShardId, Position)]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for (shard, position) in to {
            let cursor = contents.cursors.entry((follower.to_owned(), *shard)).or_default();
            *cursor = (*cursor).max(*position);
        }
        Ok(())
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.contents().settings.get(name).cloned())
    }

    async fn keep_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        Ok(self
            .contents()
            .settings
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned())
            .clone())
    }

    async fn clock_ms(&self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}
