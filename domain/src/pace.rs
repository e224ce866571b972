//! Whether it is worth while to wait a moment for more before what is there goes off: a commit, or a frame to another node,
//! costs its fixed part whatever is in it.

use std::time::Duration;

/// How many more must be about to come: fewer are not worth the wait of those that are there.
const EXPECTED_MIN: f64 = 2.0;
/// Over how long the pace is taken.
const MEMORY: Duration = Duration::from_millis(50);

/// How long to wait for more, and when not to.
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// How long, if at all.
    pub wait: Duration,
    /// How long one by itself waits at most, when so few come that they take longer than `wait`.
    pub wait_max: Duration,
    /// What holds so many need not grow.
    pub enough: usize,
}

/// How fast things come: an average that forgets, by exponential decay. Moments are durations since any fixed one.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    linger: Linger,
    per_s: f64,
    at: Duration,
}

impl Pace {
    /// Of what nothing has come of yet.
    pub const fn new(linger: Linger) -> Self {
        Self {
            linger,
            per_s: 0.0,
            at: Duration::ZERO,
        }
    }

    /// How long to wait when so many are there; `None`: too few more would come, or there are enough.
    pub fn wait(&self, now: Duration, there: usize) -> Option<Duration> {
        let Linger { wait, wait_max, enough } = self.linger;
        let until_worth = Duration::try_from_secs_f64(EXPECTED_MIN / self.decayed(now)).ok()?;
        let longest = if there > 1 { wait } else { wait_max };
        (there < enough && until_worth <= longest).then(|| until_worth.max(wait))
    }

    /// So many came since the last time.
    pub fn took(&mut self, now: Duration, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.per_s = self.decayed(now) + f64::from(count) / MEMORY.as_secs_f64();
        self.at = now;
    }

    fn decayed(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at);
        self.per_s * (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Linger = Linger {
        wait: Duration::from_millis(2),
        wait_max: Duration::from_millis(5),
        enough: 32,
    };

    /// The pace after a second of so many every so many milliseconds.
    fn after(count: usize, every_ms: u64) -> (Pace, Duration) {
        let mut now = Duration::ZERO;
        let mut pace = Pace::new(LINGER);
        for _ in 0..1_000 / every_ms {
            now += Duration::from_millis(every_ms);
            pace.took(now, count);
        }
        (pace, now)
    }

    #[test]
    fn a_few_wait_only_when_more_are_about_to_come() {
        for (count, every_ms, waits_ms) in [
            (1, 10, None),
            (1, 3, None),
            (1, 2, Some(4)),
            (2, 3, Some(3)),
            (4, 2, Some(2)),
            (20, 5, Some(2)),
        ] {
            let (pace, now) = after(count, every_ms);
            // The average is a little above what comes, right after something came.
            let wait_ms = pace.wait(now, 1).map(|wait| wait.as_secs_f64() * 1_000.0);
            let fits = wait_ms
                .zip(waits_ms)
                .is_some_and(|(is, wanted)| (is - Duration::from_millis(wanted).as_secs_f64() * 1_000.0).abs() < 0.3);
            assert!(
                fits || (wait_ms, waits_ms) == (None, None),
                "{count} every {every_ms} ms: {wait_ms:?} ms"
            );
            assert_eq!(pace.wait(now, LINGER.enough), None, "there are enough");
            let company = waits_ms.filter(|ms| Duration::from_millis(*ms) <= LINGER.wait);
            assert_eq!(
                pace.wait(now, 2).is_some(),
                company.is_some(),
                "only one waits for longer"
            );
            let later = now + Duration::from_millis(500);
            assert_eq!(pace.wait(later, 1), None, "it has become quiet");
        }
    }
}
