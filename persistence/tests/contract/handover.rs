//! Shards come and go under the journal: what was appended before is written, what comes after is fenced, and the line
//! goes on without a gap wherever its shard is.

use crate::faults::{Commit, Faulty, Take};
use crate::fixture::{Fixture, append, line, lines, row, shard_map};
use crate::journal::{answer, hold_up, options, send, send_all, start};
use domain::ids::{Position, Seq, StreamId};
use domain::ports::{AppendError, Journal, RowOutcome, Store};
use domain::shard::ShardId;
use persistence::{GroupJournal, JournalHandle, JournalOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Gives shards up in a task of its own, which is in the writers' queues when this returns.
async fn release(handle: &JournalHandle, shards: &[ShardId]) -> JoinHandle<()> {
    let (journal, shards) = (handle.journal(), shards.to_vec());
    let (queued_tx, queued_rx) = tokio::sync::oneshot::channel();
    let releasing = tokio::spawn(async move {
        let mut releasing = Box::pin(journal.release(&shards));
        let at_once = futures::poll!(&mut releasing);
        queued_tx.send(()).expect("somebody waits");
        if at_once.is_pending() {
            releasing.await;
        }
    });
    queued_rx.await.expect("it is queued");
    releasing
}

fn held(handle: &JournalHandle) -> Vec<u16> {
    handle.tail().ends().iter().map(|(shard, _)| shard.0).collect()
}

pub(crate) async fn what_was_appended_before_a_release_is_written(fixture: Arc<Fixture>) {
    let faulty = Faulty::new(fixture.store.clone());
    let mut handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let before = send_all(&handle, (0..6).map(|n| append(ShardId(2 * (n % 2)), u64::from(n), 1))).await;
    let releasing = release(&handle, &[ShardId(0), ShardId(0), ShardId(4)]).await;
    let after = send_all(&handle, (10..14).map(|n| append(ShardId(2 * (n % 2)), u64::from(n), 1))).await;
    assert!(!releasing.is_finished(), "something is still under way");
    faulty.open_gate();
    releasing.await.expect("no panic");
    // Nothing of it is under way any more: what another finds now is all that there will ever be.
    let end = line(&*fixture.store, ShardId(0)).await.len();
    assert_eq!(end, 1 + 3);
    assert_eq!(held(&handle), [1, 2, 3, 5, 6, 7]);
    assert_eq!(answer(first).await, Ok(()));
    for waiting in before {
        assert_eq!(answer(waiting).await, Ok(()));
    }
    for (n, waiting) in after.into_iter().enumerate() {
        let expected = if n % 2 == 0 { Err(AppendError::Fenced) } else { Ok(()) };
        assert_eq!(answer(waiting).await, expected);
    }
    let commits = faulty.sizes().len();
    for shard in [0, 4] {
        let late = answer(send(&handle, append(ShardId(shard), 99, 1))).await;
        assert_eq!(late, Err(AppendError::Fenced));
    }
    assert_eq!(faulty.sizes().len(), commits, "the store is not asked");
    assert!(
        futures::poll!(Box::pin(handle.next_fenced())).is_pending(),
        "that is no news"
    );
    handle.journal().release(&[ShardId(0), ShardId(4_000)]).await;
    assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), end);
    handle.close().await;
}

pub(crate) async fn a_journal_begins_with_nothing_and_adopts(fixture: Arc<Fixture>) {
    let mut handle = GroupJournal::start(&fixture.store, &[], "a", &options());
    let journal = handle.journal();
    assert_eq!(journal.append(append(ShardId(3), 1, 1)).await, Err(AppendError::Fenced));
    assert_eq!(held(&handle), [0_u16; 0]);
    let mut epochs = Vec::new();
    for round in 0..3 {
        let owned = fixture
            .store
            .acquire("a", &[ShardId(3), ShardId(4)])
            .await
            .expect("acquire");
        journal.adopt(&owned).await;
        assert_eq!(held(&handle), [3, 4]);
        for shard in [ShardId(3), ShardId(4)] {
            assert_eq!(journal.append(append(shard, round, 1)).await, Ok(()));
        }
        assert_eq!(journal.append(append(ShardId(5), 1, 1)).await, Err(AppendError::Fenced));
        journal.release(&[ShardId(4), ShardId(3)]).await;
        assert_eq!(
            journal.append(append(ShardId(3), round, 2)).await,
            Err(AppendError::Fenced)
        );

        // Another owns it in between; the line goes on behind what that one wrote.
        let mut other = fixture.store.acquire("b", &[ShardId(3)]).await.expect("acquire")[0];
        epochs.extend([owned[0].epoch, other.epoch]);
        let batch = [row(&mut other, 100 + round, 1)];
        assert_eq!(fixture.store.commit(&batch).await, Ok(vec![RowOutcome::Committed]));
    }
    assert!(
        epochs.is_sorted_by(|earlier, later| earlier < later),
        "LS-1: {epochs:?}"
    );
    assert_eq!(line(&*fixture.store, ShardId(3)).await.len(), 6);
    assert_eq!(line(&*fixture.store, ShardId(4)).await.len(), 3);
    assert!(futures::poll!(Box::pin(handle.next_fenced())).is_pending());
    handle.close().await;
}

pub(crate) async fn each_loss_is_reported(fixture: Arc<Fixture>) {
    let all: Vec<ShardId> = shard_map().all().collect();
    let mut handle = GroupJournal::start(&fixture.store, &[], "a", &options());
    let journal = handle.journal();
    for round in 0..3 {
        journal.adopt(&fixture.acquire_all("a").await).await;
        fixture.acquire_all("b").await;
        for shard in &all {
            assert_eq!(journal.append(append(*shard, round, 1)).await, Err(AppendError::Fenced));
        }
        let mut lost = BTreeSet::new();
        for _ in &all {
            lost.extend(handle.next_fenced().await);
        }
        assert_eq!(lost.into_iter().collect::<Vec<_>>(), all);
    }
    // A loss that nobody has heard of is no news any more when the shard is held again; the next one is.
    for reported in [false, true] {
        journal.adopt(&fixture.acquire_all("a").await).await;
        assert!(futures::poll!(Box::pin(handle.next_fenced())).is_pending());
        fixture.store.acquire("b", &[ShardId(1)]).await.expect("acquire");
        assert_eq!(journal.append(append(ShardId(1), 9, 1)).await, Err(AppendError::Fenced));
        if reported {
            assert_eq!(handle.next_fenced().await, Some(ShardId(1)));
        }
    }
    handle.close().await;
}

pub(crate) async fn giving_up_waits_until_it_is_known_what_was_committed(fixture: Arc<Fixture>) {
    let takes = [Take::Unavailable, Take::MadeAndLost];
    let faulty = Faulty::scripted(fixture.store.clone(), [Commit::MadeAndLost, Commit::Lost], takes);
    let handle = start(&fixture, &faulty, &options()).await;
    let first = hold_up(&handle, &faulty).await;
    let second = send_all(&handle, [append(ShardId(0), 2, 1)]).await;
    let releasing = release(&handle, &[ShardId(0)]).await;
    faulty.open_gate();
    releasing.await.expect("no panic");
    assert!(faulty.is_played());
    let rows = line(&*fixture.store, ShardId(0)).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(answer(first).await, Ok(()));
    for second in second {
        assert_eq!(answer(second).await, Ok(()));
    }
    handle.close().await;
}

pub(crate) async fn a_journal_that_is_closed_neither_adopts_nor_waits(fixture: Arc<Fixture>) {
    let handle = GroupJournal::start(&fixture.store, &[], "a", &options());
    let journal = handle.journal();
    handle.close().await;
    let owned = fixture.acquire_all("a").await;
    journal.adopt(&owned).await;
    journal.release(&[ShardId(0), ShardId(1)]).await;
    assert_eq!(journal.append(append(ShardId(0), 1, 1)).await, Err(AppendError::Fenced));
}

/// A node of the test: a journal, and what it holds.
struct Owner {
    name: &'static str,
    handle: JournalHandle,
}

/// An actor, which knows what it wants to write and not where its shard is. How often it was fenced.
async fn act(journals: Vec<Arc<GroupJournal>>, n: u64) -> usize {
    let shard = ShardId(u16::try_from(n % 8).unwrap_or(0));
    let mut fenced = 0;
    for seq in 1..=12 {
        for journal in journals.iter().cycle() {
            match journal.append(append(shard, n, seq)).await {
                Ok(()) => break,
                Err(AppendError::Fenced) => fenced += 1,
                Err(AppendError::Unavailable(_)) => {}
                Err(error) => panic!("{error} to stream {n}, version {seq}"),
            }
            tokio::task::yield_now().await;
        }
    }
    fenced
}

/// Moves a shard: in good order, or by force, of which its owner learns from its own commits, or late.
async fn wander(fixture: &Fixture, owners: &[Owner], shard: ShardId, from: Option<usize>, to: usize, by_force: bool) {
    let owner = from.map(|from| owners[from].handle.journal());
    if let Some(owner) = owner.iter().find(|_| !by_force) {
        owner.release(&[shard]).await;
    }
    let taken = fixture.store.acquire(owners[to].name, &[shard]).await.expect("acquire");
    // Before it may have the shard again it must have given it up.
    if let Some(owner) = owner.iter().find(|_| by_force) {
        owner.release(&[shard]).await;
    }
    owners[to].handle.journal().adopt(&taken).await;
    tokio::task::yield_now().await;
}

/// Shards wander between three nodes, in good order or taken by force, under many actors, while commits fail in every
/// way: what was acknowledged is there once, and what was answered as fenced is not there unless it was sent again.
pub(crate) async fn shards_that_wander_neither_lose_nor_double_rows(fixture: Arc<Fixture>) {
    let mut seeded = StdRng::seed_from_u64(11);
    let mut owners = Vec::new();
    for name in ["a", "b", "c"] {
        let choices = [
            Commit::Made,
            Commit::Made,
            Commit::MadeAndLost,
            Commit::Lost,
            Commit::Unavailable,
        ];
        let script: Vec<Commit> = (0..200).filter_map(|_| choices.choose(&mut seeded).copied()).collect();
        let store: Arc<dyn Store> = Faulty::scripted(fixture.store.clone(), script, [Take::MadeAndLost]);
        let options = JournalOptions {
            queue_rows_max: 4,
            ..options()
        };
        let handle = GroupJournal::start(&store, &[], name, &options);
        owners.push(Owner { name, handle });
    }
    let journals: Vec<Arc<GroupJournal>> = owners.iter().map(|owner| owner.handle.journal()).collect();
    let mut actors: Vec<JoinHandle<usize>> = (0..24).map(|n| tokio::spawn(act(journals.clone(), n))).collect();
    let mut at: Vec<Option<usize>> = vec![None; usize::from(shard_map().len())];
    let (mut fenced, mut moves, mut forced) = (0, 0, 0);
    while !actors.is_empty() {
        let shard = ShardId(seeded.random_range(0..shard_map().len()));
        let to = seeded.random_range(0..owners.len());
        let from = at[usize::from(shard.0)].replace(to);
        let by_force = seeded.random_bool(0.3) && from.is_some_and(|from| from != to);
        wander(&fixture, &owners, shard, from, to, by_force).await;
        moves += 1;
        forced += usize::from(by_force);
        for actor in actors.extract_if(.., |actor| actor.is_finished()) {
            fenced += actor.await.expect("no panic");
        }
    }
    for owner in owners {
        owner.handle.close().await;
    }
    assert!(
        moves > 8 && forced > 0 && fenced > 0,
        "{moves} moves, {forced} by force, {fenced} fenced"
    );
    let rows = lines(&*fixture.store).await;
    let versions: BTreeSet<(StreamId, Seq)> = rows.iter().map(|row| (row.stream, row.seq)).collect();
    assert_eq!((rows.len(), versions.len()), (24 * 12, 24 * 12));
    for shard in shard_map().all() {
        let end = u64::try_from(line(&*fixture.store, shard).await.len()).expect("few");
        let owned = fixture.store.acquire("after", &[shard]).await.expect("acquire");
        assert_eq!(owned[0].position, Position(end));
    }
}
