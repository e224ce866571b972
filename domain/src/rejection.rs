//! Rejections: the business says no. Not an error (nothing broke) and not *fenced* (we may still say so).

use serde::{Deserialize, Deserializer, Serialize};

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901) such as `/items/0/quantity`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    /// An error of the field at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// The word for a thing, such as `order`. A name of its own, because a reference in plain sight would be read as borrowed.
type Thing = &'static str;

/// Why a command is not carried out. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejection {
    /// There is no such thing.
    #[error("no such {0}")]
    NotFound(#[serde(deserialize_with = "thing")] Thing),
    /// It exists already.
    #[error("this {0} exists already")]
    Exists(#[serde(deserialize_with = "thing")] Thing),
    /// The request is not valid.
    #[error("invalid request: {}", .0.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
    /// The state the thing is in does not allow it; the text says which state and what would be allowed.
    #[error("{0}")]
    NotAllowed(String),
    /// An answer to an attempt that is no longer waited for. Dropped and counted.
    #[error("the answer is stale")]
    Stale,
    /// The thing is at another version than the request was made for.
    #[error("the version is {actual}, not {expected}")]
    WrongVersion {
        /// The version the request named.
        expected: u64,
        /// The version there is.
        actual: u64,
    },
}

/// The things that are missing or exist already, by the words for them. A newer node may know of more.
fn thing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    const THINGS: [&str; 5] = ["order", "channel", "zone", "courier", "stream"];
    let word = String::deserialize(deserializer)?;
    Ok(THINGS.into_iter().find(|thing| *thing == word).unwrap_or("thing"))
}
