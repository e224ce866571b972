//! Members of a cluster and what they own: one suite for the stores that several nodes can share.

use crate::fixture::{Fixture, Node, SHARDS, line, row, shard_map};
use domain::ids::Epoch;
use domain::ports::{ClusterView, Member, RowOutcome, StoreError};
use domain::shard::{OwnedShard, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A lease that does not lapse during a test.
const LONG: u64 = 3_600_000;

/// How long anything that must happen may take. Generous: it only bounds how long a failure takes to show.
const PATIENCE: Duration = Duration::from_mins(1);

async fn join(fixture: &Fixture, name: &str) -> Arc<dyn Node> {
    let node = fixture.node().await;
    node.join(name, &format!("{name}:4000"), LONG).await.expect("joined");
    node
}

async fn view(node: &dyn Node) -> ClusterView {
    node.view().await.expect("a view")
}

async fn member(node: &dyn Node, name: &str) -> Option<Member> {
    let view = view(node).await;
    view.members.into_iter().find(|member| member.name == name)
}

fn all_at(epoch: u64) -> Vec<(ShardId, Epoch)> {
    shard_map().all().map(|shard| (shard, Epoch(epoch))).collect()
}

fn owners(view: &ClusterView) -> Vec<(u64, &str)> {
    let owner = |owned: &'_ domain::ports::ShardOwner| owned.epoch.0;
    let owners = view.shards.iter().map(|owned| (owner(owned), owned.owner.as_str()));
    owners.collect()
}

/// Waits until a node's lifeline does not hold.
async fn until_dead(watcher: &dyn Node, name: &str) {
    let looking = async {
        while watcher.is_alive(name).await != Ok(false) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("its lifeline ends");
}

async fn lease_left_ms(node: &dyn Node, name: &str) -> i64 {
    member(node, name).await.expect("a member").lease_left_ms
}

/// Waits until a node's lease has lapsed.
async fn until_lapsed(watcher: &dyn Node, name: &str) {
    let looking = async {
        while lease_left_ms(watcher, name).await >= 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("its lease lapses");
}

pub(crate) async fn who_joins_is_seen_until_it_is_removed(fixture: Arc<Fixture>) {
    let (a, b) = (join(&fixture, "a").await, join(&fixture, "b").await);
    let seen = view(&*a).await;
    let names: Vec<_> = seen.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(seen.members[1].address, "b:4000");
    assert!((1..=3_600_000).contains(&seen.members[1].lease_left_ms) && !seen.members[1].draining);
    assert_eq!(owners(&seen), vec![(0, ""); usize::from(SHARDS)]);
    let numbers: Vec<u16> = seen.shards.iter().map(|owned| owned.shard.0).collect();
    assert_eq!(numbers, (0..SHARDS).collect::<Vec<_>>());

    for node in [&a, &b] {
        let twice = node.join("a", "elsewhere:4000", LONG).await;
        assert!(matches!(twice, Err(StoreError::Mismatch(_))), "{twice:?}");
    }
    let nameless = b.join("", "elsewhere:4000", LONG).await;
    assert!(matches!(nameless, Err(StoreError::Mismatch(_))), "{nameless:?}");
    assert_eq!(member(&*b, "a").await.map(|a| a.address), Some("a:4000".into()));
    assert_eq!((a.is_alive("a").await, b.is_alive("a").await), (Ok(true), Ok(true)));

    b.remove("a").await.expect("removed");
    b.remove("a").await.expect("removed once more");
    assert_eq!(member(&*b, "a").await, None);
    assert_eq!(a.renew("a", LONG, false).await, Ok(false), "it is out");
    assert_eq!(a.renew("a", LONG, false).await, Ok(false), "for good");
    until_dead(&*b, "a").await;
    assert_eq!(b.is_alive("b").await, Ok(true));
}

pub(crate) async fn a_lease_lapses_unless_it_is_renewed(fixture: Arc<Fixture>) {
    let (a, b) = (fixture.node().await, join(&fixture, "b").await);
    a.join("a", "a:4000", 1).await.expect("joined");
    until_lapsed(&*b, "a").await;
    assert_eq!(b.is_alive("a").await, Ok(true), "only late");
    let before = view(&*b).await.now_ms;
    assert_eq!(a.renew("a", LONG, true).await, Ok(true));
    assert!(lease_left_ms(&*b, "a").await > 0);
    assert!(member(&*b, "a").await.expect("a member").draining);
    assert!(view(&*b).await.now_ms >= before);
    assert_eq!(a.renew("a", LONG, false).await, Ok(true));
    assert!(!member(&*b, "a").await.expect("a member").draining);
    let other = a.renew("b", LONG, false).await;
    assert!(matches!(other, Err(StoreError::Mismatch(_))), "{other:?}");
}

pub(crate) async fn a_lifeline_ends_with_its_process_or_its_connection(fixture: Arc<Fixture>) {
    let watcher = fixture.node().await;
    assert_eq!(watcher.is_alive("never seen").await, Ok(false));
    let a = join(&fixture, "a").await;
    for _ in 0..3 {
        assert_eq!(watcher.is_alive("a").await, Ok(true));
        fixture.cut_lifeline("a").await;
        until_dead(&*watcher, "a").await;
        assert_eq!(a.renew("a", LONG, false).await, Ok(true), "it is made anew");
    }
    assert_eq!(watcher.is_alive("a").await, Ok(true));
    assert_eq!(a.renew("a", LONG, false).await, Ok(true));
    assert_eq!(watcher.is_alive("a").await, Ok(true));
    drop(a);
    until_dead(&*watcher, "a").await;
    assert!(member(&*watcher, "a").await.is_some(), "until somebody removes it");

    // The next process of that node, under its own name.
    let _again = join(&fixture, "a-2").await;
    assert_eq!(watcher.is_alive("a-2").await, Ok(true));
    assert_eq!(watcher.is_alive("a").await, Ok(false));
}

pub(crate) async fn shards_are_taken_at_the_epoch_that_was_seen(fixture: Arc<Fixture>) {
    let (a, b) = (join(&fixture, "a").await, join(&fixture, "b").await);
    let mut taken = a.take("a", &all_at(0)).await.expect("taken");
    assert_eq!(
        taken.iter().map(|owned| owned.shard).collect::<Vec<_>>(),
        shard_map().all().collect::<Vec<_>>()
    );
    assert!(taken.iter().all(|owned| (owned.epoch.0, owned.position.0) == (1, 0)));
    assert_eq!(owners(&view(&*b).await), vec![(1, "a"); usize::from(SHARDS)]);
    a.commit(&[row(&mut taken[3], 1, 1)]).await.expect("commit");

    let asked = [
        (ShardId(3), Epoch(1)),
        (ShardId(1), Epoch(0)),
        (ShardId(0), Epoch(1)),
        (ShardId(4_000), Epoch(0)),
        (ShardId(2), Epoch(7)),
    ];
    let second = b.take("b", &asked).await.expect("taken");
    let seen: Vec<_> = second
        .iter()
        .map(|owned| (owned.shard.0, owned.epoch.0, owned.position.0))
        .collect();
    assert_eq!(seen, [(3, 2, 1), (0, 2, 0)], "shard, epoch, position");
    assert_eq!(b.take("b", &[]).await, Ok(Vec::new()));

    // The zombie, which has not heard of it.
    let batch = [
        row(&mut taken[3], 2, 1),
        row(&mut taken[0], 2, 1),
        row(&mut taken[1], 2, 1),
    ];
    let outcomes = a.commit(&batch).await.expect("commit");
    assert_eq!(
        outcomes,
        [RowOutcome::Fenced, RowOutcome::Fenced, RowOutcome::Committed]
    );
    assert_eq!(a.reacquire("a", &[ShardId(3), ShardId(0)]).await, Ok(Vec::new()));
    let mut third = second[0];
    assert_eq!(
        b.commit(&[row(&mut third, 2, 1)]).await,
        Ok(vec![RowOutcome::Committed])
    );
}

pub(crate) async fn what_is_released_is_nobodys(fixture: Arc<Fixture>) {
    let (a, b) = (join(&fixture, "a").await, join(&fixture, "b").await);
    let mut of_a = a.take("a", &all_at(0)[..4]).await.expect("taken");
    let of_b = b.take("b", &all_at(0)[4..]).await.expect("taken");
    assert_eq!((of_a.len(), of_b.len()), (4, 4));
    let given: Vec<ShardId> = [2, 3, 4, 4_000].map(ShardId).into();
    for _ in 0..2 {
        a.release("a", &given).await.expect("released");
        let seen = view(&*a).await;
        let expected = ["a", "a", "", "", "b", "b", "b", "b"].map(|owner| (1, owner));
        assert_eq!(
            owners(&seen),
            expected,
            "another's shard is left alone, and no epoch grows"
        );
    }
    let taken = b.take("b", &[(ShardId(2), Epoch(1))]).await.expect("taken");
    assert_eq!(taken[0].epoch, Epoch(2));
    let outcomes = a.commit(&[row(&mut of_a[2], 1, 1)]).await.expect("commit");
    assert_eq!(outcomes, [RowOutcome::Fenced]);
    a.release("a", &[ShardId(2)]).await.expect("released");
    assert_eq!(owners(&view(&*a).await)[2], (2, "b"), "it is b's by now");
}

pub(crate) async fn who_is_removed_takes_nothing(fixture: Arc<Fixture>) {
    let (a, b) = (join(&fixture, "a").await, join(&fixture, "b").await);
    let mut owned = a.take("a", &all_at(0)).await.expect("taken");
    b.remove("a").await.expect("removed");
    assert_eq!(
        owners(&view(&*b).await),
        vec![(1, ""); usize::from(SHARDS)],
        "its shards are nobody's"
    );
    assert_eq!(a.take("a", &all_at(1)).await, Ok(Vec::new()));
    assert_eq!(b.take("never joined", &all_at(1)).await, Ok(Vec::new()));

    // It may still write, until somebody takes them; or until it finds out about a commit, which fences what may still
    // be under way, so that it can say for certain what became of it.
    assert_eq!(
        a.commit(&[row(&mut owned[0], 1, 1)]).await,
        Ok(vec![RowOutcome::Committed])
    );
    assert_eq!(a.reacquire("a", &[ShardId(0)]).await, Ok(Vec::new()));
    assert_eq!(
        a.commit(&[row(&mut owned[0], 2, 1)]).await,
        Ok(vec![RowOutcome::Fenced])
    );
    let seen = owners(&view(&*b).await)[0].0;
    assert_eq!(seen, 2);
    let taken = b.take("b", &[(ShardId(0), Epoch(seen))]).await.expect("taken");
    assert_eq!((taken[0].epoch.0, taken[0].position.0), (3, 1));
}

/// LS-1, LS-3: of three nodes that take the same shards at the same epoch each shard has one winner, and its epoch grows
/// by one; whatever is committed along a line was committed by its owner of that epoch.
pub(crate) async fn of_those_who_take_a_shard_one_wins(fixture: Arc<Fixture>) {
    let names = ["a", "b", "c"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(join(&fixture, name).await);
    }
    let mut held: BTreeMap<ShardId, (usize, OwnedShard)> = BTreeMap::new();
    let mut fenced = 0;
    for round in 0..20_u64 {
        let all = all_at(round);
        let (first, second, third) = tokio::join!(
            nodes[0].take(names[0], &all),
            nodes[1].take(names[1], &all),
            nodes[2].take(names[2], &all),
        );
        let winners = [first, second, third].map(|taken| taken.expect("taken"));
        let before = std::mem::take(&mut held);
        for (n, owned) in winners
            .iter()
            .enumerate()
            .flat_map(|(n, taken)| taken.iter().map(move |one| (n, one)))
        {
            assert_eq!(owned.epoch, Epoch(round + 1));
            let twice = held.insert(owned.shard, (n, *owned));
            assert!(twice.is_none(), "shard {} has two owners", owned.shard);
        }
        assert_eq!(held.len(), usize::from(SHARDS), "each has one");
        let seen = view(&*nodes[0]).await;
        for (shard, (n, _)) in &held {
            assert_eq!(owners(&seen)[usize::from(shard.0)], (round + 1, names[*n]));
        }
        for (n, mut owned) in before.into_values() {
            let zombie = nodes[n].commit(&[row(&mut owned, 10_000 + round, 1)]).await;
            assert_eq!(zombie, Ok(vec![RowOutcome::Fenced]));
            fenced += 1;
        }
        for (n, owned) in held.values_mut() {
            let owner = nodes[*n].commit(&[row(owned, round, 1)]).await;
            assert_eq!(owner, Ok(vec![RowOutcome::Committed]));
        }
    }
    assert!(fenced > 0);
    for shard in shard_map().all() {
        assert_eq!(line(&*fixture.store, shard).await.len(), 20);
    }
}

/// Nodes join, take, give back and are removed all the time: a removed node's name never comes to own anything again.
pub(crate) async fn takes_and_removals_do_not_cross(fixture: Arc<Fixture>) {
    let watcher = fixture.node().await;
    let (mut first, mut late) = (0, 0);
    for round in 0..12 {
        let name = format!("node-{round}");
        let node = join(&fixture, &name).await;
        let seen: Vec<(ShardId, Epoch)> = view(&*watcher)
            .await
            .shards
            .iter()
            .map(|owned| (owned.shard, owned.epoch))
            .collect();
        let (taken, removed) = tokio::join!(node.take(&name, &seen), watcher.remove(&name));
        removed.expect("removed");
        match taken.expect("taken").len() {
            0 => late += 1,
            n => {
                assert_eq!(n, usize::from(SHARDS));
                first += 1;
            }
        }
        let after = view(&*watcher).await;
        assert!(after.shards.iter().all(|owned| owned.owner.is_empty()), "{after:?}");
        assert!(
            after
                .shards
                .iter()
                .zip(&seen)
                .all(|(now, before)| now.epoch >= before.1)
        );
    }
    assert_eq!(first + late, 12);
}
