//! The flags by which every command that has a configuration takes it.

use super::error::SettingsError;
use super::load::{Flag, Loaded, Sources};
use super::profile::Profile;
use std::path::PathBuf;

/// Flags that change the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct SettingsArgs {
    /// The set of defaults to start from [variable: `UOOP_PROFILE`]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<Profile>,
    /// A TOML file with what differs from them [variable: `UOOP_CONFIG`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// The port to listen on; 0: any free one
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// The directory of the embedded store
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// A Postgres store instead; as the variable `DATABASE_URL`, its password is not in the list of processes
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// How many times as fast as the wall clock business time runs
    #[arg(long, value_name = "N")]
    pub time_scale: Option<String>,
    /// Any key, for example `log.filter=debug`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// The sources of this process: its environment, the file and the flags.
    pub fn sources(&self) -> Sources {
        Sources {
            profile: self.profile,
            file: self.config.clone(),
            flags: self.flags(),
            ..Sources::environment()
        }
    }

    /// Loads the configuration from the environment, the file and the flags.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        self.sources().load()
    }

    /// What the flags set, the general ones after the special ones.
    fn flags(&self) -> Vec<Flag> {
        let special = [
            ("--host", "http.host", &self.host),
            ("--port", "http.port", &self.port),
            ("--data-dir", "store.data_dir", &self.data_dir),
            ("--database-url", "store.database_url", &self.database_url),
            ("--time-scale", "time.scale", &self.time_scale),
        ];
        let flag = |name: &str, key: &str, value: &str| Flag {
            name: name.into(),
            key: key.into(),
            value: value.into(),
        };
        let special = special
            .iter()
            .filter_map(|(name, key, value)| value.as_ref().map(|value| flag(name, key, value)));
        special
            .chain(self.set.iter().map(|(key, value)| flag("--set", key, value)))
            .collect()
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
