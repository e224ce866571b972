//! Lines come and go: a follower begins each time where the cursor is, and no row is passed over.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;

const SHARD: ShardId = ShardId(1);

impl Rig {
    /// Takes a shard away, lets its next owner move the cursor, and brings it back.
    async fn lend(&self, shard: ShardId, cursor: Option<u64>) {
        self.journal.journal().release(&[shard]).await;
        if let Some(cursor) = cursor {
            let moved = self.store.advance("test", &[(shard, Position(cursor))]).await;
            moved.expect("advanced");
        }
        let owned = self.store.acquire("node", &[shard]).await.expect("acquired");
        self.journal.journal().adopt(&owned).await;
    }

    async fn cursor(&self, shard: ShardId) -> u64 {
        let cursors = self.store.cursors("test").await.expect("cursors");
        let found = cursors.into_iter().find(|(of, _)| *of == shard);
        found.map_or(0, |(_, position)| position.0)
    }
}

fn positions(taken: &[(ShardId, Position)], shard: ShardId) -> Vec<u64> {
    let of_shard = taken.iter().filter(|(of, _)| *of == shard);
    of_shard.map(|(_, position)| position.0).collect()
}

#[tokio::test]
async fn a_line_that_was_lost_begins_again_at_its_cursor() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(20).await;
    let mut follower = rig.follower().await;
    take(&mut follower, 20, 20).await;
    follower.done(SHARD, Position(1));
    follower.save().await.expect("saved");
    assert!(follower.forgotten().is_empty());

    // Nobody else got on: what is not saved comes again.
    rig.lend(SHARD, None).await;
    let taken = take(&mut follower, 4, 20).await;
    assert_eq!(taken.len(), 4);
    assert_eq!(positions(&taken, SHARD), [2, 3, 4, 5]);
    assert_eq!(follower.forgotten(), BTreeSet::from([SHARD]));
    assert!(follower.forgotten().is_empty());

    // Another was further: what it did does not come again.
    rig.lend(SHARD, Some(4)).await;
    let taken = take(&mut follower, 1, 20).await;
    assert_eq!((taken.len(), positions(&taken, SHARD)), (1, vec![5]));
    assert_eq!(follower.forgotten(), BTreeSet::from([SHARD]));
    assert!(follower.look(20).await.expect("readable").is_empty() && follower.is_level());
}

#[tokio::test]
async fn a_lost_line_is_read_no_more_and_what_was_done_of_it_is_saved() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(12).await;
    let mut follower = rig.follower().await;
    take(&mut follower, 4, 4).await;
    rig.journal.journal().release(&[SHARD]).await;
    assert_eq!(follower.lag_rows(), 9);
    let mut rest = Vec::new();
    while !follower.is_level() {
        rest.extend(follower.look(4).await.expect("readable"));
    }
    assert!(rest.iter().all(|row| row.shard != SHARD));
    assert_eq!(follower.forgotten(), BTreeSet::from([SHARD]));

    // What was handed out before is done only now; and the next owner is further, or not as far.
    for (next, expected) in [(0, 2), (3, 3)] {
        rig.store
            .advance("test", &[(SHARD, Position(next))])
            .await
            .expect("advanced");
        follower.done(SHARD, Position(2));
        follower.save().await.expect("saved");
        assert_eq!(rig.cursor(SHARD).await, expected, "a cursor never moves backward");
    }
    follower.rewind(SHARD);
    assert!(follower.look(20).await.expect("readable").is_empty());
    let cursor = rig.cursor(SHARD).await;
    rig.lend(SHARD, None).await;
    assert!(follower.look(20).await.expect("readable").is_empty() && follower.is_level());
    assert_eq!((cursor, rig.cursor(SHARD).await), (3, 3));
}

#[tokio::test]
async fn rows_that_were_read_of_a_line_before_it_was_lost_are_not_handed_out() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(12).await;
    let mut follower = rig.follower().await;
    follower.gather(12).await.expect("readable");
    assert_eq!(follower.gathered.len(), 12);
    rig.lend(SHARD, Some(2)).await;
    let taken = take(&mut follower, 10, 20).await;
    assert_eq!((taken.len(), positions(&taken, SHARD)), (10, vec![3]));
}

#[tokio::test]
async fn whoever_looks_for_a_moment_only_learns_the_cursors_nevertheless() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(8).await;
    let mut follower = rig.follower().await;
    take(&mut follower, 8, 8).await;
    rig.lend(SHARD, Some(1)).await;
    let mut looks = 0;
    let rows = loop {
        looks += 1;
        // Given up at the first wait: reading the cursors takes more than that.
        match futures::poll!(Box::pin(follower.next(8))) {
            std::task::Poll::Ready(rows) => break rows.expect("readable"),
            std::task::Poll::Pending => tokio::task::yield_now().await,
        }
    };
    assert!(looks > 1, "the cursors were not waited for: the test tested nothing");
    assert_eq!(rows.iter().map(|row| row.row.position.0).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn lines_whose_cursors_are_elsewhere_wait_to_be_placed() {
    let mut rig = Rig::new(1 << 20).await;
    rig.write(8).await;
    let mut follower = Follower::at(&rig.journal.tail(), &rig.store, "test");
    assert!(follower.look(8).await.expect("readable").is_empty());
    assert!(!follower.is_level());
    assert_eq!(follower.lag_rows(), 8);
    let unplaced = follower.unplaced();
    assert_eq!(unplaced.len(), 4);
    for line in unplaced {
        follower.place(line, Position(1));
    }
    assert_eq!(take(&mut follower, 4, 8).await.len(), 4);
    assert!(follower.is_level() && follower.unplaced().is_empty());

    rig.lend(SHARD, None).await;
    let old = follower.unplaced();
    assert_eq!(old.iter().map(|line| line.shard()).collect::<Vec<_>>(), [SHARD]);
    rig.lend(SHARD, None).await;
    // A cursor from before the line was another's once more is not used.
    follower.place(old[0], Position(2));
    assert!(follower.look(8).await.expect("readable").is_empty() && !follower.is_level());
    let new = follower.unplaced();
    follower.place(new[0], Position(0));
    assert_eq!(positions(&take(&mut follower, 2, 8).await, SHARD), [1, 2]);
    follower.done(SHARD, Position(2));
    follower.save().await.expect("nothing to save");
    assert_eq!(rig.cursor(SHARD).await, 0);
}

/// A node with a journal and a follower, which remembers what it was handed and has not done.
struct Node {
    name: &'static str,
    journal: JournalHandle,
    follower: Follower,
    open: HashMap<ShardId, Vec<Position>>,
}

impl Node {
    async fn start(store: &Arc<dyn Store>, name: &'static str) -> Self {
        let journal = GroupJournal::start(store, &[], name, &JournalOptions::default());
        let follower = Follower::start(&journal.tail(), store, "test").await.expect("started");
        Self {
            name,
            journal,
            follower,
            open: HashMap::new(),
        }
    }

    /// Takes rows in, which come without gaps behind those that are open.
    async fn look(&mut self, rows_max: usize) {
        let rows = self.follower.look(rows_max).await.expect("readable");
        for shard in self.follower.forgotten() {
            self.open.remove(&shard);
        }
        for row in rows {
            let open = self.open.entry(row.shard).or_default();
            if let Some(last) = open.last() {
                assert_eq!(row.row.position.0, last.0 + 1, "shard {}: a gap", row.shard);
            }
            open.push(row.row.position);
        }
    }

    /// Handles the first of the open rows of a shard.
    fn handle(&mut self, shard: ShardId, count: usize, handled: &mut BTreeSet<(ShardId, Position)>) {
        let Some(open) = self.open.get_mut(&shard) else { return };
        for position in open.drain(..count.min(open.len())) {
            handled.insert((shard, position));
            self.follower.done(shard, position);
        }
    }
}

/// Whether each row up to the cursors is handled.
async fn assert_none_missed(store: &Arc<dyn Store>, handled: &BTreeSet<(ShardId, Position)>) {
    for (shard, cursor) in store.cursors("test").await.expect("cursors") {
        let missed = (1..=cursor.0).find(|position| !handled.contains(&(shard, Position(*position))));
        assert_eq!(missed, None, "the cursor of shard {shard} is at {}", cursor.0);
    }
}

/// Every row is handled by somebody before a cursor passes it, wherever its shard wanders, whoever crashes, and however
/// late an old owner saves.
#[tokio::test]
async fn no_row_is_passed_over_whoever_owns_its_line() {
    for seed in 0..40 {
        let mut seeded = StdRng::seed_from_u64(seed);
        let map = ShardMap::new(4).expect("a power of two");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(map));
        let mut nodes = vec![
            Node::start(&store, "a").await,
            Node::start(&store, "b").await,
            Node::start(&store, "c").await,
        ];
        let mut owners: HashMap<ShardId, usize> = HashMap::new();
        let mut ends: HashMap<ShardId, u64> = HashMap::new();
        let mut handled = BTreeSet::new();
        let (mut moves, mut written) = (0, 0);
        for _ in 0..300 {
            let shard = ShardId(seeded.random_range(0..4));
            let n = seeded.random_range(0..nodes.len());
            match seeded.random_range(0..10) {
                0 => {
                    if let Some(owner) = owners.insert(shard, n) {
                        nodes[owner].journal.journal().release(&[shard]).await;
                    }
                    let owned = store.acquire(nodes[n].name, &[shard]).await.expect("acquired");
                    assert_eq!(owned[0].position.0, ends.get(&shard).copied().unwrap_or_default());
                    nodes[n].journal.journal().adopt(&owned).await;
                    moves += 1;
                }
                1..4 => {
                    let Some(owner) = owners.get(&shard) else { continue };
                    written += 1;
                    let append = append(shard, written);
                    nodes[*owner].journal.journal().append(append).await.expect("appended");
                    *ends.entry(shard).or_default() += 1;
                }
                4..6 => nodes[n].look(seeded.random_range(1..6)).await,
                6..8 => nodes[n].handle(shard, seeded.random_range(1..4), &mut handled),
                8 => nodes[n].follower.save().await.expect("saved"),
                _ if seeded.random_bool(0.2) => {
                    // The follower's task crashes and starts again.
                    let tail = nodes[n].journal.tail();
                    nodes[n].follower = Follower::start(&tail, &store, "test").await.expect("started");
                    nodes[n].open.clear();
                }
                _ => nodes[n].follower.rewind(shard),
            }
            if let Some(node) = nodes.get_mut(n) {
                // What was rewound, or begins again, comes from behind what is done.
                node.settle(shard);
            }
            assert_none_missed(&store, &handled).await;
        }
        assert!(moves > 5 && written > 30, "{moves} moves, {written} rows");
        for node in &mut nodes {
            node.catch_up(&mut handled).await;
        }
        assert_eq!(handled.len(), usize::try_from(written).expect("few"), "seed {seed}");
        for (shard, cursor) in store.cursors("test").await.expect("cursors") {
            assert_eq!(cursor.0, ends.get(&shard).copied().unwrap_or_default(), "shard {shard}");
        }
    }
}

impl Node {
    /// Handles all that is left of its lines.
    async fn catch_up(&mut self, handled: &mut BTreeSet<(ShardId, Position)>) {
        self.open.clear();
        let shards = || (0..4).map(ShardId);
        for shard in shards() {
            self.follower.rewind(shard);
        }
        loop {
            self.look(100).await;
            for shard in shards() {
                self.handle(shard, 1_000, handled);
            }
            if self.follower.is_level() {
                break;
            }
        }
        self.follower.save().await.expect("saved");
    }

    /// Forgets open rows of a line that was rewound: they come again.
    fn settle(&mut self, shard: ShardId) {
        let place = self.follower.places.get(&shard).copied();
        if place.is_none_or(|place| place.read == place.done) {
            self.open.remove(&shard);
        }
    }
}
