//! What kitchens report: a real sandbox that reports to a small server.

use super::super::EventType::{Accepted, Cancelled, Preparing, Ready, Rejected};
use super::super::service::Sandbox;
use super::super::{EventType, KitchenEvent, SandboxConfig, deeds};
use super::{Folder, NOW_MS, PATIENCE, begin, clients, frozen, is_done, secret};
use crate::participants::ask::tests::{key, ticket};
use crate::participants::books::Outcome;
use crate::participants::draw::{Percent, SpreadMs};
use crate::participants::signature::Keyring;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use domain::invariants::Deed;
use domain::ports::Kitchens as _;
use domain::saga::{Answer, Step, TicketAction};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A server that takes callbacks: what it is told goes to a queue, and it answers as scripted, then 200.
struct Server {
    url: String,
    heard: mpsc::Receiver<(String, KitchenEvent)>,
}

#[derive(Clone)]
struct Ears {
    heard: mpsc::Sender<(String, KitchenEvent)>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

async fn hear(
    State(ears): State<Ears>,
    UrlPath(channel): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if Keyring::new(&[secret()]).verify(header, &body, NOW_MS).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let event = serde_json::from_slice(&body).expect("an event");
    ears.heard.send((channel, event)).await.expect("listening");
    let next = ears.answers.lock().expect("no panic").pop_front();
    next.unwrap_or(StatusCode::OK)
}

impl Server {
    async fn new(answers: &[u16]) -> Self {
        let (heard_tx, heard_rx) = mpsc::channel(64);
        let answers = answers
            .iter()
            .map(|code| StatusCode::from_u16(*code).expect("a status"))
            .collect();
        let ears = Ears {
            heard: heard_tx,
            answers: Arc::new(Mutex::new(answers)),
        };
        let router = Router::new()
            .route("/v1/channels/{channel}/events", post(hear))
            .with_state(ears);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, heard: heard_rx }
    }

    async fn hear(&mut self) -> EventType {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv())
            .await
            .expect("told in time");
        let (channel, event) = heard.expect("told");
        assert_eq!(channel, "kitchen-1");
        assert!(event.event_id.ends_with(event.kind.as_str()), "{event:?}");
        event.kind
    }

    async fn hears(&mut self, events: &[EventType]) {
        for event in events {
            assert_eq!(self.hear().await, *event);
        }
    }
}

/// Waits until some ticket has nothing more to tell.
async fn all_told(folder: &Folder) {
    let told_file = folder.0.path().join("ledger.jsonl.told");
    let is_told = || std::fs::read_to_string(&told_file).is_ok_and(|text| !text.is_empty());
    let waiting = async {
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("told in time");
}

fn told(folder: &Folder, server: &Server) -> SandboxConfig {
    SandboxConfig {
        callback_url: Some(server.url.clone()),
        ..folder.config()
    }
}

#[tokio::test]
async fn a_kitchen_reports_in_order_and_until_it_is_heard() {
    let folder = Folder::new();
    let mut server = Server::new(&[503, 429, 200, 500, 404]).await;
    let running = begin(told(&folder, &server)).await;
    let answer = clients(&running)
        .kitchens
        .request(&ticket(1, TicketAction::Place, 10))
        .await;
    assert!(is_done(&answer), "{answer:?}");
    server.hears(&[Preparing, Preparing, Preparing, Ready, Ready]).await;
    all_told(&folder).await;
    assert!(server.heard.try_recv().is_err(), "404 is final");
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Done]);
}

#[tokio::test]
async fn a_ticket_put_off_is_decided_by_a_callback_and_doubled_at_the_end() {
    let folder = Folder::new();
    let mut server = Server::new(&[]).await;
    let later = SandboxConfig {
        pending_pct: Percent::ALWAYS,
        decision_ms: SpreadMs { min: 1, max: 20 },
        duplicate_callback_pct: Percent::ALWAYS,
        ..told(&folder, &server)
    };
    let running = begin(later.clone()).await;
    let kitchens = clients(&running).kitchens;
    assert_eq!(
        kitchens.request(&ticket(1, TicketAction::Place, 10)).await,
        Answer::Pending
    );
    server
        .hears(&[Accepted, Preparing, Ready, Accepted, Preparing, Ready])
        .await;
    assert!(
        is_done(&kitchens.request(&ticket(1, TicketAction::Place, 10)).await),
        "asked again after the decision"
    );
    running.stop().await.expect("stopped");

    let running = begin(SandboxConfig {
        refuse_pct: Percent::ALWAYS,
        ..later
    })
    .await;
    assert_eq!(
        clients(&running)
            .kitchens
            .request(&ticket(2, TicketAction::Place, 10))
            .await,
        Answer::Pending
    );
    server.hears(&[Rejected, Rejected]).await;
    running.stop().await.expect("stopped");
    assert_eq!(
        folder.outcomes(),
        [Outcome::Pending, Outcome::Done, Outcome::Pending, Outcome::Refused]
    );
}

#[tokio::test]
async fn a_dropped_ticket_was_accepted_before_and_counts_as_undone() {
    let folder = Folder::new();
    let mut server = Server::new(&[]).await;
    let running = begin(SandboxConfig {
        drop_pct: Percent::ALWAYS,
        ..told(&folder, &server)
    })
    .await;
    let kitchens = clients(&running).kitchens;
    assert!(is_done(&kitchens.request(&ticket(1, TicketAction::Place, 10)).await));
    server.hears(&[Accepted, Preparing, Cancelled]).await;
    assert!(
        is_done(&kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await),
        "nothing left to cancel"
    );
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Done, Outcome::Dropped]);
    let undone = Deed { done: 1, undone: 1 };
    assert_eq!(
        deeds(&folder.lines(), Step::PlaceTicket),
        BTreeMap::from([(key(1, Step::PlaceTicket, 0), undone)])
    );
}

#[tokio::test]
async fn a_cancel_stops_the_kitchen() {
    let folder = Folder::new();
    let mut server = Server::new(&[]).await;
    let running = begin(told(&folder, &server)).await;
    let kitchens = clients(&running).kitchens;
    assert!(is_done(
        &kitchens.request(&ticket(1, TicketAction::Place, 3_600_000)).await
    ));
    server.hears(&[Preparing]).await;
    assert!(is_done(&kitchens.request(&ticket(1, TicketAction::Cancel, 0)).await));
    running.stop().await.expect("stopped");
    // At the next start, at a pace at which it would be cooked at once, there is nothing left to do.
    let running = begin(SandboxConfig {
        time_scale: 10_000_000,
        ..told(&folder, &server)
    })
    .await;
    let other = ticket(2, TicketAction::Place, 0);
    assert!(is_done(&clients(&running).kitchens.request(&other).await));
    for _ in 0..2 {
        let (_, event) = server.heard.recv().await.expect("told");
        assert_eq!(event.order_id, other.order, "{event:?}");
    }
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Done, Outcome::Undone, Outcome::Done]);
}

#[tokio::test]
async fn cooking_goes_on_after_a_restart() {
    let folder = Folder::new();
    let mut server = Server::new(&[]).await;
    let slow = SandboxConfig {
        pending_pct: Percent::ALWAYS,
        decision_ms: SpreadMs {
            min: 3_600_000,
            max: 3_600_000,
        },
        ..told(&folder, &server)
    };
    let running = begin(slow).await;
    let place = ticket(1, TicketAction::Place, 3_600_000);
    assert_eq!(clients(&running).kitchens.request(&place).await, Answer::Pending);
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Pending]);

    let hasty = SandboxConfig {
        decision_ms: SpreadMs::default(),
        ..told(&folder, &server)
    };
    let running = begin(hasty.clone()).await;
    server.hears(&[Accepted, Preparing]).await;
    running.stop().await.expect("stopped");
    assert_eq!(folder.outcomes(), [Outcome::Pending, Outcome::Done]);

    // What was heard before may be told again; a ticket that has nothing more to tell is not.
    let running = begin(SandboxConfig {
        time_scale: 10_000_000,
        ..hasty.clone()
    })
    .await;
    server.hears(&[Accepted, Preparing, Ready]).await;
    all_told(&folder).await;
    running.stop().await.expect("stopped");
    let (_, open, _) = Sandbox::open(hasty, frozen()).expect("a ledger");
    assert!(open.is_empty());
}
