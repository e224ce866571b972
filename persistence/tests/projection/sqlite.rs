//! The file beside the embedded store: missing, old, or of another store.

use crate::fixture::{Fixture, Kind};
use crate::history::{Turn, World};
use crate::rig::{all, batch, search_path};
use domain::ports::Append;
use persistence::projection::{Applied, Projection, SqliteProjection, rebuild};

async fn open(fixture: &Fixture) -> SqliteProjection {
    let path = search_path(fixture);
    SqliteProjection::open(&path, &*fixture.store).await.expect("opened")
}

/// A store with some rows, and its projection of them.
async fn grown(orders: std::ops::Range<u32>) -> (Fixture, World, Vec<Append>) {
    let fixture = Fixture::create(Kind::Sqlite).await.expect("a folder");
    let mut world = World::new(fixture.acquire_all("test").await);
    let rows: Vec<Append> = orders.map(|n| world.place(n, 0)).collect();
    fixture.store.commit(&rows).await.expect("committed");
    let projection = open(&fixture).await;
    assert_eq!(projection.apply(&batch(&rows)).await, Ok(Applied::Done));
    (fixture, world, rows)
}

async fn count(projection: &SqliteProjection) -> u64 {
    projection.count().await.expect("counted")
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let (fixture, world, rows) = grown(0..20).await;
    let projection = open(&fixture).await;
    assert_eq!(projection.search(&all()).await, Ok(world.list()));
    let behind: u64 = projection
        .cursors()
        .await
        .expect("cursors")
        .iter()
        .map(|(_, at)| at.0)
        .sum();
    assert_eq!(behind, rows.len() as u64);
}

#[tokio::test]
async fn a_file_that_lags_behind_its_store_is_kept() {
    let (fixture, mut world, _) = grown(0..20).await;
    let more: Vec<Append> = (0..20).map(|n| world.turn(n, Turn::Confirmed(1))).collect();
    fixture.store.commit(&more).await.expect("committed");
    let projection = open(&fixture).await;
    assert_eq!(count(&projection).await, 20);
    assert_eq!(projection.apply(&batch(&more)).await, Ok(Applied::Done), "it goes on");
    assert_eq!(projection.search(&all()).await, Ok(world.list()));
}

#[tokio::test]
async fn a_file_ahead_of_a_restored_store_is_emptied() {
    let (fixture, mut world, _) = grown(0..20).await;
    let ahead: Vec<Append> = (20..21).map(|n| world.place(n, 0)).collect();
    let projection = open(&fixture).await;
    // Applied, but not in the store: it was restored from a backup of before.
    assert_eq!(projection.apply(&batch(&ahead)).await, Ok(Applied::Done));
    drop(projection);
    let projection = open(&fixture).await;
    assert_eq!(
        (count(&projection).await, projection.cursors().await),
        (0, Ok(Vec::new()))
    );
    let done = rebuild(&*fixture.store, &projection, |_| {}).await.expect("built");
    assert_eq!((done.rows, done.orders), (20, 20));
}

#[tokio::test]
async fn a_file_of_another_store_is_emptied_even_if_that_is_further() {
    let (fixture, _, _) = grown(0..10).await;
    let (other, _, _) = grown(500..600).await;
    let path = search_path(&fixture);
    let projection = SqliteProjection::open(&path, &*other.store).await.expect("opened");
    assert_eq!(count(&projection).await, 0);
}

#[tokio::test]
async fn a_file_with_another_schema_is_made_anew() {
    let (fixture, _, _) = grown(0..10).await;
    let path = search_path(&fixture);
    let url = format!("sqlite://{}", path.display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .expect("a file");
    for change in [
        "ALTER TABLE order_search DROP COLUMN restaurant_id",
        "PRAGMA user_version = 0",
    ] {
        sqlx::query(change).execute(&mut connection).await.expect("changed");
    }
    sqlx::Connection::close(connection).await.expect("closed");
    let projection = open(&fixture).await;
    assert_eq!(count(&projection).await, 0);
    let done = rebuild(&*fixture.store, &projection, |_| {}).await.expect("built");
    assert_eq!(done.orders, 10);
}
