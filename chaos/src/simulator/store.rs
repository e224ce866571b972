//! The store: rows with `UNIQUE (stream, seq)`, gapless lines of positions, epochs, keys, snapshots, members with leases
//! by its own clock. It does what it is asked at one moment; what becomes of the answer is the network's affair.

use super::Broken;
use super::kinds::{Facts, State};
use super::queue::Time;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::{ClusterView, Member, Refusal, RowOutcome, ShardOwner, StreamKind};
use domain::shard::{OwnedShard, ShardId, ShardMap};
use domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An idempotency key: the shard that it belongs to, and its name.
pub(super) type Key = (ShardId, String);

/// A row on its way to the store, as `domain::ports::Append`, with the events not yet put into JSON.
#[derive(Clone, Debug)]
pub(super) struct Append {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) position: Position,
    pub(super) stream: StreamId,
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) facts: Arc<Facts>,
    pub(super) snapshot: Option<State>,
    pub(super) claim: Option<Key>,
    /// Which activation of the stream wrote it. The store knows nothing of it; the checker does.
    pub(super) activation: u64,
    /// The writer's adoption of the shard that it was appended under, of which the store knows nothing either.
    pub(super) generation: u64,
}

/// What the store is asked.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Join,
    Renew {
        draining: bool,
    },
    View,
    Take(Vec<(ShardId, Epoch)>),
    Release(Vec<ShardId>),
    Remove(Arc<str>),
    Reacquire(Vec<ShardId>),
    Commit(Vec<Append>),
    Lines(Vec<(ShardId, Position, usize)>),
    /// By an activation of the stream, of which the store knows nothing.
    Load(StreamId, u64),
    Recover(Vec<ShardId>),
    Claims(Vec<Key>),
}

/// A row as it is read back from a line.
#[derive(Clone, Debug)]
pub(super) struct LineRow {
    pub(super) shard: ShardId,
    pub(super) position: Position,
    pub(super) stream: StreamId,
    pub(super) seq: Seq,
    pub(super) facts: Arc<Facts>,
}

/// Members and owners, and which members' lifelines are cut.
#[derive(Debug)]
pub(super) struct View {
    pub(super) cluster: ClusterView,
    pub(super) gone: Vec<Arc<str>>,
}

/// Why a batch was not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommitError {
    Refused(Refusal),
    Unavailable,
    Unknown,
}

/// What the store answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Done,
    Renewed(bool),
    View(Arc<View>),
    Owned(Vec<OwnedShard>),
    Committed(Result<Vec<RowOutcome>, CommitError>),
    Lines(Vec<LineRow>),
    Loaded(Option<(State, Seq, Seq)>),
    Recovered(Vec<(StreamId, State)>),
    Claims(Vec<Option<StreamId>>),
    /// It cannot do it now, and has not.
    Unavailable,
    /// Nothing was heard in time.
    Lost,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Timestamp,
    pub(super) facts: Arc<Facts>,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) kind: StreamKind,
    pub(super) shard: ShardId,
    pub(super) rows: Vec<Stored>,
    snapshot: Option<(Seq, State)>,
}

impl Stream {
    /// The snapshot and the rows after it, folded; the second version is the snapshot's.
    fn load(&self) -> Option<(State, Seq, Seq)> {
        let (from, mut state) = match &self.snapshot {
            Some((seq, state)) => (*seq, Some(state.clone())),
            None => (Seq(0), None),
        };
        let after = usize::try_from(from.0).unwrap_or(usize::MAX);
        for row in self.rows.iter().skip(after) {
            state = Some(State::after(state.as_ref(), &row.facts, row.at).ok()?);
        }
        Some((state?, Seq(self.rows.len() as u64), from))
    }
}

#[derive(Debug)]
struct MemberRow {
    lease_until: Time,
    draining: bool,
}

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) epoch: Epoch,
    pub(super) owner: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) map: ShardMap,
    pub(super) owners: Vec<Owner>,
    members: BTreeMap<Arc<str>, MemberRow>,
    /// Processes whose connection holds.
    lifelines: BTreeSet<Arc<str>>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) lines: Vec<Vec<(StreamId, Seq)>>,
    keys: BTreeMap<Key, StreamId>,
    lease_ms: Time,
    broken: Option<Broken>,
    view: Option<Arc<View>>,
    /// The next moment at which a lease lapses, as the view knows it.
    view_until: Time,
}

impl Store {
    pub(super) fn new(map: ShardMap, lease_ms: Time, broken: Option<Broken>) -> Self {
        let nobody: Arc<str> = "".into();
        let owner = |_| Owner {
            epoch: Epoch(0),
            owner: nobody.clone(),
        };
        Self {
            map,
            owners: map.all().map(owner).collect(),
            members: BTreeMap::new(),
            lifelines: BTreeSet::new(),
            streams: BTreeMap::new(),
            lines: map.all().map(|_| Vec::new()).collect(),
            keys: BTreeMap::new(),
            lease_ms,
            broken,
            view: None,
            view_until: 0,
        }
    }

    fn owner(&mut self, shard: ShardId) -> &mut Owner {
        &mut self.owners[usize::from(shard.0)]
    }

    fn end(&self, shard: ShardId) -> Position {
        Position(self.lines[usize::from(shard.0)].len() as u64)
    }

    /// The process is gone, and its connection with it.
    pub(super) fn cut_lifeline(&mut self, name: &str) {
        self.lifelines.remove(name);
        self.view = None;
    }

    /// Carries out a request of a process, all but commits.
    pub(super) fn serve(&mut self, now: Time, from: &Arc<str>, request: Request) -> Reply {
        match request {
            Request::Join => {
                let lease_until = now + self.lease_ms;
                let row = MemberRow {
                    lease_until,
                    draining: false,
                };
                self.members.insert(from.clone(), row);
                self.view = None;
                Reply::Done
            }
            Request::Renew { draining } => Reply::Renewed(self.renew(now, from, draining)),
            Request::View => Reply::View(self.view(now)),
            Request::Take(shards) => Reply::Owned(self.take(from, &shards)),
            Request::Release(shards) => {
                for shard in shards {
                    let row = self.owner(shard);
                    if row.owner == *from {
                        row.owner = "".into();
                    }
                }
                self.view = None;
                Reply::Done
            }
            Request::Remove(name) => {
                self.members.remove(&name);
                self.view = None;
                Reply::Done
            }
            Request::Reacquire(shards) => Reply::Owned(self.reacquire(from, &shards)),
            Request::Lines(wanted) => Reply::Lines(self.read_lines(&wanted)),
            Request::Load(stream, _) => Reply::Loaded(self.streams.get(&stream).and_then(Stream::load)),
            Request::Recover(shards) => {
                let wanted = |stream: &&Stream| shards.contains(&stream.shard);
                let live = self.streams.iter().filter(|(_, stream)| wanted(stream));
                let states = live.filter_map(|(id, stream)| Some((*id, stream.load()?.0)));
                Reply::Recovered(states.filter(|(_, state)| state.is_live()).collect())
            }
            Request::Claims(keys) => Reply::Claims(keys.iter().map(|key| self.keys.get(key).copied()).collect()),
            Request::Commit(_) => Reply::Unavailable,
        }
    }

    /// A process has a connection again.
    pub(super) fn hold_lifeline(&mut self, name: &Arc<str>) {
        self.lifelines.insert(name.clone());
        self.view = None;
    }

    fn renew(&mut self, now: Time, name: &str, draining: bool) -> bool {
        let lease_ms = self.lease_ms;
        let Some(member) = self.members.get_mut(name) else {
            return false;
        };
        if member.lease_until <= now || member.draining != draining {
            self.view = None;
        }
        member.lease_until = member.lease_until.max(now + lease_ms);
        member.draining |= draining;
        true
    }

    /// The same view is given out as long as it says the same: who is in, who owns what, and whose lease runs.
    fn view(&mut self, now: Time) -> Arc<View> {
        let fresh = self.view.clone().filter(|_| now < self.view_until);
        if let Some(view) = fresh {
            return view;
        }
        let left = |member: &MemberRow| {
            i64::try_from(member.lease_until).unwrap_or(i64::MAX) - i64::try_from(now).unwrap_or(i64::MAX)
        };
        let members = self.members.iter().map(|(name, member)| Member {
            name: name.to_string(),
            address: String::new(),
            lease_left_ms: left(member),
            draining: member.draining,
        });
        let shards = self.owners.iter().zip(0..).map(|(row, shard)| ShardOwner {
            shard: ShardId(shard),
            epoch: row.epoch,
            owner: row.owner.to_string(),
        });
        let cluster = ClusterView {
            members: members.collect(),
            shards: shards.collect(),
            now_ms: i64::try_from(now).unwrap_or(i64::MAX),
        };
        let gone = self
            .members
            .keys()
            .filter(|name| !self.lifelines.contains(*name))
            .cloned();
        let view = Arc::new(View {
            cluster,
            gone: gone.collect(),
        });
        let running = self.members.values().map(|member| member.lease_until);
        self.view_until = running.filter(|until| *until > now).min().unwrap_or(now);
        self.view = Some(view.clone());
        view
    }

    fn take(&mut self, name: &Arc<str>, shards: &[(ShardId, Epoch)]) -> Vec<OwnedShard> {
        if !self.members.contains_key(name) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for (shard, epoch) in shards {
            let position = self.end(*shard);
            let row = self.owner(*shard);
            if row.epoch == *epoch {
                row.epoch = Epoch(epoch.0 + 1);
                row.owner = name.clone();
                taken.push(OwnedShard {
                    shard: *shard,
                    epoch: row.epoch,
                    position,
                });
            }
        }
        self.view = None;
        taken
    }

    fn reacquire(&mut self, name: &Arc<str>, shards: &[ShardId]) -> Vec<OwnedShard> {
        let mut owned = Vec::new();
        for shard in shards {
            let position = self.end(*shard);
            let row = self.owner(*shard);
            if row.owner == *name {
                row.epoch = Epoch(row.epoch.0 + 1);
                owned.push(OwnedShard {
                    shard: *shard,
                    epoch: row.epoch,
                    position,
                });
            }
        }
        self.view = None;
        owned
    }

    fn read_lines(&self, wanted: &[(ShardId, Position, usize)]) -> Vec<LineRow> {
        let mut found = Vec::new();
        for (shard, after, limit) in wanted {
            let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
            let line = self.lines[usize::from(shard.0)].iter().zip(1..).skip(skip).take(*limit);
            found.extend(line.filter_map(|((stream, seq), position)| {
                let row = self
                    .streams
                    .get(stream)?
                    .rows
                    .get(usize::try_from(seq.0).ok()?.checked_sub(1)?)?;
                Some(LineRow {
                    shard: *shard,
                    position: Position(position),
                    stream: *stream,
                    seq: *seq,
                    facts: row.facts.clone(),
                })
            }));
        }
        found
    }

    /// What becomes of each row of a batch; nothing is written yet. One statement: the epochs are compared, and then all
    /// that is not fenced is written or nothing.
    pub(super) fn admit(&self, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        let mut ends: BTreeMap<ShardId, Position> = BTreeMap::new();
        let mut seqs: BTreeSet<(StreamId, Seq)> = BTreeSet::new();
        let mut keys: BTreeSet<&Key> = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for row in batch {
            let fenced = self.owners[usize::from(row.shard.0)].epoch != row.epoch;
            if fenced && self.broken != Some(Broken::Fence) {
                outcomes.push(RowOutcome::Fenced);
                continue;
            }
            let known = self
                .streams
                .get(&row.stream)
                .map_or(0, |stream| stream.rows.len() as u64);
            if row.seq.0 <= known || !seqs.insert((row.stream, row.seq)) {
                return Err(CommitError::Refused(Refusal::DuplicateSeq));
            }
            if let Some(key) = &row.claim {
                let used = self.keys.contains_key(key) || !keys.insert(key);
                if used && self.broken != Some(Broken::Keys) {
                    return Err(CommitError::Refused(Refusal::DuplicateKey));
                }
            }
            let end = ends.entry(row.shard).or_insert_with(|| self.end(row.shard));
            if row.position <= *end {
                return Err(CommitError::Unknown);
            }
            *end = row.position;
            outcomes.push(RowOutcome::Committed);
        }
        Ok(outcomes)
    }

    /// Writes one admitted row.
    pub(super) fn write(&mut self, row: &Append) {
        let stream = self.streams.entry(row.stream).or_insert_with(|| Stream {
            kind: match *row.facts {
                Facts::Order(_) => StreamKind::Order,
                Facts::Channel(_) => StreamKind::Channel,
                Facts::Zone(_) => StreamKind::Zone,
            },
            shard: row.shard,
            rows: Vec::new(),
            snapshot: None,
        });
        stream.rows.push(Stored {
            at: row.at,
            facts: row.facts.clone(),
        });
        if let Some(state) = &row.snapshot {
            stream.snapshot = Some((row.seq, state.clone()));
        }
        self.lines[usize::from(row.shard.0)].push((row.stream, row.seq));
        if let Some(key) = &row.claim {
            self.keys.entry(key.clone()).or_insert(row.stream);
        }
    }
}
