//! What every store does with batches, reads, epochs and keys.

use crate::fixture::{
    Fixture, append, line, lines, row, row_of, shard_map, stream_in, with_key, with_key_of, with_snapshot,
};
use domain::ids::{Epoch, Position, Seq};
use domain::ports::{Append, ClaimRecord, CommitError, Recorded, Refusal, RowOutcome, Snapshot, StreamKind};
use domain::shard::ShardId;
use std::sync::Arc;

const ORDERS: [StreamKind; 1] = [StreamKind::Order];

pub(crate) async fn what_is_written_comes_back(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    assert_eq!(store.commit(&[]).await, Ok(Vec::new()));
    assert_eq!(store.load(stream_in(ShardId(0), 1)).await, Ok(None));
    let mut owned = fixture.acquire_all("a").await;
    let mut first = with_key(with_snapshot(row(&mut owned[3], 1, 1), true), "tenant:place:ключ");
    first.kind = StreamKind::Channel;
    first.events = "[\"ünïcödé \\u0000 and a real NUL: \0\"]".into();
    let batch = [
        first,
        row(&mut owned[3], 1, 2),
        row(&mut owned[5], 2, 1),
        row(&mut owned[3], 1, 3),
    ];
    assert_eq!(store.commit(&batch).await, Ok(vec![RowOutcome::Committed; 4]));

    let (stream, shard) = (batch[0].stream, ShardId(3));
    let recorded = store.load(stream).await.expect("load").expect("the stream");
    let expected = Recorded {
        stream,
        kind: StreamKind::Channel,
        snapshot: batch[0].snapshot.clone(),
        rows: vec![row_of(&batch[1]), row_of(&batch[3])],
    };
    assert_eq!(recorded, expected, "the snapshot and the rows after it");
    let all: Vec<_> = [&batch[0], &batch[1], &batch[3]].map(row_of).into();
    assert_eq!(store.rows(stream, Seq(0), 10).await, Ok(all.clone()));
    assert_eq!(
        line(&**store, shard).await,
        all,
        "the shard's line holds the rows in order"
    );
    let bare = store
        .load(batch[2].stream)
        .await
        .expect("load")
        .expect("the other stream");
    assert_eq!((bare.snapshot, bare.rows), (None, vec![row_of(&batch[2])]));

    let claim = ClaimRecord {
        stream,
        seq: Seq(1),
        fingerprint: "print of tenant:place:ключ".into(),
        at: batch[0].at,
    };
    assert_eq!(store.claim(shard, "tenant:place:ключ").await, Ok(Some(claim)));
    assert_eq!(
        store.claim(ShardId(5), "tenant:place:ключ").await,
        Ok(None),
        "keys are per shard"
    );
    assert_eq!(store.claim(shard, "other\0").await, Ok(None));
}

pub(crate) async fn limits_and_bounds_of_reads(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut owned = fixture.acquire_all("a").await;
    let batch: Vec<Append> = (1..=10).map(|seq| row(&mut owned[0], 1, seq)).collect();
    store.commit(&batch).await.expect("commit");
    let stream = batch[0].stream;
    let seqs = |rows: Vec<domain::ports::Row>| rows.iter().map(|row| row.seq.0).collect::<Vec<_>>();
    assert_eq!(seqs(store.rows(stream, Seq(4), 3).await.expect("rows")), [5, 6, 7]);
    assert_eq!(
        seqs(store.positions(ShardId(0), Position(8), 9).await.expect("rows")),
        [9, 10]
    );
    assert_eq!(seqs(store.rows(stream, Seq(0), 0).await.expect("rows")), [0_u64; 0]);
    assert_eq!(
        seqs(store.rows(stream, Seq(u64::MAX), 9).await.expect("rows")),
        [0_u64; 0]
    );
    assert_eq!(
        seqs(store.positions(ShardId(0), Position(u64::MAX), 9).await.expect("rows")),
        [0_u64; 0]
    );
    assert_eq!(
        seqs(store.positions(ShardId(1), Position(0), 9).await.expect("rows")),
        [0_u64; 0]
    );
}

pub(crate) async fn snapshots_only_move_forward(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let owned = &mut fixture.acquire_all("a").await[0];
    let (second, first) = (
        with_snapshot(row(owned, 1, 2), true),
        with_snapshot(row(owned, 1, 1), true),
    );
    let stream = first.stream;
    // Two snapshots of one stream in one batch, the newer one first.
    let batch = [second, first];
    store.commit(&batch).await.expect("commit");
    let loaded = store.load(stream).await.expect("load").expect("the stream");
    assert_eq!((loaded.snapshot, loaded.rows.len()), (batch[0].snapshot.clone(), 0));

    let mut late = with_snapshot(row(owned, 1, 3), false);
    late.snapshot.iter_mut().for_each(|snapshot| snapshot.seq = Seq(1));
    store.commit(&[late]).await.expect("commit");
    let loaded = store.load(stream).await.expect("load").expect("the stream");
    assert_eq!(
        (loaded.snapshot, loaded.rows.len()),
        (batch[0].snapshot.clone(), 1),
        "an older one changes nothing"
    );

    let newest = with_snapshot(row(owned, 1, 4), false);
    store.commit(std::slice::from_ref(&newest)).await.expect("commit");
    let loaded = store.load(stream).await.expect("load").expect("the stream");
    assert_eq!((loaded.snapshot, loaded.rows.len()), (newest.snapshot, 0));
}

pub(crate) async fn a_mark_is_recovered_and_holds_no_state(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let owned = &mut fixture.acquire_all("a").await[0];
    let mut first = row(owned, 1, 1);
    first.snapshot = Some(Snapshot::mark());
    let rows = [first, row(owned, 1, 2)];
    store.commit(&rows).await.expect("commit");

    let loaded = store.load(rows[0].stream).await.expect("load").expect("the stream");
    assert_eq!(
        (&loaded.snapshot, &loaded.rows),
        (&None, &rows.iter().map(row_of).collect())
    );
    let recovered = store.recover(&[owned.shard], &ORDERS).await.expect("recover");
    assert_eq!(recovered, [loaded], "a mark is enough to be found at a start");

    let over = with_snapshot(row(owned, 1, 3), false);
    store.commit(std::slice::from_ref(&over)).await.expect("commit");
    let loaded = store.load(over.stream).await.expect("load").expect("the stream");
    assert_eq!(
        (loaded.snapshot, loaded.rows.len()),
        (over.snapshot, 0),
        "a state takes its place"
    );
    assert_eq!(store.recover(&[owned.shard], &ORDERS).await, Ok(Vec::new()));
}

pub(crate) async fn recovery_brings_live_streams_of_the_shards(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut owned = fixture.acquire_all("a").await;
    let mut batch = Vec::new();
    for shard in [0, 1, 2] {
        let owned = &mut owned[shard];
        for n in 0..20 {
            batch.push(with_snapshot(row(owned, n, 1), n % 4 != 0));
            batch.push(row(owned, n, 2));
            if n % 4 == 1 {
                batch.push(with_snapshot(row(owned, n, 3), false));
            }
        }
        batch.push(row(owned, 99, 1));
    }
    store.commit(&batch).await.expect("commit");
    let recovered = store
        .recover(&[ShardId(2), ShardId(0)], &ORDERS)
        .await
        .expect("recover");
    let mut expected = Vec::new();
    for (shard, n) in [0, 2]
        .into_iter()
        .flat_map(|shard| (0..20).map(move |n| (ShardId(shard), n)))
    {
        if n % 4 > 1 {
            expected.push(
                store
                    .load(stream_in(shard, n))
                    .await
                    .expect("load")
                    .expect("the stream"),
            );
        }
    }
    expected.sort_by_key(|recorded| recorded.stream);
    assert_eq!(recovered, expected);
    assert!(
        recovered.iter().all(|recorded| recorded.rows.len() == 1),
        "with the rows after the snapshot"
    );
    assert_eq!(store.recover(&[ShardId(7)], &ORDERS).await, Ok(Vec::new()));
    assert_eq!(store.recover(&[], &ORDERS).await, Ok(Vec::new()));
}

pub(crate) async fn recovery_brings_the_kinds_asked_for(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let owned = &mut fixture.acquire_all("a").await[0];
    let kinds = [StreamKind::Order, StreamKind::Channel, StreamKind::Zone];
    let batch: Vec<Append> = (0..9_u64)
        .zip(kinds.iter().cycle())
        .map(|(n, kind)| Append {
            kind: *kind,
            ..with_snapshot(row(owned, n, 1), true)
        })
        .collect();
    store.commit(&batch).await.expect("commit");
    let shards = [ShardId(0)];
    for asked in [&kinds[..], &kinds[1..], &kinds[..1], &[]] {
        let recovered = store.recover(&shards, asked).await.expect("recover");
        assert_eq!(recovered.len(), 3 * asked.len());
        assert!(recovered.iter().all(|recorded| asked.contains(&recorded.kind)));
    }
}

pub(crate) async fn settings_are_kept_once(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    assert_eq!(store.setting("anchor").await, Ok(None));
    assert_eq!(store.keep_setting("anchor", "1").await, Ok("1".into()));
    assert_eq!(store.keep_setting("anchor", "2").await, Ok("1".into()));
    assert_eq!(store.setting("anchor").await, Ok(Some("1".into())));
    assert_eq!(store.setting("shards").await, Ok(Some(shard_map().len().to_string())));
}

pub(crate) async fn a_store_that_many_share_tells_the_time(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let first = store.clock_ms().await.expect("the store answers");
    assert_eq!(first.is_some(), store.name() == "postgres", "{first:?}");
    if let Some(first) = first {
        assert!(first > 1_700_000_000_000, "milliseconds since the epoch: {first}");
        let second = store.clock_ms().await.expect("the store answers");
        assert!(second >= Some(first), "{first} and then {second:?}");
    }
}

pub(crate) async fn shards_are_acquired_in_the_order_asked(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut owned = fixture.acquire_all("a").await;
    let batch = [
        row(&mut owned[5], 1, 1),
        row(&mut owned[5], 1, 2),
        row(&mut owned[2], 1, 1),
    ];
    store.commit(&batch).await.expect("commit");
    let again = store
        .acquire("b", &[ShardId(5), ShardId(0), ShardId(2)])
        .await
        .expect("acquire");
    let seen: Vec<_> = again
        .iter()
        .map(|owned| (owned.shard.0, owned.epoch.0, owned.position.0))
        .collect();
    assert_eq!(seen, [(5, 2, 2), (0, 2, 0), (2, 2, 1)], "shard, epoch, position");
    let problem = store
        .acquire("b", &[ShardId(1), ShardId(4_000)])
        .await
        .expect_err("no such shard");
    assert!(problem.to_string().contains("4000"), "{problem}");
    let after = store.acquire("b", &[ShardId(1)]).await.expect("acquire");
    assert_eq!(after[0].epoch, Epoch(2), "a refused call takes none of its shards");
}

/// A node takes its own shards once more, and only those: what is another's stays so.
pub(crate) async fn shards_are_reacquired_by_their_owner_only(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut own = fixture.acquire_all("a").await;
    store.commit(&[row(&mut own[4], 1, 1)]).await.expect("commit");
    let mut others = store.acquire("b", &[ShardId(1), ShardId(2)]).await.expect("acquire");
    let asked = [ShardId(4), ShardId(1), ShardId(0), ShardId(4_000)];
    let again = store.reacquire("a", &asked).await.expect("reacquire");
    let seen: Vec<_> = again
        .iter()
        .map(|owned| (owned.shard.0, owned.epoch.0, owned.position.0))
        .collect();
    assert_eq!(seen, [(4, 2, 1), (0, 2, 0)], "shard, epoch, position");
    assert_eq!(store.reacquire("c", &asked).await, Ok(Vec::new()));
    assert_eq!(store.reacquire("a", &[]).await, Ok(Vec::new()));

    // What was under way is fenced; the other's epoch is as it was.
    let mut again = again;
    let batch = [
        row(&mut own[0], 5, 1),
        row(&mut again[1], 6, 1),
        row(&mut others[0], 5, 1),
        row(&mut own[5], 5, 1),
    ];
    let outcomes = store.commit(&batch).await.expect("commit");
    let committed = RowOutcome::Committed;
    assert_eq!(outcomes, [RowOutcome::Fenced, committed, committed, committed]);
}

pub(crate) async fn a_stale_epoch_is_fenced_and_neighbours_commit(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut old = fixture.acquire_all("a").await;
    store.acquire("b", &[ShardId(1)]).await.expect("acquire");
    let mut from_the_future = row(&mut old[2], 1, 1);
    from_the_future.epoch = Epoch(u64::MAX);
    let batch = [
        row(&mut old[0], 1, 1),
        with_key(with_snapshot(row(&mut old[1], 1, 1), true), "key"),
        row(&mut old[0], 1, 2),
        from_the_future,
        Append {
            shard: ShardId(4_000),
            ..row(&mut old[3], 1, 1)
        },
    ];
    let outcomes = store.commit(&batch).await.expect("commit");
    let (committed, fenced) = (RowOutcome::Committed, RowOutcome::Fenced);
    assert_eq!(outcomes, [committed, fenced, committed, fenced, fenced]);
    assert_eq!(lines(&**store).await, [row_of(&batch[0]), row_of(&batch[2])]);
    assert_eq!(store.load(batch[1].stream).await, Ok(None), "neither row nor snapshot");
    assert_eq!(store.claim(ShardId(1), "key").await, Ok(None));
}

/// Commits a batch that must be refused, and sees that it left nothing.
async fn refused(fixture: &Fixture, batch: &[Append]) -> CommitError {
    let store = &*fixture.store;
    let before = lines(store).await;
    let error = store.commit(batch).await.expect_err("the batch is refused");
    assert_eq!(lines(store).await, before, "nothing of a refused batch is written");
    for append in batch.iter().filter(|append| append.snapshot.is_some()) {
        let loaded = store.load(append.stream).await.expect("load");
        assert_eq!(loaded.and_then(|recorded| recorded.snapshot), None);
    }
    error
}

pub(crate) async fn a_duplicate_version_refuses_the_batch(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await;
    fixture.store.commit(&[row(&mut owned[0], 1, 1)]).await.expect("commit");
    let here = owned[0];
    let batch = [with_snapshot(row(&mut owned[1], 5, 1), true), row(&mut owned[0], 1, 1)];
    assert_eq!(
        refused(&fixture, &batch).await,
        CommitError::Refused(Refusal::DuplicateSeq)
    );
    // Twice within the batch.
    owned[0] = here;
    let batch = [row(&mut owned[0], 2, 1), row(&mut owned[0], 2, 1)];
    assert_eq!(
        refused(&fixture, &batch).await,
        CommitError::Refused(Refusal::DuplicateSeq)
    );
    // Neither has used up a position.
    owned[0] = here;
    assert_eq!(
        fixture.store.commit(&[row(&mut owned[0], 2, 1)]).await,
        Ok(vec![RowOutcome::Committed])
    );
}

pub(crate) async fn a_used_key_refuses_the_batch(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await;
    fixture
        .store
        .commit(&[with_key(row(&mut owned[0], 1, 1), "key")])
        .await
        .expect("commit");
    let here = owned[0];
    let batch = [
        with_snapshot(row(&mut owned[1], 5, 1), true),
        with_key(row(&mut owned[0], 2, 1), "key"),
    ];
    assert_eq!(
        refused(&fixture, &batch).await,
        CommitError::Refused(Refusal::DuplicateKey)
    );
    owned[0] = here;
    let batch = [
        with_key(row(&mut owned[0], 2, 1), "new"),
        with_key(row(&mut owned[0], 3, 1), "new"),
    ];
    assert_eq!(
        refused(&fixture, &batch).await,
        CommitError::Refused(Refusal::DuplicateKey)
    );
    let elsewhere = with_key(row(&mut owned[2], 5, 1), "key");
    assert_eq!(
        fixture.store.commit(&[elsewhere]).await,
        Ok(vec![RowOutcome::Committed]),
        "keys are per shard"
    );
}

pub(crate) async fn a_key_is_unique_where_it_belongs_whatever_shard_uses_it(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut owned = fixture.acquire_all("a").await;
    let home = ShardId(3);
    let used = with_key_of(row(&mut owned[0], 1, 1), home, "key");
    store.commit(std::slice::from_ref(&used)).await.expect("commit");
    let claim = store.claim(home, "key").await.expect("claim");
    assert_eq!(claim.map(|claim| claim.stream), Some(used.stream));
    assert_eq!(store.claim(used.shard, "key").await, Ok(None), "not where its row is");
    let before = owned.clone();
    for batch in [
        [with_key_of(row(&mut owned[1], 2, 1), home, "key")],
        [with_key(row(&mut owned[3], 3, 1), "key")],
    ] {
        let error = refused(&fixture, &batch).await;
        assert_eq!(error, CommitError::Refused(Refusal::DuplicateKey));
    }
    owned = before;
    let batch = [
        with_key_of(row(&mut owned[1], 2, 1), home, "new"),
        with_key_of(row(&mut owned[2], 3, 1), home, "new"),
    ];
    let error = refused(&fixture, &batch).await;
    assert_eq!(
        error,
        CommitError::Refused(Refusal::DuplicateKey),
        "twice within the batch"
    );
}

/// Clients that try again at another node while their first attempt is under way. The one that comes second hears so, and
/// nobody waits for each other, in whichever order the keys came.
pub(crate) async fn keys_that_two_use_at_a_time_are_used_once(fixture: Arc<Fixture>) {
    let store = &fixture.store;
    let mut owned = fixture.acquire_all("a").await;
    for round in 0..30_u64 {
        let before = owned.clone();
        let mut batch = |shard: usize, backwards: bool| -> Vec<Append> {
            let owned = &mut owned[shard];
            let key = |n: u64| if backwards { 24 - n } else { n };
            let rows = (0..24).map(|n| (n, row(owned, round * 24 + n, 1)));
            let keyed = rows.map(|(n, row)| with_key_of(row, ShardId(3), &format!("key {round} {}", key(n))));
            keyed.collect()
        };
        let batches = [batch(0, false), batch(1, true)];
        let (first, second) = tokio::join!(store.commit(&batches[0]), store.commit(&batches[1]));
        let used = [first, second].map(|outcome| match outcome {
            Ok(outcomes) => outcomes.iter().all(|outcome| *outcome == RowOutcome::Committed),
            Err(error) => {
                assert_eq!(error, CommitError::Refused(Refusal::DuplicateKey), "round {round}");
                false
            }
        });
        assert_eq!(used.iter().filter(|used| **used).count(), 1, "round {round}");
        let refused = usize::from(used[0]);
        owned[refused] = before[refused];
    }
}

pub(crate) async fn a_taken_position_is_not_a_refusal(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await;
    let stale = owned[0];
    fixture.store.commit(&[row(&mut owned[0], 1, 1)]).await.expect("commit");
    let error = refused(&fixture, &[row(&mut stale.clone(), 2, 1)]).await;
    assert!(matches!(error, CommitError::Unknown(_)), "{error}");
}

pub(crate) async fn poison_is_refused_and_named(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await;
    let start = owned[0];
    let mut nul_in_fingerprint = with_key(append(ShardId(0), 1, 1), "key");
    nul_in_fingerprint
        .claim
        .iter_mut()
        .for_each(|claim| claim.fingerprint = "\0".into());
    let poison = [
        with_key(append(ShardId(0), 1, 1), &"k".repeat(301)),
        with_key(append(ShardId(0), 1, 1), &"ü".repeat(151)),
        with_key(append(ShardId(0), 1, 1), "a\0b"),
        nul_in_fingerprint,
        append(ShardId(0), 1, 0),
        append(ShardId(0), 1, u64::MAX),
    ];
    for poison in poison {
        owned[0] = start;
        let good = row(&mut owned[0], 2, 1);
        let placed = row(&mut owned[0], 1, 1);
        let poison = Append {
            epoch: placed.epoch,
            position: placed.position,
            ..poison
        };
        let error = refused(&fixture, &[good, poison]).await;
        assert!(matches!(error, CommitError::Refused(Refusal::Poison(_))), "{error}");
    }
    let unplaced = Append {
        position: Position(0),
        ..row(&mut start.clone(), 1, 1)
    };
    let error = refused(&fixture, &[unplaced]).await;
    assert!(matches!(error, CommitError::Refused(Refusal::Poison(_))), "{error}");
    owned[0] = start;
    let longest = with_key(row(&mut owned[0], 1, 1), &"ü".repeat(150));
    assert_eq!(fixture.store.commit(&[longest]).await, Ok(vec![RowOutcome::Committed]));
}

/// LS-2: three nodes take one shard from each other all the time, and each commits as long as it believes that it owns
/// it. Along the line the epochs only grow, and no number is missing or double.
pub(crate) async fn no_commit_under_an_old_epoch(fixture: Arc<Fixture>) {
    let mut nodes = Vec::new();
    for node in 0..3_u64 {
        let fixture = fixture.clone();
        nodes.push(tokio::spawn(async move {
            let mut fenced = 0;
            for round in 0..15_u64 {
                let owned = fixture
                    .store
                    .acquire(&node.to_string(), &[ShardId(0)])
                    .await
                    .expect("acquire");
                let mut owned = owned[0];
                for turn in 0..4_u64 {
                    let mut append = row(&mut owned, node * 1_000 + round * 10 + turn, 1);
                    append.events = append.epoch.0.to_string();
                    match fixture.store.commit(&[append]).await {
                        Ok(outcomes) if outcomes == [RowOutcome::Committed] => {}
                        Ok(_) => {
                            fenced += 1;
                            break;
                        }
                        // Only a database that was busy with the others for too long may say so.
                        Err(CommitError::Unavailable(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
            fenced
        }));
    }
    let mut fenced = 0;
    for node in nodes {
        fenced += node.await.expect("the node");
    }
    let rows = line(&*fixture.store, ShardId(0)).await;
    let epochs: Vec<u64> = rows.iter().map(|row| row.events.parse().expect("an epoch")).collect();
    assert!(epochs.is_sorted(), "a row was committed under an old epoch: {epochs:?}");
    assert!(
        fenced > 0 && !rows.is_empty(),
        "nobody was fenced or nobody wrote: the test tested nothing"
    );
}

/// Whoever gives a commit up half-way does not know what became of it, but spoils nothing for the next.
pub(crate) async fn a_cancelled_commit_leaves_the_store_usable(fixture: Arc<Fixture>) {
    let mut owned = fixture.acquire_all("a").await[0];
    for n in 0..40 {
        let batch: Vec<Append> = (1..=20).map(|seq| row(&mut owned, n, seq)).collect();
        let mut commit = Box::pin(fixture.store.commit(&batch));
        // A different number of polls each time, so that it is given up at different places.
        for _ in 0..n {
            if futures::poll!(&mut commit).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
        owned = fixture.store.acquire("a", &[ShardId(0)]).await.expect("acquire")[0];
        assert_eq!(owned.position.0 % 20, 0, "half a batch was committed");
    }
    assert_eq!(
        fixture.store.commit(&[row(&mut owned, 99, 1)]).await,
        Ok(vec![RowOutcome::Committed])
    );
    assert_eq!(
        line(&*fixture.store, ShardId(0)).await.len(),
        usize::try_from(owned.position.0).expect("few")
    );
}
