//! What the rows say of a fault: what was in flight in the shards that it struck, and when each of those orders went on.

use super::faults::Struck;
use crate::evidence::{RowSeen, StoreSeen, StreamSeen};
use domain::entity::fold;
use domain::ids::OrderId;
use domain::order::{Event, Order};
use domain::saga::{Backward, Direction, Forward, Step};
use domain::shard::ShardMap;
use domain::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// An order counts as just placed for so long.
const JUST_PLACED: Duration = Duration::from_secs(2);

/// How business time relates to this process' clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// A moment, and the business time then, in milliseconds since the Unix epoch.
    pub(super) at: Instant,
    pub(super) business_ms: i64,
    pub(super) speed: u64,
}

impl Line {
    fn speed(&self) -> i64 {
        i64::try_from(self.speed.max(1)).unwrap_or(i64::MAX)
    }

    /// The business time at a moment.
    pub(super) fn business(&self, moment: Instant) -> i64 {
        let ms = |length: Duration| {
            let us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
            us.saturating_mul(self.speed()) / 1_000
        };
        if moment >= self.at {
            self.business_ms + ms(moment - self.at)
        } else {
            self.business_ms - ms(self.at - moment)
        }
    }

    /// How long so much business time is here.
    pub(super) fn lasts(&self, business_ms: i64) -> Duration {
        let us = business_ms.max(0).saturating_mul(1_000) / self.speed();
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    }
}

/// What a fault met.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    /// How many orders were in flight in each status.
    pub(super) in_flight: BTreeMap<String, usize>,
    /// Of each of them that had something under way with somebody: how long after the fault its next row came. Those whose
    /// next row says that a participant failed or did not answer are left out: that it took long was not the platform's doing.
    pub(super) moved: Vec<Duration>,
    /// Of each that was placed shortly before and was not confirmed yet: how long after the fault it was.
    pub(super) confirmed: Vec<Duration>,
}

/// Looks at all orders of the shards that a fault struck; all orders if it struck everything.
pub(super) fn met(struck: &Struck, store: &StoreSeen, line: &Line) -> Met {
    let mut met = Met::default();
    let Ok(map) = ShardMap::new(store.shards) else {
        return met;
    };
    let moment = line.business(struck.at);
    for (id, stream) in store.orders() {
        let is_struck = struck.shards.is_empty() || struck.shards.contains(&map.shard_of(id.stream()).0);
        if is_struck {
            look(&mut met, id, stream, moment, line);
        }
    }
    met
}

fn look(met: &mut Met, id: OrderId, stream: &StreamSeen, moment: i64, line: &Line) {
    // Rows of one stream come one after the other, as do their times.
    let before = stream.rows.partition_point(|row| row.at <= moment);
    let (Some(first), Some(next)) = (stream.rows[..before].first(), stream.rows.get(before)) else {
        return;
    };
    // What cannot be read is the checker's matter.
    let Some(order) = state(&stream.rows[..before]).filter(|order| order.id == id && !order.is_settled()) else {
        return;
    };
    *met.in_flight.entry(order.status.to_string()).or_default() += 1;
    let under_way = under_way(&order, moment);
    if !under_way.is_empty() && !has_failed(next, &under_way) {
        met.moved.push(line.lasts(next.at - moment));
    }
    let is_new = line.lasts(moment - first.at) <= JUST_PLACED;
    if is_new && order.milestones.confirmed_at.is_none() {
        let is_confirmation = |row: &&RowSeen| {
            events(row)
                .iter()
                .any(|event| matches!(event, Event::OrderConfirmed { .. }))
        };
        if let Some(row) = stream.rows[before..].iter().find(is_confirmation) {
            met.confirmed.push(line.lasts(row.at - moment));
        }
    }
}

fn events(row: &RowSeen) -> Vec<Event> {
    serde_json::from_str(&row.events).unwrap_or_default()
}

fn state(rows: &[RowSeen]) -> Option<Order> {
    let folded = rows
        .iter()
        .try_fold(None, |order, row| fold(order, &events(row), Timestamp(row.at)));
    folded.ok().flatten()
}

/// The attempts under way with somebody: those that had begun and were not answered.
fn under_way(order: &Order, moment: i64) -> Vec<(Step, u32, Direction, u32)> {
    let mut under_way = Vec::new();
    for record in &order.ledger {
        if let Forward::Acting(attempt) = record.forward
            && attempt.start_at.as_ms() <= moment
        {
            under_way.push((record.step, record.round, Direction::Forward, attempt.number));
        }
        if let Backward::Acting(attempt) = record.backward
            && attempt.start_at.as_ms() <= moment
        {
            under_way.push((record.step, record.round, Direction::Backward, attempt.number));
        }
    }
    under_way
}

/// Whether a row says that one of the attempts came to nothing, so that there is another, or none any more.
fn has_failed(row: &RowSeen, under_way: &[(Step, u32, Direction, u32)]) -> bool {
    let failed = |event: &Event| match *event {
        Event::StepStarted {
            step, round, attempt, ..
        } => under_way
            .iter()
            .any(|known| known.0 == step && known.1 == round && known.2 == Direction::Forward && known.3 < attempt),
        Event::UndoStarted {
            step, round, attempt, ..
        } => under_way
            .iter()
            .any(|known| known.0 == step && known.1 == round && known.2 == Direction::Backward && known.3 < attempt),
        Event::StepUnknown { .. } => true,
        _ => false,
    };
    events(row).iter().any(failed)
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::*;
    use crate::checker::story::Story;
    use std::collections::BTreeSet;

    /// The story of an order, and a fault so long after its first row, in milliseconds of business time.
    fn after(ms: i64, shards: BTreeSet<u16>) -> Met {
        let (id, stream) = Story::delivered(1).stored(0);
        let line = Line {
            at: Instant::now(),
            business_ms: stream.rows[0].at + ms,
            speed: 1,
        };
        let struck = Struck {
            shards,
            ..Struck::at(Fault::Kill, line.at)
        };
        let store = StoreSeen {
            shards: 1,
            streams: BTreeMap::from([(id, stream)]),
            keys: Vec::new(),
        };
        met(&struck, &store, &line)
    }

    #[test]
    fn an_order_in_flight_is_met_and_goes_on() {
        let all = BTreeSet::from([0]);
        let met = after(500, all.clone());
        assert_eq!(met.in_flight, BTreeMap::from([("PENDING".to_owned(), 1)]));
        assert_eq!(met.moved, [Duration::from_millis(500)], "a row each second");
        assert_eq!(met.confirmed.len(), 1);
        assert!(met.confirmed[0] > met.moved[0]);
        assert_eq!(
            after(500, BTreeSet::from([7])).in_flight,
            BTreeMap::new(),
            "of another shard"
        );
        assert_eq!(after(-1, all.clone()).in_flight, BTreeMap::new(), "not placed yet");
        assert_eq!(after(10_000_000, all).in_flight, BTreeMap::new(), "delivered");
    }
}
