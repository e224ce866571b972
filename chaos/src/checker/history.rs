//! SG-4 and EV-1: an order's history is gapless and legal, and gives the order that the server shows.

use crate::evidence::{EventView, OrderView, StepView};
use domain::ids::{OrderId, Seq};
use domain::invariants::{Invariant, Violation, gapless};
use domain::order::{Event, Order};
use domain::saga::{Backward, Forward, Record, evolve};
use domain::time::Timestamp;
use serde_json::{Value, from_value, json};

/// An order folded from its history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The order.
    pub order: Order,
    /// Its version.
    pub version: u64,
    /// Its events, with their moments in business time.
    pub events: Vec<(Timestamp, Event)>,
}

impl History {
    /// The events alone.
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().map(|(_, event)| event.clone()).collect()
    }
}

/// Reads a history from its beginning.
///
/// # Errors
/// SG-4 when a version is missing, an event cannot follow, or a status does not follow the one before; EV-1 when an
/// event cannot be read.
pub fn read(id: OrderId, told: &[EventView]) -> Result<History, Violation> {
    numbered(id, told)?;
    let illegal = |detail: String| Violation {
        invariant: Invariant::Sg4,
        detail: format!("order {id}: {detail}"),
    };
    let mut order: Option<Order> = None;
    let mut events = Vec::with_capacity(told.len());
    for view in told {
        let event = event(view).map_err(|problem| Violation {
            invariant: Invariant::Ev1,
            detail: format!(
                "order {id}, version {}: {} cannot be read: {problem}",
                view.version, view.kind
            ),
        })?;
        let before = order.as_ref().map(|order| order.status);
        let at = Timestamp(view.at);
        let next = evolve(order, &event, at).map_err(|why| illegal(format!("version {}: {why}", view.version)))?;
        if let Some(from) = before.filter(|from| *from != next.status && !from.may_become(next.status)) {
            return Err(illegal(format!(
                "version {}: {} follows {from}",
                view.version, next.status
            )));
        }
        order = Some(next);
        events.push((at, event));
    }
    match (order, told.last()) {
        (Some(order), Some(last)) if order.id == id => Ok(History {
            order,
            version: last.version,
            events,
        }),
        (Some(order), _) => Err(illegal(format!("its history is that of order {}", order.id))),
        (None, _) => Err(illegal("it has no history".to_owned())),
    }
}

/// SG-4: versions from 1 without gaps, and in each version places from 0 without gaps.
fn numbered(id: OrderId, told: &[EventView]) -> Result<(), Violation> {
    let rows: Vec<Seq> = told
        .chunk_by(|a, b| a.version == b.version)
        .map(|row| Seq(row[0].version))
        .collect();
    if let Some(violation) = gapless(id, &rows) {
        return Err(violation);
    }
    for row in told.chunk_by(|a, b| a.version == b.version) {
        if let Some((_, view)) = row.iter().enumerate().find(|(place, view)| *place != view.index) {
            let detail = format!(
                "order {id}, version {}: event {} is out of its place",
                view.version, view.index
            );
            return Err(Violation {
                invariant: Invariant::Sg4,
                detail,
            });
        }
    }
    Ok(())
}

/// The event that was stored. The interface keeps the payment token to itself: any other will do, since nothing follows
/// from it.
fn event(view: &EventView) -> Result<Event, serde_json::Error> {
    let mut data = view.data.clone();
    data.insert("type".to_owned(), json!(view.kind));
    if let Some(details) = data.get_mut("details").and_then(Value::as_object_mut) {
        details.entry("payment_token").or_insert_with(|| json!("hidden"));
    }
    from_value(Value::Object(data))
}

/// EV-1: the folded order is the one that the server shows.
pub(super) fn agrees(history: &History, view: &OrderView) -> Vec<Violation> {
    let folded = expected_view(history);
    let mut found = Vec::new();
    let mut compare = |what: &str, folded: String, shown: String| {
        if folded != shown {
            let detail = format!(
                "order {}: its history gives {what} {folded}, shown is {shown}",
                history.order.id
            );
            found.push(Violation {
                invariant: Invariant::Ev1,
                detail,
            });
        }
    };
    compare("version", folded.version.to_string(), view.version.to_string());
    compare("status", folded.status, view.status.clone());
    compare("settled", folded.settled.to_string(), view.settled.to_string());
    compare("stuck", folded.stuck.to_string(), view.stuck.to_string());
    compare("customer", folded.customer_id, view.customer_id.clone());
    compare("steps", told(&folded.steps), told(&view.steps));
    found
}

fn told(steps: &[StepView]) -> String {
    let step = |step: &StepView| {
        let undo = step.compensation.as_deref().unwrap_or("-");
        format!("{} {} {}/{undo}", step.step, step.round, step.state)
    };
    steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

/// The view that an order's history calls for, as the interface documents it.
pub(super) fn expected_view(history: &History) -> OrderView {
    let order = &history.order;
    OrderView {
        version: history.version,
        status: order.status.to_string(),
        settled: order.is_settled(),
        stuck: order.is_stuck(),
        customer_id: order.details.customer_id.to_string(),
        steps: order.ledger.iter().map(step).collect(),
    }
}

fn step(record: &Record) -> StepView {
    let state = match record.forward {
        Forward::Acting(_) => "acting",
        Forward::Pending { .. } => "pending",
        Forward::Done => "done",
        Forward::Refused => "refused",
        Forward::Unknown => "unknown",
        Forward::Stuck => "stuck",
        Forward::Resolved => "resolved",
    };
    let compensation = match record.backward {
        Backward::Idle => None,
        Backward::Wanted => Some("wanted"),
        Backward::Acting(_) => Some("acting"),
        Backward::Done => Some("done"),
        Backward::Stuck => Some("stuck"),
        Backward::Resolved => Some("resolved"),
    };
    StepView {
        step: record.step.as_str().to_owned(),
        round: record.round,
        state: state.to_owned(),
        compensation: compensation.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::story::Story;
    use domain::order::OrderStatus;

    fn invariant(id: OrderId, told: &[EventView]) -> Option<Invariant> {
        read(id, told).err().map(|violation| violation.invariant)
    }

    #[test]
    fn a_true_history_gives_the_order() {
        let story = Story::delivered(1);
        let history = read(story.id(), &story.told()).expect("legal");
        assert_eq!(history.order.status, OrderStatus::Delivered);
        assert_eq!(agrees(&history, &story.view()), []);
    }

    #[test]
    fn a_missing_version_is_found() {
        let story = Story::delivered(1);
        let whole = story.told();
        for version in 1..story.view().version {
            let mut told = whole.clone();
            told.retain(|view| view.version != version);
            assert_eq!(
                invariant(story.id(), &told),
                Some(Invariant::Sg4),
                "without version {version}"
            );
        }
        let mut told = whole.clone();
        let place = told.iter().position(|view| view.index == 1).expect("a row of two");
        told.remove(place - 1);
        assert_eq!(
            invariant(story.id(), &told),
            Some(Invariant::Sg4),
            "without the first of a row"
        );
    }

    #[test]
    fn an_event_that_cannot_follow_is_found() {
        let story = Story::delivered(1);
        let mut told = story.told();
        let delivered = told
            .iter()
            .position(|view| view.kind == "OrderDelivered")
            .expect("delivered");
        "OrderPickedUp".clone_into(&mut told[delivered].kind);
        assert_eq!(invariant(story.id(), &told), Some(Invariant::Sg4));
        "OrderTeleported".clone_into(&mut told[delivered].kind);
        assert_eq!(invariant(story.id(), &told), Some(Invariant::Ev1));
        assert_eq!(invariant(story.id(), &[]), Some(Invariant::Sg4), "no history");
        let other = Story::delivered(2);
        assert_eq!(
            invariant(story.id(), &other.told()),
            Some(Invariant::Sg4),
            "another's history"
        );
    }

    #[test]
    fn a_view_that_says_otherwise_is_found() {
        let story = Story::delivered(1);
        let history = read(story.id(), &story.told()).expect("legal");
        let changes: [fn(&mut OrderView); 5] = [
            |view| view.version += 1,
            |view| "FAILED".clone_into(&mut view.status),
            |view| view.settled = false,
            |view| view.steps.truncate(1),
            |view| "refused".clone_into(&mut view.steps[0].state),
        ];
        for change in changes {
            let mut view = story.view();
            change(&mut view);
            let found: Vec<_> = agrees(&history, &view)
                .into_iter()
                .map(|violation| violation.invariant)
                .collect();
            assert_eq!(found, [Invariant::Ev1], "{view:?}");
        }
    }
}
