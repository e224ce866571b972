//! Rebuilding from the store.

use crate::feeding::Node;
use crate::history::Turn;
use crate::rig::Rig;
use persistence::projection::rebuild;
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn a_rebuild_is_the_same_as_what_grew(rig: Arc<Rig>) {
    let mut world = rig.world().await;
    let mut rows = 0;
    for round in 0..4 {
        let mut batch: Vec<_> = (0..50).map(|n| world.place(round * 50 + n, 0)).collect();
        batch.extend((0..40).map(|n| world.turn(round * 50 + n, Turn::Confirmed(1))));
        batch.extend((0..round * 50).map(|n| world.turn(n, Turn::Preparing)));
        batch.extend((0..20).map(|n| world.turn(round * 50 + n, Turn::UndoStuck(0))));
        batch.extend((0..round * 10).map(|n| world.turn(n * 3, Turn::UndoAgain(0))));
        batch.push(world.channel(1));
        batch.push(world.poison(round * 50));
        rig.commit(&batch).await;
        rig.apply(&batch).await;
        rows += batch.len() as u64;
    }
    let (grown, cursors) = (rig.all().await, rig.cursors().await);
    assert_eq!(grown, world.list());
    let mut told = Vec::new();
    let done = rebuild(&*rig.fixture.store, &*rig.projection, |done| told.push(*done)).await;
    let done = done.expect("built");
    assert_eq!((rig.all().await, rig.cursors().await), (grown, cursors));
    assert_eq!((done.rows, done.poison, done.orders), (rows, 4, 200));
    assert_eq!(
        (done.shards_done, done.shards),
        (crate::fixture::SHARDS, crate::fixture::SHARDS)
    );
    assert!(told.is_sorted_by_key(|done| (done.rows, done.shards_done)) && !told.is_empty());
}

pub(crate) async fn a_rebuild_and_a_server_fill_it_together(rig: Arc<Rig>) {
    let (node, mut world) = Node::start(&rig, 1 << 16).await;
    let projector = node.project(&rig.fixture.store, Arc::clone(&rig.projection));
    for round in 0..6 {
        let mut rows: Vec<_> = (0..40).map(|n| world.place(round * 40 + n, 0)).collect();
        rows.extend((0..40).map(|n| world.turn(round * 40 + n, Turn::Confirmed(2))));
        rows.extend((0..40).map(|n| world.turn(round * 40 + n, Turn::StepStuck)));
        rows.extend((0..round * 10).map(|n| world.turn(n, Turn::Resolved)));
        let rebuilding = {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rebuild(&*rig.fixture.store, &*rig.projection, |_| {}).await })
        };
        node.append(rows).await;
        rebuilding.await.expect("no panic").expect("built");
    }
    // What the last rebuild did not see, the projector brings; it may find out late that its cursors were moved.
    let rows = (0..240).map(|n| world.turn(n, Turn::Delivered)).collect();
    node.append(rows).await;
    let complete = async {
        while rig.all().await != world.list() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let complete = tokio::time::timeout(Duration::from_mins(1), complete).await;
    assert!(complete.is_ok(), "something is missing for ever");
    drop(projector);
}
