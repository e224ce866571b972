//! A real sandbox on a port of its own, asked by the real clients.

mod callbacks;

use super::*;
use crate::participants::ask::tests::{key, payment, ticket};
use crate::participants::books::Outcome;
use crate::participants::http::{HttpConfig, HttpKitchens, HttpPayments};
use crate::participants::signature::Keyring;
use domain::invariants::Deed;
use domain::ports::{Kitchens as _, Payments as _};
use domain::saga::{Answer, PaymentAction, Receipt, Step, TicketAction};
use std::collections::BTreeMap;
use tempfile::TempDir;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const NOW_MS: i64 = 1_700_000_000_000;
/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn frozen() -> WallClock {
    Arc::new(|| NOW_MS)
}

fn secret() -> Secret {
    SECRET.parse().expect("a secret")
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn config(&self) -> SandboxConfig {
        SandboxConfig {
            secret: Some(secret()),
            ..SandboxConfig::new(self.0.path().join("ledger.jsonl"))
        }
    }

    fn lines(&self) -> Vec<LedgerLine> {
        parse(&std::fs::read(self.0.path().join("ledger.jsonl")).expect("a ledger")).expect("whole lines")
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.lines().into_iter().map(|line| line.outcome).collect()
    }
}

struct Clients {
    payments: HttpPayments,
    kitchens: HttpKitchens,
}

fn clients(running: &Running) -> Clients {
    impatient_clients(running, 30_000)
}

fn impatient_clients(running: &Running, timeout_ms: u64) -> Clients {
    let config = HttpConfig {
        secret: Some(secret()),
        timeout_ms,
        ..HttpConfig::at(running.url())
    };
    Clients {
        payments: HttpPayments::new(&config, frozen()).expect("a client"),
        kitchens: HttpKitchens::new(&config, frozen()).expect("a client"),
    }
}

async fn begin(config: SandboxConfig) -> Running {
    start(config, frozen()).await.expect("a sandbox")
}

fn is_done(answer: &Answer) -> bool {
    matches!(answer, Answer::Done(_))
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Refused(refused) => &refused.code,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test]
async fn each_effect_is_carried_out_once_and_answered_the_same() {
    let folder = Folder::new();
    let running = begin(folder.config()).await;
    let Clients { payments, kitchens } = clients(&running);
    for _ in 0..3 {
        let answer = payments.request(&payment(1, PaymentAction::Authorize)).await;
        assert_eq!(answer, Answer::Done(Receipt::Authorized { until: None }));
        assert_eq!(
            payments.request(&payment(1, PaymentAction::Capture)).await,
            Answer::Done(Receipt::Empty)
        );
        let placed = kitchens.request(&ticket(1, TicketAction::Place, 60_000)).await;
        assert_eq!(placed, Answer::Done(Receipt::Accepted { ready_at: None }));
    }
    let lines = folder.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line.participant.as_str(), line.action.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("payments", "authorize"),
            ("payments", "capture"),
            ("kitchens/kitchen-1", "place")
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line.outcome == Outcome::Done && line.at_ms == NOW_MS),
        "{lines:?}"
    );
    assert_eq!(lines[0].amount.as_ref().map(|amount| amount.amount_minor), Some(1_250));

    let summary: serde_json::Value = reqwest::get(format!("{}/ledger/summary", running.url()))
        .await
        .expect("served")
        .json()
        .await
        .expect("JSON");
    let capture = key(1, Step::Capture, 0).to_string();
    assert_eq!(
        summary["capture"][&capture],
        serde_json::json!({"done": 1, "undone": 0})
    );
    let text = reqwest::get(format!("{}/ledger", running.url()))
        .await
        .expect("served")
        .text()
        .await
        .expect("text");
    assert_eq!(parse(text.as_bytes()), Ok(lines));
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn compensations_leave_tombstones_that_survive_a_restart() {
    let folder = Folder::new();
    let running = begin(folder.config()).await;
    let Clients { payments, kitchens } = clients(&running);
    assert!(is_done(&payments.request(&payment(1, PaymentAction::Authorize)).await));
    assert!(is_done(&payments.request(&payment(1, PaymentAction::Void)).await));
    assert!(
        is_done(&payments.request(&payment(2, PaymentAction::Void)).await),
        "of something unknown"
    );
    assert!(
        is_done(&kitchens.request(&ticket(2, TicketAction::Cancel, 0)).await),
        "of something unknown"
    );
    running.stop().await.expect("stopped");

    let running = begin(folder.config()).await;
    let Clients { payments, kitchens } = clients(&running);
    for n in [1, 2] {
        assert_eq!(
            code(&payments.request(&payment(n, PaymentAction::Authorize)).await),
            "undone"
        );
        assert!(
            is_done(&payments.request(&payment(n, PaymentAction::Void)).await),
            "again"
        );
        assert_eq!(
            code(&payments.request(&payment(n, PaymentAction::Capture)).await),
            "not_authorized"
        );
    }
    assert_eq!(
        code(&kitchens.request(&ticket(2, TicketAction::Place, 0)).await),
        "undone"
    );
    running.stop().await.expect("stopped");
    let (undone, tombstones) = (Deed { done: 1, undone: 1 }, Outcome::Tombstone);
    assert_eq!(
        deeds(&folder.lines(), Step::Authorize),
        BTreeMap::from([(key(1, Step::Authorize, 0), undone)])
    );
    assert_eq!(
        folder
            .outcomes()
            .iter()
            .filter(|outcome| **outcome == tombstones)
            .count(),
        2
    );
}

#[tokio::test]
async fn what_is_declined_stays_declined() {
    let folder = Folder::new();
    let config = SandboxConfig {
        decline_pct: Percent::ALWAYS,
        refuse_pct: Percent::ALWAYS,
        ..folder.config()
    };
    let running = begin(config).await;
    let Clients { payments, kitchens } = clients(&running);
    assert_eq!(
        code(&payments.request(&payment(1, PaymentAction::Authorize)).await),
        "declined"
    );
    assert_eq!(
        code(&kitchens.request(&ticket(1, TicketAction::Place, 0)).await),
        "rejected"
    );
    running.stop().await.expect("stopped");

    let running = begin(folder.config()).await;
    let answer = clients(&running)
        .payments
        .request(&payment(1, PaymentAction::Authorize))
        .await;
    assert_eq!(
        code(&answer),
        "declined",
        "by the ledger, whatever the settings are now"
    );
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Refused, Outcome::Refused]);
}

#[tokio::test]
async fn a_hang_and_an_error_do_nothing_and_a_late_success_does_it() {
    let folder = Folder::new();
    let authorize = payment(1, PaymentAction::Authorize);
    for fault in [
        SandboxConfig {
            hang_pct: Percent::ALWAYS,
            ..folder.config()
        },
        SandboxConfig {
            error_pct: Percent::ALWAYS,
            ..folder.config()
        },
    ] {
        let running = begin(fault).await;
        let answer = impatient_clients(&running, 100).payments.request(&authorize).await;
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        running.stop().await.expect("stopped");
        assert_eq!(folder.outcomes(), []);
    }
    let late = SandboxConfig {
        late_success_pct: Percent::ALWAYS,
        late_answer_ms: 60_000,
        ..folder.config()
    };
    let running = begin(late).await;
    let payments = clients(&running).payments;
    let asked = payment(1, PaymentAction::Authorize);
    let asking = tokio::spawn(async move { payments.request(&asked).await });
    let done = async {
        while folder.outcomes() != [Outcome::Done] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("done in time");
    assert!(!asking.is_finished(), "it is done, and not answered");
    asking.abort();
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Done]);
    let running = begin(folder.config()).await;
    assert!(
        is_done(&clients(&running).payments.request(&authorize).await),
        "asked again, it answers"
    );
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Done], "and does nothing more");
}

#[tokio::test]
async fn requests_that_are_not_right_change_nothing() {
    let folder = Folder::new();
    let running = begin(folder.config()).await;
    let unsigned = HttpPayments::new(&HttpConfig::at(running.url()), frozen()).expect("a client");
    let asked = |answer: &Answer, part: &str| match answer {
        Answer::Failed(detail) => assert!(detail.contains(part), "{detail}"),
        other => panic!("{other:?}"),
    };
    asked(&unsigned.request(&payment(1, PaymentAction::Authorize)).await, "401");
    let mut confused = payment(1, PaymentAction::Capture);
    confused.of = None;
    asked(&clients(&running).payments.request(&confused).await, "400");
    let body = serde_json::to_vec(&payment(1, PaymentAction::Authorize)).expect("JSON");
    let keyring = Keyring::new(&[secret()]);
    let post = |path: &str, key: &str, body: &[u8]| {
        let post = reqwest::Client::new()
            .post(format!("{}{path}", running.url()))
            .header("idempotency-key", key);
        let signed = post
            .header("webhook-id", "x")
            .header("webhook-timestamp", NOW_MS / 1_000);
        signed
            .header("webhook-signature", keyring.sign("x", NOW_MS / 1_000, body))
            .body(body.to_vec())
            .send()
    };
    let right = key(1, Step::Authorize, 0).to_string();
    let huge = vec![b' '; 1_000_000];
    for (path, key, body, status) in [
        ("/payments/authorize", "another", body.as_slice(), 400),
        ("/payments/capture", &right, &body, 400),
        ("/payments/authorize", &right, b"[[[", 400),
        ("/payments/authorize", &right, &huge, 413),
        ("/kitchens/kitchen-1/tickets", &right, &body, 400),
        ("/nowhere", &right, &body, 404),
    ] {
        let answered = post(path, key, body).await.expect("an answer").status();
        assert_eq!(answered.as_u16(), status, "{path}");
    }
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), []);
}

#[tokio::test]
async fn a_ledger_serves_one_sandbox() {
    let folder = Folder::new();
    let running = begin(folder.config()).await;
    let error = start(folder.config(), frozen())
        .await
        .err()
        .expect("in use")
        .to_string();
    assert!(error.contains("in use"), "{error}");
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn many_requests_share_their_syncs_and_each_is_in_the_ledger() {
    let folder = Folder::new();
    let running = begin(folder.config()).await;
    let clients = Arc::new(clients(&running));
    let asks: Vec<_> = (0..200)
        .map(|n| {
            let clients = Arc::clone(&clients);
            tokio::spawn(async move { clients.payments.request(&payment(n, PaymentAction::Authorize)).await })
        })
        .collect();
    for ask in asks {
        assert!(is_done(&ask.await.expect("no panic")));
    }
    assert_eq!(deeds(&folder.lines(), Step::Authorize).len(), 200);
    running.stop().await.expect("stopped");
}
