//! Rebuilding the projection, with or without a server that feeds it at the same time.
//!
//! It is emptied in place and filled again, rather than built beside and swapped: a projection whose cursors are gone is
//! filled by whoever feeds it, so nothing has to be agreed with a running server. Its next batch finds other cursors and
//! is refused, it reads them again, and both fill what is left; a batch that the other was faster with is refused and
//! costs only the reading. Until it is done, lists lack what is not in yet, and say so (`as_of`).

use super::write::{Written, write};
use super::{Pending, Projection, StuckOrders};
use domain::ids::Position;
use domain::ports::{CommitError, Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows that are read at once.
const ROWS: usize = 2_000;

/// How long to wait for a database that is away before trying again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is tried before giving up.
const TRIES_MAX: u32 = 20;

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Lines that were read to their end.
    pub shards_done: u16,
    /// Lines altogether.
    pub shards: u16,
    /// Rows that were applied here; a running server may have applied others.
    pub rows: u64,
    /// Rows that could not be projected and were passed over.
    pub poison: u64,
    /// Orders in the projection; known at the end.
    pub orders: u64,
}

/// Empties the projection and fills it from the store, line by line to where each ends by then. `told` hears how far it
/// is after each batch.
///
/// # Errors
/// The store or the projection is away for longer than a few seconds, or the store is corrupt. What was done stays done:
/// a server, or another rebuild, goes on.
pub async fn rebuild(
    store: &dyn Store,
    projection: &dyn Projection,
    mut told: impl FnMut(&Rebuilt),
) -> Result<Rebuilt, StoreError> {
    projection.reset().await?;
    let (mut cursors, mut stuck) = read(projection).await?;
    let mut done = Rebuilt {
        shards: store.shard_map().len(),
        ..Rebuilt::default()
    };
    let mut tries = 0;
    for shard in store.shard_map().all() {
        loop {
            let after = cursors.get(&shard.0).copied().unwrap_or_default();
            let rows = store.positions(shard, after, ROWS).await?;
            let Some(last) = rows.last() else { break };
            let end = last.position;
            let (mut pending, mut stuck_then) = (Pending::default(), stuck.clone());
            for row in &rows {
                pending.take_in(shard, after, row, &mut stuck_then);
            }
            let (count, poison) = (pending.rows(), pending.poison());
            match write(projection, &Arc::new(pending.into_batch())).await {
                Ok(Written::Done { refused }) => {
                    done.rows += count;
                    done.poison += poison + refused;
                    cursors.insert(shard.0, end);
                    stuck = stuck_then;
                    tries = 0;
                }
                // A running server was faster.
                Ok(Written::Stale) => (cursors, stuck) = read(projection).await?,
                Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) if tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(StoreError::Unavailable(error.to_string())),
            }
            told(&done);
        }
        done.shards_done += 1;
        told(&done);
    }
    done.orders = projection.count().await?;
    Ok(done)
}

/// How far the lines are, and what of them is stuck.
async fn read(projection: &dyn Projection) -> Result<(HashMap<u16, Position>, StuckOrders), StoreError> {
    let cursors = projection.cursors().await?;
    let cursors = cursors.into_iter().map(|(shard, at)| (shard.0, at)).collect();
    Ok((cursors, projection.stuck().await?))
}
