//! A follower gets every row, in order within its line, and again what was not handled.

use super::*;
use crate::{GroupJournal, JournalHandle, JournalOptions, MemoryStore};
use domain::ids::{Epoch, Seq, StreamId};
use domain::ports::{Append, Journal, StreamKind};
use domain::shard::ShardMap;
use domain::time::Timestamp;
use std::time::Duration;
use uuid::Uuid;

mod handover;

struct Rig {
    store: Arc<dyn Store>,
    journal: JournalHandle,
    written: u128,
}

impl Rig {
    async fn new(tail_bytes_max: usize) -> Self {
        let map = ShardMap::new(4).expect("a power of two");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(map));
        let shards: Vec<ShardId> = map.all().collect();
        let owned = store.acquire("node", &shards).await.expect("acquired");
        let options = JournalOptions {
            tail_bytes_max,
            ..JournalOptions::default()
        };
        let journal = GroupJournal::start(&store, &owned, "node", &options);
        Self {
            store,
            journal,
            written: 0,
        }
    }

    async fn write(&mut self, rows: u16) {
        for n in 0..rows {
            self.written += 1;
            let append = append(ShardId(n % 4), self.written);
            self.journal.journal().append(append).await.expect("appended");
        }
    }

    async fn follower(&self) -> Follower {
        let started = Follower::start(&self.journal.tail(), &self.store, "test").await;
        started.expect("started")
    }
}

fn append(shard: ShardId, stream: u128) -> Append {
    Append {
        shard,
        epoch: Epoch(0),
        position: Position(0),
        stream: StreamId(Uuid::from_u128(stream)),
        kind: StreamKind::Order,
        seq: Seq(1),
        at: Timestamp(1),
        events: "[]".into(),
        snapshot: None,
        claim: None,
    }
}

async fn take(follower: &mut Follower, count: usize, at_once: usize) -> Vec<(ShardId, Position)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let rows = follower.next(at_once).await.expect("readable");
        assert!(!rows.is_empty() && rows.len() <= at_once);
        taken.extend(rows.iter().map(|row| (row.shard, row.row.position)));
    }
    taken
}

fn assert_gapless(taken: &[(ShardId, Position)], first: u64) {
    let mut next: HashMap<ShardId, u64> = HashMap::new();
    for (shard, position) in taken {
        let expected = next.entry(*shard).or_insert(first);
        assert_eq!(position.0, *expected, "shard {shard}");
        *expected += 1;
    }
}

#[tokio::test]
async fn every_row_comes_once_and_in_order() {
    for tail_bytes_max in [0, 2_000, 1 << 20] {
        let mut rig = Rig::new(tail_bytes_max).await;
        let mut follower = rig.follower().await;
        rig.write(40).await;
        assert_eq!(follower.lag_rows(), 40);
        let taken = take(&mut follower, 40, 7).await;
        assert_eq!(taken.len(), 40);
        assert_gapless(&taken, 1);
        let more = tokio::time::timeout(Duration::from_millis(20), follower.next(7)).await;
        assert!(more.is_err(), "there is nothing more");
    }
}

#[tokio::test]
async fn what_was_not_handled_comes_again() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(8).await;
    let mut follower = rig.follower().await;
    take(&mut follower, 8, 8).await;
    follower.done(ShardId(1), Position(1));
    follower.rewind(ShardId(1));
    assert_eq!(take(&mut follower, 1, 8).await, [(ShardId(1), Position(2))]);
    assert_eq!(follower.lag_rows(), 7);
}

#[tokio::test]
async fn a_restart_goes_on_at_the_saved_cursor() {
    let mut rig = Rig::new(0).await;
    rig.write(8).await;
    let mut follower = rig.follower().await;
    take(&mut follower, 8, 8).await;
    for shard in 0..4 {
        follower.done(ShardId(shard), Position(1));
    }
    follower.save().await.expect("saved");
    follower.done(ShardId(0), Position(2));
    drop(follower);
    let mut again = rig.follower().await;
    let taken = take(&mut again, 4, 8).await;
    assert_eq!(taken.len(), 4, "handled but not saved is handled again");
    assert_gapless(&taken, 2);
}
