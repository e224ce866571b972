//! What only a file can do: fill the disk, be locked, be of another version.

use crate::fixture::{Fixture, Kind, append, line, row, run, shard_map, with_snapshot};
use domain::ports::{Append, AppendError, CommitError, RowOutcome, Store, StoreError};
use domain::shard::{ShardId, ShardMap};
use persistence::{GroupJournal, JournalOptions, SqliteOptions, SqliteStore};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn connect(fixture: &Fixture) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(fixture.path())
        .connect()
        .await
        .expect("a connection of the test's own")
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) {
    sqlx::query(statement).execute(connection).await.expect("the statement");
}

/// Rows of 4 KiB: some dozens of them do not fit any more.
fn wide_batch(owned: &mut domain::shard::OwnedShard, n: u64, rows: u64) -> Vec<Append> {
    let wide = |seq| Append {
        events: format!("[\"{}\"]", "x".repeat(4_096)),
        ..row(owned, n, seq)
    };
    let mut batch: Vec<Append> = (1..=rows).map(wide).collect();
    batch.push(with_snapshot(row(owned, n, rows + 1), true));
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_unavailable_until_there_is_space() {
    run(Kind::Sqlite, |fixture| async move {
        // Something else fills the file, and will go away again.
        let mut other = connect(&fixture).await;
        execute(&mut other, "CREATE TABLE ballast (bytes BLOB)").await;
        for _ in 0..200 {
            execute(&mut other, "INSERT INTO ballast VALUES (zeroblob(4000))").await;
        }
        let pages: u32 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut other)
            .await
            .expect("pages");
        let options = SqliteOptions {
            pages_max: Some(pages + 20),
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(&fixture.path(), shard_map(), &options)
            .await
            .expect("the store");
        let store: Arc<dyn Store> = Arc::new(store);

        let mut owned = store.acquire("a", &[ShardId(0)]).await.expect("acquire")[0];
        let start = owned;
        let error = store
            .commit(&wide_batch(&mut owned, 1, 60))
            .await
            .expect_err("there is no space");
        assert!(
            matches!(&error, CommitError::Unavailable(problem) if problem.contains("the disk is full")),
            "{error}"
        );
        assert_eq!(line(&*store, ShardId(0)).await, [], "nothing of it was written");
        owned = start;
        assert_eq!(
            store.commit(&[row(&mut owned, 2, 1)]).await,
            Ok(vec![RowOutcome::Committed]),
            "a small one fits"
        );

        let owned = store.acquire("a", &[ShardId(0)]).await.expect("acquire");
        let journal = GroupJournal::start(&store, &owned, "a", &JournalOptions::default());
        let wide = Append {
            events: format!("[\"{}\"]", "x".repeat(400_000)),
            ..append(ShardId(0), 3, 1)
        };
        let answer = journal.journal().append(wide.clone()).await;
        assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
        execute(&mut other, "DROP TABLE ballast").await;
        assert_eq!(journal.journal().append(wide).await, Ok(()), "there is space again");
        journal.close().await;
        assert_eq!(line(&*store, ShardId(0)).await.len(), 2);
    })
    .await;
}

/// Fills a file system to the last byte. Whoever drops the file gives the space back.
fn fill(folder: &Path) -> tempfile::NamedTempFile {
    let mut ballast = tempfile::NamedTempFile::new_in(folder).expect("a file");
    for block in [1 << 20, 4_096, 1] {
        while ballast.write_all(&vec![0; block]).is_ok() {
            assert!(
                ballast.as_file().metadata().expect("metadata").len() < 256 << 20,
                "a small disk is wanted"
            );
        }
    }
    ballast
}

/// The same with a disk that is really full: `UOOP_TEST_SMALL_DISK` names a folder on a file system of a few MB, such as
/// one that `mount -t tmpfs -o size=8m` makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_is_full_until_there_is_space() {
    let Some(disk) = std::env::var_os("UOOP_TEST_SMALL_DISK") else {
        println!("skipped: UOOP_TEST_SMALL_DISK is not set");
        return;
    };
    let folder = tempfile::tempdir_in(&disk).expect("a folder on the small disk");
    let path = folder.path().join("store.sqlite");
    let store = SqliteStore::open(&path, shard_map(), &SqliteOptions::default())
        .await
        .expect("the store");
    let store: Arc<dyn Store> = Arc::new(store);
    let mut owned = store.acquire("a", &[ShardId(0)]).await.expect("acquire")[0];
    let start = owned;
    for n in 0..3 {
        let ballast = fill(folder.path());
        let mut there = owned;
        let batch = wide_batch(&mut there, n, 60);
        let error = store.commit(&batch).await.expect_err("there is no space");
        assert!(
            matches!(&error, CommitError::Unavailable(problem) if problem.contains("the disk is full")),
            "{error}"
        );
        let rows = line(&*store, ShardId(0)).await.len();
        assert_eq!(
            u64::try_from(rows).expect("few"),
            owned.position.0,
            "nothing of it was written, and reads go on"
        );
        drop(ballast);
        store.commit(&batch).await.expect("there is space again");
        owned = there;
    }
    assert_eq!(start.epoch, owned.epoch, "by the same owner, without a restart");
    assert_eq!(line(&*store, ShardId(0)).await.len(), 3 * 61);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_locked_too_long_is_unavailable() {
    run(Kind::Sqlite, |fixture| async move {
        let options = SqliteOptions {
            busy_timeout: Duration::from_millis(10),
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(&fixture.path(), shard_map(), &options)
            .await
            .expect("the store");
        let mut owned = store.acquire("a", &[ShardId(0)]).await.expect("acquire")[0];
        let batch = [row(&mut owned, 1, 1)];
        let mut other = connect(&fixture).await;
        execute(&mut other, "BEGIN IMMEDIATE").await;
        let error = store.commit(&batch).await.expect_err("it is locked");
        assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
        assert!(matches!(
            store.acquire("a", &[ShardId(0)]).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(store.load(batch[0].stream).await, Ok(None), "reads go on");
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(store.commit(&batch).await, Ok(vec![RowOutcome::Committed]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_shards_is_refused() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        run(kind, |fixture| async move {
            let other = ShardMap::new(64).expect("a power of two");
            let Err(StoreError::Mismatch(problem)) = fixture.open_again(other).await else {
                panic!("opened with another number of shards");
            };
            assert!(problem.contains(" 8 ") && problem.contains("64"), "{problem}");
            assert!(fixture.open_again(shard_map()).await.is_ok());
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_migrations_are_accepted_and_changed_ones_are_not() {
    run(Kind::Sqlite, |fixture| async move {
        let location = fixture.path().display().to_string();
        persistence::migrate(&location)
            .await
            .expect("migrating again changes nothing");
        let mut other = connect(&fixture).await;
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', true, x'00', 1)";
        execute(&mut other, later).await;
        assert!(
            persistence::open(&location, shard_map()).await.is_ok(),
            "a later schema is this one, expanded"
        );
        execute(
            &mut other,
            "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
        )
        .await;
        let Err(StoreError::Mismatch(problem)) = persistence::open(&location, shard_map()).await else {
            panic!("opened although a migration was changed");
        };
        assert!(problem.contains("migrat"), "{problem}");
    })
    .await;
}

#[tokio::test]
async fn locations_name_the_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/folder/store.sqlite");
    let names = [
        ("memory:".to_owned(), "memory"),
        (path.display().to_string(), "sqlite"),
        (format!("sqlite:{}", path.display()), "sqlite"),
        (format!("sqlite://{}", path.display()), "sqlite"),
    ];
    for (location, name) in names {
        let store = persistence::open(&location, shard_map()).await.expect("it opens");
        assert_eq!((store.name(), store.shard_map()), (name, shard_map()));
    }
    assert!(path.exists());
    let nobody = persistence::open("postgres://nobody@127.0.0.1:1/none", shard_map()).await;
    assert!(
        matches!(nobody, Err(StoreError::Unavailable(_))),
        "nothing listens there"
    );
}
