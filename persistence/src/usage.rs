//! What a store takes of its disk, for measurements.

use crate::Location;
use domain::ports::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long a database may take to tell.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a store takes of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it takes: the database with its indexes; of an embedded store, its file and its write-ahead log.
    pub disk_bytes: u64,
    /// Bytes that were ever written to the write-ahead log, by everybody on the database's server. `None` where nobody
    /// counts them: the embedded store overwrites its log.
    pub wal_bytes: Option<u64>,
}

/// What the store at a location (see [`crate::open`]) takes of its disk at present. Nothing for `memory:`. Reads only.
///
/// # Errors
/// The store is away, or does not tell.
pub async fn usage(location: &str) -> Result<Usage, StoreError> {
    match Location::of(location) {
        Location::Memory => Ok(Usage::default()),
        Location::Sqlite(path) => of_files(path),
        Location::Postgres(url) => timeout(ANSWER_TIMEOUT, of_postgres(url))
            .await
            .map_err(|_| StoreError::Unavailable("no answer in time".into()))?
            .map_err(|error| StoreError::Unavailable(error.to_string())),
    }
}

fn of_files(path: &Path) -> Result<Usage, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut disk_bytes = 0;
    for path in [path.to_owned(), PathBuf::from(log)] {
        match std::fs::metadata(&path) {
            Ok(file) => disk_bytes += file.len(),
            // Neither is there before the first write, nor the log after a clean end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
        }
    }
    Ok(Usage {
        disk_bytes,
        wal_bytes: None,
    })
}

async fn of_postgres(url: &str) -> Result<Usage, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    let mut connection: PgConnection = options.connect().await?;
    let (disk, wal): (i64, i64) = sqlx::query_as(
        "SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(Usage {
        disk_bytes: u64::try_from(disk).unwrap_or(0),
        wal_bytes: u64::try_from(wal).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;
    use domain::shard::ShardMap;

    #[tokio::test]
    async fn an_embedded_store_takes_its_file_and_its_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("uoop.db");
        let location = path.display().to_string();
        assert_eq!(usage(&location).await.expect("nothing yet"), Usage::default());
        let store = open(&location, ShardMap::new(16).expect("a power of two"))
            .await
            .expect("a store");
        let used = usage(&location).await.expect("a size");
        let files = std::fs::read_dir(directory.path()).expect("readable").flatten();
        let of_database = files.filter(|file| !file.file_name().to_string_lossy().ends_with("-shm"));
        let expected: u64 = of_database.map(|file| file.metadata().expect("a size").len()).sum();
        assert_eq!((used.disk_bytes, used.wal_bytes), (expected, None));
        assert!(expected > 0);
        drop(store);
    }

    #[tokio::test]
    async fn memory_takes_no_disk_and_an_absent_database_is_away() {
        assert_eq!(usage("memory:").await.expect("known"), Usage::default());
        // Nothing listens on the discard port of the loopback address.
        let away = usage("postgres://nobody@127.0.0.1:9/none").await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    }
}
