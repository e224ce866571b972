//! One source of settings: checked, and ready to be merged.

use super::error::Problem;
use super::keys::{self, Key};
use config::{ConfigError, Map, Source, Value, ValueKind};

/// The values of one source; each remembers where it comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: Vec<(&'static Key, Value)>,
    /// What was wrong with it.
    pub(super) problems: Vec<Problem>,
}

impl Layer {
    /// Reads TOML. `source` says where it is from.
    pub(super) fn toml(text: &str, source: &str) -> Self {
        let mut layer = Self::default();
        match toml::from_str::<toml::Table>(text) {
            Ok(table) => layer.section("", table, source),
            Err(error) => layer.problems.push(syntax(text, source, &error)),
        }
        layer
    }

    /// A source that could not be read at all.
    pub(super) fn failed(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    fn section(&mut self, parent: &str, table: toml::Table, source: &str) {
        for (name, value) in table {
            // A quoted name with a dot in it is no path.
            let name = if name.contains('.') { format!("{name:?}") } else { name };
            let path = if parent.is_empty() {
                name
            } else {
                format!("{parent}.{name}")
            };
            match (keys::find(&path), value) {
                (Some(key), value) => self.add(key, &kind(value), source),
                (None, toml::Value::Table(table)) if !table.is_empty() || keys::is_section(&path) => {
                    self.section(&path, table, source);
                }
                (None, value) if keys::is_section(&path) => self.problems.push(Problem::Value {
                    key: path,
                    value: plain_kind(&value).into(),
                    source_name: source.into(),
                    expected: "a section".into(),
                }),
                (None, _) => self.unknown(&path, source),
            }
        }
    }

    /// Sets a key to a value, if its rule allows it.
    fn add(&mut self, key: &'static Key, value: &ValueKind, source: &str) {
        match key.rule.check(value) {
            Some(value) => self.values.push((key, Value::new(Some(&source.to_owned()), value))),
            None => self.problems.push(Problem::Value {
                key: key.path.into(),
                value: key.rule.shown(value),
                source_name: source.into(),
                expected: key.rule.expected(),
            }),
        }
    }

    /// Sets a key to what a variable or flag says.
    pub(super) fn add_text(&mut self, key: &'static Key, text: &str, source: &str) {
        let value = key.rule.read(text);
        // Something was lost when the environment was read, for example a part of a password.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.problems.push(Problem::Value {
                key: key.path.into(),
                value: key.rule.shown(&value),
                source_name: source.into(),
                expected: "text in UTF-8".into(),
            });
            return;
        }
        self.add(key, &value, source);
    }

    /// Reports a key that nobody reads.
    pub(super) fn unknown(&mut self, path: &str, source: &str) {
        self.problems.push(Problem::UnknownKey {
            key: path.into(),
            source_name: source.into(),
            nearest: keys::nearest(path).map(Into::into),
        });
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// The paths with their dots: the `config` crate unfolds them.
    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let values = self.values.iter();
        Ok(values
            .map(|(key, value)| (key.path.to_owned(), value.clone()))
            .collect())
    }
}

fn kind(value: toml::Value) -> ValueKind {
    match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| Value::new(None, kind(item))).collect())
        }
        toml::Value::Table(table) => {
            let items = table
                .into_iter()
                .map(|(name, item)| (name, Value::new(None, kind(item))));
            ValueKind::Table(items.collect())
        }
    }
}

const fn plain_kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a text",
        toml::Value::Integer(_) | toml::Value::Float(_) => "a number",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a section",
    }
}

/// The place of a mistake without the line itself, which may hold a secret.
fn syntax(text: &str, source: &str, error: &toml::de::Error) -> Problem {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Problem::Syntax {
        source_name: source.into(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        reason: error.message().into(),
    }
}
