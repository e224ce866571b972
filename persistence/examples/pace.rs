//! How fast a store takes orders through the journal, and how fast it gives live ones back:
//! `cargo run --release -p persistence --example pace -- LOCATION [ORDERS [ACTORS [WRITERS [SHARDS [CHECKPOINT_PAGES]]]]]`,
//! with a location as `persistence::open` takes it; the last argument is for SQLite alone. Each order is four rows of
//! 0.5 kB, the first with a key and a snapshot, the last with a snapshot. The store must be new, or have as many shards
//! (256 unless said otherwise).

use domain::ids::{Epoch, HashSlot, OrderId, Position, Seq, StreamId};
use domain::ports::{Append, KeyClaim, Snapshot, Store, StreamKind};
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use persistence::{GroupJournal, JournalOptions, SqliteOptions, SqliteStore};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const ROWS: u64 = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let location = args
        .next()
        .ok_or("usage: pace LOCATION [ORDERS [ACTORS [WRITERS [SHARDS [CHECKPOINT_PAGES]]]]]")?;
    let orders: u64 = args.next().map_or(Ok(50_000), |text| text.parse())?;
    let actors: u64 = args.next().map_or(Ok(1_000), |text| text.parse())?;
    let writers: usize = args.next().map_or(Ok(2), |text| text.parse())?;
    let shard_map = ShardMap::new(args.next().map_or(Ok(256), |text| text.parse())?)?;
    let store = open(&location, shard_map, args.next()).await?;
    let shards: Vec<ShardId> = store.shard_map().all().collect();
    let owned = store.acquire("pace", &shards).await?;
    let options = JournalOptions {
        writers,
        ..JournalOptions::default()
    };
    let handle = GroupJournal::start(&store, &owned, "pace", &options);

    // Streams of this run are later than those of the runs before.
    let first = 1_000_000 + owned.iter().map(|owned| owned.position.0).sum::<u64>();
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..actors)
        .map(|_| {
            let (store, journal, next) = (store.clone(), handle.journal(), next.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= orders {
                        return Ok(waits);
                    }
                    for seq in 1..=ROWS {
                        // Every tenth order stays live, to be recovered.
                        let row = row(&*store, first + n, seq, n % 10 == 0);
                        let asked = Instant::now();
                        journal.append(row).await?;
                        waits.push(asked.elapsed());
                    }
                }
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await?.map_err(|error: domain::ports::AppendError| error)?);
    }
    let took = begun.elapsed().as_secs_f64();
    handle.close().await;
    let count = f64::from(u32::try_from(orders)?);
    println!(
        "{}: {:.0} orders/s, {:.0} rows/s",
        store.name(),
        count / took,
        count * 4.0 / took
    );
    report_waits(store.name(), waits);

    let begun = Instant::now();
    let live = store.recover(&shards, &[StreamKind::Order]).await?.len();
    println!(
        "{}: {live} live orders recovered in {:.3} s",
        store.name(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn open(location: &str, shard_map: ShardMap, pages: Option<String>) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let Some(pages) = pages else {
        return Ok(persistence::open(location, shard_map).await?);
    };
    let options = SqliteOptions {
        checkpoint_pages: pages.parse()?,
        ..SqliteOptions::default()
    };
    Ok(Arc::new(
        SqliteStore::open(Path::new(location), shard_map, &options).await?,
    ))
}

fn report_waits(store: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    let wait = |per_mille: usize| waits.get((waits.len().saturating_sub(1)) * per_mille / 1_000);
    println!(
        "{}: an append took {:.1?} (median), {:.1?} (99 %), {:.1?} (at most)",
        store,
        wait(500).copied().unwrap_or_default(),
        wait(990).copied().unwrap_or_default(),
        wait(1_000).copied().unwrap_or_default()
    );
}

fn row(store: &dyn Store, n: u64, seq: u64, stays_live: bool) -> Append {
    let time = Timestamp(i64::try_from(n).unwrap_or(i64::MAX));
    let stream: StreamId = OrderId::mint(time, HashSlot::of(&[&n.to_be_bytes()]), n).stream();
    let is_end = seq == ROWS;
    let snapshot = (seq == 1 || is_end).then(|| Snapshot {
        seq: Seq(seq),
        state: format!("{{\"order\":\"{}\"}}", "s".repeat(500)),
        live: !is_end || stays_live,
    });
    Append {
        shard: store.shard_map().shard_of(stream),
        epoch: Epoch(0),
        position: Position(0),
        stream,
        kind: StreamKind::Order,
        seq: Seq(seq),
        at: time,
        events: format!("[\"{}\"]", "e".repeat(450)),
        snapshot,
        claim: (seq == 1).then(|| KeyClaim {
            key: format!("default:order:{n}"),
            fingerprint: "f".repeat(32),
        }),
    }
}
