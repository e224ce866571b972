use super::*;
use crate::participants::ask::tests::{payment, ticket};
use domain::saga::{PaymentAction, Receipt};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Answers what it is told to; hangs when told nothing.
#[derive(Default)]
struct Told {
    answer: Mutex<Option<Answer>>,
    asked: AtomicUsize,
}

impl Told {
    fn to(answer: Answer) -> Arc<Self> {
        let told = Arc::new(Self::default());
        told.tell(answer);
        told
    }

    fn tell(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = Some(answer);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn say(&self) -> Answer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer.lock().expect("no panic").clone();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Kitchens for Told {
    async fn request(&self, _: &TicketRequest) -> Answer {
        self.say().await
    }
}

#[async_trait]
impl Payments for Told {
    async fn request(&self, _: &PaymentRequest) -> Answer {
        self.say().await
    }
}

/// Once open, open for the rest of the test.
const LASTING: GuardConfig = GuardConfig {
    concurrent_max: 2,
    failures_max: 3,
    open_ms: 3_600_000,
};
/// Once open, open until the next call.
const BRIEF: GuardConfig = GuardConfig { open_ms: 0, ..LASTING };

fn done() -> Answer {
    Answer::Done(Receipt::Empty)
}

fn broken() -> Answer {
    Answer::Failed("down".to_owned())
}

fn place() -> TicketRequest {
    ticket(1, TicketAction::Place, 0)
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Refused(refused) => &refused.code,
        other => panic!("{other:?} is no refusal"),
    }
}

fn guarded(told: &Arc<Told>, config: GuardConfig) -> Guarded<dyn Kitchens> {
    Guarded::new(Arc::clone(told) as Arc<dyn Kitchens>, config)
}

#[tokio::test]
async fn an_open_circuit_refuses_offers_and_fails_everything_else() {
    let told = Told::to(broken());
    let kitchens = guarded(&told, LASTING);
    for _ in 0..3 {
        assert_eq!(kitchens.offer(&place()).await, broken());
    }
    assert_eq!(code(&kitchens.offer(&place()).await), "circuit_open");
    assert!(
        matches!(kitchens.request(&place()).await, Answer::Failed(_)),
        "an attempt of it may have left before"
    );
    let cancel = ticket(1, TicketAction::Cancel, 0);
    for answer in [kitchens.request(&cancel).await, kitchens.offer(&cancel).await] {
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }
    assert_eq!(told.asked(), 3, "the kitchen was left alone");
    let state = &kitchens.observe()[0];
    assert_eq!(
        (state.circuit, state.failures, state.opened),
        (BreakerState::Open, 3, 1)
    );
    assert!(state.open_for_ms > 0, "{state:?}");
}

#[tokio::test]
async fn a_compensation_can_be_the_probe_that_closes_the_circuit() {
    let told = Told::to(broken());
    let kitchens = guarded(&told, BRIEF);
    for _ in 0..3 {
        kitchens.offer(&place()).await;
    }
    assert_eq!(kitchens.observe()[0].circuit, BreakerState::Open);
    told.tell(done());
    assert_eq!(kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await, done());
    assert_eq!(kitchens.observe()[0].circuit, BreakerState::Closed);
}

#[tokio::test]
async fn refusals_and_late_decisions_are_no_failures() {
    let told = Told::to(Answer::Refused(Refused::new("sold_out", "none left")));
    let kitchens = guarded(&told, LASTING);
    for _ in 0..5 {
        assert_eq!(code(&kitchens.offer(&place()).await), "sold_out");
    }
    told.tell(Answer::Pending);
    for _ in 0..5 {
        assert_eq!(kitchens.offer(&place()).await, Answer::Pending);
    }
    assert_eq!(kitchens.observe()[0].failures, 0);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_a_failure() {
    let told = Arc::new(Told::default());
    let kitchens = guarded(&told, LASTING);
    for _ in 0..3 {
        let waited = tokio::time::timeout(Duration::from_millis(5), kitchens.offer(&place())).await;
        assert!(waited.is_err(), "it hangs");
    }
    let state = &kitchens.observe()[0];
    assert_eq!((state.circuit, state.in_flight), (BreakerState::Open, 0));
}

#[tokio::test]
async fn a_full_kitchen_refuses_offers_and_lets_compensations_wait() {
    let told = Arc::new(Told::default());
    let kitchens = Arc::new(guarded(&told, LASTING));
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let kitchens = Arc::clone(&kitchens);
            tokio::spawn(async move { kitchens.offer(&place()).await })
        })
        .collect();
    while told.asked() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kitchens.observe()[0].in_flight, 2);
    assert_eq!(code(&kitchens.offer(&place()).await), "busy");
    let waiting = {
        let kitchens = Arc::clone(&kitchens);
        tokio::spawn(async move { kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await })
    };
    told.tell(done());
    for task in hanging {
        task.abort();
    }
    assert_eq!(waiting.await.expect("not aborted"), done());
    assert_eq!(kitchens.observe()[0].turned_away, 1);
}

#[tokio::test]
async fn channels_do_not_share_a_circuit() {
    let told = Told::to(broken());
    let kitchens = guarded(&told, LASTING);
    for _ in 0..3 {
        kitchens.offer(&place()).await;
    }
    let elsewhere = TicketRequest {
        channel: "partner-1".parse().expect("an id"),
        ..place()
    };
    assert_eq!(kitchens.offer(&elsewhere).await, broken(), "it was asked");
    let states = kitchens.observe();
    let circuits: Vec<_> = states
        .iter()
        .map(|state| (state.participant.as_str(), state.circuit))
        .collect();
    assert_eq!(
        circuits,
        [("kitchen-1", BreakerState::Open), ("partner-1", BreakerState::Closed)]
    );
}

#[tokio::test]
async fn payments_fail_at_once_while_their_circuit_is_open() {
    let told = Told::to(broken());
    let payments: Guarded<dyn Payments> = Guarded::new(Arc::clone(&told) as Arc<dyn Payments>, LASTING);
    for _ in 0..10 {
        let answer = payments.request(&payment(1, PaymentAction::Authorize)).await;
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }
    assert_eq!((told.asked(), payments.observe()[0].turned_away), (3, 7));
    assert_eq!(payments.observe()[0].participant, "payments");
}
