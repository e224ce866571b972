//! `uoop migrate`: the store's schema.

mod rebuild;

use super::answer;
use crate::settings::{SettingsArgs, StorePlace};
use clap::{Args, Subcommand};
use domain::ports::StoreError;
use persistence::{PostgresStore, SqliteStore};
use rebuild::RebuildArgs;
use std::error::Error;
use std::process::ExitCode;

/// Bring the store's schema up to date.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  uoop migrate
  DATABASE_URL=postgres://user:password@host/db uoop migrate

A server migrates its store when it starts; this does it beforehand, and changes nothing when there is nothing to do."
)]
pub struct MigrateArgs {
    #[command(subcommand)]
    command: Option<MigrateCommand>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {
    /// Fill the list of orders again from their events
    RebuildProjection(RebuildArgs),
}

/// A store whose schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("cannot migrate {place}")]
struct MigrateError {
    place: StorePlace,
    source: StoreError,
}

impl MigrateArgs {
    /// Runs the command. Idempotent.
    ///
    /// # Errors
    /// The configuration is wrong, the store is away, or a migration that it has seen was changed since.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        if let Some(MigrateCommand::RebuildProjection(args)) = self.command {
            return args.run().await;
        }
        let place = self.settings.load()?.settings.store.place();
        let outcome = match &place {
            StorePlace::Memory => Ok(()),
            StorePlace::Sqlite(path) => SqliteStore::migrate(path).await,
            StorePlace::Postgres(address) => PostgresStore::migrate(address.expose()).await,
        };
        outcome.map_err(|source| MigrateError {
            place: place.clone(),
            source,
        })?;
        answer(&format!("{place}: the schema is up to date\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_embedded_store_is_made_and_then_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("data");
        for _ in 0..2 {
            let args = MigrateArgs {
                command: None,
                settings: SettingsArgs {
                    data_dir: data_dir.to_str().map(str::to_owned),
                    // Whatever the environment says.
                    database_url: Some(String::new()),
                    ..SettingsArgs::default()
                },
            };
            args.run().await.expect("migrated");
            assert!(data_dir.join("uoop.db").is_file());
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_named_without_its_password() {
        let args = MigrateArgs {
            command: None,
            settings: SettingsArgs {
                // Nothing listens on this port: it is reserved.
                database_url: Some("postgres://u:s3cret@127.0.0.1:1/d".into()),
                ..SettingsArgs::default()
            },
        };
        let error = args.run().await.expect_err("nobody listens");
        let text = crate::cli::chain(error.as_ref());
        assert!(
            text.starts_with("cannot migrate postgres://u:[redacted]@127.0.0.1:1/d: "),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
}
