//! `uoop sandbox`: payments, kitchens and partners as a separate HTTP process, with faults by seeded configuration and a
//! durable ledger of everything that was carried out.
//!
//! It serves what [`crate::participants::http`] asks, and `GET /ledger` (JSON lines, see [`LedgerLine`]),
//! `GET /ledger/summary` (how often each action was done and undone, from the file) and `GET /livez`. Its kitchens report to
//! `POST {callback_url}/v1/channels/{channel}/events`.
//!
//! The ledger, one line for each thing carried out:
//! `{"at_ms", "participant": "payments" | "kitchens/{channel}", "action", "key", "of"?, "order", "amount_minor"?, "currency"?,
//! "prep_ms"?, "ready_at"?, "outcome": "done" | "undone" | "tombstone" | "refused" | "pending" | "dropped", "refused"?}`.
//! An action's fate is in the lines whose key, with its direction made `do`, is the action's: `done` counts as done,
//! `undone` and `dropped` as undone, the others as neither.

mod callbacks;
mod config;
mod connections;
mod deeds;
mod faults;
mod kitchen;
mod ledger;
mod pace;
mod router;
mod service;

pub use callbacks::{EventType, KitchenEvent};
pub use config::SandboxConfig;
pub use deeds::deeds;
pub use ledger::{Amount, LedgerError, LedgerLine, parse};

use crate::participants::draw::{Percent, SpreadMs};
use crate::participants::signature::Secret;
use crate::participants::wall::{self, WallClock};
use connections::Limited;
use service::Sandbox;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// How long requests under way may take when the sandbox stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Payments, kitchens and partners to test against, with faults.
#[derive(Clone, Debug, clap::Args)]
#[command(
    long_about = "Serves payments, kitchens and partners over HTTP, with faults drawn from a seed, and keeps a durable \
                  ledger of everything it carried out.\n\nShares are in percent of all cases and may be fractions; \
                  lengths are in milliseconds of wall time. The same seed gives the same declines and refusals.",
    after_long_help = "Example: 5 % of cards declined, 10 % of tickets refused, 2 % of requests hang and 2 % succeed too \
                       late, for a server on port 8080 whose time runs 240 times as fast:\n\n  uoop sandbox --decline-pct 5 \
                       --refuse-pct 10 --hang-pct 2 --late-success-pct 2 \\\n    --callback-url http://127.0.0.1:8080 \
                       --time-scale 240\n\nWhat it carried out: curl http://127.0.0.1:9090/ledger"
)]
pub struct SandboxArgs {
    /// Address to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub bind: SocketAddr,
    /// What all draws follow from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long a request takes before it is carried out.
    #[arg(long, default_value = "5..20", value_name = "MIN..MAX")]
    pub latency_ms: SpreadMs,
    /// Authorizations that are declined.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub decline_pct: Percent,
    /// Tickets that are refused.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub refuse_pct: Percent,
    /// Requests that are never answered, and not carried out.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub hang_pct: Percent,
    /// Requests that are answered with 500, and not carried out.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub error_pct: Percent,
    /// Requests that are carried out, and answered only after the client's time-out.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub late_success_pct: Percent,
    /// How late such an answer is.
    #[arg(long, default_value_t = 10_000)]
    pub late_answer_ms: u64,
    /// Tickets that are taken with 202 and decided by a callback.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub pending_pct: Percent,
    /// How long such a decision takes.
    #[arg(long, default_value = "200..2000", value_name = "MIN..MAX")]
    pub decision_ms: SpreadMs,
    /// Accepted tickets that the kitchen drops half-way.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub drop_pct: Percent,
    /// Callbacks that are sent a second time, late and out of order.
    #[arg(long, default_value = "0", value_name = "PERCENT")]
    pub duplicate_callback_pct: Percent,
    /// Each callback comes up to so much later than it should.
    #[arg(long, default_value_t = 0)]
    pub late_callback_ms: u64,
    /// Base URL of the server that gets the callbacks; without it, kitchens are mute.
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// Secret of 24 to 64 bytes, or whsec_ and its base64: requests must be signed with it, and callbacks are.
    #[arg(long, env = "UOOP_SANDBOX_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// How many milliseconds of business time pass in one of wall time; the server's own, if it tells, comes first.
    #[arg(long, default_value_t = 1)]
    pub time_scale: u64,
    /// File with everything that was carried out; made if need be, and continued.
    #[arg(long, default_value = "data/sandbox-ledger.jsonl", value_name = "FILE")]
    pub ledger: PathBuf,
}

impl From<SandboxArgs> for SandboxConfig {
    fn from(args: SandboxArgs) -> Self {
        let SandboxArgs {
            bind,
            seed,
            latency_ms,
            decline_pct,
            refuse_pct,
            hang_pct,
            error_pct,
            ..
        } = args;
        let SandboxArgs {
            late_success_pct,
            late_answer_ms,
            pending_pct,
            decision_ms,
            drop_pct,
            ..
        } = args;
        let SandboxArgs {
            duplicate_callback_pct,
            late_callback_ms,
            callback_url,
            secret,
            time_scale,
            ledger,
            ..
        } = args;
        Self {
            bind,
            seed,
            latency_ms,
            decline_pct,
            refuse_pct,
            hang_pct,
            error_pct,
            late_success_pct,
            late_answer_ms,
            pending_pct,
            decision_ms,
            drop_pct,
            duplicate_callback_pct,
            late_callback_ms,
            callback_url,
            secret,
            time_scale,
            ..Self::new(ledger)
        }
    }
}

/// Why a sandbox does not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The address cannot be served.
    #[error("cannot serve {address}: {source}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something of the system's failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl SandboxArgs {
    /// Runs a sandbox with these settings; see [`run`].
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(self) -> Result<ExitCode, SandboxError> {
        run(self).await.map(|()| ExitCode::SUCCESS)
    }
}

/// Serves until SIGTERM or SIGINT. Prints the URL in one line once it serves.
///
/// # Errors
/// A setting, the address or the ledger is unusable; or the ledger cannot be written any more.
pub async fn run(args: SandboxArgs) -> Result<(), SandboxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = SandboxConfig::from(args);
    if let Some(folder) = config.ledger.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let running = start(config, wall::system()).await?;
    println!("{}", running.url());
    running
        .until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
}

/// A sandbox that serves.
pub struct Running {
    address: SocketAddr,
    sandbox: Arc<Sandbox>,
    server: JoinHandle<std::io::Result<()>>,
    writer: ledger::Writer,
}

/// Starts a sandbox: recalls its ledger, goes on with what is being cooked, and serves. `wall` dates ledger and signatures.
///
/// # Errors
/// A setting, the address or the ledger is unusable.
pub async fn start(config: SandboxConfig, wall: WallClock) -> Result<Running, SandboxError> {
    if let Some(problem) = config.problem() {
        return Err(SandboxError::Setting(problem));
    }
    let no_address = |source| SandboxError::Address {
        address: config.bind,
        source,
    };
    let listener = TcpListener::bind(config.bind).await.map_err(no_address)?;
    let address = listener.local_addr().map_err(no_address)?;
    let listener = Limited::new(listener, config.connections_max);
    let (sandbox, open, writer) = Sandbox::open(config, wall)?;
    for ticket in open {
        sandbox.cook(ticket);
    }
    if sandbox.teller.is_some() {
        tokio::spawn(follow_clock(Arc::clone(&sandbox)));
    }
    let stop = sandbox.stop.clone();
    let router = router::router(Arc::clone(&sandbox));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    Ok(Running {
        address,
        sandbox,
        server: tokio::spawn(serving.into_future()),
        writer,
    })
}

async fn follow_clock(sandbox: Arc<Sandbox>) {
    if let Some(teller) = &sandbox.teller {
        sandbox
            .pace
            .follow(&teller.client, &teller.base_url, &sandbox.stop)
            .await;
    }
}

impl Running {
    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until told to stop, or until the ledger cannot be written any more.
    ///
    /// # Errors
    /// The ledger could not be written.
    pub async fn until(self, stop: impl Future<Output = ()>) -> Result<(), SandboxError> {
        tokio::select! {
            () = stop => {}
            () = self.sandbox.stop.cancelled() => {}
        }
        self.stop().await
    }

    /// Stops: no new requests, a moment for those under way, and the ledger closed. Cooking goes on at the next start.
    ///
    /// # Errors
    /// The ledger could not be written.
    pub async fn stop(self) -> Result<(), SandboxError> {
        let Self {
            sandbox,
            mut server,
            writer,
            ..
        } = self;
        sandbox.stop.cancel();
        if tokio::time::timeout(DRAIN_MAX, &mut server).await.is_err() {
            server.abort();
        }
        sandbox.stop_cooking();
        drop(sandbox);
        let closing = tokio::task::spawn_blocking(move || writer.join());
        match tokio::time::timeout(DRAIN_MAX, closing).await {
            Ok(Ok(Ok(written))) => written.map_err(SandboxError::from),
            // A request that is still under way holds the ledger open; what it has written is on disk.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
