//! Tests of the draft's checks and of the storage format.

mod draft;
mod format;
mod public;
