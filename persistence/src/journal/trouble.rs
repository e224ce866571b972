//! Whether the store takes what it is given, as the last commits had it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a commit that could not be made is believed. Who is sent elsewhere brings no commits that would show that it
/// is over (what is in flight does, if there is anything), so after this somebody may try.
const BELIEVED: Duration = Duration::from_secs(5);

/// The last commit that could not be made, if none was made since.
#[derive(Default)]
pub(super) struct Trouble {
    last: Mutex<Option<(Instant, String)>>,
}

impl Trouble {
    /// The store could not make a commit.
    pub(super) fn began(&self, why: &str) {
        *self.last() = Some((Instant::now(), why.to_owned()));
    }

    /// It made one.
    pub(super) fn ended(&self) {
        self.last().take();
    }

    /// Why it makes none, if it did not shortly before.
    pub(super) fn now(&self) -> Option<String> {
        let last = self.last();
        let (since, why) = last.as_ref()?;
        (since.elapsed() < BELIEVED).then(|| why.clone())
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
