//! Who hears whom, and how long it takes. A link that is cut keeps some of what is sent over it until it is whole again,
//! as TCP does, and loses the rest with its connection.

use super::queue::Time;
use super::random::Random;

#[derive(Debug)]
pub(super) struct Network {
    /// Until when nothing gets from one place to another; the last place is the store.
    cut: Vec<Vec<Time>>,
}

impl Network {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            cut: vec![vec![0; nodes + 1]; nodes + 1],
        }
    }

    pub(super) fn store(&self) -> usize {
        self.cut.len() - 1
    }

    /// Cuts a link, one way, until then.
    pub(super) fn cut(&mut self, from: usize, to: usize, until: Time) {
        let link = &mut self.cut[from][to];
        *link = until.max(*link);
    }

    /// When what is sent now arrives, if it does.
    pub(super) fn carry(&self, random: &mut Random, now: Time, from: usize, to: usize) -> Option<Time> {
        let whole_at = self.cut[from][to];
        if from == to {
            return Some(now);
        }
        if whole_at <= now {
            // Now and then something is much slower than the rest.
            let longest = if random.chance(10) { 400 } else { 6 };
            return Some(now + random.between(1, longest));
        }
        random.chance(400).then(|| whole_at + random.between(1, 200))
    }
}
