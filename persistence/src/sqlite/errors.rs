//! What SQLite's errors mean for a write.

use crate::record::{poison, position_taken};
use domain::ports::{CommitError, DISK_FULL, Refusal};

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>) as far as they are told apart here.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const FULL: i32 = 13;
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
fn code_of(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// The error, in words for an operator.
fn said(error: &rusqlite::Error) -> String {
    match code_of(error).map(code::primary) {
        Some(code::FULL) => format!("{DISK_FULL}: {error}"),
        _ => error.to_string(),
    }
}

/// Nothing was begun, so nothing was written.
pub(super) fn unavailable(error: &rusqlite::Error) -> CommitError {
    CommitError::Unavailable(said(error))
}

/// A statement before the commit failed. The transaction will be rolled back, so nothing of it can have been written.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn failed(error: rusqlite::Error) -> CommitError {
    match code_of(&error).map(code::primary) {
        Some(code::CONSTRAINT | code::TOO_BIG | code::MISMATCH) => poison(error.to_string()),
        _ => unavailable(&error),
    }
}

pub(super) fn row_failed(error: rusqlite::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY) => CommitError::Refused(Refusal::DuplicateSeq),
        Some(code::CONSTRAINT_UNIQUE) => position_taken(),
        _ => failed(error),
    }
}

pub(super) fn claim_failed(error: rusqlite::Error) -> CommitError {
    match code_of(&error) {
        Some(code::CONSTRAINT_PRIMARY_KEY | code::CONSTRAINT_UNIQUE) => CommitError::Refused(Refusal::DuplicateKey),
        _ => failed(error),
    }
}

/// `COMMIT` itself failed. Busy leaves the transaction open, and it is rolled back; a disk that is full took no whole
/// commit frame, which is the last to be written. After an I/O error the commit frame may be in the log: it counts only
/// if the process dies before the next transaction overwrites it, so the outcome is settled by the next write that
/// succeeds.
pub(super) fn commit_failed(error: &rusqlite::Error) -> CommitError {
    match code_of(error).map(code::primary) {
        Some(code::BUSY | code::FULL) => unavailable(error),
        _ => CommitError::Unknown(said(error)),
    }
}
