//! The dispatcher's settings as the command line has them: `--set objective.per_work_s=4`.

use routing::dispatch::Tuning;
use serde_json::{Number, Value};
use std::fmt;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A whole number from the first to the second, or `none`.
    WholeOrNone(i64, i64),
}

use Rule::{Number as Real, Whole, WholeOrNone};

/// Two hours.
const LONG_S: i64 = 7_200;

/// Every setting but the lead of a commitment: a day is played minute by minute, so nothing is committed ahead.
const SETTINGS: &[(&str, Rule)] = &[
    ("objective.per_overdue_s", Whole(0, 1_000)),
    ("objective.per_work_s", Whole(0, 1_000)),
    ("objective.per_remote_s", Whole(0, 1_000)),
    ("objective.off_per_guaranteed_order", Whole(0, 100_000_000)),
    ("objective.per_unassigned_order", Whole(0, 100_000_000)),
    ("ruin.orders_mean", Real(1.0, 1_000.0)),
    ("ruin.string_max", Whole(1, 16)),
    ("ruin.blink", Real(0.0, 0.9)),
    ("warm_s", Real(0.001, 86_400.0)),
    ("cold_s", Real(0.001, 86_400.0)),
    ("moves_per_order", Whole(0, 1_000_000)),
    ("doubt.head_start_s", Whole(0, LONG_S)),
    ("doubt.patience_s", WholeOrNone(0, LONG_S)),
    ("doubt.slip_s", Whole(0, LONG_S)),
    ("part_orders_max", Whole(1, 60_000)),
];

/// Why a dispatcher cannot be set so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingError {
    /// Not a key and a value.
    #[error("must be KEY=VALUE")]
    NoPair,
    /// A key that nobody reads.
    #[error("unknown setting {key}{}", suggestion(.key))]
    Unknown {
        /// As it was written.
        key: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("{key} is {value:?}: must be {expected}")]
    Value {
        /// The setting.
        key: String,
        /// As it was written.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The search would heat up.
    #[error("cold_s is {cold_s} and warm_s {warm_s}: the last temperature must not be above the first")]
    Heating {
        /// The last temperature.
        cold_s: f64,
        /// The first.
        warm_s: f64,
    },
}

/// A setting of the dispatcher with a value that it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: &'static str,
    value: Value,
}

impl Setting {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// [`SettingError`], unless the key is known and the value allowed.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let (key, value) = text.split_once('=').ok_or(SettingError::NoPair)?;
        let (key, value) = (key.trim(), value.trim());
        let known = SETTINGS.iter().find(|(known, _)| *known == key);
        let (key, rule) = known.ok_or_else(|| SettingError::Unknown { key: key.to_owned() })?;
        let value = rule.read(value).ok_or_else(|| SettingError::Value {
            key: (*key).to_owned(),
            value: value.to_owned(),
            expected: rule.to_string(),
        })?;
        Ok(Self { key, value })
    }
}

/// The default with these settings; of two for one key, the later counts.
///
/// # Errors
/// [`SettingError::Heating`] when they do not go together.
pub fn tuned(settings: &[Setting]) -> Result<Tuning, SettingError> {
    let mut tuning = serde_json::to_value(Tuning::default()).unwrap_or_default();
    for Setting { key, value } in settings {
        let path = format!("/{}", key.replace('.', "/"));
        if let Some(place) = tuning.pointer_mut(&path) {
            place.clone_from(value);
        }
    }
    let tuning: Tuning = serde_json::from_value(tuning).unwrap_or_else(|error| unreachable!("by its rule: {error}"));
    let Tuning { cold_s, warm_s, .. } = tuning;
    if cold_s > warm_s {
        return Err(SettingError::Heating { cold_s, warm_s });
    }
    Ok(tuning)
}

impl Rule {
    fn read(self, text: &str) -> Option<Value> {
        match self {
            Whole(min, max) => {
                let number: i64 = text.parse().ok()?;
                (min..=max).contains(&number).then(|| number.into())
            }
            Real(min, max) => {
                let number: f64 = text.parse().ok()?;
                let fine = (min..=max).contains(&number);
                fine.then(|| Number::from_f64(number).map(Value::Number)).flatten()
            }
            WholeOrNone(..) if text == "none" => Some(Value::Null),
            WholeOrNone(min, max) => Whole(min, max).read(text),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole(min, max) => write!(f, "a whole number from {min} to {max}"),
            Real(min, max) => write!(f, "a number from {min} to {max}"),
            WholeOrNone(min, max) => write!(f, "none, or a whole number from {min} to {max}"),
        }
    }
}

/// The setting most like what was written, or all of them.
fn suggestion(written: &str) -> String {
    let likeness = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        let whole = strsim::normalized_damerau_levenshtein(written, key);
        whole.max(0.95 * strsim::normalized_damerau_levenshtein(written, last))
    };
    let known = SETTINGS.iter().map(|(key, _)| (likeness(key), *key));
    match known.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((likeness, key)) if likeness >= 0.6 => format!(": did you mean {key}?"),
        _ => {
            let keys: Vec<&str> = SETTINGS.iter().map(|(key, _)| *key).collect();
            format!(": there are {}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(texts: &[&str]) -> Result<Tuning, SettingError> {
        let settings: Result<Vec<Setting>, SettingError> = texts.iter().map(|text| Setting::parse(text)).collect();
        tuned(&settings?)
    }

    /// The paths of all values below this one.
    fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        let Value::Object(fields) = value else {
            into.insert(path.trim_start_matches('.').to_owned());
            return;
        };
        for (name, value) in fields {
            leaves(value, &format!("{path}.{name}"), into);
        }
    }

    #[test]
    fn everything_that_is_read_can_be_set() {
        let mut all = BTreeSet::new();
        leaves(&serde_json::to_value(Tuning::default()).expect("plain"), "", &mut all);
        assert!(all.remove("commit_ahead_s"), "{all:?}");
        let known: BTreeSet<String> = SETTINGS.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(known, all);
    }

    #[test]
    fn each_default_is_allowed_and_changes_nothing() {
        let default = serde_json::to_value(Tuning::default()).expect("plain");
        for (key, _) in SETTINGS {
            let value = &default[key.split('.').next().expect("a name")];
            let value = key.split_once('.').map_or(value, |(_, name)| &value[name]);
            assert_eq!(set(&[&format!("{key}={value}")]), Ok(Tuning::default()), "{key}");
        }
    }

    #[test]
    fn what_is_set_counts_and_the_later_wins() {
        let tuning = set(&[
            "objective.per_work_s=4",
            "warm_s=7.5",
            "objective.per_work_s = 0",
            "doubt.patience_s=none",
        ]);
        let mut wanted = Tuning::default();
        wanted.objective.per_work_s = 0;
        wanted.warm_s = 7.5;
        wanted.doubt.patience_s = None;
        assert_eq!(tuning, Ok(wanted));
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (text, wanted) in [
            ("warm_s", "must be KEY=VALUE"),
            (
                "per_work=3",
                "unknown setting per_work: did you mean objective.per_work_s?",
            ),
            (
                "commit_ahead_s=60",
                "unknown setting commit_ahead_s: there are objective.per_overdue_s,",
            ),
            ("objective=1", "unknown setting objective: "),
            (
                "objective.per_work_s=2.5",
                "objective.per_work_s is \"2.5\": must be a whole number from 0 to 1000",
            ),
            ("ruin.blink=1", "ruin.blink is \"1\": must be a number from 0 to 0.9"),
            ("warm_s=NaN", "warm_s is \"NaN\": must be a number from 0.001 to 86400"),
            ("doubt.slip_s=none", "doubt.slip_s is \"none\": must be a whole number"),
            ("cold_s=100", "cold_s is 100 and warm_s 60: "),
        ] {
            let told = set(&[text]).expect_err(text).to_string();
            assert!(told.starts_with(wanted), "{text}: {told}");
        }
    }
}
