//! Lists: pages, bounds, and who may write.

use crate::history::{Turn, id_time, name, order};
use crate::rig::{Rig, all, batch};
use domain::ids::Seq;
use domain::order::OrderStatus;
use domain::time::Timestamp;
use persistence::projection::{Applied, Batch, OrderSummary, Search};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) async fn pages_hold_each_order_once_whatever_is_placed_meanwhile(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let rows: Vec<_> = (50..100).map(|n| world.place(n, 0)).collect();
    rig.apply(&rows).await;
    let mut seen: Vec<OrderSummary> = Vec::new();
    for round in 0.. {
        let behind = seen.last().map(|last| last.order);
        let page = rig
            .search(&Search {
                behind,
                limit: 7,
                ..all()
            })
            .await;
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        // Newer ones come, an older one comes late, and what was seen and what was not goes on.
        let rows = [
            world.place(100 + round, 0),
            world.place(round, 0),
            world.turn(99 - round, Turn::Confirmed(1)),
            world.turn(50 + round, Turn::Confirmed(1)),
        ];
        rig.apply(&rows).await;
    }
    let ids: Vec<_> = seen.iter().map(|order| order.order).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first, each once");
    let there_throughout: BTreeSet<_> = (50..100).map(order).collect();
    let ids: BTreeSet<_> = ids.into_iter().collect();
    assert!(there_throughout.is_subset(&ids), "none is left out");
    assert!(
        ids.iter().all(|id| *id < order(100)),
        "what is newer than the first page is on none"
    );
}

pub(crate) async fn bounds_in_time_are_exact(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    // Placed 0, 1 or 2 ms after the time in their ids.
    let rows: Vec<_> = (0..30)
        .map(|n| world.place(n, u8::try_from(n).expect("small")))
        .collect();
    rig.apply(&rows).await;
    for at in id_time(0).0 - 5..id_time(29).0 + 5 {
        for (after, before) in [(Some(at), None), (None, Some(at)), (Some(at), Some(at + 12))] {
            let search = Search {
                placed_after: after.map(Timestamp),
                placed_before: before.map(Timestamp),
                ..all()
            };
            let mut expected = world.list();
            expected.retain(|order| after.is_none_or(|after| order.placed_at.0 >= after));
            expected.retain(|order| before.is_none_or(|before| order.placed_at.0 < before));
            assert_eq!(rig.search(&search).await, expected, "{after:?} {before:?}");
        }
    }
    let ever = Search {
        placed_after: Some(Timestamp(i64::MIN)),
        placed_before: Some(Timestamp::MAX),
        ..all()
    };
    assert_eq!(rig.search(&ever).await, world.list());
    let never = Search {
        placed_after: Some(Timestamp::MAX),
        ..all()
    };
    assert_eq!(rig.search(&never).await, []);
}

pub(crate) async fn an_order_is_found_by_what_it_is(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let rows = [
        world.place(1, 0),
        world.place(2, 1),
        world.place(3, 0),
        world.turn(1, Turn::Confirmed(2)),
    ];
    rig.apply(&rows).await;
    // In batches of their own, so that rows that are there are changed.
    for (n, turn) in [
        (2, Turn::Confirmed(2)),
        (2, Turn::Ready),
        (2, Turn::Rerouted),
        (3, Turn::Failed),
        (1, Turn::Rerouted),
    ] {
        let row = world.turn(n, turn);
        rig.apply(&[row]).await;
    }
    let ids = |found: Vec<OrderSummary>| found.iter().map(|found| found.order).collect::<Vec<_>>();
    let by_status = |statuses: &[OrderStatus]| Search {
        statuses: statuses.to_vec(),
        ..all()
    };
    let confirmed = rig.search(&by_status(&[OrderStatus::Confirmed])).await;
    assert_eq!(
        ids(confirmed),
        [order(2), order(1)],
        "a re-routing sets back to CONFIRMED"
    );
    let failed = rig.search(&by_status(&[OrderStatus::Failed])).await;
    assert_eq!(ids(failed), [order(3)]);
    assert_eq!(ids(rig.search(&by_status(&[OrderStatus::Pending])).await), []);
    let both = by_status(&[OrderStatus::Failed, OrderStatus::Confirmed]);
    assert_eq!(ids(rig.search(&both).await), [order(3), order(2), order(1)]);
    let by_customer = Search {
        customer: Some(name("c", 0)),
        ..all()
    };
    assert_eq!(ids(rig.search(&by_customer).await), [order(3), order(1)]);
    let by_channel = Search {
        channel: Some(name("k", 2)),
        ..all()
    };
    assert_eq!(ids(rig.search(&by_channel).await), [], "neither has a channel any more");
    assert_eq!(rig.all().await, world.list());
}

pub(crate) async fn older_versions_and_unknown_orders_change_nothing(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let rows = [
        world.place(1, 0),
        world.turn(1, Turn::Confirmed(1)),
        world.turn(1, Turn::Preparing),
    ];
    rig.apply(&rows).await;
    let before = rig.all().await;
    // The same changes under cursors that are not theirs.
    for row in &rows {
        let orders = batch(std::slice::from_ref(row)).orders.clone();
        let again = Batch {
            orders,
            lines: Vec::new(),
        };
        assert_eq!(rig.projection.apply(&Arc::new(again)).await, Ok(Applied::Done));
        assert_eq!(rig.all().await, before);
    }
    world.place(2, 0);
    let unknown = world.turn(2, Turn::Confirmed(1));
    let orders = batch(&[unknown]).orders.clone();
    let lines = Vec::new();
    assert_eq!(
        rig.projection.apply(&Arc::new(Batch { orders, lines })).await,
        Ok(Applied::Done)
    );
    assert_eq!(
        rig.all().await,
        before,
        "an order whose first row is missing is not made up"
    );
}

pub(crate) async fn a_batch_that_begins_elsewhere_writes_nothing(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let first: Vec<_> = (0..20).map(|n| world.place(n, 0)).collect();
    let second: Vec<_> = (0..20).map(|n| world.turn(n, Turn::Confirmed(1))).collect();
    assert_eq!(
        rig.projection.apply(&batch(&second)).await,
        Ok(Applied::Stale),
        "too far ahead"
    );
    assert_eq!((rig.all().await, rig.cursors().await.len()), (Vec::new(), 0));
    rig.apply(&first).await;
    let (all, cursors) = (rig.all().await, rig.cursors().await);
    // One line is where it should be, and others are not.
    let mut mixed = (*batch(&second)).clone();
    for line in mixed.lines.iter_mut().skip(1) {
        line.from.0 -= 1;
    }
    assert!(mixed.lines.len() > 1);
    assert_eq!(rig.projection.apply(&Arc::new(mixed)).await, Ok(Applied::Stale));
    assert_eq!((rig.all().await, rig.cursors().await), (all, cursors), "all or nothing");
    rig.apply(&second).await;
    assert_eq!(rig.all().await, world.list());
    rig.projection.reset().await.expect("emptied");
    assert_eq!((rig.all().await, rig.cursors().await.len()), (Vec::new(), 0));
    assert_eq!(
        rig.projection.apply(&batch(&second)).await,
        Ok(Applied::Stale),
        "its beginning is gone"
    );
    let both: Vec<_> = first.into_iter().chain(second).collect();
    rig.cursors().await;
    rig.apply(&both).await;
    assert_eq!(rig.all().await, world.list());
}

pub(crate) async fn two_who_feed_the_same_lines_do_no_harm(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let mut batches = Vec::new();
    for round in 0..12_u32 {
        let mut rows = Vec::new();
        for n in 0..8 {
            rows.push(world.place(round * 8 + n, 0));
            rows.push(world.turn(round * 8 + n, Turn::Confirmed(1)));
            if round > 0 {
                rows.push(world.turn((round - 1) * 8 + n, Turn::Preparing));
            }
        }
        batches.push(batch(&rows));
    }
    let batches = Arc::new(batches);
    let feeders: Vec<_> = (0..3)
        .map(|_| {
            let (rig, batches) = (Arc::clone(&rig), Arc::clone(&batches));
            tokio::spawn(async move {
                let mut done = 0;
                for batch in batches.iter() {
                    done += u32::from(rig.projection.apply(batch).await == Ok(Applied::Done));
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for feeder in feeders {
        done += feeder.await.expect("no panic");
    }
    assert_eq!(done, 12, "each batch is taken once, whoever brings it");
    assert_eq!(rig.all().await, world.list());
    let seqs: BTreeSet<Seq> = rig.all().await.iter().map(|order| order.seq).collect();
    assert_eq!(seqs, BTreeSet::from([Seq(2), Seq(3)]));
}
