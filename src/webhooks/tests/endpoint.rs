//! An endpoint that remembers what it was sent, and answers as it is told to.

use super::rig::soon;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, mpsc};

/// A message as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Message {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(super) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The order it tells of.
    pub(super) fn order(&self) -> String {
        self.json()["data"]["order_id"].as_str().expect("an order").to_owned()
    }
}

/// An endpoint on a port of its own.
pub(super) struct Endpoint {
    pub(super) url: String,
    messages_rx: Mutex<mpsc::Receiver<Message>>,
    count: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Answers the `n`th message (from 0) with `answer(n)`.
    pub(super) async fn start<F>(answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let (messages_tx, messages_rx) = mpsc::channel(10_000);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let handler = move |headers: HeaderMap, body: Bytes| {
            let (messages_tx, n) = (messages_tx.clone(), counted.fetch_add(1, Ordering::SeqCst));
            let answer = answer(n);
            async move {
                messages_tx
                    .send(Message { headers, body })
                    .await
                    .expect("the test listens");
                answer.await
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://127.0.0.1:{port}/hooks?for=us"),
            messages_rx: Mutex::new(messages_rx),
            count,
        }
    }

    /// Answers with this status, always.
    pub(super) async fn answering(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::start(move |_| async move { status.into_response() }).await
    }

    /// The next message.
    pub(super) async fn next(&self) -> Message {
        soon(async { self.messages_rx.lock().await.recv().await })
            .await
            .expect("the endpoint goes on")
    }

    /// Whether nothing comes for a moment.
    pub(super) async fn is_calm(&self) -> bool {
        let before = self.count();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        self.count() == before
    }

    /// How many messages have come.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

pub(super) fn status(status: u16) -> Response {
    StatusCode::from_u16(status).expect("a status").into_response()
}
