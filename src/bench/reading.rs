//! What servers and their machine have counted up to a moment.

use super::connection::{Line, Target};
use super::figures::Figures;
use super::process::{Used, cpu, written_bytes};
use super::session::Server;
use futures::future::join_all;
use hyper::body::Bytes;
use hyper::{Method, Uri};
use persistence::Usage;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a reading of the figures may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One reading of everything.
pub(super) struct Reading {
    /// When the figures were read.
    pub(super) at: Instant,
    /// All servers' together; `None` when one of them did not tell.
    pub(super) figures: Option<Figures>,
    /// Orders that each server counted as confirmed; `None` when it did not tell.
    pub(super) confirmed_by_server: Vec<Option<f64>>,
    pub(super) cpu: Used,
    pub(super) usage: Option<Usage>,
    /// By all servers together.
    pub(super) written_bytes: Option<u64>,
}

impl Reading {
    pub(super) async fn take(servers: &[Server], location: Option<&str>) -> Self {
        let by_server = each(servers).await;
        let at = Instant::now();
        let pids: Vec<Option<u32>> = servers.iter().map(|server| server.pid).collect();
        let cpu = cpu(&pids);
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
            confirmed_by_server: by_server
                .iter()
                .map(|figures| figures.as_ref().map(Figures::confirmed))
                .collect(),
            figures: together(by_server),
            cpu,
            usage,
            written_bytes: pids.into_iter().map(|pid| written_bytes(pid?)).sum(),
        }
    }
}

/// All servers' figures together; `None` when one of them does not tell.
pub(super) async fn figures(servers: &[Server]) -> Option<Figures> {
    together(each(servers).await)
}

async fn each(servers: &[Server]) -> Vec<Option<Figures>> {
    join_all(servers.iter().map(|server| figures_of(&server.target))).await
}

fn together(by_server: Vec<Option<Figures>>) -> Option<Figures> {
    let all: Option<Vec<Figures>> = by_server.into_iter().collect();
    all.map(Figures::merged)
}

/// A server's figures; `None` when it does not tell.
async fn figures_of(target: &Target) -> Option<Figures> {
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
