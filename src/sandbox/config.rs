//! What a sandbox is told: its address, its faults and its ledger.

use crate::participants::draw::{Percent, SpreadMs};
use crate::participants::signature::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How a sandbox behaves. Lengths are wall time. Declines, refusals, late decisions and drops are drawn for each effect;
/// hangs, errors, late answers and doubled callbacks for each attempt, so that asking again can succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxConfig {
    /// The address it serves; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What all draws follow from.
    pub seed: u64,
    /// How long it takes before it does what it is asked.
    pub latency_ms: SpreadMs,
    /// Authorizations that are declined.
    pub decline_pct: Percent,
    /// Tickets that are refused.
    pub refuse_pct: Percent,
    /// Requests that are never answered, and not carried out.
    pub hang_pct: Percent,
    /// Requests that are answered with 500, and not carried out.
    pub error_pct: Percent,
    /// Requests that are carried out and answered only after `late_answer_ms`.
    pub late_success_pct: Percent,
    /// How late that is; longer than the client's time-out.
    pub late_answer_ms: u64,
    /// Tickets that are taken with 202 and decided by a callback.
    pub pending_pct: Percent,
    /// How long such a decision takes.
    pub decision_ms: SpreadMs,
    /// Accepted tickets that the kitchen drops half-way, with a callback.
    pub drop_pct: Percent,
    /// Callbacks that are sent a second time.
    pub duplicate_callback_pct: Percent,
    /// Each callback comes up to so much later than it should.
    pub late_callback_ms: u64,
    /// Where callbacks go: the server's base URL. None: the kitchens are mute.
    pub callback_url: Option<String>,
    /// The secret that requests must be signed with and callbacks are. None: neither.
    pub secret: Option<Secret>,
    /// How many milliseconds of business time pass in one of wall time, unless the server says otherwise.
    pub time_scale: u64,
    /// The file with everything that was carried out.
    pub ledger: PathBuf,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most tickets that are being cooked at a time; beyond it, new ones are answered with 503.
    pub tickets_max: usize,
}

impl SandboxConfig {
    /// A sandbox without faults on a free port of this machine, with its ledger in this file.
    pub fn new(ledger: impl Into<PathBuf>) -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            latency_ms: SpreadMs::default(),
            decline_pct: Percent::NEVER,
            refuse_pct: Percent::NEVER,
            hang_pct: Percent::NEVER,
            error_pct: Percent::NEVER,
            late_success_pct: Percent::NEVER,
            late_answer_ms: 10_000,
            pending_pct: Percent::NEVER,
            decision_ms: SpreadMs { min: 200, max: 2_000 },
            drop_pct: Percent::NEVER,
            duplicate_callback_pct: Percent::NEVER,
            late_callback_ms: 0,
            callback_url: None,
            secret: None,
            time_scale: 1,
            ledger: ledger.into(),
            connections_max: 4_096,
            tickets_max: 200_000,
        }
    }

    /// What is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<String> {
        let faults = self.hang_pct.get() + self.error_pct.get() + self.late_success_pct.get();
        if faults > 100.0 {
            return Some(format!(
                "hangs, errors and late answers add up to {faults} %: at most 100"
            ));
        }
        if self.time_scale == 0 {
            return Some("the time scale must be at least 1".to_owned());
        }
        let speaks = self.pending_pct > Percent::NEVER || self.drop_pct > Percent::NEVER;
        if speaks && self.callback_url.is_none() {
            return Some("late decisions and drops are told by callbacks: they need a callback URL".to_owned());
        }
        let url = self.callback_url.as_deref().map(reqwest::Url::parse);
        if let Some(Err(error)) = url {
            return Some(format!("the callback URL is none: {error}"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let base = SandboxConfig::new("ledger.jsonl");
        assert_eq!(base.problem(), None);
        let percent = |share: f64| Percent::try_from(share).expect("a percentage");
        let wrong = [
            (
                SandboxConfig {
                    hang_pct: percent(60.0),
                    error_pct: percent(50.0),
                    ..base.clone()
                },
                "110 %",
            ),
            (
                SandboxConfig {
                    time_scale: 0,
                    ..base.clone()
                },
                "time scale",
            ),
            (
                SandboxConfig {
                    drop_pct: percent(1.0),
                    ..base.clone()
                },
                "callback URL",
            ),
            (
                SandboxConfig {
                    callback_url: Some("localhost".to_owned()),
                    ..base
                },
                "callback URL",
            ),
        ];
        for (config, part) in wrong {
            let problem = config.problem().expect(part);
            assert!(problem.contains(part), "{problem}");
        }
    }
}
