//! The thread that writes to SQLite: it owns the only writing connection, and every write is one `BEGIN IMMEDIATE`
//! transaction on it.
//!
//! The connection is kept only while it is certainly outside of a transaction. After anything else (an I/O error, a
//! full disk, a panic) it is closed, which rolls back whatever was open, and the next write opens another. So no transaction
//! can ever inherit a half of the last, and no error can end the thread.

use super::SqliteOptions;
use super::errors::{commit_failed, unavailable};
use domain::ports::{CommitError, StoreError};
use fail::fail_point;
use rusqlite::{Connection, OpenFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Writes that wait for the thread. Who waits for an answer has one at a time, so these are the callers.
const JOBS_MAX: usize = 64;

/// Prepared statements that the connection keeps; more than there are.
const STATEMENTS_MAX: usize = 64;

/// Something to do in a transaction of its own.
pub(super) trait Work: Send + 'static {
    type Output: Send + 'static;

    /// Does it. After an error the transaction is rolled back.
    fn run(self, connection: &Connection) -> Result<Self::Output, CommitError>;
}

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The thread, as those see it who have something to write. It ends when this is dropped, after what was handed to it.
pub(super) struct Writer {
    jobs_tx: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread over a file whose schema is up to date.
    pub(super) fn start(path: PathBuf, options: SqliteOptions) -> Result<Self, StoreError> {
        let (jobs_tx, jobs_rx) = mpsc::channel(JOBS_MAX);
        let mut desk = Desk {
            path,
            options,
            connection: None,
        };
        desk.connection = Some(
            desk.open()
                .map_err(|error| StoreError::Unavailable(error.to_string()))?,
        );
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || desk.serve(jobs_rx))
            .map_err(|error| StoreError::Unavailable(format!("cannot start the writer's thread: {error}")))?;
        Ok(Self { jobs_tx })
    }

    /// Does some work in a transaction and commits it. Writes are made in the order in which they were handed over; one
    /// whose caller does not wait any more is made nevertheless.
    pub(super) async fn write<W: Work>(&self, work: W) -> Result<W::Output, CommitError> {
        let (answer_tx, answer_rx) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            let _ = answer_tx.send(desk.write(work));
        });
        let ended = |_| CommitError::Unavailable("the writer has ended".into());
        self.jobs_tx.send(job).await.map_err(ended)?;
        // A write that panicked drops the sender.
        let died = |_| Err(CommitError::Unknown("the writer died over it".into()));
        answer_rx.await.unwrap_or_else(died)
    }
}

/// What the thread works with.
struct Desk {
    path: PathBuf,
    options: SqliteOptions,
    connection: Option<Connection>,
}

impl Desk {
    fn serve(mut self, mut jobs_rx: mpsc::Receiver<Job>) {
        while let Some(job) = jobs_rx.blocking_recv() {
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                tracing::error!("a write panicked; its outcome has to be found out");
                let connection = self.connection.take();
                // Closing must not end the thread either.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(connection)));
            }
        }
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(self.options.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            PRAGMA foreign_keys = OFF;
            PRAGMA temp_store = MEMORY;
            PRAGMA cache_size = -{};
            PRAGMA wal_autocheckpoint = {};",
            self.options.cache_kib, self.options.checkpoint_pages
        ))?;
        if let Some(pages) = self.options.pages_max {
            connection.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        Ok(connection)
    }

    fn write<W: Work>(&mut self, work: W) -> Result<W::Output, CommitError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().map_err(|error| unavailable(&error))?,
        };
        let (result, clean) = transact(&connection, work);
        if clean {
            self.connection = Some(connection);
        } else if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "closing a connection after a failed write");
        }
        result
    }
}

/// The work's result, and whether the connection is certainly outside of a transaction and well.
fn transact<W: Work>(connection: &Connection, work: W) -> (Result<W::Output, CommitError>, bool) {
    fail_point!("store::step");
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        return (Err(unavailable(&error)), false);
    }
    match work.run(connection) {
        Ok(value) => {
            fail_point!("store::step");
            let committed = execute(connection, "COMMIT");
            fail_point!("store::step");
            let clean = committed.is_ok();
            (committed.map(|()| value).map_err(|error| commit_failed(&error)), clean)
        }
        // SQLite may have rolled back by itself (a refused row, a full disk). After a refusal the connection is well.
        Err(error) => {
            let rolled_back = connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
            let clean = rolled_back && !matches!(error, CommitError::Unavailable(_));
            (Err(error), clean)
        }
    }
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
