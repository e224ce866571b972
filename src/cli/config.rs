//! `uoop config`: what is configured, and whether it is right.

use super::{answer, warn};
use crate::settings::{Entry, Loaded, SettingsArgs};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

const PRINT_EXAMPLES: &str = "\
Examples:
  uoop config print --profile production
  uoop config print > my.toml            a file to start from; secrets are left out
  uoop config print --json | jq '.\"http.port\"'

The keys, their units and defaults are explained in config/default.toml. Every key is also a variable: http.port is
UOOP_HTTP__PORT, policy.payment.timeout_ms is UOOP_POLICY__PAYMENT__TIMEOUT_MS.";

/// Check or show the configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the configuration without starting anything; exit code 2 when something is wrong
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Show every key with its value in effect and where it was set; secrets are not shown
    #[command(after_help = PRINT_EXAMPLES)]
    Print {
        #[command(flatten)]
        settings: SettingsArgs,
        /// One JSON object: {KEY: {"value": …, "source": …}}
        #[arg(long)]
        json: bool,
    },
}

impl ConfigArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The configuration is wrong, or the answer could not be written.
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self.action {
            Action::Check { settings } => {
                let loaded = settings.load()?;
                answer(&summary(&loaded))?;
                loaded.warnings.iter().for_each(|warning| warn(warning));
            }
            Action::Print { settings, json } => {
                let loaded = settings.load()?;
                let text = if json {
                    as_json(&loaded.entries)
                } else {
                    as_toml(&loaded.entries)
                };
                answer(&text)?;
                loaded.warnings.iter().for_each(|warning| warn(warning));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(loaded: &Loaded) -> String {
    let set = loaded.entries.iter().filter(|entry| !entry.is_default()).count();
    format!(
        "the configuration is sound: {} keys, {set} of them set\n",
        loaded.entries.len()
    )
}

fn as_json(entries: &[Entry]) -> String {
    let fields = entries.iter().map(|entry| {
        let field = json!({ "value": entry.value, "source": entry.source });
        (entry.key.to_owned(), field)
    });
    format!("{}\n", Value::Object(fields.collect::<Map<_, _>>()))
}

/// As a configuration file that says where each value was set. Lines with secrets are comments, since they would not be
/// what was set.
fn as_toml(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut current = "";
    for entry in entries {
        let (section, name) = entry.key.rsplit_once('.').unwrap_or(("", entry.key));
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        let mark = if entry.redacted { "# " } else { "" };
        let line = format!("{mark}{name} = {}", entry.toml);
        let _ = writeln!(text, "{line:<48}# {}", entry.source);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flag, Sources};

    fn loaded() -> Loaded {
        let flag = |key: &str, value: &str| Flag {
            name: "--set".into(),
            key: key.into(),
            value: value.into(),
        };
        let sources = Sources {
            flags: vec![
                flag("http.port", "9000"),
                flag("store.database_url", "postgres://u:s3cret@h/d"),
            ],
            ..Sources::default()
        };
        sources.load().expect("sound")
    }

    #[test]
    fn print_says_where_each_value_was_set() {
        let text = as_toml(&loaded().entries);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        assert!(line("port = ").ends_with("# flag --set"), "{text}");
        assert!(line("host = ").ends_with("# default"), "{text}");
        assert!(
            line("# database_url = ").contains("postgres://u:[redacted]@h/d"),
            "{text}"
        );
        assert!(text.contains("\n[policy.payment]\n"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn what_print_writes_can_be_read_again() {
        let printed = as_toml(&loaded().entries);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), printed).expect("written");
        let sources = Sources {
            file: Some(file.path().to_owned()),
            ..Sources::default()
        };
        let again = sources.load().expect("sound").settings;
        assert_eq!(again.http, loaded().settings.http);
        assert_eq!(again.policy(), loaded().settings.policy());
    }

    #[test]
    fn json_has_every_key() {
        let loaded = loaded();
        let json: Value = serde_json::from_str(&as_json(&loaded.entries)).expect("JSON");
        assert_eq!(json.as_object().map(Map::len), Some(loaded.entries.len()));
        assert_eq!(json["http.port"], json!({ "value": 9000, "source": "flag --set" }));
        assert_eq!(json["participants.signing_secrets"]["value"], json!([]));
        assert_eq!(
            json["store.database_url"]["value"],
            json!("postgres://u:[redacted]@h/d")
        );
    }

    #[test]
    fn check_counts_what_was_set() {
        let text = summary(&loaded());
        assert!(text.ends_with(", 2 of them set\n"), "{text}");
    }
}
