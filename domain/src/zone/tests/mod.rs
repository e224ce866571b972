//! Tests of a zone: who gets which job, and what becomes of it.

mod assignment;
mod dispatch;
mod random;
mod settings;
