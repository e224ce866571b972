//! Asking an actor, wherever it lives.

use crate::ask::{Answered, Applied, Ask, Reply, Versioned};
use crate::cluster::{Cluster, HOMES, Request, Response};
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

/// What is asked of whoever owns a stream, by as many attempts as it takes: here if it is here, else of another node.
pub(crate) trait Asked: Clone + Send + Sync {
    type Answer: Send;

    fn stream(&self) -> StreamId;

    /// The first version of the wire that has words for it.
    fn since(&self) -> u16;

    /// Whether it is tied to a condition that its first attempt may use up.
    fn is_conditional(&self) -> bool;

    /// Whether an earlier attempt may have been carried out.
    fn again(&mut self) -> &mut bool;

    /// The next attempt has no longer than this for its answer.
    fn hasten(&mut self, _left: Duration) {}

    /// One attempt here, where the stream lives.
    fn here(self, node: &Arc<Node>) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;

    /// As another node is asked it.
    fn request(self) -> Request;

    /// What another node answered to such a request; `None`: it answered something else.
    fn answer(response: Response) -> Option<Result<Self::Answer, CallError>>;
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
    /// An earlier attempt may have been carried out: the stream may exist by now.
    #[serde(default)]
    pub(crate) again: bool,
}

impl<E: Entity> Call<E> {
    pub(crate) const fn new(stream: StreamId, command: E::Command, origin: Origin) -> Self {
        Self {
            stream,
            command,
            if_match: None,
            claim: None,
            origin,
            again: false,
        }
    }
}

impl<E: Hosted> Asked for Call<E> {
    type Answer = Outcome<E>;

    fn stream(&self) -> StreamId {
        self.stream
    }

    fn since(&self) -> u16 {
        since(self.claim.as_ref())
    }

    fn is_conditional(&self) -> bool {
        self.if_match.is_some()
    }

    fn again(&mut self) -> &mut bool {
        &mut self.again
    }

    async fn here(self, node: &Arc<Node>) -> Result<Outcome<E>, CallError> {
        let origin = self.origin;
        node.call_here(self).await.map(|applied| Outcome::of(applied, origin))
    }

    fn request(self) -> Request {
        E::request(self)
    }

    fn answer(response: Response) -> Option<Result<Outcome<E>, CallError>> {
        E::outcome(response)
    }
}

/// The first version of the wire that has words for a key. Older nodes would keep it in its row's shard, where nobody
/// looks for it.
pub(crate) const fn since(claim: Option<&KeyClaim>) -> u16 {
    match claim {
        Some(KeyClaim { home: Some(_), .. }) => HOMES,
        _ => 0,
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
    /// Asks whoever owns the stream, on whichever node it lives. While its shard moves from one node to another it waits.
    pub(crate) async fn ask_owner<A: Asked>(self: &Arc<Self>, asked: A) -> Result<A::Answer, CallError> {
        match self.cluster.get() {
            Some(cluster) => self.ask_anywhere(cluster, asked).await,
            None => asked.here(self).await,
        }
    }

    /// Asks an actor on behalf of a saga, and does `then` with its reply and its version after it, in the task of whoever
    /// answers: it must not block.
    /// An actor of this node is asked without a task; `then` is done exactly once in any case.
    pub(crate) fn call_then<E: Hosted>(
        self: &Arc<Self>,
        stream: StreamId,
        command: E::Command,
        then: impl FnOnce(Result<(Seq, E::Reply), CallError>) + Send + 'static,
    ) {
        let said = |applied: Applied<E>| (applied.entity.seq, applied.reply);
        if self.cluster.get().is_none() {
            return self.call_here_then::<E>(stream, command, move |answered| then(answered.map(said)));
        }
        let mut call = Call::<E>::new(stream, command.clone(), Origin::Saga);
        if !self.is_here(stream) {
            return self.call_in_background(call, then);
        }
        let node = Arc::clone(self);
        self.call_here_then::<E>(stream, command, move |answered| {
            let error = match answered {
                Ok(applied) => return then(Ok(said(applied))),
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
        then: impl FnOnce(Result<(Seq, E::Reply), CallError>) + Send + 'static,
    ) {
        let node = Arc::clone(self);
        tokio::spawn(async move { then(node.ask_owner(call).await.map(|outcome| (outcome.seq, outcome.reply))) });
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

    async fn ask_anywhere<A: Asked>(self: &Arc<Self>, cluster: &Cluster, mut asked: A) -> Result<A::Answer, CallError> {
        let deadline = Instant::now() + self.options.call_timeout;
        let mut attempts = Attempts::new(asked.is_conditional(), *asked.again());
        let mut changes = cluster.owners.changes();
        loop {
            changes.borrow_and_update();
            let error = match self.attempt(cluster, asked.clone(), deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match missed(&error).map_or(Next::AsSaid, |missed| attempts.missed(missed)) {
                Next::Again => {}
                Next::AsSaid => return Err(error),
                Next::Unknown => return Err(CallError::TimedOut),
            }
            *asked.again() = attempts.may_be_done();
            if Instant::now() >= deadline {
                let shard = self.map.shard_of(asked.stream());
                return Err(if attempts.may_be_done() {
                    CallError::TimedOut
                } else {
                    CallError::Unavailable(format!("shard {shard} is on its way to another node"))
                });
            }
            let again = deadline.min(Instant::now() + LOOK_AGAIN);
            // Either way it is time to look again.
            let _ = timeout_at(again, changes.changed()).await;
            asked.hasten(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// One attempt: here if the stream lives here, else at the node that owns it.
    async fn attempt<A: Asked>(
        self: &Arc<Self>,
        cluster: &Cluster,
        asked: A,
        deadline: Instant,
    ) -> Result<A::Answer, CallError> {
        let shard = self.map.shard_of(asked.stream());
        if !self.holds(shard) {
            let owner = cluster.owners.elsewhere(shard, &cluster.name);
            // One that has no words for what is asked is not asked: perhaps the shard's next owner has.
            let owner = owner.filter(|owner| cluster.understands(owner, asked.since()));
            let owner = owner.ok_or(CallError::Fenced)?;
            return ask_there(cluster, &owner, asked, deadline).await;
        }
        let here = timeout_at(deadline, asked.here(self)).await;
        here.unwrap_or(Err(CallError::TimedOut))
    }
}

async fn ask_there<A: Asked>(
    cluster: &Cluster,
    owner: &str,
    asked: A,
    deadline: Instant,
) -> Result<A::Answer, CallError> {
    metrics::counter!("uoop_calls_forwarded_total").increment(1);
    let left = deadline.saturating_duration_since(Instant::now());
    let response = cluster.ask(owner, asked.request(), left).await;
    let response = response.map_err(|missed| match missed {
        AskError::Unreachable => CallError::Fenced,
        AskError::Overloaded => CallError::Overloaded {
            what: format!("node {owner}"),
        },
        AskError::Lost => CallError::TimedOut,
    })?;
    A::answer(response).ok_or_else(|| CallError::Unavailable("another node answered something else".into()))?
}

/// How an attempt missed whom it was for; `None`: it was answered, and that is the call's answer.
pub(crate) const fn missed(error: &CallError) -> Option<Missed> {
    match error {
        CallError::Fenced => Some(Missed::NotOwner),
        // A key has room for one request at a time on a node. It may be an earlier attempt of this very call that has it, one whose
        // answer was lost: then the call is made again until that one is over.
        CallError::Overloaded { .. } | CallError::InProgress => Some(Missed::NoRoom),
        CallError::TimedOut => Some(Missed::TimedOut),
        CallError::Unavailable(_) => Some(Missed::Away),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::shard::ShardId;

    /// What becomes of a call whose attempts came to this, one after the other.
    fn after(errors: &[CallError]) -> Vec<Next> {
        let mut attempts = Attempts::new(false, false);
        let mut next = |error: &CallError| missed(error).map_or(Next::AsSaid, |missed| attempts.missed(missed));
        errors.iter().map(&mut next).collect()
    }

    #[test]
    fn keys_that_belong_elsewhere_are_told_to_those_who_look_for_them_there() {
        let claim = |home| KeyClaim {
            home,
            key: "default:key".into(),
            fingerprint: String::new(),
        };
        let (own, elsewhere) = (claim(None), claim(Some(ShardId(3))));
        assert_eq!((since(None), since(Some(&own)), since(Some(&elsewhere))), (0, 0, HOMES));
    }

    #[test]
    fn a_key_that_an_earlier_attempt_holds_is_waited_for_and_one_that_others_hold_is_not() {
        assert_eq!(after(&[CallError::InProgress]), [Next::AsSaid]);
        let fenced = [CallError::Fenced, CallError::InProgress];
        assert_eq!(after(&fenced), [Next::Again, Next::AsSaid]);
        let lost = [CallError::TimedOut, CallError::InProgress, CallError::InProgress];
        assert_eq!(after(&lost), [Next::Again; 3]);
        let used = [CallError::TimedOut, CallError::KeyReused];
        assert_eq!(after(&used), [Next::Again, Next::AsSaid]);
    }
}
