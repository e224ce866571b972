//! Orders, channels and zones behind one face: the simulator keeps them in one map, as a store does, and lets the real
//! core decide, evolve and resume.

use super::world;
use domain::channel::{self, Channel};
use domain::entity::{Context, Entity, IllegalEvent, fold};
use domain::ids::OrderId;
use domain::invariants::{self, Violation};
use domain::order::{self, Order};
use domain::policy::Policy;
use domain::ports::StreamKind;
use domain::rejection::Rejection;
use domain::saga::{self, Action, Answer, Direction, Effect, Receipt, Report};
use domain::time::Timestamp;
use domain::zone::{self, Zone};
use std::sync::Arc;

/// What one of them can be told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Order(saga::Command),
    Channel(channel::Command),
    Zone(zone::Command),
}

/// The state of one of them. A copy costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Order(Arc<Order>),
    Channel(Arc<Channel>),
    Zone(Arc<Zone>),
}

/// The events of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Facts {
    Order(Vec<order::Event>),
    Channel(Vec<channel::Event>),
    Zone(Vec<zone::Event>),
}

/// Something to do once a row is durable.
#[derive(Clone, Debug)]
pub(super) enum Todo {
    /// Ask a participant.
    Effect(Box<Effect>),
    /// Tell an order.
    Report(OrderId, Report),
}

/// What came of a command.
pub(super) struct Decided {
    pub(super) facts: Facts,
    pub(super) todos: Vec<Todo>,
    pub(super) answer: Answer,
    /// The state after it, if it changed anything.
    pub(super) next: Option<State>,
}

trait Hosted: Entity {
    fn state(of: &State) -> Option<&Arc<Self>>;
    fn wrap(state: Self) -> State;
    fn facts(events: Vec<Self::Event>) -> Facts;
    fn todo(effect: Self::Effect) -> Todo;
    fn answer(reply: Self::Reply) -> Answer;

    /// The answer to an effect that a node settles by itself, within the turn.
    fn settle(_state: &Self, _effect: &Self::Effect, _context: &Context<'_>) -> Option<Self::Command> {
        None
    }
}

impl Hosted for Order {
    fn state(of: &State) -> Option<&Arc<Self>> {
        match of {
            State::Order(state) => Some(state),
            _ => None,
        }
    }

    fn wrap(state: Self) -> State {
        State::Order(Arc::new(state))
    }

    fn facts(events: Vec<order::Event>) -> Facts {
        Facts::Order(events)
    }

    fn todo(effect: Effect) -> Todo {
        Todo::Effect(Box::new(effect))
    }

    fn answer((): ()) -> Answer {
        Answer::Done(Receipt::Empty)
    }

    fn settle(order: &Self, effect: &Effect, context: &Context<'_>) -> Option<saga::Command> {
        matches!(effect.action, Action::Route).then(|| effect.answered(world::route(order, context)))
    }
}

impl Hosted for Channel {
    fn state(of: &State) -> Option<&Arc<Self>> {
        match of {
            State::Channel(state) => Some(state),
            _ => None,
        }
    }

    fn wrap(state: Self) -> State {
        State::Channel(Arc::new(state))
    }

    fn facts(events: Vec<channel::Event>) -> Facts {
        Facts::Channel(events)
    }

    fn todo(effect: std::convert::Infallible) -> Todo {
        match effect {}
    }

    fn answer(reply: Answer) -> Answer {
        reply
    }
}

impl Hosted for Zone {
    fn state(of: &State) -> Option<&Arc<Self>> {
        match of {
            State::Zone(state) => Some(state),
            _ => None,
        }
    }

    fn wrap(state: Self) -> State {
        State::Zone(Arc::new(state))
    }

    fn facts(events: Vec<zone::Event>) -> Facts {
        Facts::Zone(events)
    }

    fn todo(effect: zone::Effect) -> Todo {
        Todo::Report(effect.order, effect.report)
    }

    fn answer(reply: Answer) -> Answer {
        reply
    }
}

/// A decision, with everything that the node settles by itself; as `actors/src/turn.rs` makes it.
fn decide_as<E: Hosted>(
    state: Option<&State>,
    command: E::Command,
    context: &Context<'_>,
) -> Result<Decided, Rejection> {
    let state = state.and_then(E::state).map(|state| &**state);
    let decision = E::decide(state, command, context)?;
    let (mut events, mut effects) = (decision.events, decision.effects);
    let answer = E::answer(decision.reply);
    let follow = |state: Option<E>, events: &[E::Event]| {
        fold(state, events, context.now).map_err(|illegal| Rejection::NotAllowed(illegal.to_string()))
    };
    let mut next = None;
    if !events.is_empty() {
        next = follow(state.cloned(), &events)?;
        let mut settled = 0;
        while let Some(effect) = effects.get(settled) {
            let Some(command) = next.as_ref().and_then(|next| E::settle(next, effect, context)) else {
                settled += 1;
                continue;
            };
            let further = E::decide(next.as_ref(), command, context)?;
            next = follow(next, &further.events)?;
            effects.remove(settled);
            events.extend(further.events);
            effects.extend(further.effects);
        }
    }
    Ok(Decided {
        facts: E::facts(events),
        todos: effects.into_iter().map(E::todo).collect(),
        answer,
        next: next.map(E::wrap),
    })
}

fn fold_as<E: Hosted>(state: Option<&State>, events: &[E::Event], at: Timestamp) -> Result<State, IllegalEvent> {
    let state = state.and_then(E::state).map(|state| (**state).clone());
    fold(state, events, at)?.map(E::wrap).ok_or_else(|| IllegalEvent {
        event: String::new(),
        why: "a row without events begins nothing".into(),
    })
}

impl Command {
    pub(super) const fn kind(&self) -> StreamKind {
        match self {
            Self::Order(_) => StreamKind::Order,
            Self::Channel(_) => StreamKind::Channel,
            Self::Zone(_) => StreamKind::Zone,
        }
    }

    /// The command that waking a stream of this kind is.
    pub(super) fn wake(kind: StreamKind) -> Self {
        match kind {
            StreamKind::Order => Self::Order(Order::wake()),
            StreamKind::Channel => Self::Channel(Channel::wake()),
            StreamKind::Zone => Self::Zone(Zone::wake()),
        }
    }

    /// The command as it is said when it may have been said before.
    pub(super) fn again(self) -> Self {
        match self {
            Self::Channel(command) => Self::Channel(command.again()),
            other => other,
        }
    }

    pub(super) fn decide(self, state: Option<&State>, context: &Context<'_>) -> Result<Decided, Rejection> {
        match self {
            Self::Order(command) => decide_as::<Order>(state, command, context),
            Self::Channel(command) => decide_as::<Channel>(state, command, context),
            Self::Zone(command) => decide_as::<Zone>(state, command, context),
        }
    }
}

impl State {
    pub(super) fn order(&self) -> Option<&Order> {
        <Order as Hosted>::state(self).map(|order| &**order)
    }

    pub(super) fn channel(&self) -> Option<&Channel> {
        <Channel as Hosted>::state(self).map(|channel| &**channel)
    }

    pub(super) fn zone(&self) -> Option<&Zone> {
        <Zone as Hosted>::state(self).map(|zone| &**zone)
    }

    pub(super) const fn kind(&self) -> StreamKind {
        match self {
            Self::Order(_) => StreamKind::Order,
            Self::Channel(_) => StreamKind::Channel,
            Self::Zone(_) => StreamKind::Zone,
        }
    }

    /// The state after a row.
    pub(super) fn after(state: Option<&Self>, facts: &Facts, at: Timestamp) -> Result<Self, IllegalEvent> {
        match facts {
            Facts::Order(events) => fold_as::<Order>(state, events, at),
            Facts::Channel(events) => fold_as::<Channel>(state, events, at),
            Facts::Zone(events) => fold_as::<Zone>(state, events, at),
        }
    }

    pub(super) fn wake_at(&self, context: &Context<'_>) -> Option<Timestamp> {
        match self {
            Self::Order(state) => state.wake_at(context),
            Self::Channel(state) => state.wake_at(context),
            Self::Zone(state) => state.wake_at(context),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Order(state) => state.is_live(),
            Self::Channel(state) => state.is_live(),
            Self::Zone(state) => state.is_live(),
        }
    }

    pub(super) fn resume(&self, policy: &Policy) -> Vec<Todo> {
        match self {
            Self::Order(state) => state.resume(policy).into_iter().map(Order::todo).collect(),
            Self::Channel(state) => state.resume(policy).into_iter().map(Channel::todo).collect(),
            Self::Zone(state) => state.resume(policy).into_iter().map(Zone::todo).collect(),
        }
    }

    /// Rows after which a new snapshot is stored; as `actors/src/hosted.rs` has it.
    pub(super) fn snapshot_rows(&self) -> u64 {
        match self {
            Self::Order(_) => 32,
            Self::Channel(channel) => 64.max(channel.ledger.len() as u64),
            Self::Zone(zone) => 64.max((zone.jobs.len() + zone.couriers.len()) as u64),
        }
    }

    /// Whether an order's answer may be written with what comes next; as `actors/src/hosted.rs` has it.
    pub(super) fn may_wait(&self, facts: &Facts) -> bool {
        let (Self::Order(order), Facts::Order(events)) = (self, facts) else {
            return false;
        };
        let answers = events
            .iter()
            .all(|event| matches!(event, order::Event::StepDone { .. }));
        let awaited = |record: &saga::Record| record.attempt(Direction::Forward).is_some();
        answers && order.unwinding.is_none() && order.ledger.iter().any(awaited)
    }

    /// EV-1: the rows give this state, read back from their JSON as they are, and the state survives its own JSON.
    pub(super) fn replays(&self, rows: &[(Timestamp, Facts)]) -> Result<(), Violation> {
        match self {
            Self::Order(state) => replays_as::<Order>(rows, state, |facts| match facts {
                Facts::Order(events) => Some(events),
                _ => None,
            }),
            Self::Channel(state) => replays_as::<Channel>(rows, state, |facts| match facts {
                Facts::Channel(events) => Some(events),
                _ => None,
            }),
            Self::Zone(state) => replays_as::<Zone>(rows, state, |facts| match facts {
                Facts::Zone(events) => Some(events),
                _ => None,
            }),
        }
    }
}

fn replays_as<E: Entity>(
    rows: &[(Timestamp, Facts)],
    state: &E,
    events: impl Fn(&Facts) -> Option<&Vec<E::Event>>,
) -> Result<(), Violation> {
    let broken = |detail: String| Violation {
        invariant: invariants::Invariant::Ev1,
        detail,
    };
    let reread = |events: &Vec<E::Event>| {
        let json = serde_json::to_string(events).map_err(|e| broken(e.to_string()))?;
        serde_json::from_str::<Vec<E::Event>>(&json).map_err(|e| broken(e.to_string()))
    };
    let mut read = Vec::with_capacity(rows.len());
    for (at, facts) in rows {
        let events = events(facts).ok_or_else(|| broken("rows of two kinds in one stream".into()))?;
        read.push((*at, reread(events)?));
    }
    invariants::replays(&read, state)?;
    let json = serde_json::to_string(state).map_err(|e| broken(e.to_string()))?;
    let back: E = serde_json::from_str(&json).map_err(|e| broken(e.to_string()))?;
    if back == *state {
        Ok(())
    } else {
        Err(broken(format!("a snapshot is read back as {back:?}")))
    }
}

impl Facts {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Order(events) => events.is_empty(),
            Self::Channel(events) => events.is_empty(),
            Self::Zone(events) => events.is_empty(),
        }
    }

    /// These events after those.
    pub(super) fn extend(&mut self, more: Self) {
        match (self, more) {
            (Self::Order(events), Self::Order(more)) => events.extend(more),
            (Self::Channel(events), Self::Channel(more)) => events.extend(more),
            (Self::Zone(events), Self::Zone(more)) => events.extend(more),
            (mine, more) => {
                if mine.is_empty() {
                    *mine = more;
                }
            }
        }
    }

    /// The names of the events, for the trace.
    pub(super) fn names(&self) -> String {
        let name = |text: String| text.split([' ', '{']).next().unwrap_or_default().to_owned();
        let names: Vec<String> = match self {
            Self::Order(events) => events.iter().map(order_event).collect(),
            Self::Channel(events) => events.iter().map(|event| name(format!("{event:?}"))).collect(),
            Self::Zone(events) => events.iter().map(|event| name(format!("{event:?}"))).collect(),
        };
        names.join(", ")
    }
}

fn order_event(event: &order::Event) -> String {
    use order::Event as E;
    match event {
        E::StepStarted {
            step, round, attempt, ..
        } => format!("{} {round} begun ({attempt})", step.as_str()),
        E::StepDone { step, round, .. } => format!("{} {round} done", step.as_str()),
        E::StepRefused { step, round, refused } => format!("{} {round} refused: {}", step.as_str(), refused.code),
        E::StepUnknown { step, round, .. } => format!("{} {round} unknown", step.as_str()),
        E::UndoWanted { step, round } => format!("{} {round} to be undone", step.as_str()),
        E::UndoStarted {
            step, round, attempt, ..
        } => format!("undoing {} {round} ({attempt})", step.as_str()),
        E::UndoDone { step, round } => format!("{} {round} undone", step.as_str()),
        other => other.name().to_owned(),
    }
}
