//! What must be true of every turn of a saga, whatever it is told.

use crate::entity::{Context, Entity};
use crate::fixtures::{Journalled, Told};
use crate::order::{Event, Order};
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::saga::{Answer, Command, Direction, Forward, StepDefinition, decide, evolve, resume};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// One turn, watched.
pub(super) fn turn(
    order: &mut Journalled<Order>,
    command: Command,
    now: Timestamp,
    policy: &Policy,
) -> Result<Told<Order>, Rejection> {
    let before = order.state.clone();
    let first = decide(before.as_ref(), command.clone(), &Context { now, policy });
    let told_this = command.clone();
    let told = order.tell(command, now, policy);
    match (&first, &told) {
        (Ok(first), Ok(told)) => {
            assert_eq!(first.events, told.events, "decide is a function of its arguments");
            assert_eq!(first.effects, told.effects, "decide is a function of its arguments");
        }
        (Err(first), Err(told)) => assert_eq!(first, told, "decide is a function of its arguments"),
        (first, told) => panic!(
            "decide is a function of its arguments: {} and {}",
            first.is_ok(),
            told.is_ok()
        ),
    }
    if let Err(Rejection::NotAllowed(why)) = &told {
        assert!(
            !why.contains("internal contradiction"),
            "{why} on {told_this:?} of {before:?}"
        );
    }
    let told = told?;
    if let Some(before) = &before {
        assert!(
            !before.is_settled() || told.events.is_empty(),
            "a settled order changed: {:?}",
            told.events
        );
        stuck_for_a_reason(before, &told_this, &told.events, now, policy);
    }
    legal_statuses(before, &told.events, now);
    fresh_keys(order, &told.events);
    if let Some(state) = &order.state {
        effects_are_pending(state, &told, policy);
        let again = state.wake_at(&Context { now, policy });
        let woken_for_nothing = matches!(told_this, Command::Wake) && told.events.is_empty();
        assert!(
            !woken_for_nothing || again.is_none_or(|at| at > now),
            "woken at {now:?}, wants it again at {again:?}"
        );
    }
    Ok(told)
}

/// SG-4: whatever the events say, the outside sees only legal transitions. (A kitchen that drops the ticket takes the
/// order back to CONFIRMED.)
fn legal_statuses(before: Option<Order>, events: &[Event], now: Timestamp) {
    let mut order = before;
    for event in events {
        let from = order.as_ref().map(|order| order.status);
        let next = evolve(order, event, now).expect("its own events can follow");
        if let Some(from) = from {
            assert!(
                from == next.status || from.may_become(next.status),
                "{from} -> {} by {event:?}",
                next.status
            );
        }
        order = Some(next);
    }
}

/// House rule 4: what was asked for is what a restart would ask for.
fn effects_are_pending(order: &Order, told: &Told<Order>, policy: &Policy) {
    let pending = resume(order, policy);
    let keys: BTreeSet<_> = pending.iter().map(|effect| effect.key).collect();
    assert_eq!(keys.len(), pending.len(), "one effect under way for each key");
    for effect in &told.effects {
        assert!(
            pending.contains(effect),
            "{effect:?} was asked for but is not pending: {pending:?}"
        );
    }
    let started = told.events.iter().filter_map(|event| match event {
        Event::StepStarted {
            step, round, attempt, ..
        } => Some((*step, *round, Direction::Forward, *attempt)),
        Event::UndoStarted {
            step, round, attempt, ..
        } => Some((*step, *round, Direction::Backward, *attempt)),
        _ => None,
    });
    for (step, round, direction, attempt) in started {
        let asked = |effects: &[crate::saga::Effect]| {
            effects.iter().any(|effect| {
                let key = effect.key;
                (key.step, key.round, key.direction, effect.attempt) == (step, round, direction, attempt)
            })
        };
        assert_eq!(
            asked(&told.effects),
            asked(&pending),
            "{step:?} {round} {direction:?} #{attempt}"
        );
    }
}

/// A key begins once, and again only after it was stuck, or as an attempt of a compensation that never left.
fn fresh_keys(order: &Journalled<Order>, new: &[Event]) {
    let begins = |event: &Event| match event {
        Event::StepStarted {
            step,
            round,
            attempt: 1,
            ..
        } => Some((*step, *round, Direction::Forward)),
        Event::UndoStarted {
            step,
            round,
            attempt: 1,
            ..
        } => Some((*step, *round, Direction::Backward)),
        _ => None,
    };
    if !new.iter().any(|event| begins(event).is_some()) {
        return;
    }
    let mut open = BTreeSet::new();
    let mut undoing = BTreeMap::new();
    for event in order.read_back().iter().flat_map(|(_, events)| events) {
        match event {
            Event::StepStuck { step, round, .. } => drop(open.remove(&(*step, *round, Direction::Forward))),
            Event::UndoStuck { step, round, .. } => drop(open.remove(&(*step, *round, Direction::Backward))),
            event => {
                if let Some(key) = begins(event) {
                    let is_unsent = undoing.get(&(key.0, key.1)) == Some(&1) && key.2 == Direction::Backward;
                    assert!(open.insert(key) || is_unsent, "{key:?} begins twice");
                }
                match event {
                    Event::UndoStarted {
                        step, round, attempt, ..
                    } => drop(undoing.insert((*step, *round), *attempt)),
                    Event::UndoDone { step, round } => drop(undoing.remove(&(*step, *round))),
                    _ => {}
                }
            }
        }
    }
}

/// SG-3: an order is stuck only when a participant said no, or when the last attempt brought nothing.
fn stuck_for_a_reason(before: &Order, command: &Command, events: &[Event], now: Timestamp, policy: &Policy) {
    for event in events {
        let (step, round, direction) = match event {
            Event::StepStuck { step, round, .. } => (*step, *round, Direction::Forward),
            Event::UndoStuck { step, round, .. } => (*step, *round, Direction::Backward),
            _ => continue,
        };
        let refused = matches!(
            command,
            Command::Answer {
                answer: Answer::Refused(_),
                ..
            }
        );
        let record = before.record(step, round).expect("what is stuck was begun");
        let row = StepDefinition::of(before, step).expect("a known step");
        let call = policy.call(row.participant);
        let most = match direction {
            Direction::Forward if !row.persistent => call.attempts_max,
            _ => call.persistent_attempts_max,
        };
        let exhausted = record.attempt(direction).is_some_and(|attempt| attempt.number >= most);
        let undecided = matches!(record.forward, Forward::Pending { deadline } if deadline <= now);
        assert!(
            refused || exhausted || undecided,
            "{event:?} after {command:?} of {record:?}"
        );
    }
}
