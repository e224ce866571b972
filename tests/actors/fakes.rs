//! Participants that follow a script and keep books.

use async_trait::async_trait;
use domain::ids::OrderId;
use domain::invariants::Deed;
use domain::ports::{Kitchens, Payments};
use domain::saga::{
    Answer, Direction, EffectKey, PaymentAction, PaymentRequest, Receipt, Step, TicketAction, TicketRequest,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One request, as a participant saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) key: EffectKey,
    /// The channel, for a ticket.
    pub(crate) channel: Option<String>,
    /// Whether it was offered: certainly never asked before.
    pub(crate) offered: bool,
}

/// What a script says to a request.
pub(crate) enum Say {
    /// As asked, at once.
    Yes,
    /// This, and nothing is done.
    No(Answer),
    /// Nothing, ever.
    Hang,
}

type Script = Box<dyn Fn(&Call) -> Say + Send + Sync>;

#[derive(Default)]
struct Books {
    calls: Vec<Call>,
    deeds: BTreeMap<EffectKey, Deed>,
}

/// Payments and kitchens in one.
pub(crate) struct Fakes {
    script: Mutex<Script>,
    books: Mutex<Books>,
}

impl Default for Fakes {
    fn default() -> Self {
        Self {
            script: Mutex::new(Box::new(|_| Say::Yes)),
            books: Mutex::default(),
        }
    }
}

impl Fakes {
    /// From now on, requests are answered so.
    pub(crate) fn follow(&self, script: impl Fn(&Call) -> Say + Send + Sync + 'static) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was asked.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.books().calls.clone()
    }

    /// What was asked for an order's step.
    pub(crate) fn calls_of(&self, order: OrderId, step: Step) -> Vec<Call> {
        let of = |call: &Call| call.key.order == order && call.key.step == step;
        self.calls().into_iter().filter(of).collect()
    }

    /// What was done, by the key of the action.
    pub(crate) fn deeds(&self) -> BTreeMap<EffectKey, Deed> {
        self.books().deeds.clone()
    }

    async fn ask(&self, call: Call, yes: Receipt) -> Answer {
        self.books().calls.push(call.clone());
        let say = (self.script.lock().unwrap_or_else(PoisonError::into_inner))(&call);
        match say {
            Say::Hang => std::future::pending().await,
            Say::No(answer) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                answer
            }
            Say::Yes => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut books = self.books();
                let deed = books.deeds.entry(call.key.action()).or_default();
                match call.key.direction {
                    Direction::Forward => deed.done = 1,
                    Direction::Backward => deed.undone = deed.done,
                }
                Answer::Done(yes)
            }
        }
    }

    async fn ticket(&self, request: &TicketRequest, offered: bool) -> Answer {
        let yes = match request.action {
            TicketAction::Place => Receipt::Accepted { ready_at: None },
            TicketAction::Cancel => Receipt::Empty,
        };
        self.ask(
            Call {
                key: request.key,
                channel: Some(request.channel.to_string()),
                offered,
            },
            yes,
        )
        .await
    }
}

#[async_trait]
impl Payments for Fakes {
    async fn request(&self, request: &PaymentRequest) -> Answer {
        let yes = match request.action {
            PaymentAction::Authorize => Receipt::Authorized { until: None },
            PaymentAction::Void | PaymentAction::Capture | PaymentAction::Refund => Receipt::Empty,
        };
        self.ask(
            Call {
                key: request.key,
                channel: None,
                offered: false,
            },
            yes,
        )
        .await
    }
}

#[async_trait]
impl Kitchens for Fakes {
    async fn request(&self, request: &TicketRequest) -> Answer {
        self.ticket(request, false).await
    }

    async fn offer(&self, request: &TicketRequest) -> Answer {
        self.ticket(request, true).await
    }
}

/// A script in which kitchens take every ticket and put the decision off.
pub(crate) fn thinking(call: &Call) -> Say {
    if call.key.step == Step::PlaceTicket && call.key.direction == Direction::Forward {
        Say::No(Answer::Pending)
    } else {
        Say::Yes
    }
}
