//! The log of this process: to standard error, so that standard output holds nothing but answers.

use super::sections::{LogFormat, LogSettings};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log filter {filter:?} cannot be read")]
    Filter {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A log was started before.
    #[error("the log was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts the log as configured. Once per process.
///
/// # Errors
/// The filter cannot be read, or a log was started before.
pub fn start_log(settings: &LogSettings) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|source| LogError::Filter {
        filter: settings.filter.clone(),
        source,
    })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    match settings.format {
        LogFormat::Text => log.finish().try_init(),
        LogFormat::Json => log.json().finish().try_init(),
    }
    .map_err(LogError::Twice)
}

/// Starts the log of a command that has no configuration: as `UOOP_LOG` says, else by this filter.
///
/// # Errors
/// The filter cannot be read, or a log was started before.
pub fn start_log_of_tool(filter: &str) -> Result<(), LogError> {
    let asked = std::env::var("UOOP_LOG").ok().filter(|filter| !filter.is_empty());
    start_log(&LogSettings {
        filter: asked.unwrap_or_else(|| filter.to_owned()),
        format: LogFormat::Text,
    })
}
