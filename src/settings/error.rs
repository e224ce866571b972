//! What can be wrong with a configuration. All of it is found and reported at once.

use super::profile::Profile;
use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Debug, thiserror::Error)]
pub struct SettingsError(pub Vec<Problem>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.0.as_slice() {
            return write!(f, "configuration: {problem}");
        }
        write!(f, "configuration: {} problems", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl SettingsError {
    /// Nothing, unless there are problems.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key that nobody reads.
    #[error("unknown key {key} ({source_name}){}", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it was set.
        source_name: String,
        /// The known key that is most like it.
        nearest: Option<String>,
    },
    /// A `UOOP_` variable that is no key.
    #[error("unknown variable {name}{}", suggestion(.nearest.as_deref()))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable that is most like it.
        nearest: Option<String>,
    },
    /// A profile that does not exist.
    #[error("unknown profile {name:?} (variable UOOP_PROFILE): the profiles are {}", profiles())]
    UnknownProfile {
        /// The name.
        name: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("{key} is {value} ({source_name}): must be {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value, as far as it may be shown.
        value: String,
        /// Where it was set.
        source_name: String,
        /// What would be right.
        expected: String,
    },
    /// Values that do not go together.
    #[error("{message}{}", origins(.sources))]
    Conflict {
        /// What does not go together, and what would be right.
        message: String,
        /// The keys concerned, each with where it was set; empty when that is not known.
        sources: Vec<(String, String)>,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that is not TOML.
    #[error("{source_name}, line {line}, column {column}: {reason}")]
    Syntax {
        /// The file.
        source_name: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!(": did you mean {nearest}?"),
        None => ": `uoop config print` lists all keys".to_owned(),
    }
}

fn profiles() -> String {
    Profile::ALL.map(Profile::name).join(", ")
}

fn origins(sources: &[(String, String)]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = sources.iter().map(|(key, source)| format!("{key}: {source}")).collect();
    format!(" ({})", shown.join("; "))
}
