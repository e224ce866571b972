//! `uoop migrate`: the store's schema.

use super::answer;
use crate::settings::{SettingsArgs, StorePlace};
use clap::Args;
use persistence::{PostgresStore, SqliteStore};
use std::error::Error;
use std::process::ExitCode;

/// Bring the store's schema up to date.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  uoop migrate
  DATABASE_URL=postgres://user:password@host/db uoop migrate

A server migrates its store when it starts; this does it beforehand, and changes nothing when there is nothing to do.")]
pub struct MigrateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

impl MigrateArgs {
    /// Runs the command. Idempotent.
    ///
    /// # Errors
    /// The configuration is wrong, the store is away, or a migration that it has seen was changed since.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let place = self.settings.load()?.settings.store.place();
        match &place {
            StorePlace::Memory => {}
            StorePlace::Sqlite(path) => SqliteStore::migrate(path).await?,
            StorePlace::Postgres(address) => PostgresStore::migrate(address.expose()).await?,
        }
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
}
