//! How long the disk takes to keep something: measured, since every commit waits for it.

use super::latency::{Latencies, Quantiles};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use tokio::time::Instant;

/// What is written before each sync, in bytes.
const WRITE_BYTES: usize = 4_096;
/// How often.
const WRITES: usize = 100;

/// Latencies of a write of 4 kB and its `fdatasync`, a hundred times into a file of its own in the directory. Takes a
/// second on a slow disk; to be called where blocking is allowed.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn sync_latencies(directory: &Path) -> io::Result<Quantiles> {
    let path = directory.join(format!("uoop-bench-sync-{}", std::process::id()));
    let measured = measure(&path);
    // What cannot be removed is four hundred kilobytes.
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure(path: &Path) -> io::Result<Quantiles> {
    let mut file = File::create_new(path)?;
    let mut latencies = Latencies::new();
    let block = [0x5a; WRITE_BYTES];
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.record(began.elapsed());
    }
    Ok(latencies.quantiles())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_measured_and_nothing_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let quantiles = sync_latencies(directory.path()).expect("measured");
        assert_eq!(quantiles.count, 100);
        assert!(quantiles.p50 <= quantiles.p99 && quantiles.p50.is_some());
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
        assert!(sync_latencies(&directory.path().join("absent")).is_err());
    }
}
