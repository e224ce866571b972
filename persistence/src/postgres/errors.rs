//! What a failure on a connection says about the work: not begun, certainly undone, or unknown.

use crate::record::{poison, position_taken, read_error};
use domain::ports::{CommitError, DISK_FULL, Refusal, StoreError};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why some work on a connection did not succeed.
pub(super) enum Failure {
    /// There was no connection: nothing was sent.
    NotSent(String),
    /// The server refused a statement and goes on: its transaction is rolled back.
    Refused(Box<PgDatabaseError>),
    /// The connection ended, or the server ended it, while the work was under way: it is done or it is not.
    Lost(String),
}

impl Failure {
    /// The failure behind an error that came while work was under way.
    ///
    /// Postgres says `ERROR` only for a transaction that it has aborted. `FATAL` and `PANIC` end the connection, and
    /// can come after the commit and before its answer (a shutdown, the wait for a standby).
    pub(super) fn of(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => match database.try_downcast::<PgDatabaseError>() {
                Ok(refused) if matches!(refused.severity(), PgSeverity::Error) => Self::Refused(refused),
                Ok(fatal) => Self::Lost(describe(&fatal)),
                Err(other) => Self::Lost(other.to_string()),
            },
            other => Self::Lost(other.to_string()),
        }
    }

    /// For a batch: a refusal that lies in its data is told from one that lies in the server's state.
    pub(super) fn into_commit_error(self) -> CommitError {
        match self {
            Self::NotSent(problem) => CommitError::Unavailable(problem),
            Self::Lost(problem) => CommitError::Unknown(problem),
            Self::Refused(error) => match (error.code(), error.constraint()) {
                ("23505", Some("event_rows_pkey")) => CommitError::Refused(Refusal::DuplicateSeq),
                ("23505", Some("event_rows_position_key")) => position_taken(),
                ("23505", Some("idempotency_keys_pkey")) => CommitError::Refused(Refusal::DuplicateKey),
                (code, _) if lies_in_the_data(code) => poison(describe(&error)),
                _ => CommitError::Unavailable(describe(&error)),
            },
        }
    }

    /// For anything else than a batch: the caller may try again.
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::NotSent(problem) | Self::Lost(problem) => StoreError::Unavailable(problem),
            Self::Refused(error) => StoreError::Unavailable(describe(&error)),
        }
    }
}

/// By SQLSTATE class: cardinality violation, data exception, integrity violation, program limit exceeded.
fn lies_in_the_data(code: &str) -> bool {
    ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class))
}

fn describe(error: &PgDatabaseError) -> String {
    const DISK_FULL_STATE: &str = "53100";
    let said = format!("{} (SQLSTATE {})", error.message(), error.code());
    if error.code() == DISK_FULL_STATE {
        return format!("{DISK_FULL}: {said}");
    }
    said
}

/// A failed read. A missing table says that nobody has migrated the database.
pub(super) fn reading(error: &sqlx::Error) -> StoreError {
    const UNDEFINED_TABLE: &str = "42P01";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| code == UNDEFINED_TABLE) {
        return StoreError::Mismatch("the database has no schema, or an old one: run `uoop migrate`".into());
    }
    read_error(error)
}
