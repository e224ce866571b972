//! When a delivery that failed is attempted again.

/// How much later than written an attempt may be, as a part of its delay: so that what failed together does not come
/// back together.
const JITTER_PART: u64 = 10;

/// The longest wait that an endpoint may ask for with `Retry-After`, in milliseconds: a day.
const ASKED_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The delays between attempts, in milliseconds. After the last one there are no more attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<u64>);

impl Schedule {
    /// A schedule with these delays, in milliseconds.
    pub const fn new(delays_ms: Vec<u64>) -> Self {
        Self(delays_ms)
    }

    /// How long to wait, in milliseconds, when so many attempts have failed; `None`: there will be no other. `asked_ms`
    /// is what the endpoint asked for; it makes the wait longer, never shorter. `random` is any number.
    pub fn delay_ms(&self, failed: u32, asked_ms: Option<u64>, random: u64) -> Option<u64> {
        let place = usize::try_from(failed.saturating_sub(1)).ok()?;
        let delay = *self.0.get(place)?;
        let later = delay / JITTER_PART;
        let delay = delay.saturating_add(random % later.saturating_add(1));
        Some(delay.max(asked_ms.unwrap_or(0).min(ASKED_MS_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn schedule() -> Schedule {
        Schedule::new(vec![5_000, 300_000, 24 * HOUR])
    }

    #[test]
    fn each_failure_has_its_delay_and_after_the_last_there_is_none() {
        let delays: Vec<_> = (1..=5).map(|failed| schedule().delay_ms(failed, None, 0)).collect();
        assert_eq!(delays, [Some(5_000), Some(300_000), Some(24 * HOUR), None, None]);
        assert_eq!(schedule().delay_ms(u32::MAX, None, 0), None);
        assert_eq!(
            Schedule::new(Vec::new()).delay_ms(1, Some(5), 0),
            None,
            "one attempt and no other"
        );
    }

    #[test]
    fn an_attempt_is_never_early_and_at_most_a_tenth_late() {
        for random in [1, 499, 500, 501, 12_345_678, u64::MAX] {
            let delay = schedule().delay_ms(1, None, random).expect("another attempt");
            assert!((5_000..=5_500).contains(&delay), "{delay}");
        }
        let spread: std::collections::BTreeSet<_> = (0..501).map(|n| schedule().delay_ms(1, None, n)).collect();
        assert_eq!(spread.len(), 501, "every delay in between occurs");
        assert_eq!(Schedule::new(vec![0]).delay_ms(1, None, 7), Some(0));
        assert!(Schedule::new(vec![u64::MAX]).delay_ms(1, None, u64::MAX).is_some());
    }

    #[test]
    fn who_asks_for_more_time_gets_it_up_to_a_day() {
        assert_eq!(schedule().delay_ms(1, Some(60_000), 0), Some(60_000));
        assert_eq!(
            schedule().delay_ms(1, Some(1), 0),
            Some(5_000),
            "not sooner than scheduled"
        );
        assert_eq!(schedule().delay_ms(1, Some(u64::MAX), 0), Some(24 * HOUR));
        assert_eq!(
            schedule().delay_ms(4, Some(60_000), 0),
            None,
            "it does not bring another attempt"
        );
    }
}
