//! What the store's own tables must show: LS-2 (nobody wrote beside a shard's owner: its line has every place once), SG-4
//! and EV-1 (versions without gaps, and snapshots that replaying gives), SG-2 (a key names one order).
//!
//! LS-1 is about time and cannot be read from what is left: [`Owners`] is told what the table of owners shows while the
//! cluster runs.

use super::violation;
use crate::evidence::{RowSeen, StoreSeen, StreamSeen};
use domain::channel::Channel;
use domain::entity::{Entity, fold};
use domain::ids::StreamId;
use domain::invariants::{Invariant, Violation};
use domain::order::Order;
use domain::ports::StreamKind;
use domain::shard::ShardMap;
use domain::time::Timestamp;
use domain::zone::Zone;
use std::collections::BTreeMap;

/// Checks everything that the tables show.
pub fn check(store: &StoreSeen) -> Vec<Violation> {
    let mut found = lines(store);
    for (id, stream) in &store.streams {
        found.extend(versions(*id, stream));
        found.extend(snapshot(*id, stream));
    }
    found.extend(keys(store));
    found
}

/// Each shard's line has the places from 1 on, each once; and what lies in a shard belongs there.
fn lines(store: &StoreSeen) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut lines: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    let map = ShardMap::new(store.shards).ok();
    for (id, stream) in &store.streams {
        for row in &stream.rows {
            lines.entry(row.shard).or_default().push(row.position);
            if map.is_some_and(|map| map.shard_of(*id).0 != row.shard) {
                let detail = format!("stream {id}, version {}, lies in shard {}", row.seq, row.shard);
                found.push(violation(Invariant::Ls2, detail));
            }
        }
    }
    for (shard, mut places) in lines {
        places.sort_unstable();
        if let Some((place, expected)) = places.iter().zip(1..).find(|(place, expected)| **place != *expected) {
            let detail = format!("shard {shard} has place {place} where {expected} should be");
            found.push(violation(Invariant::Ls2, detail));
        }
    }
    found
}

fn versions(id: StreamId, stream: &StreamSeen) -> Option<Violation> {
    let wrong = stream.rows.iter().zip(1..).find(|(row, seq)| row.seq != *seq);
    let detail = |(row, seq): (&RowSeen, u64)| format!("stream {id} has version {} where {seq} should be", row.seq);
    wrong.map(|wrong| violation(Invariant::Sg4, detail(wrong)))
}

/// EV-1: all rows up to the snapshot's version give the snapshot.
fn snapshot(id: StreamId, stream: &StreamSeen) -> Option<Violation> {
    let replayed = match StreamKind::from_code(stream.kind) {
        Some(StreamKind::Order) => replays::<Order>(stream),
        Some(StreamKind::Channel) => replays::<Channel>(stream),
        Some(StreamKind::Zone) => replays::<Zone>(stream),
        None => Err(format!("there is no kind {}", stream.kind)),
    };
    let detail = |why| format!("stream {id}: {why}");
    replayed.err().map(|why| violation(Invariant::Ev1, detail(why)))
}

fn replays<E: Entity>(stream: &StreamSeen) -> Result<(), String> {
    let Some(snapshot) = &stream.snapshot else {
        return if stream.kind == StreamKind::Order.code() {
            Err("an order has no snapshot".to_owned())
        } else {
            Ok(())
        };
    };
    let last = stream.rows.last().map_or(0, |row| row.seq);
    if snapshot.seq > last {
        return Err(format!(
            "the snapshot is of version {}, the last row of {last}",
            snapshot.seq
        ));
    }
    if snapshot.seq == 0 {
        return marked::<E>(stream, snapshot.live);
    }
    let state = replay::<E>(stream, snapshot.seq)?;
    let kept: E = serde_json::from_str(&snapshot.state).map_err(|error| format!("the snapshot: {error}"))?;
    if kept != state {
        return Err(format!(
            "replaying to version {} gives something else than the snapshot",
            snapshot.seq
        ));
    }
    if snapshot.live != state.is_live() {
        return Err(format!("version {} is kept as live: {}", snapshot.seq, snapshot.live));
    }
    Ok(())
}

/// A stream that is only marked as live, without a state: its rows must say so as well.
fn marked<E: Entity>(stream: &StreamSeen, live: bool) -> Result<(), String> {
    let state = replay::<E>(stream, u64::MAX)?;
    if live && state.is_live() {
        return Ok(());
    }
    Err(format!(
        "it has no state but a mark (live: {live}), and its rows say {}",
        state.is_live()
    ))
}

/// The state that the rows up to a version give.
fn replay<E: Entity>(stream: &StreamSeen, version: u64) -> Result<E, String> {
    let mut state: Option<E> = None;
    for row in stream.rows.iter().filter(|row| row.seq <= version) {
        let wrong = |error: &dyn std::fmt::Display| format!("version {}: {error}", row.seq);
        let events: Vec<E::Event> = serde_json::from_str(&row.events).map_err(|error| wrong(&error))?;
        state = fold(state, &events, Timestamp(row.at)).map_err(|error| wrong(&error))?;
    }
    state.ok_or_else(|| "there are no rows before the snapshot".to_owned())
}

/// SG-2: a key is in the store once, and names a row that is there.
fn keys(store: &StoreSeen) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut of_key: BTreeMap<&str, StreamId> = BTreeMap::new();
    for used in &store.keys {
        let there = store.streams.get(&used.stream);
        if there.is_none_or(|stream| stream.rows.iter().all(|row| row.seq != used.seq)) {
            let detail = format!(
                "key {} names version {} of stream {}: there is none",
                used.key, used.seq, used.stream
            );
            found.push(violation(Invariant::Sg2, detail));
        }
        if let Some(other) = of_key
            .insert(&used.key, used.stream)
            .filter(|other| *other != used.stream)
        {
            let detail = format!("key {} names stream {other} and stream {}", used.key, used.stream);
            found.push(violation(Invariant::Sg2, detail));
        }
    }
    found
}

/// Who owns a shard, as the table of owners had it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerSeen {
    /// Its epoch.
    pub epoch: u64,
    /// Its owner's name; empty: nobody.
    pub owner: String,
}

/// LS-1 over time: epochs only grow, and under one epoch there is one owner, or nobody any more.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    last: Vec<OwnerSeen>,
    /// How often each node was seen to have taken a shard.
    pub taken: BTreeMap<String, u64>,
    /// What did not hold.
    pub findings: Vec<Violation>,
}

impl Owners {
    /// Takes in what the table shows now: its shards in order.
    pub fn see(&mut self, now: &[OwnerSeen]) {
        self.last.resize(now.len().max(self.last.len()), OwnerSeen::default());
        for (shard, (before, now)) in self.last.iter_mut().zip(now).enumerate() {
            if before == now {
                continue;
            }
            if now.epoch < before.epoch {
                let detail = format!("shard {shard}: epoch {} after {}", now.epoch, before.epoch);
                self.findings.push(violation(Invariant::Ls1, detail));
            }
            let is_given_up = now.owner.is_empty();
            if now.epoch == before.epoch && !is_given_up {
                let detail = format!(
                    "shard {shard}: under epoch {} the owner is '{}' after '{}'",
                    now.epoch, now.owner, before.owner
                );
                self.findings.push(violation(Invariant::Ls1, detail));
            }
            if !is_given_up && now.owner != before.owner {
                *self.taken.entry(now.owner.clone()).or_default() += 1;
            }
            before.clone_from(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::story::Story;
    use crate::evidence::KeySeen;

    fn found(store: &StoreSeen) -> Vec<Invariant> {
        check(store).into_iter().map(|finding| finding.invariant).collect()
    }

    fn store() -> StoreSeen {
        let mut store = StoreSeen {
            shards: 1,
            ..StoreSeen::default()
        };
        for n in 1..=2 {
            let (id, stream) = Story::delivered(n).stored(store.streams.values().map(|stream| stream.rows.len()).sum());
            store.keys.push(KeySeen {
                shard: 0,
                key: format!("key-{n}"),
                stream: id,
                seq: 1,
            });
            store.streams.insert(id, stream);
        }
        store
    }

    #[test]
    fn what_a_sound_store_holds_is_fine() {
        assert_eq!(check(&store()), []);
    }

    #[test]
    fn places_that_are_missing_or_taken_twice_are_found() {
        let rows = |store: &StoreSeen| store.streams.values().next().expect("a stream").rows.len();
        for n in 0..rows(&store()) {
            let mut store = store();
            let stream = store.streams.values_mut().next().expect("a stream");
            stream.rows[n].position += 1;
            assert_eq!(found(&store), [Invariant::Ls2], "row {n}");
        }
        let mut store = store();
        let stream = store.streams.values_mut().next().expect("a stream");
        stream.rows[0].shard = 3;
        assert!(
            found(&store).contains(&Invariant::Ls2),
            "a row in a shard that is not its stream's"
        );
    }

    #[test]
    fn a_row_that_is_gone_is_found() {
        let mut store = store();
        let stream = store.streams.values_mut().next().expect("a stream");
        let gone = stream.rows.remove(1);
        for row in store.streams.values_mut().flat_map(|stream| &mut stream.rows) {
            row.position -= u64::from(row.position > gone.position);
        }
        assert_eq!(found(&store), [Invariant::Sg4, Invariant::Ev1]);
    }

    #[test]
    fn a_snapshot_that_says_otherwise_is_found() {
        type Change = fn(&mut crate::evidence::SnapshotSeen);
        let changes: [Change; 4] = [
            |snapshot| snapshot.live = true,
            |snapshot| snapshot.seq += 1,
            |snapshot| snapshot.seq -= 1,
            |snapshot| snapshot.state = snapshot.state.replace("customer-", "someone-"),
        ];
        for change in changes {
            let mut store = store();
            let stream = store.streams.values_mut().next().expect("a stream");
            change(stream.snapshot.as_mut().expect("a snapshot"));
            assert_eq!(found(&store), [Invariant::Ev1]);
        }
    }

    #[test]
    fn a_mark_on_an_order_that_is_over_is_found() {
        let mut store = store();
        let stream = store.streams.values_mut().next().expect("a stream");
        let snapshot = stream.snapshot.as_mut().expect("a snapshot");
        (snapshot.seq, snapshot.live) = (0, true);
        snapshot.state.clear();
        assert_eq!(found(&store), [Invariant::Ev1], "nobody will ever look at it again");
        let stream = store.streams.values_mut().next().expect("a stream");
        stream.rows.truncate(1);
        assert!(!found(&store).contains(&Invariant::Ev1), "it lives");
    }

    #[test]
    fn keys_that_name_nothing_or_two_orders_are_found() {
        let mut store = store();
        store.keys[0].seq = 99;
        assert_eq!(found(&store), [Invariant::Sg2]);
        store.keys[0].seq = 1;
        store.keys[0].key = store.keys[1].key.clone();
        assert_eq!(found(&store), [Invariant::Sg2]);
    }

    #[test]
    fn epochs_that_shrink_and_owners_that_share_one_are_found() {
        let mut owners = Owners::default();
        let mut see = |epoch, owner: &str| {
            owners.see(&[OwnerSeen {
                epoch,
                owner: owner.to_owned(),
            }]);
            (owners.findings.len(), owners.taken.get("b").copied().unwrap_or(0))
        };
        assert_eq!(see(1, "a"), (0, 0));
        assert_eq!(see(1, ""), (0, 0), "given up");
        assert_eq!(see(2, "b"), (0, 1));
        assert_eq!(see(3, "b"), (0, 1), "raised by its own journal");
        assert_eq!(see(3, "a"), (1, 1), "two under one epoch");
        assert_eq!(see(2, "b"), (2, 2), "an epoch that shrank");
    }
}
