//! The write path by itself: one [`Store::commit`] of so many rows, each of another order, synced to disk.
//!
//! `cargo bench -p persistence --bench journal` measures the embedded store in a directory of its own, and Postgres where
//! `UOOP_TEST_POSTGRES_URL` names a server on which databases may be created. Elements are rows.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use domain::ids::{HashSlot, OrderId, Position, Seq};
use domain::ports::{Append, KeyClaim, RowOutcome, Snapshot, Store, StreamKind};
use domain::shard::{OwnedShard, ShardMap};
use domain::time::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::time::Instant;

const POSTGRES_URL: &str = "UOOP_TEST_POSTGRES_URL";

/// Rows of one commit.
const BATCHES: [usize; 4] = [16, 64, 256, 1_024];

/// Bytes of events in each row of an order of two articles that is delivered, as a server wrote them. The first row comes
/// with a key and a snapshot, the last with a snapshot.
const EVENT_BYTES: [usize; 12] = [1_347, 387, 346, 76, 75, 122, 71, 304, 128, 85, 196, 76];
/// Bytes of the snapshot that comes with the first row.
const FIRST_STATE_BYTES: usize = 1_390;
/// Bytes of the snapshot that comes with the last row.
const LAST_STATE_BYTES: usize = 1_902;

/// Orders under way, each at another of its rows, so that every batch holds the same mixture.
struct Load {
    store: Arc<dyn Store>,
    owned: Vec<OwnedShard>,
    lanes: Vec<Lane>,
    orders: u64,
}

#[derive(Clone, Copy)]
struct Lane {
    order: u64,
    rows: usize,
}

impl Load {
    async fn new(store: Arc<dyn Store>) -> Self {
        let shards: Vec<_> = store.shard_map().all().collect();
        let owned = store.acquire("bench", &shards).await.expect("the shards");
        Self {
            store,
            owned,
            lanes: Vec::new(),
            orders: 0,
        }
    }

    /// Lets so many orders be under way, from the first to the last row evenly.
    async fn begin(&mut self, rows: usize) {
        self.lanes.clear();
        for n in 0..rows {
            self.orders += 1;
            self.lanes.push(Lane {
                order: self.orders,
                rows: 0,
            });
            for _ in 0..n % EVENT_BYTES.len() {
                let row = self.row(n);
                self.commit(&[row]).await;
            }
        }
    }

    /// The next row of each order; of one that is over, the first of another.
    fn batch(&mut self) -> Vec<Append> {
        (0..self.lanes.len()).map(|lane| self.row(lane)).collect()
    }

    fn row(&mut self, lane: usize) -> Append {
        let Lane { order, rows } = self.lanes[lane];
        let is_last = rows + 1 == EVENT_BYTES.len();
        self.lanes[lane].rows += 1;
        if is_last {
            self.orders += 1;
            self.lanes[lane] = Lane {
                order: self.orders,
                rows: 0,
            };
        }
        let at = Timestamp(1_800_000_000_000 + i64::try_from(order / 8).expect("fits"));
        let random = order.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stream = OrderId::mint(at, HashSlot::of(&[&order.to_be_bytes()]), random).stream();
        let owned = &mut self.owned[usize::from(self.store.shard_map().shard_of(stream).0)];
        owned.position = Position(owned.position.0 + 1);
        let seq = Seq(rows as u64 + 1);
        let snapshot = |bytes| Snapshot {
            seq,
            state: "s".repeat(bytes),
            live: !is_last,
        };
        Append {
            shard: owned.shard,
            epoch: owned.epoch,
            position: owned.position,
            stream,
            kind: StreamKind::Order,
            seq,
            at,
            events: "e".repeat(EVENT_BYTES[rows]),
            snapshot: match rows {
                0 => Some(snapshot(FIRST_STATE_BYTES)),
                _ if is_last => Some(snapshot(LAST_STATE_BYTES)),
                _ => None,
            },
            claim: (rows == 0).then(|| KeyClaim {
                home: None,
                key: format!("default:order-{random:016x}"),
                fingerprint: format!("{random:064x}"),
            }),
        }
    }

    async fn commit(&self, batch: &[Append]) -> Duration {
        let began = Instant::now();
        let outcomes = self.store.commit(batch).await.expect("a commit");
        let took = began.elapsed();
        assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Committed));
        took
    }

    /// How long so many batches take, without the making of their rows.
    async fn run(&mut self, batches: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..batches {
            let batch = self.batch();
            took += self.commit(&batch).await;
        }
        took
    }
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, store: Arc<dyn Store>) {
    let mut group = criterion.benchmark_group(format!("commit/{}", store.name()));
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    let load = Mutex::new(runtime.block_on(Load::new(store)));
    for rows in BATCHES {
        runtime.block_on(async { load.lock().await.begin(rows).await });
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_with_input(BenchmarkId::from_parameter(rows), &rows, |bencher, _| {
            bencher
                .to_async(runtime)
                .iter_custom(async |batches| load.lock().await.run(batches).await);
        });
    }
    group.finish();
}

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let shards = ShardMap::new(256).expect("a power of two");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("uoop.db").display().to_string();
    let embedded = runtime.block_on(persistence::open(&path, shards)).expect("a store");
    measure(criterion, &runtime, embedded);
    let Ok(server) = std::env::var(POSTGRES_URL) else {
        return;
    };
    let name = format!("bench_{}", std::process::id());
    let (before, _) = server.rsplit_once('/').expect("an address with a database");
    runtime.block_on(execute(&server, format!("CREATE DATABASE {name}")));
    let shared = runtime.block_on(persistence::open(&format!("{before}/{name}"), shards));
    measure(criterion, &runtime, shared.expect("a store"));
    runtime.block_on(execute(&server, format!("DROP DATABASE {name} WITH (FORCE)")));
}

async fn execute(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.expect("the Postgres server");
    let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await;
    done.expect("databases may be created and dropped");
}

criterion_group!(benches, commits);
criterion_main!(benches);
