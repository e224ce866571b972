//! Seeded draws: what chance decides for an effect is a pure function of (seed, what, key, how manieth time), so that a
//! run can be repeated and a restart changes nothing.

use domain::saga::{Direction, EffectKey};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;
use std::time::Duration;

/// A share in percent, from 0 to 100; fractions are fine.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(f64);

/// A setting of a participant that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub String);

impl Percent {
    /// Never.
    pub const NEVER: Self = Self(0.0);
    /// Always.
    pub const ALWAYS: Self = Self(100.0);

    /// The share as a number from 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = InvalidSetting;

    fn try_from(share: f64) -> Result<Self, InvalidSetting> {
        if (0.0..=100.0).contains(&share) {
            return Ok(Self(share));
        }
        Err(InvalidSetting(format!(
            "{share} is not a percentage: a number from 0 to 100"
        )))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

impl FromStr for Percent {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let share: f64 = text
            .trim_end_matches('%')
            .parse()
            .map_err(|_| InvalidSetting(format!("'{text}' is not a percentage: a number from 0 to 100")))?;
        share.try_into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of lengths in wall milliseconds, from which one is drawn evenly. Written `MIN..MAX`, or one number for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadMs {
    /// The shortest.
    pub min: u64,
    /// The longest; a smaller number than `min` counts as `min`.
    pub max: u64,
}

impl FromStr for SpreadMs {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let wrong = || InvalidSetting(format!("'{text}' is not a range of milliseconds, such as 5..20"));
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let (min, max) = (
            min.trim().parse().map_err(|_| wrong())?,
            max.trim().parse().map_err(|_| wrong())?,
        );
        if min <= max {
            Ok(Self { min, max })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for SpreadMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// A source of draws.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    seed: u64,
}

impl Draw {
    /// Draws under a seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A number from 0 (included) to 100 (excluded), evenly. `what` keeps draws for different questions apart.
    pub fn percentage(self, what: &str, key: &EffectKey, nth: u32) -> f64 {
        let high = u32::try_from(self.hash(what, key, nth) >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0) * 100.0
    }

    /// Whether something that happens in `share` of all cases happens in this one.
    pub fn happens(self, share: Percent, what: &str, key: &EffectKey, nth: u32) -> bool {
        self.percentage(what, key, nth) < share.get()
    }

    /// A length from a range.
    pub fn length(self, spread: SpreadMs, what: &str, key: &EffectKey, nth: u32) -> Duration {
        let width = spread.max.saturating_sub(spread.min);
        let more = if width == 0 {
            0
        } else {
            self.hash(what, key, nth) % width.saturating_add(1)
        };
        Duration::from_millis(spread.min.saturating_add(more))
    }

    fn hash(self, what: &str, key: &EffectKey, nth: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.seed, 0x756f_6f70_2d64_7261);
        for part in [
            what.as_bytes(),
            key.order.stream().0.as_bytes(),
            key.step.as_str().as_bytes(),
        ] {
            hasher.write(&(part.len() as u64).to_be_bytes());
            hasher.write(part);
        }
        hasher.write(&key.round.to_be_bytes());
        hasher.write(&[u8::from(key.direction == Direction::Forward)]);
        hasher.write(&nth.to_be_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::key;
    use domain::saga::Step;

    #[test]
    fn a_draw_depends_on_each_of_its_parts_and_on_nothing_else() {
        let base = Draw::new(7).percentage("decline", &key(1, Step::Authorize, 0), 0);
        assert_eq!(
            base.to_bits(),
            Draw::new(7)
                .percentage("decline", &key(1, Step::Authorize, 0), 0)
                .to_bits()
        );
        let others = [
            Draw::new(8).percentage("decline", &key(1, Step::Authorize, 0), 0),
            Draw::new(7).percentage("refuse", &key(1, Step::Authorize, 0), 0),
            Draw::new(7).percentage("decline", &key(2, Step::Authorize, 0), 0),
            Draw::new(7).percentage("decline", &key(1, Step::Capture, 0), 0),
            Draw::new(7).percentage("decline", &key(1, Step::Authorize, 1), 0),
            Draw::new(7).percentage("decline", &key(1, Step::Authorize, 0), 1),
        ];
        assert!(
            others.iter().all(|other| other.to_bits() != base.to_bits()),
            "{base} {others:?}"
        );
    }

    #[test]
    fn a_share_of_ten_percent_happens_about_that_often() {
        let draw = Draw::new(42);
        let ten = "10".parse().expect("a percentage");
        let count = |share| {
            (0..10_000)
                .filter(|&n| draw.happens(share, "x", &key(n, Step::Authorize, 0), 0))
                .count()
        };
        assert!((850..1_150).contains(&count(ten)), "{}", count(ten));
        assert_eq!((count(Percent::NEVER), count(Percent::ALWAYS)), (0, 10_000));
    }

    #[test]
    fn lengths_lie_in_their_range_and_reach_both_ends() {
        let spread: SpreadMs = "3..5".parse().expect("a range");
        let lengths: std::collections::BTreeSet<_> = (0..100)
            .map(|n| {
                Draw::new(1)
                    .length(spread, "l", &key(n, Step::Authorize, 0), 0)
                    .as_millis()
            })
            .collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn impossible_settings_are_refused_with_what_would_be_right() {
        for wrong in ["-1", "101", "NaN", "many"] {
            let error = wrong.parse::<Percent>().expect_err(wrong).to_string();
            assert!(error.contains("from 0 to 100"), "{error}");
        }
        for wrong in ["9..3", "a..b", "5..", ""] {
            let error = wrong.parse::<SpreadMs>().expect_err(wrong).to_string();
            assert!(error.contains("5..20"), "{error}");
        }
        assert_eq!("7".parse(), Ok(SpreadMs { min: 7, max: 7 }));
    }
}
