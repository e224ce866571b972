//! A circuit breaker as a pure state machine; time enters as data.
//!
//! So many failures in a row open it: nothing is let through for a while. Then one call, the *probe*, is let through: if it
//! succeeds the breaker closes, if it fails the breaker stays open for as long again.

use domain::circuit::CircuitState;
use domain::time::{Millis, Timestamp};

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// So many failures in a row open it.
    pub failures_max: u32,
    /// How long it stays open before a probe.
    pub open_ms: Millis,
}

/// A call that was let through. Its result is told to [`Breaker::settle`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Passage {
    generation: u64,
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    state: CircuitState,
    failures: u32,
    open_until: Timestamp,
    /// Grows with each change of state, so that results of calls from before the change are not counted.
    generation: u64,
    opened: u64,
}

impl Breaker {
    /// A closed one.
    pub const fn new(limits: BreakerLimits) -> Self {
        let state = CircuitState::Closed;
        Self {
            limits,
            state,
            failures: 0,
            open_until: Timestamp(0),
            generation: 0,
            opened: 0,
        }
    }

    /// Whether a call would be let through now.
    pub fn admits(&self, now: Timestamp) -> bool {
        match self.state {
            CircuitState::Closed => true,
            CircuitState::Open => now >= self.open_until,
            CircuitState::HalfOpen => false,
        }
    }

    /// Lets a call through, or not.
    pub fn enter(&mut self, now: Timestamp) -> Option<Passage> {
        if !self.admits(now) {
            return None;
        }
        if self.state == CircuitState::Open {
            self.become_(CircuitState::HalfOpen);
        }
        Some(Passage {
            generation: self.generation,
        })
    }

    /// A call that was let through came back, or did not.
    pub fn settle(&mut self, passage: &Passage, succeeded: bool, now: Timestamp) {
        if passage.generation != self.generation {
            return;
        }
        if succeeded {
            self.failures = 0;
            if self.state == CircuitState::HalfOpen {
                self.become_(CircuitState::Closed);
            }
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.state == CircuitState::HalfOpen || self.failures >= self.limits.failures_max {
            self.open_until = now + self.limits.open_ms;
            self.opened += 1;
            self.become_(CircuitState::Open);
        }
    }

    /// A call that was let through was given up before it could succeed: that is nobody's failure. Only the probe counts
    /// as failed, since somebody must find out in its place.
    pub fn abandon(&mut self, passage: &Passage, now: Timestamp) {
        if self.state == CircuitState::HalfOpen {
            self.settle(passage, false, now);
        }
    }

    fn become_(&mut self, state: CircuitState) {
        self.state = state;
        self.generation += 1;
    }

    /// The state.
    pub const fn state(&self) -> CircuitState {
        self.state
    }

    /// How many failures there were in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How often it opened.
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// How long it stays open yet; zero when it is not.
    pub fn open_for_ms(&self, now: Timestamp) -> u64 {
        if self.state == CircuitState::Open {
            self.open_until.ms_since(now)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures_max: 3,
        open_ms: Millis(100),
    };

    fn call(breaker: &mut Breaker, succeeded: bool, now: i64) -> bool {
        let passage = breaker.enter(Timestamp(now));
        if let Some(passage) = &passage {
            breaker.settle(passage, succeeded, Timestamp(now));
        }
        passage.is_some()
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..3 {
            assert!(call(&mut breaker, false, 0));
        }
        assert_eq!(breaker.state(), CircuitState::Open);
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::new(LIMITS);
        for succeeded in [false, false, true, false, false, true] {
            assert!(call(&mut breaker, succeeded, 0));
        }
        assert_eq!((breaker.state(), breaker.opened()), (CircuitState::Closed, 0));
        assert_eq!(opened().opened(), 1);
    }

    #[test]
    fn open_it_lets_nothing_through_until_its_time() {
        let mut breaker = opened();
        assert_eq!(breaker.open_for_ms(Timestamp(30)), 70);
        assert!(!call(&mut breaker, true, 99));
        assert!(call(&mut breaker, true, 100));
        assert_eq!((breaker.state(), breaker.failures()), (CircuitState::Closed, 0));
    }

    #[test]
    fn half_open_it_lets_one_probe_through() {
        let mut breaker = opened();
        let probe = breaker.enter(Timestamp(100)).expect("the probe");
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert_eq!(breaker.enter(Timestamp(10_000)), None, "one only");
        breaker.settle(&probe, false, Timestamp(150));
        assert_eq!(
            (breaker.state(), breaker.open_for_ms(Timestamp(150))),
            (CircuitState::Open, 100)
        );
        assert!(!call(&mut breaker, true, 249));
        assert!(call(&mut breaker, true, 250));
    }

    #[test]
    fn a_call_that_was_given_up_counts_only_if_it_was_the_probe() {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..9 {
            let passage = breaker.enter(Timestamp(0)).expect("closed");
            breaker.abandon(&passage, Timestamp(0));
        }
        assert_eq!((breaker.state(), breaker.failures()), (CircuitState::Closed, 0));
        let mut breaker = opened();
        let probe = breaker.enter(Timestamp(100)).expect("the probe");
        breaker.abandon(&probe, Timestamp(150));
        assert_eq!(
            (breaker.state(), breaker.open_for_ms(Timestamp(150))),
            (CircuitState::Open, 100)
        );
    }

    #[test]
    fn results_of_calls_from_before_are_not_counted() {
        let mut breaker = Breaker::new(LIMITS);
        let slow = breaker.enter(Timestamp(0)).expect("closed");
        let slower = breaker.enter(Timestamp(0)).expect("closed");
        for _ in 0..3 {
            call(&mut breaker, false, 0);
        }
        breaker.settle(&slow, true, Timestamp(50));
        assert_eq!(breaker.state(), CircuitState::Open, "an old success does not close it");
        let probe = breaker.enter(Timestamp(100)).expect("the probe");
        breaker.settle(&slower, false, Timestamp(110));
        assert_eq!(
            breaker.state(),
            CircuitState::HalfOpen,
            "an old failure is not the probe's"
        );
        breaker.settle(&probe, true, Timestamp(120));
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}
