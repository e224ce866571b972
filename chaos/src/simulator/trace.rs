//! What happened: a hash of all of it, and the last lines in words when somebody wants to read them.

use super::queue::Time;
use std::collections::VecDeque;

/// Most lines that are kept.
const LINES_MAX: usize = 300;

#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    /// `None`: nobody reads, and nothing is put into words.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(super) fn new(reads: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: reads.then(VecDeque::new),
        }
    }

    /// Two runs that differ anywhere almost certainly have other hashes from there on.
    pub(super) const fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn say(&mut self, at: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{at:>9} {}", line()));
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }
}
