//! Asking again: what a call may believe after attempts that brought no answer. The actors and the simulator follow it.

/// Why an attempt brought no answer of whom it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Said by whoever does not own the shard, or no longer: nothing was done, and somebody else will.
    NotOwner,
    /// There was no room for it, here or there: nothing was done.
    NoRoom,
    /// No answer in time: it may have been carried out, or may be yet.
    TimedOut,
    /// The store is away, or the actor is not there: nothing was done, and asking at once again is of no use.
    Away,
}

/// What becomes of a call whose attempt brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is made again, if there is time left.
    Again,
    /// It is answered with what the attempt came to.
    AsSaid,
    /// It is answered that it may or may not have been carried out.
    Unknown,
}

/// The attempts of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// It is tied to a condition that its first attempt may have used up (`If-Match`).
    is_conditional: bool,
    may_be_done: bool,
}

impl Attempts {
    /// Of a call that was not made yet. `may_be_done`: somebody else has, and does not know what came of it.
    pub const fn new(is_conditional: bool, may_be_done: bool) -> Self {
        Self {
            is_conditional,
            may_be_done,
        }
    }

    /// Whether an attempt so far may have been carried out, or may be yet.
    pub const fn may_be_done(self) -> bool {
        self.may_be_done
    }

    /// Takes in an attempt that brought no answer. Who hears that there was no room, or that the store is away, may believe
    /// that nothing was done; but an earlier attempt may have been carried out.
    pub const fn missed(&mut self, missed: Missed) -> Next {
        match missed {
            Missed::NotOwner => Next::Again,
            Missed::NoRoom if self.may_be_done => Next::Again,
            Missed::Away if self.may_be_done => Next::Unknown,
            Missed::NoRoom | Missed::Away => Next::AsSaid,
            // All that is asked may be asked again, except under a condition that the first time may have used up.
            Missed::TimedOut => {
                self.may_be_done = true;
                if self.is_conditional { Next::AsSaid } else { Next::Again }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_that_nothing_was_done_of_what_may_have_been_done() {
        let mut attempts = Attempts::new(false, false);
        for missed in [Missed::NoRoom, Missed::Away] {
            assert_eq!(
                attempts.missed(missed),
                Next::AsSaid,
                "the first attempt was the only one"
            );
        }
        assert_eq!(attempts.missed(Missed::NotOwner), Next::Again);
        assert!(!attempts.may_be_done(), "nobody has taken it so far");
        assert_eq!(attempts.missed(Missed::TimedOut), Next::Again);
        assert!(attempts.may_be_done());
        assert_eq!(attempts.missed(Missed::NoRoom), Next::Again);
        assert_eq!(attempts.missed(Missed::Away), Next::Unknown);
        assert_eq!(Attempts::new(false, true).missed(Missed::NoRoom), Next::Again);
    }

    #[test]
    fn a_condition_may_be_used_up_by_the_first_attempt() {
        let mut attempts = Attempts::new(true, false);
        assert_eq!(attempts.missed(Missed::NotOwner), Next::Again);
        assert_eq!(attempts.missed(Missed::TimedOut), Next::AsSaid);
    }
}
