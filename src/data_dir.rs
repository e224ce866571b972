//! The data directory of the embedded store: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The name of the lock file within the directory.
const LOCK: &str = "uoop.lock";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("the data directory {} is in use by process {holder}; stop it first, or give this one another --data-dir", dir.display())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// The other process's id.
        holder: String,
    },
    /// It cannot be created or written.
    #[error("the data directory {} cannot be used", dir.display())]
    Unusable {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A data directory held by this process. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, and takes it for this process.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub fn take(dir: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable {
            dir: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join(LOCK));
        let mut lock = options.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Its number is only told, so one that cannot be read is none.
                let _ = lock.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() {
                    "of unknown number".into()
                } else {
                    holder.trim().to_owned()
                };
                return Err(DataDirError::InUse {
                    dir: dir.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = DataDir::take(dir.path()).expect("free");
        let error = DataDir::take(dir.path()).expect_err("held").to_string();
        assert!(
            error.contains(&std::process::id().to_string()) && error.contains("--data-dir"),
            "{error}"
        );
        drop(held);
        DataDir::take(dir.path()).expect("free again");
    }
}
