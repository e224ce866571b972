//! From what the store has to what the stream is.

use crate::ask::Versioned;
use domain::entity::{Entity, fold};
use domain::ids::Seq;
use domain::ports::{Recorded, StoreError};
use std::sync::Arc;

/// A stream's state: its snapshot with the later rows folded in. `None`: the stream has neither.
///
/// # Errors
/// A snapshot or row cannot be read, or cannot follow: the log is corrupt.
pub fn restore<E: Entity>(recorded: &Recorded) -> Result<Option<Versioned<E>>, StoreError> {
    let corrupt = |what: &str, why: &dyn std::fmt::Display| {
        StoreError::Corrupt(format!("stream {}: {what}: {why}", recorded.stream))
    };
    let mut seq = Seq(0);
    let mut state: Option<E> = None;
    if let Some(snapshot) = &recorded.snapshot {
        state = Some(serde_json::from_str(&snapshot.state).map_err(|e| corrupt("snapshot", &e))?);
        seq = snapshot.seq;
    }
    for row in &recorded.rows {
        if row.seq != seq.next() {
            return Err(corrupt("rows", &format!("version {} follows {seq}", row.seq)));
        }
        let events: Vec<E::Event> =
            serde_json::from_str(&row.events).map_err(|e| corrupt(&format!("version {}", row.seq), &e))?;
        state = fold(state, &events, row.at).map_err(|e| corrupt(&format!("version {}", row.seq), &e))?;
        seq = row.seq;
    }
    Ok(state.map(|state| Versioned {
        seq,
        state: Arc::new(state),
    }))
}
