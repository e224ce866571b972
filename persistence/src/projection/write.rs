//! Writing a batch, also when some of it can never be written.

use super::{Applied, Batch, LineMove, OrderChange, Projection};
use domain::ports::CommitError;
use std::sync::Arc;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is in, without so many orders that the database refuses.
    Done { refused: u64 },
    /// The cursors are elsewhere: see [`Applied::Stale`].
    Stale,
}

/// Writes a batch. If the database refuses it, everything but what it refuses is written in parts, and the cursors are
/// moved last.
///
/// # Errors
/// The database is away; the same batch may be tried again.
pub(super) async fn write(projection: &dyn Projection, batch: &Arc<Batch>) -> Result<Written, CommitError> {
    match projection.apply(batch).await {
        Ok(Applied::Done) => Ok(Written::Done { refused: 0 }),
        Ok(Applied::Stale) => Ok(Written::Stale),
        Err(CommitError::Refused(_)) if !batch.orders.is_empty() => sift(projection, batch).await,
        Err(error) => Err(error),
    }
}

async fn sift(projection: &dyn Projection, batch: &Batch) -> Result<Written, CommitError> {
    // Each part is written only as long as nobody else moves the cursors.
    let unmoved = |line: &LineMove| LineMove { to: line.from, ..*line };
    let lines: Vec<LineMove> = batch.lines.iter().map(unmoved).collect();
    let mut refused = 0;
    let mut parts: Vec<&[OrderChange]> = vec![&batch.orders];
    while let Some(orders) = parts.pop() {
        let part = Arc::new(Batch {
            orders: orders.to_vec(),
            lines: lines.clone(),
        });
        match (projection.apply(&part).await, orders) {
            (Ok(Applied::Done), _) => {}
            (Ok(Applied::Stale), _) => return Ok(Written::Stale),
            (Err(CommitError::Refused(refusal)), [one]) => {
                refused += 1;
                tracing::error!(order = %one.order, seq = one.seq.0, %refusal, "an order cannot be projected and is passed over");
            }
            (Err(CommitError::Refused(_)), orders) => {
                let (first, second) = orders.split_at(orders.len() / 2);
                parts.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    let rest = Arc::new(Batch {
        orders: Vec::new(),
        lines: batch.lines.clone(),
    });
    Ok(match projection.apply(&rest).await? {
        Applied::Done => Written::Done { refused },
        Applied::Stale => Written::Stale,
    })
}
