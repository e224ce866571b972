//! A projection of its own for each test, and the store that it is of.

use crate::fixture::{Fixture, Kind, shard_map};
use crate::history::World;
use domain::ids::{Epoch, Position};
use domain::ports::{Append, Row, RowOutcome};
use domain::shard::{OwnedShard, ShardId};
use domain::time::Millis;
use persistence::projection::{
    Applied, Batch, MemoryProjection, OrderSummary, Pending, PostgresProjection, PostgresProjectionOptions, Projection,
    Search, SqliteProjection, StuckOrders,
};
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) struct Rig {
    pub(crate) kind: Kind,
    pub(crate) fixture: Fixture,
    pub(crate) projection: Arc<dyn Projection>,
}

/// Runs a test over a projection of its own, and removes the store whether or not it passes.
pub(crate) async fn run<F>(kind: Kind, test: impl FnOnce(Arc<Rig>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(rig) = Rig::create(kind).await else { return };
    let rig = Arc::new(rig);
    let result = tokio::spawn(test(Arc::clone(&rig))).await;
    rig.fixture.remove().await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic.into_panic());
    }
}

impl Rig {
    pub(crate) async fn create(kind: Kind) -> Option<Self> {
        let fixture = Fixture::create(kind).await?;
        let projection: Arc<dyn Projection> = match kind {
            Kind::Memory => Arc::new(MemoryProjection::default()),
            Kind::Sqlite => {
                let path = search_path(&fixture);
                Arc::new(
                    SqliteProjection::open(&path, &*fixture.store)
                        .await
                        .expect("a new file"),
                )
            }
            Kind::Postgres => {
                let options = PostgresProjectionOptions::default();
                Arc::new(PostgresProjection::new(fixture.url(), &options).expect("an address"))
            }
        };
        Some(Self {
            kind,
            fixture,
            projection,
        })
    }

    /// A world over all shards.
    pub(crate) async fn world(&self) -> World {
        // Whoever writes has read the cursors.
        self.cursors().await;
        World::new(self.fixture.acquire_all("test").await)
    }

    /// Commits rows to the store.
    pub(crate) async fn commit(&self, rows: &[Append]) {
        let outcomes = self.fixture.store.commit(rows).await.expect("committed");
        assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Committed));
    }

    /// Applies rows that follow those before them, which must be taken.
    pub(crate) async fn apply(&self, rows: &[Append]) {
        assert_eq!(self.projection.apply(&self.batch(rows).await).await, Ok(Applied::Done));
    }

    /// What rows that follow those before them make.
    pub(crate) async fn batch(&self, rows: &[Append]) -> Arc<Batch> {
        let mut stuck = self.projection.stuck().await.expect("read");
        batch_after(rows, &mut stuck)
    }

    pub(crate) async fn search(&self, search: &Search) -> Vec<OrderSummary> {
        self.projection.search(search).await.expect("found")
    }

    /// Everything, newest first.
    pub(crate) async fn all(&self) -> Vec<OrderSummary> {
        self.search(&all()).await
    }

    /// The cursors, without those that are at the beginning.
    pub(crate) async fn cursors(&self) -> HashMap<ShardId, Position> {
        let cursors = self.projection.cursors().await.expect("cursors");
        cursors.into_iter().filter(|(_, at)| at.0 > 0).collect()
    }
}

pub(crate) fn search_path(fixture: &Fixture) -> PathBuf {
    fixture.path().with_file_name("search.db")
}

/// A search without bounds.
pub(crate) fn all() -> Search {
    Search {
        id_slack: Millis(10),
        limit: 1_000_000,
        ..Search::default()
    }
}

/// What rows make, where nothing is stuck before.
pub(crate) fn batch(rows: &[Append]) -> Arc<Batch> {
    batch_after(rows, &mut StuckOrders::new())
}

fn batch_after(rows: &[Append], stuck: &mut StuckOrders) -> Arc<Batch> {
    let mut pending = Pending::default();
    for append in rows {
        let after = Position(append.position.0.saturating_sub(1));
        pending.take_in(shard_map().shard_of(append.stream), after, &row(append), stuck);
    }
    Arc::new(pending.into_batch())
}

/// A shard as its owner has it, which nobody asked a store for.
pub(crate) fn unowned(shard: ShardId) -> OwnedShard {
    OwnedShard {
        shard,
        epoch: Epoch(1),
        position: Position(0),
    }
}

fn row(append: &Append) -> Row {
    crate::fixture::row_of(append)
}
