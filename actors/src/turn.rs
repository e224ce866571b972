//! A turn of an actor: what the commands that waited came to, before and while it is written.

use crate::ask::{Answered, Applied, Ask, Reply, Versioned};
use crate::cluster::ReplicaRow;
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::node::Node;
use domain::entity::{Context, Decision, Entity, fold};
use domain::ids::Seq;
use domain::ports::KeyClaim;
use domain::rejection::Rejection;
use tokio::sync::OwnedSemaphorePermit;

/// What is answered once the turn is durable: the entity's reply and whether the command changed anything, or why it was
/// refused. A refusal that rests on what is not durable yet waits like everything else.
type Outcome<E> = Result<(<E as Entity>::Reply, bool), Rejection>;

/// A command of a turn, and whom to answer.
pub(crate) struct Heard<E: Hosted> {
    pub(crate) reply: Reply<E>,
    pub(crate) outcome: Outcome<E>,
    /// The command, to be heard again if the append is not made. Only from within: who asks from outside is told instead,
    /// and may come back or not.
    again: Option<E::Command>,
    wake: bool,
}

/// What a turn has gathered so far.
pub(crate) struct Gathered<E: Hosted> {
    /// The state after the commands so far, if they changed it.
    working: Option<E>,
    pub(crate) events: Vec<E::Event>,
    pub(crate) claim: Option<KeyClaim>,
    effects: Vec<E::Effect>,
    heard: Vec<Heard<E>>,
    permits: Vec<OwnedSemaphorePermit>,
    place: Option<OwnedSemaphorePermit>,
    /// Whether a timer's command was among them.
    pub(crate) woken: bool,
}

/// A turn whose append is under way.
pub(crate) struct InFlight<E: Hosted> {
    pub(crate) next: E,
    pub(crate) effects: Vec<E::Effect>,
    pub(crate) heard: Vec<Heard<E>>,
    /// Returned when the turn is over.
    _permits: Vec<OwnedSemaphorePermit>,
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// What other nodes are told of it.
    pub(crate) row: Option<ReplicaRow>,
}

impl<E: Hosted> Gathered<E> {
    pub(crate) const fn new() -> Self {
        Self {
            working: None,
            events: Vec::new(),
            claim: None,
            effects: Vec::new(),
            heard: Vec::new(),
            permits: Vec::new(),
            place: None,
            woken: false,
        }
    }

    /// Whether this command must wait for the next turn. One that uses up an idempotency key has a row of its own: if the
    /// key turns out to be used, that concerns nobody else.
    pub(crate) const fn excludes(&self, ask: &Ask<E>) -> bool {
        self.claim.is_some() || (ask.claim.is_some() && !self.events.is_empty())
    }

    /// Whether nobody is harmed when this is written with the next turn only: it begins nothing, nobody outside waits for
    /// it, and the next turn is certain to come soon.
    pub(crate) fn may_wait(&self) -> bool {
        let next = self.working.as_ref();
        self.effects.is_empty()
            && self.permits.is_empty()
            && self.claim.is_none()
            && !self.woken
            && next.is_some_and(|next| E::may_wait(&self.events, next))
    }

    /// Decides on a command, on top of those before it. What rests on durable state alone is answered at once.
    pub(crate) fn decide(&mut self, node: &Node, committed: Option<&Versioned<E>>, ask: Ask<E>, context: &Context<'_>) {
        let Ask {
            command,
            if_match,
            claim,
            reply,
            permit,
            place,
            wake,
        } = ask;
        self.woken |= wake;
        let again = permit.is_none().then(|| command.clone());
        let seq = committed.map_or(Seq(0), |versioned| versioned.seq);
        let actual = if self.events.is_empty() { seq } else { seq.next() };
        let decided = if let Some(expected) = if_match.filter(|expected| *expected != actual) {
            Err(Rejection::WrongVersion {
                expected: expected.0,
                actual: actual.0,
            })
        } else {
            let state = self.working.as_ref().or(committed.map(|versioned| &*versioned.state));
            decide(node, state, command, context)
        };
        if matches!(decided, Err(Rejection::Stale)) {
            metrics::counter!("uoop_stale_answers_total").increment(1);
        }
        let outcome = match decided {
            Err(rejection) => Err(rejection),
            Ok((decision, next)) => {
                let changed = !decision.events.is_empty();
                if changed {
                    self.working = next;
                    self.claim = claim;
                }
                self.events.extend(decision.events);
                self.effects.extend(decision.effects);
                Ok((decision.reply, changed))
            }
        };
        if self.events.is_empty() {
            return reply.send(answer(outcome, committed));
        }
        self.permits.extend(permit);
        self.place = self.place.take().or(place);
        self.heard.push(Heard {
            reply,
            outcome,
            again,
            wake,
        });
    }

    /// The turn as it is written; `None`: nothing changed.
    pub(crate) fn into_flight(self) -> Option<InFlight<E>> {
        let next = self.working?;
        Some(InFlight {
            next,
            effects: self.effects,
            heard: self.heard,
            _permits: self.permits,
            place: self.place,
            row: None,
        })
    }
}

impl<E: Hosted> InFlight<E> {
    /// The append was not made: whoever waits is told.
    pub(crate) fn fail(self, error: &CallError) {
        for heard in self.heard {
            heard.reply.send(Err(error.clone()));
        }
    }

    /// The append was not made, but may be later: who asked from outside is told; what came from within is returned, in
    /// its order, to be heard again. So an answer that came in time is heard before the deadline it was in time for,
    /// however long the store is away.
    pub(crate) fn put_back(self, error: &CallError) -> Vec<Ask<E>> {
        let mut again = Vec::new();
        for heard in self.heard {
            match heard.again {
                Some(command) => again.push(Ask {
                    reply: heard.reply,
                    wake: heard.wake,
                    ..Ask::tell(command)
                }),
                None => heard.reply.send(Err(error.clone())),
            }
        }
        again
    }
}

/// The answer to a command, given the durable state after it.
pub(crate) fn answer<E: Hosted>(outcome: Outcome<E>, committed: Option<&Versioned<E>>) -> Answered<E> {
    let (reply, changed) = outcome?;
    let entity = committed.cloned().ok_or(Rejection::NotFound("stream"))?;
    Ok(Applied { entity, changed, reply })
}

type Decided<E> = Result<(Decision<E>, Option<E>), Rejection>;

/// A decision with the state that follows from it, if it changes anything. What the node can settle by itself, without
/// asking anybody, is part of it: that costs no row and no wait.
fn decide<E: Hosted>(node: &Node, state: Option<&E>, command: E::Command, context: &Context<'_>) -> Decided<E> {
    let mut decision = E::decide(state, command, context)?;
    if decision.events.is_empty() {
        return Ok((decision, None));
    }
    let mut next = follow(state.cloned(), &decision, context)?;
    let mut settled = 0;
    while let Some(effect) = decision.effects.get(settled) {
        let Some(command) = next.as_ref().and_then(|next| E::settle(node, next, effect)) else {
            settled += 1;
            continue;
        };
        let further = E::decide(next.as_ref(), command, context)?;
        next = follow(next, &further, context)?;
        decision.effects.remove(settled);
        decision.events.extend(further.events);
        decision.effects.extend(further.effects);
    }
    Ok((decision, next))
}

fn follow<E: Hosted>(state: Option<E>, decision: &Decision<E>, context: &Context<'_>) -> Result<Option<E>, Rejection> {
    fold(state, &decision.events, context.now)
        .map_err(|illegal| Rejection::NotAllowed(format!("internal contradiction: {illegal}")))
}
