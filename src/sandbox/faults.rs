//! Which fault befalls a request, drawn from (seed, key, how manieth time asked).

use super::config::SandboxConfig;
use crate::participants::draw::Draw;
use domain::saga::EffectKey;
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// It is not carried out and never answered.
    Hang,
    /// It is not carried out and answered with 500.
    Error,
    /// It is carried out, and answered too late.
    LateSuccess,
}

/// The fault of the `nth` request for a key. One draw decides among all faults, so that their shares add up.
pub(super) fn fault(config: &SandboxConfig, key: &EffectKey, nth: u32) -> Fault {
    let drawn = Draw::new(config.seed).percentage("fault", key, nth);
    let mut below = 0.0;
    for (share, fault) in [
        (config.hang_pct, Fault::Hang),
        (config.error_pct, Fault::Error),
        (config.late_success_pct, Fault::LateSuccess),
    ] {
        below += share.get();
        if drawn < below {
            return fault;
        }
    }
    Fault::None
}

/// How long the `nth` request for a key takes before it is carried out.
pub(super) fn latency(config: &SandboxConfig, key: &EffectKey, nth: u32) -> Duration {
    Draw::new(config.seed).length(config.latency_ms, "latency", key, nth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::key;
    use crate::participants::draw::Percent;
    use domain::saga::Step;
    use std::collections::HashMap;

    #[test]
    fn faults_come_in_their_shares_and_differ_between_attempts() {
        let percent = |share: f64| Percent::try_from(share).expect("a percentage");
        let config = SandboxConfig {
            hang_pct: percent(5.0),
            error_pct: percent(10.0),
            late_success_pct: percent(20.0),
            ..SandboxConfig::new("unused")
        };
        let mut counts: HashMap<String, u32> = HashMap::new();
        let mut persistent = 0;
        for n in 0..10_000 {
            let faults = [0, 1, 2].map(|nth| fault(&config, &key(n, Step::PlaceTicket, 0), nth));
            *counts.entry(format!("{:?}", faults[0])).or_default() += 1;
            persistent += u32::from(faults.iter().all(|fault| *fault == Fault::Hang));
        }
        for (name, expected) in [("Hang", 500), ("Error", 1_000), ("LateSuccess", 2_000), ("None", 6_500)] {
            let count = counts[name];
            assert!(
                count.abs_diff(expected) < expected / 5,
                "{name}: {count} instead of about {expected}"
            );
        }
        assert!(persistent < 20, "{persistent} of 10000 hang three times at 5 %");
    }
}
