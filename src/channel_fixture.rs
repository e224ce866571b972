//! A channel for tests.

use domain::channel::Channel;
use serde_json::{Map, Value, json};

/// Channel `k-1`, with room for so many units in a slot; `taken`: since when, in milliseconds, a slot is taken, and by how
/// many units.
pub(crate) fn channel(capacity: u32, taken: &[(i64, u32)]) -> Channel {
    let claim = |(n, (slot, units)): (usize, &(i64, u32))| {
        let key = format!("01a3185c-5000-893d-8000-00000000000{n}:hold_capacity:0:do");
        (key, json!({"slot": slot, "units": units, "state": "reserved"}))
    };
    let claims: Map<String, Value> = taken.iter().enumerate().map(claim).collect();
    let channel = json!({
        "id": "k-1",
        "config": {
            "name": "K", "kind": "kitchen", "serves": [], "location": {"lat": 0.0, "lng": 0.0}, "zone": "z",
            "currency": "USD", "hours": [], "utc_offset_min": 0, "prep_ms": 0, "capacity_per_slot": capacity,
            "cost_minor": 0, "radius_m": 1,
        },
        "availability": {"state": "ONLINE"},
        "ledger": {"claims": claims},
    });
    serde_json::from_value(channel).expect("a channel")
}
