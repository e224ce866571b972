//! `uoop migrate rebuild-projection`.

use super::super::{answer, warn};
use crate::data_dir::DataDir;
use crate::settings::{Settings, SettingsArgs, StorePlace};
use crate::{projection, serve};
use clap::Args;
use domain::ports::StoreError;
use indicatif::{ProgressBar, ProgressStyle};
use persistence::projection::{Rebuilt, rebuild};
use serde::Serialize;
use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::time::Instant;

/// Fill the list of orders (`GET /v1/orders`) again from their events.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  uoop migrate rebuild-projection
  DATABASE_URL=postgres://user:password@host/db uoop migrate rebuild-projection --json

On Postgres servers may run meanwhile; until it is done, lists lack what is not in yet, and say so (as_of). The embedded
store is this process's alone: stop its server first. Repeating it, or breaking it off, does no harm.")]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Print the counts as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A projection that could not be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("cannot rebuild the projection of {place}")]
struct RebuildError {
    place: StorePlace,
    source: StoreError,
}

/// What was done, for programs.
#[derive(Serialize)]
struct Counts {
    orders: u64,
    rows: u64,
    poison: u64,
    seconds: f64,
}

impl RebuildArgs {
    pub(super) async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let settings = self.settings.load()?.settings;
        let place = settings.store.place();
        let _held = match &place {
            StorePlace::Sqlite(_) => Some(DataDir::take(&settings.store.data_dir)?),
            StorePlace::Memory | StorePlace::Postgres(_) => None,
        };
        let began = Instant::now();
        let done = build(&settings).await.map_err(|source| RebuildError {
            place: place.clone(),
            source,
        })?;
        let seconds = began.elapsed().as_secs_f64();
        if done.poison > 0 {
            warn(&format!(
                "{} rows could not be projected and were passed over: see the log",
                done.poison
            ));
        }
        let Rebuilt {
            orders, rows, poison, ..
        } = done;
        let text = if self.json {
            serde_json::to_string(&Counts {
                orders,
                rows,
                poison,
                seconds,
            })?
        } else {
            format!("{place}: {orders} orders are listed again, from {rows} rows, in {seconds:.1} s")
        };
        answer(&(text + "\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn build(settings: &Settings) -> Result<Rebuilt, StoreError> {
    let store = serve::open(settings).await?;
    let projection = projection::open(settings, &*store).await?;
    let bar = std::io::stderr()
        .is_terminal()
        .then(|| bar(store.shard_map().len().into()));
    let told = |done: &Rebuilt| {
        if let Some(bar) = &bar {
            bar.set_position(done.shards_done.into());
            bar.set_message(format!("{} rows", done.rows));
        }
    };
    let done = rebuild(&*store, &*projection, told).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    done
}

fn bar(shards: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} shards  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(shards).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{HashSlot, OrderId, Position, Seq};
    use domain::order::{DeliveryLocation, Draft, DraftItem, Event};
    use domain::ports::{Append, Store, StreamKind};
    use domain::time::Timestamp;
    use persistence::projection::{Projection, SqliteProjection};
    use std::path::Path;

    fn args(data_dir: &Path, json: bool) -> RebuildArgs {
        RebuildArgs {
            settings: SettingsArgs {
                data_dir: data_dir.to_str().map(str::to_owned),
                // Whatever the environment says.
                database_url: Some(String::new()),
                ..SettingsArgs::default()
            },
            json,
        }
    }

    fn placed(n: u64) -> (OrderId, String) {
        let id = OrderId::mint(Timestamp(1_000), HashSlot::of(&[&n.to_be_bytes()]), n);
        let draft = Draft {
            customer_id: "c-1".into(),
            restaurant_id: "r-1".into(),
            items: vec![DraftItem {
                sku: "soup".into(),
                name: "Soup".into(),
                quantity: 1,
                unit_price_minor: 450,
            }],
            currency: "EUR".into(),
            delivery_location: DeliveryLocation {
                lat: 1.0,
                lng: 2.0,
                address: String::new(),
            },
            requested_for: None,
            payment_token: "tok".into(),
            notes: None,
        };
        let placed = Event::OrderPlaced {
            id,
            details: draft.check(Timestamp(0)).expect("a valid order").into(),
            saga_version: 1,
        };
        (id, serde_json::to_string(&[placed]).expect("JSON"))
    }

    async fn place(store: &dyn Store, orders: u64) {
        for n in 0..orders {
            let (id, events) = placed(n);
            let shard = store.shard_map().shard_of(id.stream());
            let owned = store.acquire("test", &[shard]).await.expect("acquired")[0];
            let append = Append {
                shard,
                epoch: owned.epoch,
                position: Position(owned.position.0 + 1),
                stream: id.stream(),
                kind: StreamKind::Order,
                seq: Seq(1),
                at: Timestamp(1_000),
                events,
                snapshot: None,
                claim: None,
            };
            store.commit(&[append]).await.expect("committed");
        }
    }

    #[tokio::test]
    async fn an_embedded_store_is_projected_again_and_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = args(directory.path(), false)
            .settings
            .load()
            .expect("settings")
            .settings;
        let store = serve::open(&settings).await.expect("a store");
        place(&*store, 12).await;
        for json in [false, true] {
            args(directory.path(), json).run().await.expect("rebuilt");
            let path = directory.path().join("search.db");
            let projection = SqliteProjection::open(&path, &*store).await.expect("a projection");
            assert_eq!(projection.count().await, Ok(12));
        }
        std::fs::remove_file(directory.path().join("search.db")).expect("it was there");
        let done = build(&settings).await.expect("rebuilt");
        assert_eq!((done.orders, done.rows, done.poison), (12, 12, 0));
    }

    #[tokio::test]
    async fn a_store_in_use_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let _held = DataDir::take(directory.path()).expect("free");
        let error = args(directory.path(), false).run().await.expect_err("in use");
        assert!(error.to_string().contains("is in use by process"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_named_without_its_password() {
        let mut args = args(Path::new("unused"), false);
        // Nothing listens on this port: it is reserved.
        args.settings.database_url = Some("postgres://u:s3cret@127.0.0.1:1/d".into());
        let error = args.run().await.expect_err("nobody listens");
        let text = crate::cli::chain(error.as_ref());
        let expected = "cannot rebuild the projection of postgres://u:[redacted]@127.0.0.1:1/d: ";
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
