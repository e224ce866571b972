//! Asking an actor, wherever it lives.

use crate::ask::{Answered, Applied, Ask, Reply, Versioned};
use crate::cluster::Cluster;
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::life::Inbox;
use crate::node::Node;
use crate::transport::AskError;
use domain::attempts::{Attempts, Missed, Next};
use domain::entity::Entity;
use domain::ids::{Seq, StreamId};
use domain::ports::KeyClaim;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The pause before a shard that is on its way from one node to another is looked for again, unless word comes first.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Somebody outside, with an order that does not exist yet. Takes a place among those under way.
    New,
    /// Somebody outside. Passes the shard's admission, and hears the state after the command.
    Outside,
    /// A saga, whose order was admitted long ago. Hears the reply alone.
    Saga,
}

/// A command for an actor. Carried out at most once for each time it is sent; all commands may be sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Call<E: Entity> {
    pub(crate) stream: StreamId,
    pub(crate) command: E::Command,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) if_match: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<KeyClaim>,
    pub(crate) origin: Origin,
    /// For how long the answer may be held back while the order has no outcome, from when the call comes in. Only another
    /// node does so; older ones answer at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hold_back_ms: u32,
    /// An earlier attempt may have been carried out: the stream may exist by now.
    #[serde(default)]
    pub(crate) again: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl<E: Entity> Call<E> {
    pub(crate) const fn new(stream: StreamId, command: E::Command, origin: Origin) -> Self {
        Self {
            stream,
            command,
            if_match: None,
            claim: None,
            origin,
            hold_back_ms: 0,
            again: false,
        }
    }
}

/// What came of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Outcome<E: Entity> {
    pub(crate) seq: Seq,
    /// The state after it; only for those outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Arc<E>>,
    pub(crate) changed: bool,
    pub(crate) reply: E::Reply,
}

impl<E: Entity> Outcome<E> {
    pub(crate) fn of(applied: Applied<E>, origin: Origin) -> Self {
        Self {
            seq: applied.entity.seq,
            state: (origin != Origin::Saga).then_some(applied.entity.state),
            changed: applied.changed,
            reply: applied.reply,
        }
    }

    pub(crate) fn applied(self) -> Result<Applied<E>, CallError> {
        let missing = || CallError::Unavailable("another node answered without the state".into());
        let entity = Versioned {
            seq: self.seq,
            state: self.state.ok_or_else(missing)?,
        };
        Ok(Applied {
            entity,
            changed: self.changed,
            reply: self.reply,
        })
    }
}

impl Node {
    /// Asks an actor, on whichever node it lives. While its shard moves from one node to another the call waits.
    pub(crate) async fn call<E: Hosted>(self: &Arc<Self>, call: Call<E>) -> Result<Outcome<E>, CallError> {
        let Some(cluster) = self.cluster.get() else {
            let origin = call.origin;
            return self.call_here(call).await.map(|applied| Outcome::of(applied, origin));
        };
        self.call_anywhere(cluster, call).await
    }

    /// Asks an actor on behalf of a saga, and does `then` with its reply, in the task of whoever answers: it must not block.
    /// An actor of this node is asked without a task; `then` is done exactly once in any case.
    pub(crate) fn call_then<E: Hosted>(
        self: &Arc<Self>,
        stream: StreamId,
        command: E::Command,
        then: impl FnOnce(Result<E::Reply, CallError>) + Send + 'static,
    ) {
        if self.cluster.get().is_none() {
            return self.call_here_then::<E>(stream, command, |answered| then(answered.map(|applied| applied.reply)));
        }
        let mut call = Call::<E>::new(stream, command.clone(), Origin::Saga);
        if !self.is_here(stream) {
            return self.call_in_background(call, then);
        }
        let node = Arc::clone(self);
        self.call_here_then::<E>(stream, command, move |answered| {
            let error = match answered {
                Ok(applied) => return then(Ok(applied.reply)),
                Err(error) => error,
            };
            let mut attempts = Attempts::new(false, false);
            match missed(&error).map_or(Next::AsSaid, |missed| attempts.missed(missed)) {
                // The shard is on its way to another node, or nobody can say what came of it.
                Next::Again => {
                    call.again = attempts.may_be_done();
                    node.call_in_background(call, then);
                }
                Next::AsSaid => then(Err(error)),
                Next::Unknown => then(Err(CallError::TimedOut)),
            }
        });
    }

    /// Asks an actor of this node on behalf of a saga, and does `then` with its answer.
    pub(crate) fn call_here_then<E: Hosted>(
        &self,
        stream: StreamId,
        command: E::Command,
        then: impl FnOnce(Answered<E>) + Send + 'static,
    ) {
        self.deliver(stream, E::envelope(Ask::answered(command, then)), false);
    }

    /// As [`Node::call_here_then`], but asks this actor alone; *fenced* if another has taken its place.
    pub(crate) fn call_only_then<E: Hosted>(
        &self,
        actor: &Arc<Inbox>,
        stream: StreamId,
        command: E::Command,
        then: impl FnOnce(Answered<E>) + Send + 'static,
    ) {
        self.deliver_to(actor, stream, E::envelope(Ask::answered(command, then)));
    }

    fn call_in_background<E: Hosted>(
        self: &Arc<Self>,
        call: Call<E>,
        then: impl FnOnce(Result<E::Reply, CallError>) + Send + 'static,
    ) {
        let node = Arc::clone(self);
        tokio::spawn(async move { then(node.call(call).await.map(|outcome| outcome.reply)) });
    }

    /// Asks an actor of this node.
    pub(crate) async fn call_here<E: Hosted>(&self, call: Call<E>) -> Result<Applied<E>, CallError> {
        let is_new = call.origin == Origin::New;
        let place = is_new.then(|| self.admit_order()).transpose()?;
        let admitted = call.origin != Origin::Saga;
        let permit = admitted.then(|| self.admit(call.stream)).transpose()?;
        let (tx, rx) = oneshot::channel();
        let ask = Ask {
            command: if call.again {
                E::again(call.command)
            } else {
                call.command
            },
            if_match: call.if_match,
            claim: call.claim,
            reply: Reply::Waiting(tx),
            permit,
            place,
            wake: false,
        };
        self.deliver(call.stream, E::envelope(ask), is_new && !call.again);
        // The actor crashed over the call, perhaps after it was carried out.
        rx.await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn call_anywhere<E: Hosted>(
        self: &Arc<Self>,
        cluster: &Cluster,
        mut call: Call<E>,
    ) -> Result<Outcome<E>, CallError> {
        let shard = self.map.shard_of(call.stream);
        let deadline = Instant::now() + self.options.call_timeout;
        let mut attempts = Attempts::new(call.if_match.is_some(), call.again);
        let mut changes = cluster.owners.changes();
        loop {
            changes.borrow_and_update();
            let attempt = if self.holds(shard) {
                let here = timeout_at(deadline, self.call_here(call.clone())).await;
                let here = here.unwrap_or(Err(CallError::TimedOut));
                here.map(|applied| Outcome::of(applied, call.origin))
            } else {
                match cluster.owners.elsewhere(shard, &cluster.name) {
                    Some(owner) => self.call_there(cluster, &owner, &call, deadline).await,
                    None => Err(CallError::Fenced),
                }
            };
            let error = match attempt {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            match missed(&error).map_or(Next::AsSaid, |missed| attempts.missed(missed)) {
                Next::Again => {}
                Next::AsSaid => return Err(error),
                Next::Unknown => return Err(CallError::TimedOut),
            }
            call.again = attempts.may_be_done();
            if Instant::now() >= deadline {
                return Err(if call.again {
                    CallError::TimedOut
                } else {
                    CallError::Unavailable(format!("shard {shard} is on its way to another node"))
                });
            }
            let again = deadline.min(Instant::now() + LOOK_AGAIN);
            // Either way it is time to look again.
            let _ = timeout_at(again, changes.changed()).await;
        }
    }

    async fn call_there<E: Hosted>(
        &self,
        cluster: &Cluster,
        owner: &str,
        call: &Call<E>,
        deadline: Instant,
    ) -> Result<Outcome<E>, CallError> {
        metrics::counter!("uoop_calls_forwarded_total").increment(1);
        let request = E::request(call.clone());
        let left = deadline.saturating_duration_since(Instant::now());
        let response = cluster.ask(owner, request, left).await.map_err(|missed| match missed {
            AskError::Unreachable => CallError::Fenced,
            AskError::Overloaded => CallError::Overloaded {
                what: format!("node {owner}"),
            },
            AskError::Lost => CallError::TimedOut,
        })?;
        E::outcome(response).ok_or_else(|| CallError::Unavailable("another node answered something else".into()))?
    }
}

/// How an attempt missed whom it was for; `None`: it was answered, and that is the call's answer.
const fn missed(error: &CallError) -> Option<Missed> {
    match error {
        CallError::Fenced => Some(Missed::NotOwner),
        CallError::Overloaded { .. } => Some(Missed::NoRoom),
        CallError::TimedOut => Some(Missed::TimedOut),
        CallError::Unavailable(_) => Some(Missed::Away),
        _ => None,
    }
}
