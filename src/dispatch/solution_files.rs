//! Solutions on disk: `OUT/POLICY/INSTANCE/`, as the library's evaluator reads them, with our figures beside them.

use super::{DispatchError, Named, Run};
use routing::mdrp::{SOLUTION_FILES, solution_texts};
use std::path::Path;

/// Our figures in the evaluator's layout.
const FIGURES: &str = "solution_performance.txt";

/// Writes a run's solution below a directory. What was there under its name is replaced.
///
/// # Errors
/// [`DispatchError::Write`].
pub fn write_solution(out: &Path, named: &Named, run: &Run) -> Result<(), DispatchError> {
    let directory = out.join(run.policy_name()).join(&named.name);
    let wrong = |path: &Path| {
        let path = path.to_owned();
        |source| DispatchError::Write { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(wrong(&directory))?;
    let texts = solution_texts(&named.instance, &run.solution);
    let files = SOLUTION_FILES.into_iter().zip(texts);
    for (file, text) in files.chain([(FIGURES, run.metrics.to_string())]) {
        let path = directory.join(file);
        std::fs::write(&path, text).map_err(wrong(&path))?;
    }
    Ok(())
}
