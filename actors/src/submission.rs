//! Submissions: requests for an order, as they came. They are read, carried out and answered where the order is to live, and
//! whoever was asked passes the answer on as it is.

use crate::ask::{IdempotencyKey, Placed, Versioned};
use crate::call::{self, Asked, Call, Origin, missed};
use crate::cluster::{Request, Response};
use crate::directory::Directory;
use crate::error::CallError;
use crate::node::Node;
use crate::platform::Platform;
use domain::ids::{OrderId, Seq, StreamId};
use domain::order::{Details, Order};
use domain::ports::KeyClaim;
use domain::saga;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How long an answer may be held back at most: a node that stops waits for those that it still owes, and a call must be
/// answered well within its time-out.
const HOLD_BACK_MAX: Duration = Duration::from_secs(1);

/// How submissions are read and answered. The same on all nodes; what it says is passed on by nodes that do not look at it.
pub trait Front: Send + Sync + 'static {
    /// What a body asks for.
    ///
    /// # Errors
    /// It asks for nothing that can be done, with the answer to that.
    fn read(&self, body: &[u8], now: Timestamp, directory: &Directory) -> Result<Details, Unfit>;

    /// The answer when the order is accepted: the order as it stands.
    fn accepted(&self, placed: &Placed) -> Submitted;

    /// The answer when it was refused.
    fn refused(&self, error: CallError) -> Submitted;
}

/// A submission that asks for nothing that can be done, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot be read: it was never accepted, and never will be.
    Unreadable(Submitted),
    /// It does not pass now; when it came first, it may have: its article may have sold out since, its restaurant gone or
    /// its time passed.
    Refused(Submitted),
}

/// The answer to a submission, ready to be passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The HTTP status.
    pub status: u16,
    /// Headers: name and value.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The order that was accepted, if it had no outcome yet: what whoever waits for that goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// An accepted order without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The order.
    pub order: OrderId,
    /// The version that was answered.
    pub seq: Seq,
    /// Whether it had been accepted before under the same idempotency key.
    pub replayed: bool,
}

impl Placed {
    /// What to go on with for whoever waits for the order's outcome; `None`: it has one.
    pub fn pending(&self) -> Option<Pending> {
        (!self.order.state.has_outcome()).then(|| Pending {
            order: self.order.state.id,
            seq: self.order.seq,
            replayed: self.replayed,
        })
    }
}

/// A request for an order, as it came, under the id that the order will have. Sent again it is the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub(crate) id: OrderId,
    #[serde(with = "serde_bytes")]
    pub(crate) body: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<KeyClaim>,
    /// For how long the answer may be held back while the order has no outcome, from when the submission comes in.
    pub(crate) hold_back_ms: u32,
    /// An earlier attempt may have been carried out: the order may exist by now.
    pub(crate) again: bool,
}

impl Asked for Submission {
    type Answer = Submitted;

    fn stream(&self) -> StreamId {
        self.id.stream()
    }

    fn since(&self) -> u16 {
        call::since(self.claim.as_ref())
    }

    fn is_conditional(&self) -> bool {
        false
    }

    fn again(&mut self) -> &mut bool {
        &mut self.again
    }

    /// An answer that is held back for too long is none.
    fn hasten(&mut self, left: Duration) {
        let most = u32::try_from((left / 2).as_millis()).unwrap_or(u32::MAX);
        self.hold_back_ms = self.hold_back_ms.min(most);
    }

    /// Reads it, places the order and renders the answer: what a node does with the submissions that others pass on to it,
    /// and with its own. Errors are answers that another attempt may improve on, so nobody renders them before there is none.
    async fn here(self, node: &Arc<Node>) -> Result<Submitted, CallError> {
        let front = &node.ports.front;
        let placed = match front.read(&self.body, node.ports.clock.now(), &node.directory) {
            Ok(details) => node.accept(&self, details).await,
            Err(Unfit::Unreadable(answer)) => return Ok(answer),
            Err(Unfit::Refused(answer)) => match node.accepted_before(&self).await.transpose() {
                Some(placed) => placed,
                // The attempt whose answer was lost may have come in time to pass, and may be on its way to the store.
                None if self.again => Err(CallError::TimedOut),
                None => return Ok(answer),
            },
        };
        match placed {
            Ok(placed) => Ok(front.accepted(&placed)),
            Err(error) if missed(&error).is_some() => Err(error),
            Err(error) => Ok(front.refused(error)),
        }
    }

    fn request(self) -> Request {
        Request::Submit(self)
    }

    fn answer(response: Response) -> Option<Result<Submitted, CallError>> {
        match response {
            Response::Submitted(answer) => Some(answer),
            _ => None,
        }
    }
}

/// Waits until an order that is watched has an outcome, or a moment has come; `None`: it has none.
async fn outcome_by(
    until: Instant,
    changes: &mut watch::Receiver<Option<Versioned<Order>>>,
) -> Option<Versioned<Order>> {
    let news = changes.wait_for(|news| news.as_ref().is_some_and(|news| news.state.has_outcome()));
    timeout_at(until, news).await.ok()?.ok()?.clone()
}

impl Node {
    /// Places a submission's order by one attempt, and waits for its outcome for as long as the submission says. The key is
    /// free again once the order is accepted.
    async fn accept(self: &Arc<Self>, submission: &Submission, details: Details) -> Result<Placed, CallError> {
        let Submission { id, claim, .. } = submission;
        let hold_back = Duration::from_millis(submission.hold_back_ms.into()).min(HOLD_BACK_MAX);
        let until = Instant::now() + hold_back;
        // Watched before it is told, so that no change falls between the two.
        let changes = (!hold_back.is_zero()).then(|| self.watch(*id));
        let mut placed = {
            let _guard = claim.as_ref().map(|claim| self.guard(claim)).transpose()?;
            let call = Call {
                again: submission.again,
                ..Call::placing(*id, details, claim.clone())
            };
            let applied = self.call_here(call).await;
            self.placed(applied, *id, claim.as_ref()).await?
        };
        if let Some(mut changes) = changes
            && !placed.replayed
            && !placed.order.state.has_outcome()
            && let Some(order) = outcome_by(until, &mut changes).await
        {
            placed.order = order;
        }
        Ok(placed)
    }

    /// The first answer to a submission that would no longer pass, if it was accepted when it came first, perhaps elsewhere.
    async fn accepted_before(&self, submission: &Submission) -> Result<Option<Placed>, CallError> {
        let Some(claim) = &submission.claim else {
            return Ok(None);
        };
        let _guard = self.guard(claim)?;
        // The others first: what one of them has just done is in the store.
        if self.is_under_way_elsewhere(claim).await? {
            return Err(CallError::InProgress);
        }
        self.placed_before(submission.id, claim).await
    }
}

impl Call<Order> {
    /// The call that places a new order.
    pub(crate) fn placing(id: OrderId, details: Details, claim: Option<KeyClaim>) -> Self {
        let command = saga::Command::Place {
            id,
            details: Arc::new(details),
        };
        Self {
            claim,
            ..Self::new(id.stream(), command, Origin::New)
        }
    }
}

impl Platform {
    /// Has a submission carried out where its order is to live: here, or by the node that has the shard. The order is durable
    /// when this returns with an answer that accepts it. Under a key that was used with the same body, the first answer comes
    /// again: the order as it was accepted. `wait`: for how long whoever submitted it will wait for the order's outcome; the
    /// answer has it if it comes soon enough.
    ///
    /// # Errors
    /// No attempt was answered, or the key is taken: see [`CallError`]. All else that can be wrong is an answer.
    pub async fn submit(
        &self,
        body: Vec<u8>,
        key: Option<&IdempotencyKey>,
        wait: Duration,
    ) -> Result<Submitted, CallError> {
        let node = &self.node;
        let (id, claim) = node.mint(key);
        let hold_back = wait.min(node.options.call_timeout / 2).min(HOLD_BACK_MAX);
        let submission = Submission {
            id,
            body,
            claim: claim.clone(),
            hold_back_ms: u32::try_from(hold_back.as_millis()).unwrap_or(u32::MAX),
            again: false,
        };
        let answer = timeout(node.options.call_timeout, node.ask_owner(submission)).await;
        match answer.unwrap_or(Err(CallError::TimedOut)) {
            Err(CallError::Overloaded { what }) => {
                let placed = node.placed_despite(what, id, claim.as_ref()).await?;
                Ok(node.ports.front.accepted(&placed))
            }
            answer => answer,
        }
    }
}
