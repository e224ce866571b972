//! What the search projection costs for each order: `cargo run --release -p persistence --example project -- LOCATION
//! [ORDERS [BATCH]]`, with a `postgres://` address whose schema is up to date, the path of a SQLite file, or `memory:`.
//! Each order is five rows, from placed to confirmed; of `BATCH` orders (4,000 unless said otherwise) that come at once
//! nine in ten are confirmed within their batch, the others in the next. The projection is emptied first.
//!
//! Prints microseconds of this process (reading and coalescing, writing) and, on the same machine and as a superuser, of
//! the server's process that writes, without its checkpoints and vacuums.

use domain::ids::{HashSlot, OrderId, Position, Seq};
use domain::order::{DeliveryLocation, Draft, DraftItem, Event};
use domain::ports::{Row, Store, StreamKind};
use domain::saga::{Receipt, Step};
use domain::shard::{ShardId, ShardMap};
use domain::time::Timestamp;
use persistence::MemoryStore;
use persistence::projection::{
    Applied, MemoryProjection, Pending, PostgresProjection, PostgresProjectionOptions, Projection, SqliteProjection,
    StuckOrders,
};
use sqlx::{Connection, PgConnection};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// The length of a clock tick that the kernel counts processor time in, in microseconds.
const TICK_US: f64 = 10_000.0;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let location = args.next().ok_or("usage: project LOCATION [ORDERS [BATCH]]")?;
    let orders: u32 = args.next().map_or(Ok(200_000), |text| text.parse())?;
    let at_once: u32 = args.next().map_or(Ok(4_000), |text| text.parse())?;
    let map = ShardMap::new(256)?;
    let projection = open(&location, map).await?;
    projection.reset().await?;
    projection.cursors().await?;
    let mut stuck = StuckOrders::new();
    let mut ends = vec![0_u64; usize::from(map.len())];
    let (mut late, mut reading, mut writing) = (Vec::new(), 0.0, 0.0);
    let (own, server) = (cpu_us("/proc/self/stat")?, server_us(&location).await?);
    let mut making = 0.0;
    for first in (0..orders).step_by(usize::try_from(at_once)?) {
        let began = Instant::now();
        let rows = rows(first..(first + at_once).min(orders), &mut late, map, &mut ends)?;
        making += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let mut pending = Pending::default();
        for (shard, row) in &rows {
            let after = Position(row.position.0 - 1);
            pending.take_in(*shard, after, row, &mut stuck);
        }
        let batch = Arc::new(pending.into_batch());
        reading += began.elapsed().as_secs_f64();
        let began = Instant::now();
        if projection.apply(&batch).await? != Applied::Done {
            return Err("somebody else writes to this projection".into());
        }
        writing += began.elapsed().as_secs_f64();
    }
    let each = |us: f64| us / f64::from(orders);
    let own = cpu_us("/proc/self/stat")? - own - making * 1e6;
    println!("{}: {} orders", projection.name(), projection.count().await?);
    println!("read and coalesced   {:6.1} us an order", each(reading * 1e6));
    println!("written              {:6.1} us an order (elapsed)", each(writing * 1e6));
    println!("this process         {:6.1} us an order (processor, both)", each(own));
    if let (Some(before), Some(after)) = (server, server_us(&location).await?) {
        println!(
            "the server's process {:6.1} us an order (processor)",
            each(after - before)
        );
    }
    Ok(())
}

async fn open(location: &str, map: ShardMap) -> Result<Arc<dyn Projection>, Box<dyn Error>> {
    let empty: Arc<dyn Store> = Arc::new(MemoryStore::new(map));
    Ok(if location == "memory:" {
        Arc::new(MemoryProjection::default())
    } else if location.contains("://") {
        // Creates the shards, which the cursors are made from.
        let options = persistence::PostgresOptions::default();
        persistence::PostgresStore::connect(location, map, &options).await?;
        Arc::new(PostgresProjection::new(
            location,
            &PostgresProjectionOptions::default(),
        )?)
    } else {
        Arc::new(SqliteProjection::open(Path::new(location), &*empty).await?)
    })
}

/// Processor time that a process has used.
fn cpu_us(path: &str) -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    // The name in brackets may hold blanks; the times are the 14th and 15th field.
    let (_, fields) = text.rsplit_once(')').ok_or("an unknown kernel")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * TICK_US)
}

/// The same of the server's process that writes the projection.
async fn server_us(location: &str) -> Result<Option<f64>, Box<dyn Error>> {
    if !location.contains("://") {
        return Ok(None);
    }
    let mut connection = PgConnection::connect(location).await?;
    let writer = "
        SELECT pid FROM pg_stat_activity WHERE application_name = 'uoop-projection' AND datname = current_database()";
    let pids: Vec<i32> = sqlx::query_scalar(writer).fetch_all(&mut connection).await?;
    let used = |pid: &i32| cpu_us(&format!("/proc/{pid}/stat")).ok();
    Ok(pids.iter().map(used).sum())
}

/// An order of `first..`, and what came of those of the batch before that were late.
type Late = Vec<(u32, Event)>;

fn rows(
    numbers: std::ops::Range<u32>,
    late: &mut Late,
    map: ShardMap,
    ends: &mut [u64],
) -> Result<Vec<(ShardId, Row)>, Box<dyn Error>> {
    let mut rows = Vec::new();
    let mut add = |n: u32, seq: u64, events: &[Event]| -> Result<(), Box<dyn Error>> {
        let stream = order(n).stream();
        let shard = map.shard_of(stream);
        let end = ends.get_mut(usize::from(shard.0)).ok_or("no such shard")?;
        *end += 1;
        let row = Row {
            stream,
            kind: StreamKind::Order,
            seq: Seq(seq),
            position: Position(*end),
            at: Timestamp(1_000_000 + i64::from(n)),
            events: serde_json::to_string(events)?,
        };
        rows.push((shard, row));
        Ok(())
    };
    for (n, event) in std::mem::take(late) {
        add(n, 5, &[done(Step::ConfirmCapacity), event])?;
    }
    for n in numbers {
        add(n, 1, &[placed(n)?, begun(Step::Route)])?;
        for (seq, step) in [(2, Step::HoldCapacity), (3, Step::Authorize), (4, Step::PlaceTicket)] {
            add(n, seq, &[done(step), begun(step), begun(Step::ConfirmCapacity)])?;
        }
        let confirmed = Event::OrderConfirmed {
            channel: Some(format!("channel-{}", n % 100).parse()?),
            ready_at: Some(Timestamp(1_700_000_000_000)),
        };
        if n % 10 == 0 {
            late.push((n, confirmed));
        } else {
            add(n, 5, &[done(Step::ConfirmCapacity), confirmed])?;
        }
    }
    Ok(rows)
}

fn order(n: u32) -> OrderId {
    let random = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    OrderId::mint(
        Timestamp(1_700_000_000_000 + i64::from(n / 8)),
        HashSlot::of(&[&n.to_be_bytes()]),
        random,
    )
}

fn done(step: Step) -> Event {
    Event::StepDone {
        step,
        round: 0,
        receipt: Receipt::Empty,
    }
}

fn begun(step: Step) -> Event {
    Event::StepStarted {
        step,
        round: 0,
        attempt: 1,
        start_at: Timestamp(1_700_000_000_000),
        deadline: Timestamp(1_700_000_005_000),
    }
}

fn placed(n: u32) -> Result<Event, Box<dyn Error>> {
    let item = |k: u32| DraftItem {
        sku: format!("article-{k}"),
        name: format!("Article {k}"),
        quantity: 1 + i64::from(k),
        unit_price_minor: 950,
    };
    let draft = Draft {
        customer_id: format!("c-{}", n.wrapping_mul(2_654_435_761) % 200_000),
        restaurant_id: format!("restaurant-{}", n % 300),
        items: (0..3).map(item).collect(),
        currency: "USD".into(),
        delivery_location: DeliveryLocation {
            lat: 41.886,
            lng: -87.63,
            address: "1 Lake St".into(),
        },
        requested_for: None,
        payment_token: "tok_visa".into(),
        notes: None,
    };
    let details = draft.check(Timestamp(0)).map_err(|errors| format!("{errors:?}"))?;
    Ok(Event::OrderPlaced {
        id: order(n),
        details: details.into(),
        saga_version: 1,
    })
}
