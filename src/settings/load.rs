//! Merging the sources.

use super::error::{Problem, SettingsError};
use super::keys::{self, KEYS};
use super::layer::Layer;
use super::profile::Profile;
use super::secret::REDACTED;
use super::variables::{self, Variables};
use super::{Settings, validate};
use config::{Config, Value, ValueKind};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag's name, with its dashes.
    pub name: String,
    /// The key that it sets.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Where settings come from. The default is the embedded defaults alone, without environment and files.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The profile that was asked for on the command line; without one, `UOOP_PROFILE` decides.
    pub profile: Option<Profile>,
    /// The file that was named on the command line; without one, `UOOP_CONFIG` names it.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub variables: Variables,
    /// The flags; the last of those that set the same key wins.
    pub flags: Vec<Flag>,
}

/// The effective configuration with its origins.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub settings: Settings,
    /// Every key with its value and its source, in the order of `config/default.toml`.
    pub entries: Vec<Entry>,
    /// What is odd but not wrong.
    pub warnings: Vec<String>,
}

/// A key's effective value and where it was set. Secrets are replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, with dots.
    pub key: &'static str,
    /// The value.
    pub value: Json,
    /// The value as it would be written in a configuration file.
    pub toml: String,
    /// Where it was set.
    pub source: String,
    /// Whether a secret was replaced in the value.
    pub redacted: bool,
}

impl Entry {
    /// Whether it has its default, because nothing set it.
    pub fn is_default(&self) -> bool {
        self.source == DEFAULTS
    }
}

/// The source of values that nothing else sets.
const DEFAULTS: &str = "default";

impl Sources {
    /// This process's environment variables. Text that is not UTF-8 is kept as far as it can be read.
    pub fn environment() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            variables: variables.collect(),
            ..Self::default()
        }
    }

    /// Reads, checks and merges all layers.
    ///
    /// # Errors
    /// Everything that is wrong in any of the layers, or with all of them together.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        let layers = self.layers()?;
        let problems: Vec<_> = layers.iter().flat_map(|layer| layer.problems.clone()).collect();
        SettingsError::unless_empty(problems)?;

        let mut builder = Config::builder();
        for layer in layers {
            builder = builder.add_source(layer);
        }
        let merged = builder
            .build()
            .map_err(|error| SettingsError(vec![unexpected(&error)]))?;
        let entries = KEYS
            .iter()
            .filter_map(|key| entry(key, &merged.cache))
            .collect::<Vec<_>>();
        let settings: Settings = merged
            .try_deserialize()
            .map_err(|error| SettingsError(vec![unexpected(&error)]))?;
        SettingsError::unless_empty(validate::problems(&settings, &entries))?;
        let warnings = validate::warnings(&settings);
        Ok(Loaded {
            settings,
            entries,
            warnings,
        })
    }

    fn layers(&self) -> Result<Vec<Layer>, SettingsError> {
        let profile = self.profile()?;
        let mut layers = vec![
            Layer::toml(include_str!("../../config/default.toml"), DEFAULTS),
            Layer::toml(profile.text(), &format!("profile {}", profile.name())),
        ];
        if let Some(path) = self.file() {
            layers.push(file_layer(&path));
        }
        layers.push(variables::plain(&self.variables));
        layers.push(variables::urls(&self.variables));
        layers.push(variables::prefixed(&self.variables));
        layers.push(flag_layer(&self.flags));
        Ok(layers)
    }

    /// The profile in effect.
    ///
    /// # Errors
    /// `UOOP_PROFILE` names none.
    pub fn profile(&self) -> Result<Profile, SettingsError> {
        let name = self.variables.get("UOOP_PROFILE").filter(|name| !name.is_empty());
        let (None, Some(name)) = (self.profile, name) else {
            return Ok(self.profile.unwrap_or_default());
        };
        Profile::named(name).ok_or_else(|| SettingsError(vec![Problem::UnknownProfile { name: name.clone() }]))
    }

    fn file(&self) -> Option<PathBuf> {
        let variable = self.variables.get("UOOP_CONFIG").filter(|path| !path.is_empty());
        self.file.clone().or_else(|| variable.map(PathBuf::from))
    }
}

fn file_layer(path: &Path) -> Layer {
    match std::fs::read_to_string(path) {
        Ok(text) => Layer::toml(&text, &format!("file {}", path.display())),
        Err(error) => Layer::failed(Problem::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn flag_layer(flags: &[Flag]) -> Layer {
    let mut layer = Layer::default();
    for flag in flags {
        let source = format!("flag {}", flag.name);
        match keys::find(&flag.key) {
            Some(key) => layer.add_text(key, &flag.value, &source),
            None => layer.unknown(&flag.key, &source),
        }
    }
    layer
}

fn entry(key: &'static keys::Key, merged: &Value) -> Option<Entry> {
    let value = key.path.split('.').try_fold(merged, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })?;
    let toml = key.rule.shown(&value.kind);
    Some(Entry {
        key: key.path,
        // What TOML writes of these values (numbers, flags, quoted texts, lists of texts) is JSON as well.
        value: serde_json::from_str(&toml).unwrap_or_else(|_| Json::String(toml.clone())),
        redacted: toml.contains(REDACTED),
        toml,
        source: value.origin().unwrap_or(DEFAULTS).to_owned(),
    })
}

/// What should not happen, since each layer was checked: a rule that is wider than the field it is for.
fn unexpected(error: &config::ConfigError) -> Problem {
    Problem::Conflict {
        message: error.to_string(),
        sources: Vec::new(),
    }
}
