//! How calls to participants stand, as whoever stands before them shows.

use serde::Serialize;

/// What a circuit breaker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Calls go through.
    Closed,
    /// None do.
    Open,
    /// One is on its way to find out.
    HalfOpen,
}

impl CircuitState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How calls from here to one participant stand, as whoever stands before it shows: a limit and a circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Circuit {
    /// Whose: `payments`, or the channel's id.
    pub participant: String,
    /// What the breaker is at.
    pub circuit: CircuitState,
    /// Failures in a row.
    pub failures: u32,
    /// How long it stays open yet, in wall milliseconds.
    pub open_for_ms: u64,
    /// How often it opened.
    pub opened: u64,
    /// Calls under way.
    pub in_flight: usize,
    /// Most calls at a time.
    pub concurrent_max: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that were not let through.
    pub turned_away: u64,
}
