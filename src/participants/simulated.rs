//! Participants in this process: seeded, with latency and refusals by configuration.
//!
//! What they decide about a key is a pure function of (seed, key), so a restart gives the same answer. They keep books (see
//! [`super::books`]) in memory only, of the latest orders: after a restart, or for an order that the books have forgotten,
//! an action that was done is done "again" in the books with the same answer, and a tombstone is forgotten. To test effects
//! across restarts, use `uoop sandbox`, whose books are durable.

use super::ask::{Ask, Verb};
use super::books::{Books, Reply, Ruling, Verdict};
use super::draw::{Draw, Percent, SpreadMs};
use async_trait::async_trait;
use domain::ids::{ChannelId, OrderId};
use domain::ports::{Kitchens, Payments};
use domain::saga::{Answer, EffectKey, KitchenReport, PaymentRequest, Receipt, Refused, Report, TicketRequest};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How the simulated participants behave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedConfig {
    /// What all draws follow from.
    pub seed: u64,
    /// How long an answer takes, in wall milliseconds.
    pub latency_ms: SpreadMs,
    /// How many authorizations are declined, in percent.
    pub decline_pct: Percent,
    /// How many tickets are refused, in percent.
    pub refuse_pct: Percent,
    /// When a kitchen decides about a ticket.
    pub accept: Accept,
    /// Of how many orders the books are kept, the latest ones.
    pub orders_max: usize,
}

/// When a kitchen decides about a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// In its answer.
    #[default]
    Immediate,
    /// Later, by a report, after so many wall milliseconds.
    Later(SpreadMs),
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            latency_ms: SpreadMs { min: 5, max: 30 },
            decline_pct: Percent::NEVER,
            refuse_pct: Percent::NEVER,
            accept: Accept::Immediate,
            orders_max: 10_000,
        }
    }
}

/// What a participant with these shares thinks of an action, by seed and key alone.
pub(crate) fn opinion(draw: Draw, ask: &Ask, decline: Percent, refuse: Percent) -> Option<Refused> {
    let (share, what, code, detail) = match ask.verb {
        Verb::Authorize => (decline, "decline", "declined", "the card was declined"),
        Verb::Place => (refuse, "refuse", "rejected", "the kitchen does not take the order"),
        Verb::Void | Verb::Capture | Verb::Refund | Verb::Cancel => return None,
    };
    draw.happens(share, what, &ask.key, 0)
        .then(|| Refused::new(code, detail))
}

/// Books of the latest orders.
#[derive(Default)]
struct Recent {
    books: Books,
    orders: VecDeque<OrderId>,
}

impl Recent {
    fn make_room(&mut self, order: OrderId, orders_max: usize) {
        if self.books.knows(&order) {
            return;
        }
        self.orders.push_back(order);
        while self.orders.len() > orders_max.max(1) {
            if let Some(oldest) = self.orders.pop_front() {
                self.books.forget(&oldest);
            }
        }
    }
}

struct Simulated {
    config: SimulatedConfig,
    draw: Draw,
    recent: Mutex<Recent>,
}

impl Simulated {
    fn new(config: SimulatedConfig) -> Self {
        Self {
            config,
            draw: Draw::new(config.seed),
            recent: Mutex::default(),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opinion(&self, ask: &Ask) -> Option<Refused> {
        opinion(self.draw, ask, self.config.decline_pct, self.config.refuse_pct)
    }

    async fn wait(&self, key: &EffectKey) {
        let latency = self.draw.length(self.config.latency_ms, "latency", key, 0);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    fn rule(&self, ask: &Ask, verdict: impl FnOnce() -> Verdict) -> Ruling {
        let mut recent = self.recent();
        recent.make_room(ask.key.order, self.config.orders_max);
        if let (Verb::Capture, Some(of)) = (ask.verb, ask.of) {
            self.presume(&mut recent.books, of);
        }
        recent.books.ask(ask, verdict)
    }

    /// An authorization that the books do not know (a restart, a forgotten order) was given if it would be given.
    fn presume(&self, books: &mut Books, authorization: EffectKey) {
        let ask = Ask {
            key: authorization,
            verb: Verb::Authorize,
            of: None,
        };
        if books.fate(&authorization).is_none() {
            books.ask(&ask, || self.opinion(&ask).map_or(Verdict::Accept, Verdict::Refuse));
        }
    }
}

fn answer(reply: Reply, receipt: Receipt) -> Answer {
    match reply {
        Reply::Done => Answer::Done(receipt),
        Reply::Pending => Answer::Pending,
        Reply::Refused(refused) => Answer::Refused(refused),
    }
}

/// A payment provider in this process.
pub struct SimulatedPayments(Simulated);

impl SimulatedPayments {
    /// A provider with empty books.
    pub fn new(config: SimulatedConfig) -> Self {
        Self(Simulated::new(config))
    }
}

#[async_trait]
impl Payments for SimulatedPayments {
    async fn request(&self, request: &PaymentRequest) -> Answer {
        let ask = match Ask::try_from(request) {
            Ok(ask) => ask,
            Err(contradiction) => return Answer::Failed(contradiction.to_string()),
        };
        self.0.wait(&ask.key).await;
        let verdict = || self.0.opinion(&ask).map_or(Verdict::Accept, Verdict::Refuse);
        let receipt = match ask.verb {
            Verb::Authorize => Receipt::Authorized { until: None },
            _ => Receipt::Empty,
        };
        answer(self.0.rule(&ask, verdict).reply, receipt)
    }
}

/// Where a kitchen's later decisions go. Must not block.
pub type Reports = Arc<dyn Fn(OrderId, Report) + Send + Sync>;

/// Kitchens and partners in this process. They only decide about tickets; who plays the cooking is the simulated world.
pub struct SimulatedKitchens {
    simulated: Arc<Simulated>,
    reports: Reports,
}

impl SimulatedKitchens {
    /// Kitchens with empty books. `reports` gets the decisions of [`Accept::Later`]; a process that dies before one is
    /// made never makes it, and the ticket's deadline passes.
    pub fn new(config: SimulatedConfig, reports: Reports) -> Self {
        Self {
            simulated: Arc::new(Simulated::new(config)),
            reports,
        }
    }

    fn decide_later(&self, ask: Ask, channel: ChannelId, after: Duration) {
        let (simulated, reports) = (Arc::clone(&self.simulated), Arc::clone(&self.reports));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let refused = simulated.opinion(&ask);
            let decided = simulated.recent().books.decide(&ask.key, refused.clone());
            if decided.is_some() {
                let report = refused.map_or(KitchenReport::Accepted { ready_at: None }, KitchenReport::Rejected);
                reports(ask.key.order, Report::Kitchen(channel, report));
            }
        });
    }
}

#[async_trait]
impl Kitchens for SimulatedKitchens {
    async fn request(&self, request: &TicketRequest) -> Answer {
        let ask = match Ask::try_from(request) {
            Ok(ask) => ask,
            Err(contradiction) => return Answer::Failed(contradiction.to_string()),
        };
        self.simulated.wait(&ask.key).await;
        let ruling = self.simulated.rule(&ask, || match self.simulated.config.accept {
            Accept::Later(_) => Verdict::Later,
            Accept::Immediate => self.simulated.opinion(&ask).map_or(Verdict::Accept, Verdict::Refuse),
        });
        if let (Reply::Pending, Some(_), Accept::Later(spread)) =
            (&ruling.reply, ruling.deed, self.simulated.config.accept)
        {
            let after = self.simulated.draw.length(spread, "decision", &ask.key, 0);
            self.decide_later(ask, request.channel.clone(), after);
        }
        let receipt = match ask.verb {
            Verb::Place => Receipt::Accepted { ready_at: None },
            _ => Receipt::Empty,
        };
        answer(ruling.reply, receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::{payment, ticket};
    use domain::saga::{PaymentAction, TicketAction};

    fn config() -> SimulatedConfig {
        SimulatedConfig {
            latency_ms: SpreadMs::default(),
            ..SimulatedConfig::default()
        }
    }

    fn percent(share: f64) -> Percent {
        share.try_into().expect("a percentage")
    }

    #[tokio::test]
    async fn a_restart_gives_the_same_answers() {
        let config = SimulatedConfig {
            decline_pct: percent(30.0),
            ..config()
        };
        let (before, after) = (SimulatedPayments::new(config), SimulatedPayments::new(config));
        let mut declined = 0;
        for n in 0..200 {
            let first = before.request(&payment(n, PaymentAction::Authorize)).await;
            let captured = after.request(&payment(n, PaymentAction::Capture)).await;
            assert_eq!(after.request(&payment(n, PaymentAction::Authorize)).await, first);
            let fits = match first {
                Answer::Done(_) => captured == Answer::Done(Receipt::Empty),
                _ => matches!(captured, Answer::Refused(_)),
            };
            assert!(fits, "{first:?} before, {captured:?} after");
            declined += u32::from(matches!(first, Answer::Refused(_)));
        }
        assert!((30..90).contains(&declined), "{declined} of 200 at 30 %");
    }

    #[tokio::test]
    async fn a_late_authorization_is_refused_while_its_void_is_remembered() {
        let payments = SimulatedPayments::new(SimulatedConfig {
            orders_max: 2,
            ..config()
        });
        assert!(matches!(
            payments.request(&payment(1, PaymentAction::Void)).await,
            Answer::Done(_)
        ));
        assert!(matches!(
            payments.request(&payment(1, PaymentAction::Authorize)).await,
            Answer::Refused(_)
        ));
        for n in 2..=3 {
            payments.request(&payment(n, PaymentAction::Authorize)).await;
        }
        assert!(
            !payments.0.recent().books.knows(&payment(1, PaymentAction::Void).order),
            "room for two"
        );
        assert_eq!(payments.0.recent().orders.len(), 2);
    }

    #[tokio::test]
    async fn a_later_decision_comes_once_as_a_report() {
        let (reports_tx, mut reports_rx) = tokio::sync::mpsc::channel(8);
        let reports: Reports = Arc::new(move |order, report| {
            reports_tx.try_send((order, report)).expect("room");
        });
        let later = Accept::Later(SpreadMs { min: 1, max: 20 });
        let kitchens = SimulatedKitchens::new(
            SimulatedConfig {
                accept: later,
                ..config()
            },
            reports,
        );
        let request = ticket(2, TicketAction::Place, 0);
        assert_eq!(kitchens.request(&request).await, Answer::Pending);
        let again = kitchens.request(&request).await;
        assert!(matches!(again, Answer::Pending | Answer::Done(_)), "{again:?}");
        let accepted = Report::Kitchen(request.channel.clone(), KitchenReport::Accepted { ready_at: None });
        assert_eq!(reports_rx.recv().await, Some((request.order, accepted)));
        assert_eq!(
            kitchens.request(&request).await,
            Answer::Done(Receipt::Accepted { ready_at: None })
        );
        drop(kitchens);
        assert_eq!(reports_rx.recv().await, None, "one report");
    }

    #[tokio::test]
    async fn an_answer_takes_its_latency() {
        let slow = SimulatedConfig {
            latency_ms: SpreadMs { min: 50, max: 60 },
            ..config()
        };
        let kitchens = SimulatedKitchens::new(slow, Arc::new(|_, _| {}));
        let before = tokio::time::Instant::now();
        assert!(matches!(
            kitchens.request(&ticket(1, TicketAction::Place, 0)).await,
            Answer::Done(_)
        ));
        assert!(before.elapsed().as_millis() >= 50, "{:?}", before.elapsed());
    }
}
