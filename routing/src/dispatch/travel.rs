//! How long ways take.

use super::problem::{Place, Seconds};

/// How long a way takes: as the crow flies, in whole minutes, rounded up, in seconds.
pub fn travel_s(from: Place, to: Place, metres_per_min: f64) -> Seconds {
    let east = f64::from(to.x) - f64::from(from.x);
    let north = f64::from(to.y) - f64::from(from.y);
    let minutes = (east * east + north * north).sqrt() / metres_per_min;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and no plan contains such a way"
    )]
    let whole = minutes as Seconds;
    (whole + Seconds::from(f64::from(whole) < minutes)) * 60
}

/// Metres between two places along a grid: enough to compare.
pub(super) const fn apart(a: Place, b: Place) -> i64 {
    (a.x as i64 - b.x as i64).abs() + (a.y as i64 - b.y as i64).abs()
}
