//! Planned days on disk: `OUT/DAY/`, with the suggested couriers in place of those that were.

use super::{PlanError, Planned};
use crate::dispatch::DispatchError;
use routing::mdrp::{COURIERS, Instance, ORDERS, PARAMETERS, RESTAURANTS};
use std::path::Path;

/// Writes a day below a directory: its suggested couriers, and copies of its other files, so that it can be dispatched if it is
/// over. What was there under its name is replaced.
///
/// # Errors
/// [`PlanError`] when a file cannot be written, or the day itself would be replaced.
pub fn write_day(out: &Path, planned: &Planned<'_>) -> Result<(), PlanError> {
    let directory = out.join(&planned.named.name);
    let wrong = |path: &Path| {
        let path = path.to_owned();
        |source| DispatchError::Write { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(wrong(&directory))?;
    let is_source = |path: &Path| path.canonicalize().ok() == planned.directory.canonicalize().ok();
    if is_source(&directory) {
        return Err(PlanError::OntoItself { directory });
    }
    for file in [ORDERS, RESTAURANTS, PARAMETERS] {
        let (from, to) = (planned.directory.join(file), directory.join(file));
        if from.exists() {
            std::fs::copy(&from, &to).map_err(wrong(&to))?;
        }
    }
    let path = directory.join(COURIERS);
    std::fs::write(&path, Instance::couriers_text(&planned.couriers)).map_err(wrong(&path))?;
    Ok(())
}
