//! EV-2: the topic holds every public event of the store, those of an order in order, and nothing else. What came again
//! came with the same id.

use super::violation;
use crate::evidence::{StoreSeen, StreamSeen};
use domain::ids::{OrderId, Position, Seq};
use domain::invariants::{Invariant, Violation};
use domain::order::public_events;
use domain::ports::{Row, StreamKind};
use domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A message of the topic: its key, which is the order, and its `ce_id`. In the order of its partition.
pub type Message = (String, String);

/// Compares them.
pub fn check(store: &StoreSeen, messages: &[Message]) -> Vec<Violation> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::<&str, Vec<&str>>::new());
    for (order, id) in messages {
        if seen.insert(id) {
            found.entry(order).or_default().push(id);
        }
    }
    let mut wrong = Vec::new();
    for (id, stream) in store.orders() {
        let order = id.to_string();
        let published = found.remove(order.as_str()).unwrap_or_default();
        match expected(id, stream) {
            Ok(expected) if expected == published => {}
            Ok(expected) => {
                let place = expected.iter().zip(&published).take_while(|(a, b)| a == b).count();
                let detail = format!(
                    "order {order} has {} public events and the topic {} of it: they differ from number {} on",
                    expected.len(),
                    published.len(),
                    place + 1
                );
                wrong.push(violation(Invariant::Ev2, detail));
            }
            Err(error) => wrong.push(violation(Invariant::Ev2, format!("order {order}: {error}"))),
        }
    }
    let strangers = found
        .into_keys()
        .map(|order| format!("the topic tells of order {order}, which is not in the store"));
    wrong.extend(strangers.map(|detail| violation(Invariant::Ev2, detail)));
    wrong
}

fn expected(id: OrderId, stream: &StreamSeen) -> Result<Vec<String>, serde_json::Error> {
    let mut expected = Vec::new();
    for row in &stream.rows {
        let row = Row {
            stream: id.stream(),
            kind: StreamKind::Order,
            seq: Seq(row.seq),
            position: Position(row.position),
            at: Timestamp(row.at),
            events: row.events.clone(),
        };
        expected.extend(
            public_events(&row)?
                .iter()
                .map(|event| format!("{id}:{}:{}", event.seq, event.index)),
        );
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::story::Story;

    #[test]
    fn what_is_missing_strange_or_out_of_order_is_found() {
        let (id, stream) = Story::delivered(1).stored(0);
        let order = OrderId(id);
        let whole: Vec<Message> = expected(order, &stream)
            .expect("public events")
            .into_iter()
            .map(|id| (order.to_string(), id))
            .collect();
        assert!(whole.len() > 4, "{whole:?}");
        let store = StoreSeen {
            shards: 1,
            streams: BTreeMap::from([(id, stream)]),
            keys: Vec::new(),
        };
        let found = |change: fn(&mut Vec<Message>)| {
            let mut messages = whole.clone();
            change(&mut messages);
            check(&store, &messages).len()
        };
        assert_eq!(found(|_| {}), 0);
        assert_eq!(
            found(|messages| messages.extend(messages.clone())),
            0,
            "all of it once more"
        );
        assert_eq!(found(|messages| drop(messages.remove(2))), 1, "one is missing");
        assert_eq!(found(|messages| messages.truncate(3)), 1, "the end is missing");
        assert_eq!(found(|messages| messages.swap(1, 2)), 1, "two are swapped");
        assert_eq!(
            found(|messages| messages.push(("another".to_owned(), "another:1:0".to_owned()))),
            1
        );
        assert_eq!(found(Vec::clear), 1);
    }
}
