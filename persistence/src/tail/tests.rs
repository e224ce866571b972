//! The tail answers from memory what it has and from the store what it has not, with no gap between.

use super::*;
use crate::MemoryStore;
use domain::ids::{Epoch, Seq, StreamId};
use domain::ports::StreamKind;
use domain::shard::ShardMap;
use domain::time::Timestamp;
use uuid::Uuid;

const SHARD: ShardId = ShardId(0);

fn append(position: u64, epoch: Epoch) -> Append {
    Append {
        shard: SHARD,
        epoch,
        position: Position(position),
        stream: StreamId(Uuid::from_u128(u128::from(position))),
        kind: StreamKind::Order,
        seq: Seq(1),
        at: Timestamp(1),
        events: "[]".into(),
        snapshot: None,
        claim: None,
    }
}

struct Rig {
    store: Arc<dyn Store>,
    tail: Tail,
    epoch: Epoch,
}

impl Rig {
    /// A tail with room for `rows` rows on each line.
    async fn with_room(rows: usize) -> Self {
        let map = ShardMap::new(1).expect("a power of two");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(map));
        let owned = store.acquire("node", &[SHARD]).await.expect("acquired");
        let tail = Tail::new(&store, rows * (ROW_BYTES + "[]".len()));
        tail.adopt(SHARD, owned[0].position);
        let epoch = owned[0].epoch;
        Self { store, tail, epoch }
    }

    /// Commits a row, and tells the tail unless it is to miss it.
    async fn commit(&self, position: u64, told: bool) {
        let row = append(position, self.epoch);
        self.store.commit(std::slice::from_ref(&row)).await.expect("committed");
        if told {
            self.tail.push([row]);
        }
    }

    async fn positions(&self, after: u64, limit: usize) -> Vec<u64> {
        let rows = self.tail.read(SHARD, Position(after), limit).await.expect("readable");
        rows.iter().map(|row| row.row.position.0).collect()
    }

    fn in_memory(&self, after: u64) -> bool {
        self.tail.recent(SHARD, Position(after), 1).is_some()
    }
}

#[tokio::test]
async fn what_fits_is_answered_from_memory_and_the_rest_from_the_store() {
    let rig = Rig::with_room(3).await;
    for position in 1..=5 {
        rig.commit(position, true).await;
    }
    assert!(rig.in_memory(2) && !rig.in_memory(1), "three rows fit");
    assert_eq!(rig.positions(0, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(rig.positions(2, 10).await, [3, 4, 5]);
    assert_eq!(rig.positions(3, 1).await, [4]);
    assert_eq!(rig.positions(5, 10).await, [0; 0]);
}

#[tokio::test]
async fn a_row_that_was_missed_is_not_skipped() {
    let rig = Rig::with_room(10).await;
    rig.commit(1, true).await;
    rig.commit(2, false).await;
    rig.commit(3, true).await;
    assert!(!rig.in_memory(1));
    assert_eq!(rig.positions(0, 10).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_lost_line_is_followed_no_more() {
    let rig = Rig::with_room(10).await;
    rig.commit(1, true).await;
    rig.tail.lose(SHARD);
    rig.commit(2, true).await;
    assert_eq!(rig.positions(0, 10).await, [0; 0]);
    assert!(rig.tail.ends().is_empty());
}

#[tokio::test]
async fn a_change_wakes_whoever_looked_before_it() {
    let rig = Rig::with_room(10).await;
    let mut changes = rig.tail.changes();
    changes.borrow_and_update();
    rig.commit(1, true).await;
    assert!(changes.has_changed().expect("the tail lives"));
}
