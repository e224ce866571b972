use super::*;
use crate::participants::ask::tests::{payment, ticket};
use domain::ids::OrderId;
use domain::saga::{PaymentAction, Receipt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers what it is told to; when told nothing, only when it is let go.
#[derive(Default)]
struct Told {
    answer: Mutex<Option<Answer>>,
    let_go: Notify,
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
        if let Some(answer) = answer {
            return answer;
        }
        self.let_go.notified().await;
        done()
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
    waiting_max: 1,
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
async fn an_open_circuit_refuses_offers_and_sends_nothing_else() {
    let told = Told::to(broken());
    let kitchens = guarded(&told, LASTING);
    for _ in 0..3 {
        assert_eq!(kitchens.offer(&place()).await, broken());
    }
    assert_eq!(code(&kitchens.offer(&place()).await), "circuit_open");
    assert!(
        matches!(kitchens.request(&place()).await, Answer::Unsent(_)),
        "an attempt of it may have left before"
    );
    let cancel = ticket(1, TicketAction::Cancel, 0);
    for answer in [kitchens.request(&cancel).await, kitchens.offer(&cancel).await] {
        assert!(matches!(answer, Answer::Unsent(_)), "{answer:?}");
    }
    assert_eq!(told.asked(), 3, "the kitchen was left alone");
    let state = &kitchens.observe()[0];
    assert_eq!(
        (state.circuit, state.failures, state.opened),
        (CircuitState::Open, 3, 1)
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
    assert_eq!(kitchens.observe()[0].circuit, CircuitState::Open);
    told.tell(done());
    assert_eq!(kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await, done());
    assert_eq!(kitchens.observe()[0].circuit, CircuitState::Closed);
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
    assert_eq!((state.circuit, state.in_flight), (CircuitState::Open, 0));
}

/// Offers a ticket in a task of its own.
fn offering(kitchens: &Arc<Guarded<dyn Kitchens>>) -> JoinHandle<Answer> {
    let kitchens = Arc::clone(kitchens);
    tokio::spawn(async move { kitchens.offer(&place()).await })
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

/// A kitchen that counts how many cook at a time, and whether in the order in which they came.
#[derive(Default)]
struct Stove {
    now: AtomicUsize,
    most: AtomicUsize,
    order: Mutex<Vec<OrderId>>,
}

#[async_trait]
impl Kitchens for Stove {
    async fn request(&self, request: &TicketRequest) -> Answer {
        self.order.lock().expect("no panic").push(request.order);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        done()
    }
}

#[tokio::test]
async fn a_burst_waits_for_its_turn_and_nobody_is_refused() {
    const AT_ONCE: usize = 8;
    let config = GuardConfig {
        concurrent_max: AT_ONCE,
        waiting_max: 1_000,
        ..LASTING
    };
    let stove = Arc::new(Stove::default());
    let kitchens: Arc<Guarded<dyn Kitchens>> = Arc::new(Guarded::new(Arc::clone(&stove) as _, config));
    let orders = 0..u64::try_from(5 * AT_ONCE).expect("few");
    let burst: Vec<_> = orders
        .map(|n| {
            let kitchens = Arc::clone(&kitchens);
            tokio::spawn(async move { kitchens.offer(&ticket(n, TicketAction::Place, 0)).await })
        })
        .collect();
    let mut came = Vec::new();
    for (n, one) in (0..).zip(burst) {
        assert_eq!(one.await.expect("no panic"), done());
        came.push(ticket(n, TicketAction::Place, 0).order);
    }
    assert_eq!(
        stove.most.load(Ordering::SeqCst),
        AT_ONCE,
        "as many as may, and never more"
    );
    assert_eq!(*stove.order.lock().expect("no panic"), came, "first come, first served");
    let state = &kitchens.observe()[0];
    assert_eq!((state.in_flight, state.waiting, state.turned_away), (0, 0, 0));
}

#[tokio::test]
async fn when_too_many_wait_offers_are_refused_and_everything_else_waits() {
    let told = Arc::new(Told::default());
    let kitchens = Arc::new(guarded(&told, LASTING));
    let hanging = [offering(&kitchens), offering(&kitchens)];
    until(|| told.asked() == 2).await;
    let first = offering(&kitchens);
    until(|| kitchens.observe()[0].waiting == 1).await;
    assert_eq!(
        code(&kitchens.offer(&place()).await),
        "busy",
        "one may wait, and one does"
    );
    let cancel = {
        let kitchens = Arc::clone(&kitchens);
        tokio::spawn(async move { kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await })
    };
    until(|| kitchens.observe()[0].waiting == 2).await;
    assert_eq!(kitchens.observe()[0].in_flight, 2);
    told.tell(done());
    for task in hanging {
        task.abort();
    }
    assert_eq!(first.await.expect("not aborted"), done());
    assert_eq!(cancel.await.expect("not aborted"), done());
    assert_eq!(kitchens.observe()[0].turned_away, 1);
}

#[tokio::test]
async fn who_waits_while_the_circuit_opens_is_answered_as_by_a_closed_door() {
    let told = Arc::new(Told::default());
    let config = GuardConfig {
        waiting_max: 10,
        failures_max: 2,
        ..LASTING
    };
    let kitchens = Arc::new(guarded(&told, config));
    let hanging = [offering(&kitchens), offering(&kitchens)];
    until(|| told.asked() == 2).await;
    let waiting = offering(&kitchens);
    until(|| kitchens.observe()[0].waiting == 1).await;
    // Both are given up at once: the place that comes free is that of a participant which does not answer.
    for task in hanging {
        task.abort();
    }
    let answer = waiting.await.expect("not aborted");
    assert_eq!((code(&answer), told.asked()), ("circuit_open", 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_spent_its_time_waiting_is_not_held_against_the_participant() {
    let told = Arc::new(Told::default());
    let config = GuardConfig {
        concurrent_max: 1,
        waiting_max: 10,
        failures_max: 1,
        ..LASTING
    };
    let kitchens = Arc::new(guarded(&told, config));
    let first = offering(&kitchens);
    until(|| told.asked() == 1).await;
    let second = tokio::spawn({
        let kitchens = Arc::clone(&kitchens);
        async move { tokio::time::timeout(Duration::from_secs(3), kitchens.offer(&place())).await }
    });
    until(|| kitchens.observe()[0].waiting == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(kitchens.observe()[0].circuit, CircuitState::Closed);
    // The first answers, and leaves the second a second of its three.
    told.let_go.notify_one();
    assert_eq!(first.await.expect("not aborted"), done());
    assert!(second.await.expect("no panic").is_err(), "its time is over");
    assert_eq!((told.asked(), kitchens.observe()[0].circuit), (2, CircuitState::Closed));
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
        [("kitchen-1", CircuitState::Open), ("partner-1", CircuitState::Closed)]
    );
}

#[tokio::test]
async fn payments_fail_at_once_while_their_circuit_is_open() {
    let told = Told::to(broken());
    let payments: Guarded<dyn Payments> = Guarded::new(Arc::clone(&told) as Arc<dyn Payments>, LASTING);
    for n in 0..10 {
        let answer = payments.request(&payment(1, PaymentAction::Authorize)).await;
        let is_unsent = matches!(answer, Answer::Unsent(_));
        assert_eq!((answer == broken(), is_unsent), (n < 3, n >= 3), "{answer:?}");
    }
    assert_eq!((told.asked(), payments.observe()[0].turned_away), (3, 7));
    assert_eq!(payments.observe()[0].participant, "payments");
}
