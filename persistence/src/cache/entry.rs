//! One entry of the status cache.

use domain::ids::{OrderId, Seq};
use fred::bytes::Bytes;
use serde::Deserialize;

/// What a request for an order's status is answered with. `body` is a JSON object that holds at least `id`, `version`
/// and `settled`, with the values given here: that is all that is known of it in this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEntry {
    /// The order's version.
    pub version: Seq,
    /// Whether nothing more is to happen to the order, so that this can never be out of date.
    pub settled: bool,
    /// The answer's body.
    pub body: Bytes,
}

/// What is read of a body.
#[derive(Deserialize)]
struct Known<'a> {
    id: &'a str,
    version: u64,
    settled: bool,
}

impl StatusEntry {
    /// Reads what stands in Redis for an order; `None` when it is not an entry of it, whoever wrote it.
    pub(super) fn read(id: OrderId, body: Bytes) -> Option<Self> {
        let known: Known<'_> = serde_json::from_slice(&body).ok()?;
        let (version, settled) = (Seq(known.version), known.settled);
        (known.id == id.to_string()).then_some(Self { version, settled, body })
    }
}
