//! Why an event can never be taken: what stands in the headers of its dead letter.

use crate::reports::Unclear;
use actors::CallError;
use domain::rejection::Rejection;
use persistence::{Handled, Poison};
use serde::Deserialize;
use serde_json::error::Category;

/// The longest reason, in bytes.
const DETAIL_BYTES_MAX: usize = 500;

fn poison(code: &'static str, detail: impl Into<String>) -> Poison {
    let mut detail: String = detail.into();
    if detail.len() > DETAIL_BYTES_MAX {
        let end = (0..=DETAIL_BYTES_MAX).rev().find(|at| detail.is_char_boundary(*at));
        detail.truncate(end.unwrap_or(0));
        detail.push('…');
    }
    Poison { code, detail }
}

/// It cannot be read at all.
pub(super) fn malformed(detail: impl Into<String>) -> Poison {
    poison("malformed", detail)
}

/// It can be read, but not be meant.
pub(super) fn invalid(detail: impl Into<String>) -> Poison {
    poison("invalid", detail)
}

/// It is about nobody, or from nobody, that is known here.
pub(super) fn unknown(detail: impl Into<String>) -> Poison {
    poison("unknown", detail)
}

/// Reads JSON.
///
/// # Errors
/// It is no JSON, or of another shape.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Poison> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.into_inner());
        match cause.classify() {
            Category::Data => invalid(format!("{path}: {cause}")),
            _ => malformed(cause.to_string()),
        }
    })?;
    deserializer.end().map_err(|error| malformed(error.to_string()))?;
    Ok(value)
}

/// What comes of a report that means nothing.
pub(super) fn unclear(unclear: Unclear) -> Poison {
    match unclear {
        Unclear::Stranger(text) => unknown(text),
        Unclear::Field(error) => invalid(format!("{} {}", error.pointer, error.detail)),
    }
}

/// What comes of a report that the platform did not take: another try, or a dead letter.
pub(super) fn untaken(error: &CallError) -> Handled {
    let text = error.to_string();
    Handled::Poison(match error {
        CallError::Rejected(Rejection::NotFound(_)) => unknown(text),
        CallError::Rejected(Rejection::Invalid(_)) => invalid(text),
        // It was written for another moment, and nobody would send it again for this one.
        CallError::Rejected(_) => poison("refused", text),
        CallError::KeyReused => poison("id_reused", "another event had the same source and id"),
        // An operator brings the order back; its neighbours must not wait for that.
        CallError::Parked(_) => poison("parked", text),
        CallError::InProgress
        | CallError::Overloaded { .. }
        | CallError::Fenced
        | CallError::Unavailable(_)
        | CallError::TimedOut
        | CallError::KeyUsed => return Handled::Again(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_tried_again() {
        let busy = || CallError::Overloaded { what: "a shard".into() };
        let passing = [
            busy(),
            CallError::Unavailable("away".into()),
            CallError::TimedOut,
            CallError::InProgress,
        ];
        for error in passing {
            assert!(matches!(untaken(&error), Handled::Again(_)), "{error}");
        }
        let lasting = [
            (Rejection::NotFound("order").into(), "unknown"),
            (Rejection::NotAllowed("the order is DELIVERED".into()).into(), "refused"),
            (CallError::KeyReused, "id_reused"),
            (CallError::Parked("a crash".into()), "parked"),
        ];
        for (error, code) in lasting {
            assert!(
                matches!(&untaken(&error), Handled::Poison(poison) if poison.code == code),
                "{error}"
            );
        }
    }

    #[test]
    fn a_reason_is_never_long() {
        assert_eq!(malformed("ä".repeat(1_000)).detail.chars().count(), 251);
    }
}
