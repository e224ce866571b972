//! The customers: a replay of the day as a process of its own.

use super::process::Process;
use super::{Options, RunError};
use crate::evidence::Submitted;
use serde_json::{Value, from_str};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How much longer than the day it may take: its own patience with what does not settle, and more.
const PATIENCE: Duration = Duration::from_mins(10);

/// A running replay.
pub(super) struct Replay {
    process: Process,
    report: PathBuf,
    /// How long it may take.
    time_max: Duration,
}

/// What it left.
pub(super) struct Played {
    /// What came of each submission.
    pub(super) submitted: Vec<Submitted>,
    /// Its own summary.
    pub(super) summary: Value,
}

impl Replay {
    /// Starts to play a day of this length.
    pub(super) fn start(
        options: &Options,
        day: &Path,
        directory: &Path,
        url: &str,
        length: Duration,
    ) -> Result<Self, RunError> {
        let report = directory.join("replay-report.jsonl");
        let mut arguments = vec!["replay".to_owned(), day.display().to_string(), "--json".to_owned()];
        for (flag, value) in [
            ("--url", url.to_owned()),
            ("--speed", options.speed.to_string()),
            ("--seed", options.seed.to_string()),
            ("--report", report.display().to_string()),
            ("--cancel-pct", options.faults.cancels.to_string()),
            ("--duplicate-pct", options.faults.duplicates.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        if let Some(orders) = options.orders {
            arguments.extend(["--limit-orders".to_owned(), orders.to_string()]);
        }
        let process = Process::start(
            "replay",
            &options.binary,
            &arguments,
            &[],
            &directory.join("replay.log"),
        )?;
        Ok(Self {
            process,
            report,
            time_max: length + PATIENCE,
        })
    }

    /// Whether it is over.
    pub(super) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Waits until it is over. That orders are missing is not an error here: the checker says which and why.
    pub(super) async fn ended(mut self) -> Result<Played, RunError> {
        let last = async {
            let mut last = None;
            while let Some(line) = self.process.line().await {
                last = Some(line);
            }
            last
        };
        let Ok(last) = timeout(self.time_max, last).await else {
            return Err(self
                .process
                .failure(format!("it is not over after {} s", self.time_max.as_secs())));
        };
        self.process.ended().await?;
        let Some(summary) = last.and_then(|line| from_str(&line).ok()) else {
            return Err(self.process.failure("it ended without a summary"));
        };
        let report = &self.report;
        let text = std::fs::read_to_string(report).map_err(|source| RunError::Read {
            what: report.display().to_string(),
            source,
        })?;
        Ok(Played {
            submitted: super::json_lines(report, &text)?,
            summary,
        })
    }
}
