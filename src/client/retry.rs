//! When a request is repeated.

use std::time::Duration;

/// Longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// The pause after the first failed attempt; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause, unless the server asks for more.
    pub backoff_max: Duration,
    /// No attempt begins later than this after the first.
    pub give_up: Duration,
}

impl RetryPolicy {
    /// For people who wait: gives up after two seconds.
    pub const INTERACTIVE: Self = Self {
        attempt_timeout: Duration::from_secs(10),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        give_up: Duration::from_secs(2),
    };

    /// For work that outlives a restart of the server: gives up after two minutes.
    pub const PATIENT: Self = Self {
        attempt_timeout: Duration::from_secs(10),
        backoff: Duration::from_millis(50),
        backoff_max: Duration::from_secs(1),
        give_up: Duration::from_mins(2),
    };

    /// The pause after so many failed attempts: the backoff spread over its upper half by `spread` (0 to 1), and never
    /// shorter than what the server asked for.
    pub fn pause(&self, failed_attempts: u32, retry_after: Option<Duration>, spread: f64) -> Duration {
        let doublings = failed_attempts.saturating_sub(1).min(20);
        let backoff = self.backoff.saturating_mul(1 << doublings).min(self.backoff_max);
        let spread = backoff.mul_f64(f64::midpoint(1.0, spread.clamp(0.0, 1.0)));
        retry_after.unwrap_or_default().min(RETRY_AFTER_MAX).max(spread)
    }
}

/// The `n`-th of numbers that cover 0 to 1 evenly however many are taken: multiples of the golden ratio. Clients that
/// failed together so come back one after the other, with no need of randomness.
pub(super) fn spread(n: u64) -> f64 {
    const GOLDEN_64: u64 = 0x9e37_79b9_7f4a_7c15;
    let high = n.wrapping_mul(GOLDEN_64) >> 32;
    f64::from(u32::try_from(high).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_respect_the_server() {
        let policy = RetryPolicy {
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_millis(350),
            ..RetryPolicy::PATIENT
        };
        let pauses: Vec<_> = (1..=4).map(|n| policy.pause(n, None, 1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        assert_eq!(policy.pause(u32::MAX, None, 0.0), Duration::from_millis(175));
        assert_eq!(
            policy.pause(1, Some(Duration::from_secs(2)), 0.5),
            Duration::from_secs(2)
        );
        assert_eq!(
            policy.pause(1, Some(Duration::ZERO), 1.0),
            Duration::from_millis(100),
            "a server that says 'now' is not hammered"
        );
        assert_eq!(policy.pause(1, Some(Duration::MAX), 0.5), RETRY_AFTER_MAX);
    }

    #[test]
    fn spread_pauses_cover_the_whole_range() {
        let mut tenths = [0; 10];
        for n in 0..100 {
            let at = spread(n);
            assert!((0.0..1.0).contains(&at));
            tenths[(0..10)
                .rfind(|tenth| at >= f64::from(*tenth) / 10.0)
                .map_or(0, |t| usize::try_from(t).unwrap())] += 1;
        }
        assert!(tenths.iter().all(|count| (8..=12).contains(count)), "{tenths:?}");
    }
}
