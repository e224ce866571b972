//! `uoop webhook create`: what the subscription is to be.

use crate::api::WebhookBody;
use clap::Args;
use persistence::WebhookId;
use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the subscription is to be.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Its id, of your choice: 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'
    pub(super) id: WebhookId,
    /// Where events are posted to
    endpoint: String,
    /// Only these events, separated by commas; all when absent
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    events: Vec<String>,
    /// A file with one to four secrets to sign with, a line each, the newest first, or '-' for standard input. Without it one
    /// is made, and shown this once
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Deliver nothing yet
    #[arg(long)]
    disabled: bool,
}

impl CreateArgs {
    /// The body of the request.
    pub(super) fn read(&self) -> Result<WebhookBody, Box<dyn Error>> {
        let events = self.events.iter().map(|event| event.trim().to_owned());
        Ok(WebhookBody {
            url: self.endpoint.clone(),
            event_types: (!self.events.is_empty()).then(|| events.collect()),
            secrets: self.secrets.as_deref().map(secrets).transpose()?,
            enabled: !self.disabled,
            description: self.description.clone(),
        })
    }
}

/// The secrets in a file. They do not stand on the command line, where everybody on the machine sees them.
fn secrets(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| format!("cannot read the secrets in {}: {error}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<String> = lines.map(str::to_owned).collect();
    if secrets.is_empty() {
        return Err(format!("there are no secrets in {}", path.display()).into());
    }
    Ok(secrets)
}
