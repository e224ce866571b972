//! One row of an order at a time: what a later row says waits until the earlier one has arrived.
//!
//! The producer alone does not promise that. A broker that refuses a request for good can take a later one before the
//! producer is ended, and then the order's events stand in the topic in another order: seen in 5 of 12 runs of a test whose
//! broker refuses a batch. Rows of different orders wait for nobody.

use super::window::Ticket;
use domain::ids::OrderId;
use domain::order::PublicEvent;
use domain::shard::ShardId;
use std::collections::{HashMap, VecDeque};

/// An event, and the row it is of.
pub(super) type Waiting = (Ticket, PublicEvent);

/// The rows whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    orders: HashMap<OrderId, Turn>,
    /// Whose row it is, of each whose turn it is.
    rows: HashMap<Ticket, OrderId>,
    waiting: usize,
}

struct Turn {
    /// The row whose events may be sent.
    row: Ticket,
    /// What later rows say, in order.
    later: VecDeque<Waiting>,
}

impl Turns {
    /// The event, if it may be sent now; otherwise it is kept until [`Turns::arrived`] gives it back. Events of one order must
    /// come in their order. One that could not be sent after all may be asked for again.
    pub(super) fn admit(&mut self, ticket: Ticket, event: PublicEvent) -> Option<PublicEvent> {
        let turn = self.orders.entry(event.order).or_insert_with(|| {
            self.rows.insert(ticket, event.order);
            Turn {
                row: ticket,
                later: VecDeque::new(),
            }
        });
        if turn.row == ticket {
            return Some(event);
        }
        turn.later.push_back((ticket, event));
        self.waiting += 1;
        None
    }

    /// All of a row has arrived. What waited for it, in order.
    pub(super) fn arrived(&mut self, row: Ticket) -> VecDeque<Waiting> {
        let turn = self.rows.remove(&row).and_then(|order| self.orders.remove(&order));
        let later = turn.map(|turn| turn.later).unwrap_or_default();
        self.waiting -= later.len();
        later
    }

    /// Forgets a line that was lost.
    pub(super) fn forget(&mut self, shard: ShardId) {
        let waiting = &mut self.waiting;
        self.orders.retain(|_, turn| {
            let stays = turn.row.shard() != shard;
            *waiting -= if stays { 0 } else { turn.later.len() };
            stays
        });
        self.rows.retain(|row, _| row.shard() != shard);
    }

    /// How many events wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::Window;
    use super::*;
    use domain::ids::{HashSlot, Position, Seq};
    use domain::time::Timestamp;

    fn order(n: u64) -> OrderId {
        OrderId::mint(Timestamp(1_800_000_000_000), HashSlot::of(&[b"order"]), n)
    }

    fn event(order: OrderId, seq: u64) -> PublicEvent {
        PublicEvent {
            order,
            seq: Seq(seq),
            index: 0,
            at: Timestamp(0),
            name: "order.placed",
            data: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_later_row_waits_for_the_earlier_one_and_for_no_other_order() {
        let (window, mut turns) = (Window::default(), Turns::default());
        let row = |position| window.ticket(ShardId(3), Position(position));
        let (one, two) = (order(1), order(2));
        assert!(turns.admit(row(1), event(one, 1)).is_some());
        assert!(turns.admit(row(1), event(one, 1)).is_some(), "another event of the row");
        assert!(turns.admit(row(2), event(one, 2)).is_none());
        assert!(turns.admit(row(3), event(one, 3)).is_none());
        assert!(turns.admit(row(4), event(two, 1)).is_some(), "another order");
        assert_eq!(turns.waiting(), 2);
        assert!(turns.arrived(row(2)).is_empty(), "it is not its turn");
        let later = turns.arrived(row(1));
        let seqs: Vec<u64> = later.iter().map(|(_, event)| event.seq.0).collect();
        assert_eq!((seqs, turns.waiting()), (vec![2, 3], 0), "in order");
        for (ticket, event) in later {
            assert_eq!(
                turns.admit(ticket, event).is_some(),
                ticket == row(2),
                "one after the other"
            );
        }
        turns.forget(ShardId(3));
        assert_eq!(turns.waiting(), 0);
        assert!(
            turns.admit(row(9), event(one, 9)).is_some(),
            "nothing is left of the line"
        );
    }
}
