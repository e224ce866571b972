//! A shard's timers: at most one for each stream.

use domain::ids::StreamId;
use domain::ports::StreamKind;
use domain::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The wake times of a shard's streams. Setting is O(log n); entries that were replaced are dropped when they come up.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    due: HashMap<StreamId, (Timestamp, StreamKind)>,
    queue: BinaryHeap<Reverse<(Timestamp, StreamId)>>,
}

impl Wheel {
    /// Sets, moves or clears a stream's timer.
    pub(crate) fn set(&mut self, kind: StreamKind, stream: StreamId, at: Option<Timestamp>) {
        let Some(at) = at else {
            self.due.remove(&stream);
            return;
        };
        if self.due.insert(stream, (at, kind)) != Some((at, kind)) {
            self.queue.push(Reverse((at, stream)));
        }
        if self.queue.len() > 64 && self.queue.len() > 4 * self.due.len() {
            self.queue = self
                .due
                .iter()
                .map(|(stream, (at, _))| Reverse((*at, *stream)))
                .collect();
        }
    }

    /// How many timers are set.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// When the first timer is due.
    pub(crate) fn next(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((at, stream))) = self.queue.peek().copied() {
            if self.due.get(&stream).is_some_and(|(due, _)| *due == at) {
                return Some(at);
            }
            self.queue.pop();
        }
        None
    }

    /// Takes the first timer that is due at `now`, if any.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<(StreamKind, StreamId)> {
        self.next().filter(|at| *at <= now)?;
        let Reverse((_, stream)) = self.queue.pop()?;
        let (_, kind) = self.due.remove(&stream)?;
        Some((kind, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{HashSlot, OrderId};

    fn stream(n: u64) -> StreamId {
        OrderId::mint(Timestamp(1), HashSlot::of(&[b"x"]), n).stream()
    }

    #[test]
    fn timers_come_in_order_and_only_when_due() {
        let mut wheel = Wheel::default();
        wheel.set(StreamKind::Order, stream(1), Some(Timestamp(30)));
        wheel.set(StreamKind::Order, stream(2), Some(Timestamp(10)));
        wheel.set(StreamKind::Order, stream(3), Some(Timestamp(20)));
        wheel.set(StreamKind::Order, stream(2), Some(Timestamp(40)));
        wheel.set(StreamKind::Order, stream(3), None);
        assert_eq!(wheel.next(), Some(Timestamp(30)));
        assert_eq!(wheel.pop(Timestamp(29)), None);
        assert_eq!(wheel.pop(Timestamp(100)), Some((StreamKind::Order, stream(1))));
        assert_eq!(wheel.pop(Timestamp(100)), Some((StreamKind::Order, stream(2))));
        assert_eq!(wheel.pop(Timestamp(100)), None);
        assert!(wheel.due.is_empty());
    }

    #[test]
    fn a_timer_that_is_moved_often_does_not_grow_the_queue() {
        let mut wheel = Wheel::default();
        for n in 0..10_000 {
            wheel.set(StreamKind::Order, stream(1), Some(Timestamp(n)));
        }
        assert!(wheel.queue.len() <= 65, "{}", wheel.queue.len());
        assert_eq!(wheel.next(), Some(Timestamp(9_999)));
    }
}
