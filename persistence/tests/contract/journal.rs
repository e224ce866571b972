//! The journal: whatever happens to its commits, its answers are right and its lines have no gaps.

use crate::faults::{Commit, Faulty, Take};
use crate::fixture::{Fixture, append, line, lines, row, with_key};
use domain::ids::{Position, Seq};
use domain::ports::{Append, AppendError, Refusal, Row, Store};
use domain::shard::ShardId;
use persistence::{GroupJournal, JournalHandle, JournalOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

pub(crate) fn options() -> JournalOptions {
    JournalOptions {
        backoff_max: Duration::from_millis(2),
        ..JournalOptions::default()
    }
}

/// A journal over all shards of the fixture's store, seen through the faults.
pub(crate) async fn start(fixture: &Fixture, faulty: &Arc<Faulty>, options: &JournalOptions) -> JournalHandle {
    let owned = fixture.acquire_all("a").await;
    let store: Arc<dyn Store> = faulty.clone();
    GroupJournal::start(&store, &owned, "a", options)
}

pub(crate) type Answer = JoinHandle<Result<(), AppendError>>;

/// Appends in a task of its own.
pub(crate) fn send(handle: &JournalHandle, append: Append) -> Answer {
    let journal = handle.journal();
    tokio::spawn(async move { journal.append(append).await })
}

pub(crate) async fn answer(answer: Answer) -> Result<(), AppendError> {
    answer.await.expect("no panic")
}

/// A row of shard 0 whose commit waits at the gate, so that what is sent next waits for it.
pub(crate) async fn hold_up(handle: &JournalHandle, faulty: &Faulty) -> Answer {
    faulty.close_gate();
    let first = send(handle, append(ShardId(0), 1_000, 1));
    faulty.arrived(1).await;
    first
}

/// Sends rows so that all of them are in the queue, in this order, when this returns.
pub(crate) async fn send_all(handle: &JournalHandle, appends: impl IntoIterator<Item = Append>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for append in appends {
        let (queued_tx, queued_rx) = tokio::sync::oneshot::channel();
        let journal = handle.journal();
        answers.push(tokio::spawn(async move {
            let mut appending = Box::pin(journal.append(append));
            // The first poll puts the row into the queue, which has room.
            let at_once = futures::poll!(&mut appending);
            queued_tx.send(()).expect("somebody waits");
            match at_once {
                std::task::Poll::Ready(answer) => answer,
                std::task::Poll::Pending => appending.await,
            }
        }));
        queued_rx.await.expect("it is queued");
    }
    answers
}

fn versions(rows: &[Row]) -> HashSet<(domain::ids::StreamId, Seq)> {
    rows.iter().map(|row| (row.stream, row.seq)).collect()
}

pub(crate) async fn concurrent_appends_are_gapless(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let handle = start(&fixture, &faulty, &options()).await;
    let mut actors = Vec::new();
    for n in 0..120_u64 {
        let journal = handle.journal();
        actors.push(tokio::spawn(async move {
            for seq in 1..=5 {
                journal
                    .append(append(ShardId(u16::try_from(n % 8).unwrap_or(0)), n, seq))
                    .await
                    .expect("appended");
            }
        }));
    }
    for actor in actors {
        actor.await.expect("no panic");
    }
    handle.close().await;
    // EV: the lines hold every row, each stream's in order; `lines` has seen that they have no gaps.
    let rows = lines(&*fixture.store).await;
    assert_eq!((rows.len(), versions(&rows).len()), (600, 600));
    for n in 0..120_u64 {
        let stream = append(ShardId(u16::try_from(n % 8).unwrap_or(0)), n, 1).stream;
        let of_stream = rows.iter().filter(|row| row.stream == stream);
        assert_eq!(of_stream.map(|row| row.seq.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
    assert!(faulty.sizes().len() < 600, "nothing was gathered");
}

pub(crate) async fn what_waits_is_one_batch(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let handle = start(
        &fixture,
        &faulty,
        &JournalOptions {
            batch_rows_max: 20,
            ..options()
        },
    )
    .await;
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..50).map(|n| append(ShardId(2 * (n % 4)), u64::from(n), 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    assert_eq!(faulty.sizes(), [1, 20, 20, 10]);
    handle.close().await;
}

pub(crate) async fn poison_fails_alone(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("before").await;
    fixture
        .store
        .commit(&[with_key(row(&mut owned[2], 7, 1), "used")])
        .await
        .expect("commit");
    let faulty = Faulty::new(fixture.store.clone());
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let batch = (0..40_u16).map(|n| {
        let good = append(ShardId(2 * (n % 4)), 100 + u64::from(n), 1);
        match n {
            5 => append(ShardId(2), 7, 1),
            13 => with_key(append(ShardId(2), 50, 1), "used"),
            14 | 39 => with_key(good, &"k".repeat(301)),
            _ => with_key(good, &format!("key {n}")),
        }
    });
    let answers = send_all(&handle, batch).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for (n, waiting) in answers.into_iter().enumerate() {
        let answer = answer(waiting).await;
        match n {
            5 => assert_eq!(answer, Err(AppendError::Refused(Refusal::DuplicateSeq))),
            13 => assert_eq!(answer, Err(AppendError::Refused(Refusal::DuplicateKey))),
            14 | 39 => assert!(
                matches!(answer, Err(AppendError::Refused(Refusal::Poison(_)))),
                "{answer:?}"
            ),
            _ => assert_eq!(answer, Ok(()), "row {n} was harmed by its neighbours"),
        }
    }
    assert_eq!(faulty.sizes()[1], 40, "they were in one batch");
    assert_eq!(lines(&*fixture.store).await.len(), 1 + 1 + 36);
    handle.close().await;
}

pub(crate) async fn a_fenced_shard_is_dropped_and_reported(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let mut handle = start(&fixture, &faulty, &options()).await;
    let taken = fixture.store.acquire("b", &[ShardId(2)]).await.expect("acquire");
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..6).map(|n| append(ShardId(2 * (n % 2)), u64::from(n), 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for (n, waiting) in answers.into_iter().enumerate() {
        let expected = if n % 2 == 0 { Ok(()) } else { Err(AppendError::Fenced) };
        assert_eq!(answer(waiting).await, expected);
    }
    assert_eq!(handle.next_fenced().await, Some(ShardId(2)));
    let commits = faulty.sizes().len();
    assert_eq!(
        answer(send(&handle, append(ShardId(2), 9, 1))).await,
        Err(AppendError::Fenced)
    );
    assert_eq!(faulty.sizes().len(), commits, "the store is not asked again");
    assert_eq!(answer(send(&handle, append(ShardId(0), 9, 1))).await, Ok(()));
    handle.close().await;
    // The new owner finds the line as it was.
    let mut taken = taken[0];
    assert!(fixture.store.commit(&[row(&mut taken, 1, 1)]).await.is_ok());
}

pub(crate) async fn a_lost_answer_of_a_commit_that_happened(fixture: Arc<Fixture>) {
    let faulty = Faulty::scripted(fixture.store.clone(), [Commit::Made, Commit::MadeAndLost], []);
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..10).map(|n| append(ShardId(2 * (n % 4)), u64::from(n), 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    assert_eq!(faulty.sizes(), [1, 10], "nothing is sent again");
    assert_eq!(lines(&*fixture.store).await.len(), 11);
    assert_eq!(
        answer(send(&handle, append(ShardId(0), 1, 2))).await,
        Ok(()),
        "it goes on under the new epoch"
    );
    handle.close().await;
}

pub(crate) async fn a_lost_answer_of_a_commit_that_did_not(fixture: Arc<Fixture>) {
    let script = [Commit::Made, Commit::Lost, Commit::Made, Commit::Lost];
    let faulty = Faulty::scripted(fixture.store.clone(), script, []);
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..10).map(|n| append(ShardId(2 * (n % 4)), u64::from(n), 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    assert!(faulty.is_played());
    assert_eq!(faulty.sizes(), [1, 10, 5, 5, 3, 2], "halves are sent again");
    assert_eq!(lines(&*fixture.store).await.len(), 11);
    handle.close().await;
}

pub(crate) async fn a_row_that_is_always_lost_fails_alone(fixture: Arc<Fixture>) {
    // Of three rows in a batch, the last is lost until it is alone, and then three times more.
    let script = [
        Commit::Made,
        Commit::Lost,
        Commit::Made,
        Commit::Lost,
        Commit::Lost,
        Commit::Lost,
    ];
    let faulty = Faulty::scripted(fixture.store.clone(), script, []);
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let mut answers = send_all(&handle, (0..3).map(|n| append(ShardId(0), n, 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    let last = answer(answers.remove(2)).await;
    assert!(matches!(last, Err(AppendError::Unavailable(_))), "{last:?}");
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    assert_eq!(faulty.sizes(), [1, 3, 2, 1, 1, 1]);
    assert_eq!(
        line(&*fixture.store, ShardId(0)).await.len(),
        3,
        "what is answered as not made is not there"
    );
    handle.close().await;
}

pub(crate) async fn finding_out_waits_for_the_store(fixture: Arc<Fixture>) {
    let takes = [
        Take::Unavailable,
        Take::MadeAndLost,
        Take::Unavailable,
        Take::MadeAndLost,
    ];
    let faulty = Faulty::scripted(fixture.store.clone(), [Commit::MadeAndLost, Commit::Lost], takes);
    let mut handle = start(&fixture, &faulty, &options()).await;
    assert_eq!(answer(send(&handle, append(ShardId(0), 1, 1))).await, Ok(()));
    assert_eq!(answer(send(&handle, append(ShardId(0), 1, 2))).await, Ok(()));
    assert!(faulty.is_played());
    assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), 2);
    // Epochs that it took itself, without an answer, are not taken for another node's.
    assert!(futures::poll!(Box::pin(handle.next_fenced())).is_pending());
    handle.close().await;
}

pub(crate) async fn a_shard_that_was_taken_meanwhile_is_not_taken_back(fixture: Arc<Fixture>) {
    let faulty = Faulty::scripted(
        fixture.store.clone(),
        [Commit::LostAndTaken, Commit::MadeLostAndTaken],
        [],
    );
    let mut handle = start(&fixture, &faulty, &options()).await;
    assert_eq!(
        answer(send(&handle, append(ShardId(0), 1, 1))).await,
        Err(AppendError::Fenced)
    );
    assert_eq!(handle.next_fenced().await, Some(ShardId(0)));
    assert_eq!(
        answer(send(&handle, append(ShardId(1), 1, 1))).await,
        Ok(()),
        "it was made, and that is the answer"
    );
    assert_eq!(handle.next_fenced().await, Some(ShardId(1)));
    assert_eq!(
        answer(send(&handle, append(ShardId(1), 1, 2))).await,
        Err(AppendError::Fenced)
    );
    let counts = (
        line(&*fixture.store, ShardId(0)).await.len(),
        line(&*fixture.store, ShardId(1)).await.len(),
    );
    assert_eq!(counts, (0, 1));
    handle.close().await;
}

pub(crate) async fn unavailable_gives_its_numbers_back(fixture: Arc<Fixture>) {
    let faulty = Faulty::scripted(fixture.store.clone(), [Commit::Made, Commit::Unavailable], []);
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..4).map(|n| append(ShardId(0), n, 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        let answer = answer(waiting).await;
        assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(answer(send(&handle, append(ShardId(0), 0, 1))).await, Ok(()));
    assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), 2);
    handle.close().await;
}

pub(crate) async fn a_stale_view_of_the_line_mends_itself(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await;
    let stale = owned.clone();
    let batch = [row(&mut owned[0], 1, 1), row(&mut owned[0], 1, 2)];
    fixture.store.commit(&batch).await.expect("commit");
    let handle = GroupJournal::start(&fixture.store, &stale, "a", &options());
    assert_eq!(answer(send(&handle, append(ShardId(0), 2, 1))).await, Ok(()));
    assert_eq!(
        line(&*fixture.store, ShardId(0)).await.last().map(|row| row.position),
        Some(Position(3))
    );
    handle.close().await;
}

pub(crate) async fn a_full_queue_makes_appends_wait(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let handle = start(
        &fixture,
        &faulty,
        &JournalOptions {
            queue_rows_max: 2,
            ..options()
        },
    )
    .await;
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..20).map(|n| append(ShardId(0), n, 1))).await;
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    assert!(
        faulty.sizes().iter().all(|rows| *rows <= 2),
        "more was queued than there is room: {:?}",
        faulty.sizes()
    );
    assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), 21);
    handle.close().await;
}

pub(crate) async fn closing_commits_what_is_queued(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let handle = start(&fixture, &faulty, &options()).await;
    let journal = handle.journal();
    let first = hold_up(&handle, &faulty).await;
    let answers = send_all(&handle, (0..10).map(|n| append(ShardId(0), n, 1))).await;
    let closing = tokio::spawn(handle.close());
    faulty.open_gate();
    assert_eq!(answer(first).await, Ok(()));
    for waiting in answers {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    closing.await.expect("no panic");
    let late = journal.append(append(ShardId(0), 99, 1)).await;
    assert!(matches!(late, Err(AppendError::Unavailable(_))), "{late:?}");
    assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), 11);
}

/// Actors append and repeat what was answered as not made, while commits fail in every way at random.
pub(crate) async fn random_faults_neither_lose_nor_double_rows(fixture: Arc<Fixture>) {
    let mut seeded = StdRng::seed_from_u64(7);
    let choices = [Commit::Made, Commit::MadeAndLost, Commit::Lost, Commit::Unavailable];
    let script: Vec<Commit> = (0..60).filter_map(|_| choices.choose(&mut seeded).copied()).collect();
    let takes = [Take::MadeAndLost, Take::Unavailable].repeat(10);
    let faulty = Faulty::scripted(fixture.store.clone(), script, takes);
    let handle = start(&fixture, &faulty, &options()).await;
    let mut actors = Vec::new();
    for n in 0..40_u64 {
        let journal = handle.journal();
        let poisoned_at = seeded.random_range(1..=8_u64);
        actors.push(tokio::spawn(async move {
            let shard = ShardId(u16::try_from(n % 8).unwrap_or(0));
            for seq in 1..=8 {
                if seq == poisoned_at {
                    let poison = with_key(append(shard, n + 1_000, seq), &"k".repeat(301));
                    until_certain(&journal, &poison, |answer| {
                        matches!(answer, Err(AppendError::Refused(Refusal::Poison(_))))
                    })
                    .await;
                }
                until_certain(&journal, &append(shard, n, seq), |answer| *answer == Ok(())).await;
            }
        }));
    }
    for actor in actors {
        actor.await.expect("no panic");
    }
    handle.close().await;
    assert!(faulty.is_played(), "not every fault has happened");
    let rows = lines(&*fixture.store).await;
    assert_eq!((rows.len(), versions(&rows).len()), (320, 320));
}

/// Appends until the answer is another than that the store is away; it must be the right one.
async fn until_certain(journal: &GroupJournal, append: &Append, right: impl Fn(&Result<(), AppendError>) -> bool) {
    loop {
        let answer = journal.append(append.clone()).await;
        if matches!(answer, Err(AppendError::Unavailable(_))) {
            continue;
        }
        assert!(right(&answer), "{answer:?} to {append:?}");
        return;
    }
}
