//! `uoop webhook …`: who is told of events, and what could not be delivered.

mod create;
mod show;

use super::{ServerArgs, answer};
use crate::client::{Client, ClientError, RetryPolicy};
use clap::{Args, Subcommand};
use create::CreateArgs;
use persistence::WebhookId;
use serde::Serialize;
use serde_json::json;
use std::error::Error;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  uoop webhook create shop https://shop.example/hooks --events order.confirmed,order.delivered
  uoop webhook create audit https://audit.example/in --secrets secrets.txt
  uoop webhook list
  uoop webhook show shop
  uoop webhook dead-letters --webhook shop
  uoop webhook replay ID ID
  uoop webhook replay --all shop
  uoop webhook delete shop

Exit codes: 0 it was done; 1 it was not, and the message says why.";

/// Create, list, show and delete webhook subscriptions; list and replay dead letters.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Have events posted to an endpoint, from now on
    Create(CreateArgs),
    /// List the subscriptions
    List,
    /// Show a subscription, without its secrets
    Show {
        /// The subscription
        id: WebhookId,
    },
    /// Remove a subscription, with its dead letters and all that waits for it
    Delete {
        /// The subscription
        id: WebhookId,
    },
    /// List messages that were given up
    DeadLetters {
        /// Only those of this subscription
        #[arg(long, value_name = "ID")]
        webhook: Option<WebhookId>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Have messages that were given up delivered after all
    Replay {
        /// The dead letters
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// All of this subscription
        #[arg(long, value_name = "ID")]
        all: Option<WebhookId>,
    },
}

impl WebhookArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The server is not there, does not know the subscription or the dead letter, or refuses; or the secrets cannot be
    /// read.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let client = Client::new(&self.server.url, RetryPolicy::INTERACTIVE)?;
        let json = self.server.json;
        match self.command {
            WebhookCommand::Create(args) => {
                let webhook = client.create_webhook(args.id.as_str(), &args.read()?).await?;
                answer_with(json, &webhook, || show::created(&webhook))?;
            }
            WebhookCommand::List => {
                let list = client.webhooks().await?;
                answer_with(json, &list, || show::list(&list))?;
            }
            WebhookCommand::Show { id } => {
                let webhook = client.webhook(id.as_str()).await?;
                answer_with(json, &webhook, || show::webhook(&webhook))?;
            }
            WebhookCommand::Delete { id } => {
                client.delete_webhook(id.as_str()).await?;
                answer_with(json, &json!({"deleted": id}), || format!("{id} is deleted"))?;
            }
            WebhookCommand::DeadLetters { webhook, limit } => {
                let of = webhook.as_ref().map(WebhookId::as_str);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let list = client.dead_letters(of, limit).await?;
                answer_with(json, &list, || show::dead_letters(&list))?;
            }
            WebhookCommand::Replay { ids, all } => {
                let ids = match all {
                    Some(webhook) => dead_letters_of(&client, &webhook).await?,
                    None => ids,
                };
                for id in &ids {
                    client.replay(id).await?;
                }
                answer_with(json, &json!({"replayed": ids}), || show::replayed(ids.len()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The ids of all dead letters of a subscription as they are now.
async fn dead_letters_of(client: &Client, webhook: &WebhookId) -> Result<Vec<String>, ClientError> {
    // One that is not there has none either, but who asks for it has mistyped.
    client.webhook(webhook.as_str()).await?;
    let list = client.dead_letters(Some(webhook.as_str()), usize::MAX).await?;
    Ok(list.dead_letters.into_iter().map(|letter| letter.id).collect())
}

/// Writes an answer for programs or for people.
fn answer_with(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Box<dyn Error>> {
    let text = if json { serde_json::to_string(value)? } else { text() };
    Ok(answer(&(text + "\n"))?)
}

#[cfg(test)]
mod tests;
