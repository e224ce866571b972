//! Writing to SQLite: every write is one `BEGIN IMMEDIATE` transaction on the one writing connection.

use super::SqliteStore;
use crate::record::{poison, position_taken};
use domain::ports::{CommitError, Refusal};
use fail::fail_point;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use std::future::Future;

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>) as far as they are told apart here.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const TOO_BIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const CONSTRAINT_PRIMARY_KEY: i32 = 1_555;
    pub(super) const CONSTRAINT_UNIQUE: i32 = 2_067;

    /// The kind of error without its refinement.
    pub(super) const fn primary(extended: i32) -> i32 {
        extended & 0xff
    }
}

/// The extended result code of an error, if it came from SQLite.
fn code_of(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error().and_then(DatabaseError::code)?.parse().ok()
}

/// A statement before the commit failed. The transaction will be rolled back, so nothing of it can have been written.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn failed(error: sqlx::Error) -> CommitError {
    match code_of(&error).map(code::primary) {
        Some(code::CONSTRAINT | code::TOO_BIG | code::MISMATCH) => poison(error.to_string()),
        _ => CommitError::Unavailable(error.to_string()),
    }
}

pub(super) fn row_failed(error: sqlx::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY) => CommitError::Refused(Refusal::DuplicateSeq),
        Some(code::CONSTRAINT_UNIQUE) => position_taken(),
        _ => failed(error),
    }
}

pub(super) fn claim_failed(error: sqlx::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY | code::CONSTRAINT_UNIQUE) => CommitError::Refused(Refusal::DuplicateKey),
        _ => failed(error),
    }
}

/// `COMMIT` itself failed. Busy leaves the transaction open, and it is rolled back. After an I/O error the last frame
/// may be in the log: it counts only if the process dies before the next transaction overwrites it, so the outcome is
/// settled by the next write that succeeds.
fn commit_failed(error: &sqlx::Error) -> CommitError {
    match code_of(error).map(code::primary) {
        Some(code::BUSY) => CommitError::Unavailable(error.to_string()),
        _ => CommitError::Unknown(error.to_string()),
    }
}

/// Something to do in a transaction of its own.
pub(super) trait Work: Send {
    type Output: Send;

    /// Does it. After an error the transaction is rolled back.
    fn run(self, connection: &mut SqliteConnection) -> impl Future<Output = Result<Self::Output, CommitError>> + Send;
}

impl SqliteStore {
    /// Does some work in a transaction and commits it.
    pub(super) async fn write<W: Work>(&self, work: W) -> Result<W::Output, CommitError> {
        let mut place = self.writer.lock().await;
        let unavailable = |error: sqlx::Error| CommitError::Unavailable(error.to_string());
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(unavailable)?,
        };
        let (result, clean) = transact(&mut connection, work).await;
        if clean {
            *place = Some(connection);
        } else if let Err(error) = connection.close().await {
            tracing::warn!(%error, "closing a connection after a failed write");
        }
        result
    }
}

/// The work's result, and whether the connection is certainly outside of a transaction.
async fn transact<W: Work>(connection: &mut SqliteConnection, work: W) -> (Result<W::Output, CommitError>, bool) {
    fail_point!("store::step");
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) => return (Err(CommitError::Unavailable(error.to_string())), false),
    };
    match work.run(&mut transaction).await {
        Ok(value) => {
            fail_point!("store::step");
            let committed = transaction.commit().await;
            fail_point!("store::step");
            let clean = committed.is_ok();
            (committed.map(|()| value).map_err(|error| commit_failed(&error)), clean)
        }
        // SQLite may have rolled back by itself (disk full, I/O error); only after a refused row it certainly has not.
        Err(error) => {
            let rolled_back = transaction.rollback().await.is_ok();
            let clean = rolled_back && !matches!(error, CommitError::Unavailable(_));
            (Err(error), clean)
        }
    }
}
