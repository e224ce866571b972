//! Payments and kitchens, with faults.

use super::process::Process;
use super::{Options, RunError};
use crate::evidence::LedgerLine;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long it may take to serve.
const START_MAX: Duration = Duration::from_secs(30);

/// What is wrong with all participants at once, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// They take almost as long as they may.
    Slow,
    /// Most requests are neither carried out nor answered.
    Hung,
    /// Most requests are carried out, and answered when nobody waits any more.
    Lying,
}

impl Mood {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Slow, Self::Hung, Self::Lying];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::Lying => "lying",
        }
    }

    /// The flags that are other than they were.
    const fn flags(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Slow => &[("--latency-ms", "800..2500")],
            Self::Hung => &[("--hang-pct", "80"), ("--error-pct", "0"), ("--late-success-pct", "0")],
            Self::Lying => &[("--hang-pct", "0"), ("--error-pct", "0"), ("--late-success-pct", "60")],
        }
    }
}

/// A running sandbox.
pub(super) struct Sandbox {
    process: Process,
    /// How it was started, without its faults.
    flags: Vec<(&'static str, String)>,
    faults: Vec<(&'static str, String)>,
    binary: PathBuf,
    log: PathBuf,
    url: String,
    ledger: PathBuf,
}

impl Sandbox {
    /// Starts a sandbox at an address that reports to `callback_url`, with its ledger and log in a directory.
    pub(super) async fn start(
        options: &Options,
        directory: &Path,
        address: &str,
        callback_url: &str,
    ) -> Result<Self, RunError> {
        let ledger = directory.join("sandbox-ledger.jsonl");
        let flags = vec![
            ("--bind", address.to_owned()),
            ("--seed", options.seed.to_string()),
            ("--callback-url", callback_url.to_owned()),
            ("--time-scale", options.speed.to_string()),
            ("--ledger", ledger.display().to_string()),
        ];
        let faults = &options.faults;
        let faults = vec![
            ("--decline-pct", faults.declines.to_string()),
            ("--refuse-pct", faults.refusals.to_string()),
            ("--hang-pct", faults.hangs.to_string()),
            ("--late-success-pct", faults.late_successes.to_string()),
            ("--error-pct", faults.errors.to_string()),
            ("--pending-pct", faults.pending.to_string()),
            ("--drop-pct", faults.drops.to_string()),
            ("--duplicate-callback-pct", faults.duplicate_callbacks.to_string()),
        ];
        let (log, binary) = (directory.join("sandbox.log"), options.binary.clone());
        let (process, url) = serve(&binary, &log, flags.iter().chain(&faults)).await?;
        Ok(Self {
            process,
            flags,
            faults,
            binary,
            log,
            url,
            ledger,
        })
    }

    /// Kills it and starts it again at the same address with its ledger, and without faults: what is still open may end.
    pub(super) async fn calm(&mut self) -> Result<(), RunError> {
        self.process.kill().await;
        (self.process, self.url) = serve(&self.binary, &self.log, self.flags.iter()).await?;
        Ok(())
    }

    /// Kills it and starts it again with its ledger and in another mood; with `None`, as it was.
    pub(super) async fn be(&mut self, mood: Option<Mood>) -> Result<(), RunError> {
        let of_mood = mood.map_or(&[][..], Mood::flags);
        let is_other = |flag: &str| of_mood.iter().any(|(other, _)| *other == flag);
        let usual = self.faults.iter().filter(|(flag, _)| !is_other(flag)).cloned();
        let other = of_mood.iter().map(|(flag, value)| (*flag, (*value).to_owned()));
        let flags: Vec<_> = self.flags.iter().cloned().chain(usual).chain(other).collect();
        self.process.kill().await;
        (self.process, self.url) = serve(&self.binary, &self.log, flags.iter()).await?;
        Ok(())
    }

    /// Its address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Stops it, and reads everything that it carried out.
    pub(super) async fn stop(&mut self) -> Result<Vec<LedgerLine>, RunError> {
        // Whatever it answered for is on disk: that is what its ledger is for.
        self.process.kill().await;
        let text = std::fs::read_to_string(&self.ledger).map_err(|source| RunError::Read {
            what: self.ledger.display().to_string(),
            source,
        })?;
        // A line that the kill cut off was never answered for.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        super::json_lines(&self.ledger, &text[..whole])
    }
}

/// Starts a sandbox and waits until it serves. Returns it with its address.
async fn serve(
    binary: &Path,
    log: &Path,
    flags: impl Iterator<Item = &(&'static str, String)>,
) -> Result<(Process, String), RunError> {
    let flags = flags.flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
    let arguments: Vec<String> = std::iter::once("sandbox".to_owned()).chain(flags).collect();
    let mut process = Process::start("sandbox", binary, &arguments, &[], log)?;
    match timeout(START_MAX, process.line()).await {
        Ok(Some(url)) => Ok((process, url.trim().to_owned())),
        Ok(None) => Err(process.failure("it ended before it served")),
        Err(_) => Err(process.failure(format!("it does not serve after {} s", START_MAX.as_secs()))),
    }
}
