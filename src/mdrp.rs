//! Instances of the Meal Delivery Routing Problem on disk: a directory each.

use routing::mdrp::{COURIERS, Instance, InstanceError, ORDERS, PARAMETERS, RESTAURANTS};
use std::path::{Path, PathBuf};

/// Why an instance cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or a directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files are not those of an instance.
    #[error("{}: {source}", directory.display())]
    Instance {
        /// Where they are.
        directory: PathBuf,
        /// What is wrong.
        source: InstanceError,
    },
    /// Neither a directory with an instance, nor one with such directories.
    #[error(
        "{} is no instance and holds none: an instance is a directory with {ORDERS}, {RESTAURANTS}, {COURIERS} and {PARAMETERS}",
        directory.display()
    )]
    NoInstance {
        /// The directory.
        directory: PathBuf,
    },
}

/// Reads the four files of a directory.
///
/// # Errors
/// [`ReadError`], with file, line and column where there is one.
pub fn read(directory: &Path) -> Result<Instance, ReadError> {
    let read = |file: &str| {
        let path = directory.join(file);
        std::fs::read_to_string(&path).map_err(|source| ReadError::Read { path, source })
    };
    let parsed = Instance::parse(
        &read(ORDERS)?,
        &read(RESTAURANTS)?,
        &read(COURIERS)?,
        &read(PARAMETERS)?,
    );
    parsed.map_err(|source| ReadError::Instance {
        directory: directory.to_owned(),
        source,
    })
}

/// Reads a day ahead: of its files, those of orders and couriers need not be there. If there is one of orders, all are read.
///
/// # Errors
/// [`ReadError`], with file, line and column where there is one.
pub fn read_ahead(directory: &Path) -> Result<Instance, ReadError> {
    if directory.join(ORDERS).exists() {
        return read(directory);
    }
    let read = |file: &str| {
        let path = directory.join(file);
        std::fs::read_to_string(&path).map_err(|source| ReadError::Read { path, source })
    };
    let parsed = Instance::parse_ahead(&read(RESTAURANTS)?, &read(PARAMETERS)?);
    parsed.map_err(|source| ReadError::Instance {
        directory: directory.to_owned(),
        source,
    })
}

/// The instances that directories stand for, in order of their names within each: a directory with a file of orders is one, and
/// another stands for those right below it.
///
/// # Errors
/// [`ReadError`] when one cannot be read, or stands for none.
pub fn find(directories: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut found = Vec::new();
    for directory in directories {
        if directory.join(ORDERS).exists() {
            found.push(directory.clone());
            continue;
        }
        let below = below(directory)?;
        if below.is_empty() {
            let directory = directory.clone();
            return Err(ReadError::NoInstance { directory });
        }
        found.extend(below);
    }
    Ok(found)
}

/// The instances right below a directory.
fn below(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let wrong = |source| ReadError::Read {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.join(ORDERS).exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
