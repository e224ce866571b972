//! What is still to happen, the next first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual milliseconds since the beginning of a run.
pub(super) type Time = u64;

/// Events by time; of one time, in the order in which they were put in. The heap moves numbers only, the events lie still.
#[derive(Debug)]
pub(super) struct Queue<E> {
    /// When, the how manieth, and where it lies.
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    number: u64,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::with_capacity(1_024),
            events: Vec::with_capacity(1_024),
            free: Vec::new(),
            number: 0,
        }
    }

    pub(super) fn put(&mut self, at: Time, event: E) {
        self.number += 1;
        let place = if let Some(place) = self.free.pop() {
            self.events[place] = Some(event);
            place
        } else {
            self.events.push(Some(event));
            self.events.len() - 1
        };
        self.heap.push(Reverse((at, self.number, place)));
    }

    pub(super) fn next(&mut self) -> Option<(Time, E)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.events.get_mut(place)?.take()?))
    }
}
