//! Rows on their way to the store, and the pauses between attempts.

use super::Pending;
use domain::ports::{Append, AppendError, OnAppended};
use std::time::Duration;
use tokio::time::sleep;

/// Rows that are committed together, and whom to answer, in the same order.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<Append>,
    /// For each row: the adoption that it was appended under, and who hears what became of it.
    replies: Vec<(u64, OnAppended)>,
    /// How often it was sent and lost while it was as small as it is.
    pub(super) attempts: u32,
}

impl Batch {
    pub(super) fn of(rows: impl IntoIterator<Item = Pending>) -> Self {
        let (appends, replies) = rows
            .into_iter()
            .map(|row| (row.append, (row.generation, row.on_appended)))
            .unzip();
        Self {
            appends,
            replies,
            attempts: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.appends.len()
    }

    pub(super) fn into_rows(self) -> impl Iterator<Item = Pending> {
        self.appends
            .into_iter()
            .zip(self.replies)
            .map(|(append, (generation, on_appended))| Pending {
                append,
                generation,
                on_appended,
            })
    }

    /// Both halves; the first is not empty unless the whole is.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let middle = self.len().div_ceil(2);
        let second = Self {
            appends: self.appends.split_off(middle),
            replies: self.replies.split_off(middle),
            attempts: 0,
        };
        (Self { attempts: 0, ..self }, second)
    }

    /// The rows for which the test holds, and the others, each in their order.
    pub(super) fn split(self, mut test: impl FnMut(&Append) -> bool) -> (Self, Self) {
        let attempts = self.attempts;
        let (these, others): (Vec<Pending>, Vec<Pending>) = self.into_rows().partition(|row| test(&row.append));
        (
            Self {
                attempts,
                ..Self::of(these)
            },
            Self {
                attempts,
                ..Self::of(others)
            },
        )
    }

    /// The same answer to all.
    pub(super) fn answer(self, answer: &Result<(), AppendError>) {
        for (_, on_appended) in self.replies {
            on_appended(answer.clone());
        }
    }
}

/// Pauses that double up to a limit.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);

    pub(super) fn new(max: Duration) -> Self {
        Self {
            next: Self::FIRST.min(max),
            max,
        }
    }

    pub(super) async fn pause(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.max);
    }
}
