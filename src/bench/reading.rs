//! What a server and its machine have counted up to a moment.

use super::connection::{Line, Target};
use super::figures::Figures;
use super::process::{cpu_ms, written_bytes};
use hyper::body::Bytes;
use hyper::{Method, Uri};
use persistence::Usage;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a reading of the figures may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One reading of everything.
pub(super) struct Reading {
    /// When the figures were read.
    pub(super) at: Instant,
    /// `None` when the server did not tell.
    pub(super) figures: Option<Figures>,
    pub(super) cpu_ms: BTreeMap<&'static str, u64>,
    pub(super) usage: Option<Usage>,
    pub(super) written_bytes: Option<u64>,
}

impl Reading {
    pub(super) async fn take(target: &Target, server: Option<u32>, location: Option<&str>) -> Self {
        let figures = figures(target).await;
        let at = Instant::now();
        let cpu_ms = cpu_ms(server);
        let usage = match location {
            Some(location) => match persistence::usage(location).await {
                Ok(usage) => Some(usage),
                Err(error) => {
                    tracing::warn!(%error, "the store does not tell what it takes");
                    None
                }
            },
            None => None,
        };
        Self {
            at,
            figures,
            cpu_ms,
            usage,
            written_bytes: server.and_then(written_bytes),
        }
    }
}

/// The server's figures; `None` when it does not tell.
pub(super) async fn figures(target: &Target) -> Option<Figures> {
    let asked = async {
        let mut line = Line::open(target).await?;
        line.send(target.request(Method::GET, Uri::from_static("/metrics"), Bytes::new()))
            .await
    };
    let reply = timeout(ANSWER_TIMEOUT, asked).await.ok()?.ok()?;
    (reply.status == 200).then(|| Figures::parse(&String::from_utf8_lossy(&reply.body)))
}

impl Figures {
    /// Orders that were confirmed.
    pub(super) fn confirmed(&self) -> f64 {
        self.count("order_processing_duration_count")
    }

    /// Orders that were confirmed or failed.
    pub(super) fn settled(&self) -> f64 {
        self.confirmed() + self.count("order_processing_errors_total")
    }
}
