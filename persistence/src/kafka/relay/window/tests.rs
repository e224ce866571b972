//! A line is done up to a row when everything up to it is acknowledged, in whatever order that comes.

use super::*;
use proptest::prelude::*;

fn ticket(position: u64) -> Ticket {
    Ticket::of(ShardId(4_095), 0, Position(position))
}

#[test]
fn a_ticket_names_its_row() {
    let ticket = Ticket::of(ShardId(4_095), 255, Position(123_456_789));
    let ticket = Ticket::from_opaque(ticket.opaque());
    assert_eq!(
        (ticket.shard(), ticket.turn(), ticket.position()),
        (ShardId(4_095), 255, Position(123_456_789))
    );
}

#[test]
fn a_row_without_events_waits_for_those_before_it() {
    let mut window = Window::default();
    assert!(window.open(ticket(7), 0, None), "nothing before it");
    assert!(!window.open(ticket(8), 1, None));
    assert!(!window.open(ticket(9), 0, None));
    window.sent(ticket(8), 100);
    let done = window.acknowledge(ticket(8)).and_then(|acknowledged| acknowledged.done);
    assert_eq!(done, Some(Position(9)));
    assert_eq!((window.rows, window.events, window.bytes), (0, 0, 0));
    assert_eq!(window.lines().count(), 0);
}

#[test]
fn what_is_not_open_is_not_acknowledged() {
    let mut window = Window::default();
    assert_eq!(window.acknowledge(ticket(1)), None);
    window.open(ticket(1), 1, None);
    assert_eq!(window.acknowledge(ticket(2)), None);
    assert!(window.acknowledge(ticket(1)).is_some());
    assert_eq!(window.acknowledge(ticket(1)), None);
}

#[test]
fn what_is_forgotten_is_not_acknowledged_by_what_was_sent_before() {
    let mut window = Window::default();
    let shard = ShardId(4_095);
    for position in [4, 5] {
        window.open(window.ticket(shard, Position(position)), 2, None);
        window.sent(ticket(position), 100);
    }
    window.acknowledge(ticket(5));
    window.forget(shard);
    assert_eq!((window.rows, window.events, window.bytes), (0, 0, 0));
    let again = window.ticket(shard, Position(5));
    assert!(!window.open(again, 1, None), "the line may begin anywhere");
    assert_eq!(window.acknowledge(ticket(5)), None, "that was another time");
    let done = window.acknowledge(again).and_then(|acknowledged| acknowledged.done);
    assert_eq!(done, Some(Position(5)));
    assert_eq!((window.rows, window.events, window.bytes), (0, 0, 0));
}

#[test]
fn a_full_window_takes_nothing_in_until_something_is_delivered() {
    let mut window = Window::default();
    window.open(ticket(1), 1, None);
    window.open(ticket(2), 1, None);
    window.sent(ticket(1), BYTES_MAX);
    assert!(!window.has_room());
    window.acknowledge(ticket(1));
    assert!(window.has_room());
    assert_eq!(window.lines().collect::<Vec<_>>(), [ShardId(4_095)]);
}

proptest! {
    /// `done` is always the last row before the first that has an event unacknowledged, and at the end the last of all.
    #[test]
    fn done_never_passes_an_open_row(events in prop::collection::vec(0_usize..4, 1..40), order in any::<u64>()) {
        let mut window = Window::default();
        let mut done = 0;
        let mut sent = Vec::new();
        for (position, count) in (1_u64..).zip(&events) {
            if window.open(ticket(position), *count, None) {
                done = position;
            }
            sent.extend(std::iter::repeat_n(position, *count));
        }
        let mut left: Vec<usize> = events.clone();
        let mut random = order;
        while !sent.is_empty() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let next = usize::try_from(random >> 33).expect("small") % sent.len();
            let position = sent.swap_remove(next);
            left[usize::try_from(position).expect("small") - 1] -= 1;
            let acknowledged = window.acknowledge(ticket(position)).expect("open");
            if let Some(position) = acknowledged.done {
                prop_assert!(position.0 > done);
                done = position.0;
            }
            let first_open = left.iter().position(|left| *left > 0).unwrap_or(left.len());
            prop_assert_eq!(done, first_open as u64);
        }
        prop_assert_eq!(done, events.len() as u64);
        prop_assert_eq!((window.rows, window.events), (0, 0));
    }
}
