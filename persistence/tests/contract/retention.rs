//! What every store deletes for its age, and what it never does.

use crate::fixture::{Fixture, append, lines, row, shard_map, stream_in, with_key, with_snapshot};
use domain::ids::{HashSlot, OrderId, Position, Seq, StreamId};
use domain::ports::{Append, StreamKind};
use domain::shard::{OwnedShard, ShardId};
use domain::time::Timestamp;
use persistence::{ExpiredOrders, Expiry, RetentionStore};
use std::sync::Arc;

/// What is older is to go.
const BEFORE: Timestamp = Timestamp(5_000);

/// The shard that is swept.
const SHARD: ShardId = ShardId(2);

fn at(append: Append, at: i64) -> Append {
    Append {
        at: Timestamp(at),
        ..append
    }
}

/// So many rows of an order that settles with the last.
fn settled(owned: &mut OwnedShard, n: u64, rows: u64, last_at: i64) -> Vec<Append> {
    let mut rows: Vec<Append> = (1..=rows).map(|seq| row(owned, n, seq)).collect();
    let last = rows.pop().expect("a row");
    rows.push(with_snapshot(at(last, last_at), false));
    if let Some(first) = rows.first_mut().filter(|first| first.snapshot.is_none()) {
        *first = with_snapshot(first.clone(), true);
    }
    rows
}

/// Everybody has passed everything on these lines.
fn passed(shards: &[ShardId]) -> Expiry {
    Expiry {
        before: BEFORE,
        lines: shards.iter().map(|shard| (*shard, Position(u64::MAX))).collect(),
    }
}

async fn expire(kept: &dyn RetentionStore, expiry: &Expiry) -> ExpiredOrders {
    kept.expire_orders(expiry, None, 1_000).await.expect("expired")
}

fn order(n: u64) -> OrderId {
    OrderId(stream_in(SHARD, n))
}

pub(crate) async fn settled_orders_go_as_a_whole_and_nothing_else(fixture: Arc<Fixture>) {
    let (store, kept) = (&fixture.store, fixture.kept().await);
    let mut owned = fixture.acquire_all("a").await;
    let line = &mut owned[2];
    let mut batch = settled(line, 1, 3, 4_999);
    batch[0] = with_key(batch[0].clone(), "of the one that goes");
    // Live; settled too late; settled, and then something happened after all.
    batch.extend([with_snapshot(row(line, 2, 1), true), row(line, 2, 2)]);
    batch.extend(settled(line, 3, 2, 5_000));
    batch.extend(settled(line, 4, 1, 1_500));
    batch.push(row(line, 4, 2));
    // A channel, which never ends; an order of a shard that is not swept; one that a follower has yet to pass.
    let mut channel = with_snapshot(row(line, 5, 1), false);
    channel.kind = StreamKind::Channel;
    batch.push(channel);
    batch.extend(settled(&mut owned[3], 6, 1, 1_500));
    let line = &mut owned[2];
    batch.extend(settled(line, 7, 2, 1_500));
    batch.push(row(line, 8, 1));
    store.commit(&batch).await.expect("committed");
    let mut expected = lines(&**store).await;
    let behind = batch
        .iter()
        .find(|append| append.stream == stream_in(SHARD, 7))
        .expect("there");
    let expiry = Expiry {
        before: BEFORE,
        lines: vec![(SHARD, Position(behind.position.0 + 1))],
    };

    let expired = expire(&*kept, &expiry).await;
    assert_eq!((expired.orders.as_slice(), expired.rows), ([order(1)].as_slice(), 3));
    assert_eq!(
        (expired.held_back, expired.next),
        (1, None),
        "the one with a row at the position"
    );
    expected.retain(|row| row.stream != stream_in(SHARD, 1));
    assert_eq!(all(&fixture).await, expected);
    assert_eq!(store.load(stream_in(SHARD, 1)).await, Ok(None));
    assert_eq!(store.rows(stream_in(SHARD, 1), Seq(0), 9).await, Ok(Vec::new()));
    assert!(
        store
            .claim(SHARD, "of the one that goes")
            .await
            .expect("claim")
            .is_some(),
        "keys go by themselves"
    );
    let again = expire(&*kept, &expiry).await;
    assert_eq!((again.orders.len(), again.rows, again.held_back), (0, 0, 1));

    let all_passed = expire(&*kept, &passed(&[SHARD])).await;
    assert_eq!(all_passed.orders, [order(7)]);
    assert_eq!(expire(&*kept, &passed(&[])).await.orders, []);
    let missing = kept.missing(&[order(1), order(2), order(3), order(7)]).await;
    let mut missing = missing.expect("looked up");
    missing.sort_unstable();
    assert_eq!(missing, [order(1), order(7)]);
}

/// All rows, gaps or not.
async fn all(fixture: &Fixture) -> Vec<domain::ports::Row> {
    let mut rows = Vec::new();
    for shard in shard_map().all() {
        rows.extend(
            fixture
                .store
                .positions(shard, Position(0), usize::MAX)
                .await
                .expect("rows"),
        );
    }
    rows
}

pub(crate) async fn positions_are_never_used_again(fixture: Arc<Fixture>) {
    let (store, kept) = (&fixture.store, fixture.kept().await);
    let mut owned = fixture.acquire_all("a").await;
    let mut batch = settled(&mut owned[2], 1, 2, 1_500);
    batch.extend(settled(&mut owned[2], 2, 3, 1_500));
    store.commit(&batch).await.expect("committed");
    let expired = expire(&*kept, &passed(&[SHARD])).await;
    assert_eq!(expired.orders, [order(1)]);
    assert_eq!(
        expired.held_back, 1,
        "the newest row of a line stays, and the order with it"
    );

    let mut owned = fixture.acquire_all("b").await;
    assert_eq!(owned[2].position, Position(5), "the line ends where it ended");
    let next = with_snapshot(row(&mut owned[2], 3, 1), true);
    store
        .commit(std::slice::from_ref(&next))
        .await
        .expect("the line goes on");
    let expired = expire(&*kept, &passed(&[SHARD])).await;
    assert_eq!(expired.orders, [order(2)], "it is not the newest any more");
    let rows = all(&fixture).await;
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [Position(6)]);
    assert_eq!(fixture.acquire_all("c").await[2].position, Position(6));
}

pub(crate) async fn orders_are_looked_at_page_by_page(fixture: Arc<Fixture>) {
    let (store, kept) = (&fixture.store, fixture.kept().await);
    assert_eq!(kept.oldest().await, Ok(None));
    let mut owned = fixture.acquire_all("a").await;
    let mut batch = Vec::new();
    for n in 0..25 {
        batch.extend(settled(&mut owned[usize::from(n % 2 == 0) + 1], n, 1 + n % 3, 1_500));
    }
    // Each of them has a newer row behind it.
    for line in &mut owned[1..=2] {
        batch.push(with_snapshot(row(line, 100, 1), true));
    }
    // Began after the moment, so it is not even looked at.
    let slot = HashSlot::of(&[b"later"]);
    let later = OrderId::mint(Timestamp(6_000), slot, 1);
    let mut young = append(shard_map().shard_of(later.stream()), 0, 1);
    let line = &mut owned[usize::from(young.shard.0)];
    line.position.0 += 1;
    (young.stream, young.position, young.epoch) = (later.stream(), line.position, line.epoch);
    batch.push(with_snapshot(young, false));
    store.commit(&batch).await.expect("committed");
    let oldest = kept.oldest().await.expect("looked up").expect("an order");
    assert!(batch.iter().all(|append| append.stream >= oldest.stream()));

    let expiry = passed(&[ShardId(1), ShardId(2), shard_map().shard_of(later.stream())]);
    let mut gone: Vec<OrderId> = Vec::new();
    let (mut after, mut pages): (Option<StreamId>, _) = (None, 0);
    loop {
        let page = kept.expire_orders(&expiry, after, 4).await.expect("expired");
        assert!(page.orders.len() <= 4);
        gone.extend(page.orders);
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((gone.len(), pages), (25, 7), "27 were looked at");
    assert!(gone.is_sorted(), "the oldest first");
    let left: Vec<StreamId> = all(&fixture).await.iter().map(|row| row.stream).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

pub(crate) async fn keys_go_when_they_are_old(fixture: Arc<Fixture>) {
    let (store, kept) = (&fixture.store, fixture.kept().await);
    let mut owned = fixture.acquire_all("a").await;
    let key = |n: u64| format!("default:key-{n:02}");
    let mut batch: Vec<Append> = (0..10)
        .map(|n| {
            at(
                with_key(row(&mut owned[2], n, 1), &key(n)),
                4_995 + i64::try_from(n).expect("small"),
            )
        })
        .collect();
    batch.push(at(with_key(row(&mut owned[3], 1, 1), &key(0)), 1));
    store.commit(&batch).await.expect("committed");
    let (mut keys, mut pages, mut after) = (0, 0, None::<String>);
    loop {
        let page = kept
            .expire_keys(SHARD, BEFORE, after.as_deref(), 3)
            .await
            .expect("expired");
        (keys, pages, after) = (keys + page.keys, pages + 1, page.next);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((keys, pages), (5, 4));
    for n in 0..10 {
        let claim = store.claim(SHARD, &key(n)).await.expect("claim");
        assert_eq!(claim.is_some(), n >= 5, "key {n}");
    }
    assert!(
        store.claim(ShardId(3), &key(0)).await.expect("claim").is_some(),
        "another shard's"
    );
    // Who deleted it made it anybody's again.
    let again = with_key(row(&mut owned[2], 20, 1), &key(0));
    store.commit(&[again]).await.expect("committed");
}
