//! Days of orders through the dispatcher, in simulated time: `uoop dispatch`.
//!
//! `read` reads the instances, [`dispatch`] plays each under each policy, several at once, [`Report`] tells what came of it,
//! and `plot` draws a day. `routing` decides and judges; here are files, threads and the clock.

mod plot;
mod published;
mod report;
mod run;
mod solution_files;
mod table;
#[cfg(test)]
mod tests;
mod tuning;

pub use plot::Plot;
pub use report::{Figures, PolicyFigures, ReplanMs, Report};
pub use run::{Progress, Run, dispatch};
pub use solution_files::write_solution;
pub use tuning::{Setting, SettingError, tuned};

use crate::mdrp::{self, ReadError};
use routing::dispatch::{Day, Knowledge, Policy, Tuning};
use routing::mdrp::Instance;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How days are played.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Under which policies, each once.
    pub policies: Vec<Policy>,
    /// What is known of preparation times.
    pub knowledge: Knowledge,
    /// What the optimiser's draws start from.
    pub seed: u64,
    /// Most moves of a re-plan.
    pub moves_max: u64,
    /// Longest improvement of a plan, in nanoseconds; with it, a seed no longer gives the same day.
    pub budget_ns: Option<u64>,
    /// How the dispatcher is set.
    pub tuning: Tuning,
    /// How many days are played at once.
    pub threads: usize,
}

impl Options {
    /// Most moves of a re-plan, unless told otherwise.
    pub const MOVES_MAX: u64 = 500;
}

/// An instance with its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name of its directory.
    pub name: String,
    /// What its files say.
    pub instance: Instance,
    /// The same, for the dispatcher.
    pub day: Day,
}

/// Why days cannot be dispatched.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// An instance cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Two instances have one name, so that their solutions would lie in one directory.
    #[error("{} and {} have the same name: give one of them, or run them apart", first.display(), second.display())]
    SameName {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the instances that directories stand for.
///
/// # Errors
/// [`DispatchError`] when one cannot be read, or two have one name.
pub fn read(directories: &[PathBuf]) -> Result<Vec<Named>, DispatchError> {
    let mut places: HashMap<String, PathBuf> = HashMap::new();
    let mut named = Vec::new();
    for directory in mdrp::find(directories)? {
        let instance = mdrp::read(&directory)?;
        let name = name(&directory);
        if let Some(first) = places.insert(name.clone(), directory.clone()) {
            let second = directory;
            return Err(DispatchError::SameName { first, second });
        }
        let day = Day::from(&instance);
        named.push(Named { name, instance, day });
    }
    Ok(named)
}

/// The directory's own name, however it was given.
pub(crate) fn name(directory: &Path) -> String {
    let whole = directory.canonicalize();
    let whole = whole.as_deref().unwrap_or(directory);
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}
