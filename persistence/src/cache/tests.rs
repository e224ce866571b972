//! The rules of the cache, and what it does with a real Redis.

mod redis;

use super::*;
use domain::ids::{HashSlot, Seq};
use domain::time::Timestamp;
use fred::bytes::Bytes;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::sync::atomic::AtomicBool;

/// An order; the same number, the same order. `moment` tells those of one test run from those of another.
fn order(moment: i64, number: u64) -> OrderId {
    OrderId::mint(Timestamp(moment), HashSlot::of(&[b"test"]), number)
}

fn entry(id: OrderId, version: u64, settled: bool) -> StatusEntry {
    let body = format!(r#"{{"id":"{id}","status":"ANY","version":{version},"settled":{settled}}}"#);
    StatusEntry {
        version: Seq(version),
        settled,
        body: Bytes::from(body),
    }
}

const NOBODY: fn() -> Option<StatusEntry> = || None;

fn loaded(entry: StatusEntry) -> Ready<Result<StatusEntry, Infallible>> {
    ready(Ok(entry))
}

fn never() -> impl Future<Output = Result<StatusEntry, Infallible>> {
    poll_fn(|_| panic!("the store is not needed"))
}

/// Reads what must be in the process.
async fn held(cache: &StatusCache, id: OrderId) -> u64 {
    let read = cache
        .read(id, || Standing::Owner, || panic!("nor the actor"), never())
        .await;
    read.expect("infallible").version.0
}

#[test]
fn only_a_newer_version_takes_the_place() {
    let (id, slot) = (order(1, 1), Slot::default());
    assert!(slot.offer(entry(id, 2, false)));
    assert!(!slot.offer(entry(id, 1, false)), "older");
    assert!(!slot.offer(entry(id, 2, false)), "the same");
    assert_eq!(slot.fill(entry(id, 1, false)), (entry(id, 2, false), false));
    assert!(slot.offer(entry(id, 3, true)));
    assert_eq!(slot.entry(), Some(entry(id, 3, true)));
}

#[test]
fn what_may_still_change_is_accepted_from_redis_for_a_second_and_by_the_owner_never() {
    let found = |settled, age_ms| Found {
        entry: entry(order(1, 1), 1, settled),
        age: Duration::from_millis(age_ms),
    };
    for (settled, age_ms, standing, accepted) in [
        (false, 0, Standing::Other, true),
        (false, 1_000, Standing::Other, true),
        (false, 1_001, Standing::Other, false),
        (false, u64::MAX, Standing::Other, false),
        (false, 0, Standing::Owner, false),
        (true, 0, Standing::Owner, true),
        (true, u64::MAX, Standing::Owner, true),
        (true, u64::MAX, Standing::Other, true),
    ] {
        assert_eq!(
            is_acceptable(&found(settled, age_ms), standing),
            accepted,
            "{settled} {age_ms} {standing:?}"
        );
    }
}

#[test]
fn what_is_no_entry_of_the_order_is_not_read() {
    let id = order(1, 1);
    let good = entry(id, 7, true);
    assert_eq!(StatusEntry::read(id, good.body.clone()), Some(good.clone()));
    assert_eq!(StatusEntry::read(order(1, 2), good.body), None, "another order's");
    for other in ["", "CONFIRMED", "\"CONFIRMED\"", "[]", "{}", "{\"version\":1}"] {
        assert_eq!(StatusEntry::read(id, Bytes::from(other)), None, "{other}");
    }
}

#[tokio::test]
async fn an_order_nobody_reads_costs_nothing_and_one_that_is_read_is_kept_current() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    cache.changed(id, || panic!("nobody reads it"));
    let read = cache
        .read(id, || Standing::Owner, NOBODY, loaded(entry(id, 1, false)))
        .await;
    assert_eq!(read.expect("infallible").version, Seq(1));
    assert_eq!(held(&cache, id).await, 1);
    for (told, held_then) in [(2, 2), (4, 4), (3, 4)] {
        cache.changed(id, || entry(id, told, false));
        assert_eq!(held(&cache, id).await, held_then, "told {told}");
    }
}

#[tokio::test]
async fn the_actor_answers_before_the_store() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    let live = || Some(entry(id, 5, false));
    let read = cache.read(id, || Standing::Owner, live, never()).await;
    assert_eq!(read.expect("infallible").version, Seq(5));
    assert_eq!(held(&cache, id).await, 5);
}

#[tokio::test]
async fn a_change_between_reading_and_keeping_is_not_lost() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    let load = async {
        // The store was read, and then the order changed before the answer came.
        let read = entry(id, 1, false);
        cache.changed(id, || entry(id, 2, false));
        Ok::<_, Infallible>(read)
    };
    let read = cache.read(id, || Standing::Owner, NOBODY, load).await;
    assert_eq!(read.expect("infallible").version, Seq(2));
    assert_eq!(held(&cache, id).await, 2);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_leaves_nothing_behind() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    let read = cache
        .read(id, || Standing::Owner, NOBODY, async { Err("there is no such order") })
        .await;
    assert_eq!(read, Err("there is no such order"));
    assert!(cache.memory.tracked(id).is_none());
}

#[tokio::test]
async fn who_does_not_own_an_order_keeps_nothing_of_it() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    let live = || panic!("its actor lives elsewhere");
    for version in [1, 2] {
        let read = cache
            .read(id, || Standing::Other, live, loaded(entry(id, version, false)))
            .await;
        assert_eq!(read.expect("infallible").version, Seq(version));
    }
    assert!(cache.memory.tracked(id).is_none());
}

#[tokio::test]
async fn what_is_lost_is_forgotten_at_once_and_nothing_else() {
    let (lost, kept, cache) = (order(1, 1), order(1, 2), StatusCache::start(10, None));
    for id in [lost, kept] {
        let read = cache.read(id, || Standing::Owner, NOBODY, loaded(entry(id, 1, false)));
        assert_eq!(read.await.expect("infallible").version, Seq(1));
    }
    cache.forget(|id| id == lost);
    assert_eq!(held(&cache, kept).await, 1);
    cache.changed(lost, || panic!("it is none of ours"));
    // Ours again, after another node has changed it.
    let read = cache.read(lost, || Standing::Owner, NOBODY, loaded(entry(lost, 7, false)));
    assert_eq!(read.await.expect("infallible").version, Seq(7));
}

#[tokio::test]
async fn a_read_during_which_its_order_is_lost_leaves_no_entry_behind() {
    let (id, cache) = (order(1, 1), StatusCache::start(10, None));
    let lose = || cache.forget(|lost| lost == id);
    // Lost as soon as its standing was asked for, ...
    let standing = || {
        lose();
        Standing::Owner
    };
    let read = cache.read(id, standing, NOBODY, loaded(entry(id, 1, false))).await;
    assert_eq!(read.expect("infallible").version, Seq(1), "it was so when it was read");
    assert!(cache.memory.tracked(id).is_none());
    // ... while its actor is looked at, ...
    let live = || {
        lose();
        Some(entry(id, 2, false))
    };
    let read = cache.read(id, || Standing::Owner, live, never()).await;
    assert_eq!(read.expect("infallible").version, Seq(2));
    assert!(cache.memory.tracked(id).is_none());
    // ... and while the store is read.
    let load = async {
        lose();
        Ok::<_, Infallible>(entry(id, 3, false))
    };
    let read = cache.read(id, || Standing::Owner, NOBODY, load).await;
    assert_eq!(read.expect("infallible").version, Seq(3));
    assert!(cache.memory.tracked(id).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_order_of_events_no_entry_outlives_its_ownership() {
    for round in 0..2_000 {
        let (id, cache) = (order(1, round), Arc::new(StatusCache::start(10, None)));
        let owned = Arc::new(AtomicBool::new(true));
        let reading = tokio::spawn({
            let (cache, owned) = (Arc::clone(&cache), Arc::clone(&owned));
            async move {
                let standing = || {
                    if owned.load(Ordering::SeqCst) {
                        Standing::Owner
                    } else {
                        Standing::Other
                    }
                };
                cache.read(id, standing, NOBODY, loaded(entry(id, 1, false))).await
            }
        });
        owned.store(false, Ordering::SeqCst);
        cache.forget(|lost| lost == id);
        assert!(reading.await.expect("no panic").is_ok());
        assert!(cache.memory.tracked(id).is_none(), "round {round}");
    }
}

#[tokio::test]
async fn too_many_changes_wait_in_orders_and_not_in_changes() {
    let publisher = Publisher::new(2);
    for number in [1, 1, 2, 1, 3, 2] {
        publisher.mark(order(1, number));
    }
    let mut waiting = publisher.take();
    waiting.sort();
    assert_eq!(waiting, [order(1, 1), order(1, 2)]);
    assert!(publisher.take().is_empty());
}
