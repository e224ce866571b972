//! Up to where a partition is dealt with, when its messages finish in any order.

use std::collections::VecDeque;

/// The messages of a partition that were begun, in the order in which they came, and whether each is dealt with.
#[derive(Debug, Default)]
pub(super) struct Progress(VecDeque<(i64, bool)>);

impl Progress {
    /// A message was received.
    pub(super) fn begin(&mut self, offset: i64) {
        self.0.push_back((offset, false));
    }

    /// A message is dealt with. Returns the offset of the last one before which nothing is open any more, if that is
    /// another one than it was. Offsets may have holes.
    pub(super) fn done(&mut self, offset: i64) -> Option<i64> {
        if let Some(open) = self.0.iter_mut().find(|open| **open == (offset, false)) {
            open.1 = true;
        }
        let mut last = None;
        while let Some((offset, _)) = self.0.pop_front_if(|(_, done)| *done) {
            last = Some(offset);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_open_message_holds_back_those_after_it() {
        let mut progress = Progress::default();
        for offset in [3, 4, 7, 9] {
            progress.begin(offset);
        }
        assert_eq!(progress.done(7), None);
        assert_eq!(progress.done(4), None);
        assert_eq!(progress.done(3), Some(7));
        assert_eq!(progress.done(9), Some(9));
    }

    #[test]
    fn a_message_that_comes_again_is_open_again() {
        let mut progress = Progress::default();
        progress.begin(5);
        progress.begin(6);
        progress.begin(5);
        assert_eq!(progress.done(5), Some(5));
        assert_eq!(progress.done(5), None, "6 is open");
        assert_eq!(progress.done(6), Some(5));
    }

    proptest! {
        /// Whatever finishes in whatever order: never beyond an open one, and in the end all.
        #[test]
        fn never_beyond_an_open_one(order in Just((0..40_i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = Progress::default();
            (0..40).for_each(|offset| progress.begin(offset));
            let (mut last, mut finished) = (-1, Vec::new());
            for offset in order {
                finished.push(offset);
                last = progress.done(offset).unwrap_or(last);
                let first_open = (0..40).find(|offset| !finished.contains(offset)).unwrap_or(40);
                prop_assert_eq!(last, first_open - 1);
            }
        }
    }
}
