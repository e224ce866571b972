//! What only a server can do: end connections, refuse them, and let two nodes meet in the middle of a statement.

use crate::fixture::{Fixture, Kind, append, line, lines, postgres_server, row, row_of, run, shard_map};
use domain::ports::{Append, AppendError, CommitError, Refusal, RowOutcome, Store, StoreError};
use domain::shard::ShardId;
use persistence::{GroupJournal, JournalOptions, PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .expect("a connection of the test's own")
}

pub(crate) async fn execute(connection: &mut PgConnection, statement: impl Into<String>) {
    sqlx::query(AssertSqlSafe(statement.into()))
        .execute(connection)
        .await
        .expect("the statement");
}

/// Writes the row in a transaction that stays open, so that a batch with the same row waits for it, in the middle.
pub(crate) async fn stand_in_the_way(connection: &mut PgConnection, append: &Append) {
    execute(connection, "BEGIN").await;
    let insert = "INSERT INTO event_rows (stream, seq, position, at, shard, kind, events)
        VALUES ($1, $2, 1000000, 0, 7, 1, '')";
    let query = sqlx::query(insert)
        .bind(append.stream.0)
        .bind(i64::try_from(append.seq.0).expect("small"));
    query.execute(connection).await.expect("the row");
}

/// Waits until a statement of the store that begins so waits for a lock, and says which backend it is.
pub(crate) async fn blocked(connection: &mut PgConnection, begins: &str) -> i32 {
    let find = "SELECT pid FROM pg_stat_activity WHERE application_name = 'uoop' AND datname = current_database()
        AND wait_event_type = 'Lock' AND ltrim(query, E' \n') LIKE $1 || '%'";
    // A bound, so that a statement that should wait and does not fails the test instead of hanging it.
    for _ in 0..10_000 {
        // In a transaction, Postgres would show the activity of its beginning again and again.
        execute(connection, "SELECT pg_stat_clear_snapshot()").await;
        let found = sqlx::query_scalar(find)
            .bind(begins)
            .fetch_optional(&mut *connection)
            .await;
        if let Some(pid) = found.expect("the activity") {
            return pid;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("'{begins}' does not wait for anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_shard_waits_for_the_batch_under_way() {
    run(Kind::Postgres, |fixture| async move {
        let mut owned = fixture.acquire_all("a").await;
        let batch = [row(&mut owned[0], 1, 1), row(&mut owned[0], 2, 1)];
        let mut other = connect(fixture.url()).await;
        stand_in_the_way(&mut other, &batch[1]).await;
        let commit = tokio::spawn({
            let (store, batch) = (fixture.store.clone(), batch.clone());
            async move { store.commit(&batch).await }
        });
        blocked(&mut other, "WITH fence").await;
        let take = tokio::spawn({
            let store = fixture.store.clone();
            async move { store.acquire("b", &[ShardId(0)]).await }
        });
        blocked(&mut other, "SELECT shard FROM shards").await;
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(
            commit.await.expect("no panic"),
            Ok(vec![RowOutcome::Committed; 2]),
            "it was there first"
        );
        let taken = take.await.expect("no panic").expect("acquire");
        assert_eq!(taken[0].position.0, 2, "and whoever takes the shard sees it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waited_for_a_take_over_is_fenced() {
    run(Kind::Postgres, |fixture| async move {
        let mut owned = fixture.acquire_all("a").await;
        let batch = [row(&mut owned[0], 1, 1), row(&mut owned[1], 1, 1)];
        let mut other = connect(fixture.url()).await;
        execute(&mut other, "BEGIN").await;
        execute(&mut other, "UPDATE shards SET epoch = epoch + 1 WHERE shard = 0").await;
        let commit = tokio::spawn({
            let (store, batch) = (fixture.store.clone(), batch.clone());
            async move { store.commit(&batch).await }
        });
        blocked(&mut other, "WITH fence").await;
        execute(&mut other, "COMMIT").await;
        let outcomes = commit.await.expect("no panic").expect("commit");
        assert_eq!(outcomes, [RowOutcome::Fenced, RowOutcome::Committed]);
        assert_eq!(lines(&*fixture.store).await, [row_of(&batch[1])]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_dies_with_a_batch_leaves_it_unknown_and_the_journal_finds_out() {
    run(Kind::Postgres, |fixture| async move {
        let mut owned = fixture.acquire_all("a").await;
        let mut other = connect(fixture.url()).await;
        let batch = [row(&mut owned[0].clone(), 1, 1)];
        stand_in_the_way(&mut other, &batch[0]).await;
        let commit = tokio::spawn({
            let store = fixture.store.clone();
            async move { store.commit(&batch).await }
        });
        let pid = blocked(&mut other, "WITH fence").await;
        execute(&mut other, format!("SELECT pg_terminate_backend({pid})")).await;
        let error = commit.await.expect("no panic").expect_err("the connection is lost");
        assert!(matches!(error, CommitError::Unknown(_)), "{error}");

        owned = fixture.store.acquire("a", &[ShardId(0)]).await.expect("acquire");
        let handle = GroupJournal::start(&fixture.store, &owned, "a", &JournalOptions::default());
        let journal = handle.journal();
        let appended = tokio::spawn(async move { journal.append(append(ShardId(0), 1, 1)).await });
        let pid = blocked(&mut other, "WITH fence").await;
        execute(&mut other, format!("SELECT pg_terminate_backend({pid})")).await;
        // Sent again under the next epoch, it meets the same row, and ends with it.
        blocked(&mut other, "WITH fence").await;
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(appended.await.expect("no panic"), Ok(()));
        assert_eq!(line(&*fixture.store, ShardId(0)).await.len(), 1);
        handle.close().await;
    })
    .await;
}

/// Ends every connection of the store that is at work, again and again, under many actors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_die_under_load_neither_lose_nor_double_rows() {
    run(Kind::Postgres, |fixture| async move {
        let owned = fixture.acquire_all("a").await;
        let options = JournalOptions {
            backoff_max: Duration::from_millis(20),
            ..JournalOptions::default()
        };
        let handle = GroupJournal::start(&fixture.store, &owned, "a", &options);
        let mut actors = Vec::new();
        for n in 0..32_u64 {
            let journal = handle.journal();
            actors.push(tokio::spawn(async move {
                let shard = ShardId(u16::try_from(n % 8).unwrap_or(0));
                for seq in 1..=60 {
                    loop {
                        match journal.append(append(shard, n, seq)).await {
                            Ok(()) => break,
                            Err(AppendError::Unavailable(_)) => {}
                            Err(error) => panic!("{error} to stream {n}, version {seq}"),
                        }
                    }
                }
            }));
        }
        let mut other = connect(fixture.url()).await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'uoop' AND datname = current_database() AND state = 'active'";
        let mut ended = 0;
        while ended < 12 && actors.iter().any(|actor| !actor.is_finished()) {
            ended += sqlx::query_scalar::<_, i64>(end)
                .fetch_one(&mut other)
                .await
                .expect("the backends");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        for actor in actors {
            actor.await.expect("no panic");
        }
        handle.close().await;
        assert!(ended > 0, "no backend died at work: the test tested nothing");
        let rows = lines(&*fixture.store).await;
        let versions: HashSet<_> = rows.iter().map(|row| (row.stream, row.seq)).collect();
        assert_eq!((rows.len(), versions.len()), (32 * 60, 32 * 60));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_connections_is_unavailable_until_it_does() {
    run(Kind::Postgres, |fixture| async move {
        let owned = fixture.acquire_all("a").await;
        let (_, name) = fixture.url().rsplit_once('/').expect("a database");
        let server = postgres_server().expect("a server");
        let mut admin = connect(&format!("{server}/postgres")).await;
        execute(&mut admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        execute(&mut admin, end).await;
        // The first finds a connection that has died in the meantime, and cannot know when.
        let mut line_end = owned[0];
        let batch = [row(&mut line_end, 1, 1)];
        let error = fixture.store.commit(&batch).await.expect_err("no connection");
        assert!(matches!(error, CommitError::Unknown(_)), "{error}");
        let error = fixture.store.commit(&batch).await.expect_err("no connection");
        assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
        let problem = fixture
            .store
            .acquire("a", &[ShardId(0)])
            .await
            .expect_err("no connection");
        assert!(matches!(problem, StoreError::Unavailable(_)), "{problem}");
        execute(&mut admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
        assert_eq!(fixture.store.commit(&batch).await, Ok(vec![RowOutcome::Committed]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waits_too_long_is_not_made() {
    run(Kind::Postgres, |fixture| async move {
        let options = PostgresOptions {
            write_timeout: Duration::from_millis(100),
            ..PostgresOptions::default()
        };
        let store = PostgresStore::connect(fixture.url(), shard_map(), &options)
            .await
            .expect("the store");
        let mut owned = fixture.acquire_all("a").await[0];
        let batch = [row(&mut owned, 1, 1)];
        let mut other = connect(fixture.url()).await;
        stand_in_the_way(&mut other, &batch[0]).await;
        let error = store
            .commit(&batch)
            .await
            .expect_err("it waits for a row that nobody commits");
        assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
        execute(&mut other, "ROLLBACK").await;
        assert_eq!(store.commit(&batch).await, Ok(vec![RowOutcome::Committed]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_vanishes_on_the_way_undoes_its_batch() {
    run(Kind::Postgres, |fixture: Arc<Fixture>| async move {
        let mut other = connect(fixture.url()).await;
        let swallow = "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.seq = 13 THEN RETURN NULL; END IF; RETURN NEW; END'";
        execute(&mut other, swallow).await;
        let on = "CREATE TRIGGER swallow BEFORE INSERT ON event_rows FOR EACH ROW EXECUTE FUNCTION swallow()";
        execute(&mut other, on).await;
        let mut owned = fixture.acquire_all("a").await[0];
        let batch = [row(&mut owned, 1, 12), row(&mut owned, 1, 13)];
        let error = fixture.store.commit(&batch).await.expect_err("a row vanished");
        assert!(matches!(error, CommitError::Refused(Refusal::Poison(_))), "{error}");
        assert_eq!(lines(&*fixture.store).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_nobody_migrated_says_so() {
    run(Kind::Postgres, |fixture| async move {
        let mut other = connect(fixture.url()).await;
        execute(&mut other, "DROP TABLE settings").await;
        let options = PostgresOptions {
            migrate: false,
            ..PostgresOptions::default()
        };
        let Err(StoreError::Mismatch(problem)) = PostgresStore::connect(fixture.url(), shard_map(), &options).await
        else {
            panic!("connected to a database without a schema");
        };
        assert!(problem.contains("uoop migrate"), "{problem}");
    })
    .await;
}
