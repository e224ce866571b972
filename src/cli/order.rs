//! `uoop order …`: orders from the command line.

mod draft;
mod list;
mod show;

pub(super) use draft::parse_place;
pub(super) use show::{moment, table, text};

use super::{ServerArgs, answer};
use crate::api::{CancelBody, OrderView};
use crate::client::{Client, ClientError, RetryPolicy};
use clap::{Args, Subcommand};
use domain::ids::OrderId;
use draft::DraftArgs;
use list::ListArgs;
use serde::Serialize;
use std::error::Error;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  uoop order submit --restaurant demo-burgers --item cheeseburger:2:950 --to 41.89,-87.63 --wait 5
  uoop order submit --file order.json --key my-first-order
  uoop order get ID
  uoop order watch ID
  uoop order cancel ID --reason 'ordered twice'
  uoop order list --status pending,confirmed --customer c-1042
  uoop order list --stuck

Exit codes: 0 it was done; 1 it was not, and the message says why.";

/// Submit, show, watch, cancel and list orders.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct OrderArgs {
    #[command(subcommand)]
    command: OrderCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum OrderCommand {
    /// Submit an order, from flags or as JSON
    Submit {
        #[command(flatten)]
        draft: DraftArgs,
        /// Makes repeating the command safe: the same key is the same order
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Wait so many seconds at most for the order to be confirmed or failed
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=30))]
        wait: Option<u32>,
    },
    /// Show an order, its steps and its history
    Get {
        /// The order
        id: OrderId,
    },
    /// Cancel an order: possible until it is picked up
    Cancel {
        /// The order
        id: OrderId,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Follow an order until nothing more happens to it
    Watch {
        /// The order
        id: OrderId,
    },
    /// List orders, newest first
    List(ListArgs),
}

impl OrderArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The server is not there, does not know the order, or refuses; or the order to submit cannot be read.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let client = Client::new(&self.server.url, RetryPolicy::INTERACTIVE)?;
        match self.command {
            OrderCommand::Submit { draft, key, wait } => {
                let order = client.submit(&draft.read()?, key.as_deref(), wait).await?;
                answer_with(self.server.json, &order, || show::submitted(&order))?;
            }
            OrderCommand::Get { id } => {
                let id = id.to_string();
                let order = client.order(&id).await?;
                // The history is only shown to people; for programs it has an address of its own.
                let events = if self.server.json {
                    None
                } else {
                    Some(client.events(&id).await?)
                };
                answer_with(self.server.json, &order, || show::order(&order, events.as_ref()))?;
            }
            OrderCommand::Cancel { id, reason } => {
                let order = cancel(&client, &id.to_string(), reason).await?;
                answer_with(self.server.json, &order, || show::cancelled(&order))?;
            }
            OrderCommand::Watch { id } => watch(&client, &id.to_string(), self.server.json).await?,
            OrderCommand::List(args) => {
                let list = args.read(&client).await?;
                answer_with(self.server.json, &list, || list::shown(&list))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn cancel(client: &Client, id: &str, reason: Option<String>) -> Result<OrderView, ClientError> {
    client.cancel(id, &CancelBody { reason }, None).await?;
    client.order(id).await
}

async fn watch(client: &Client, id: &str, json: bool) -> Result<(), Box<dyn Error>> {
    // A reader that goes away ends it; what the stream brings until then has nobody to be told to.
    let mut told = Ok(());
    // Outlives a restart of the server.
    let patient = client.with_retry(RetryPolicy::PATIENT);
    client.order(id).await?;
    let watching = patient.watch(id, |order| {
        if told.is_ok() {
            told = answer_with(json, order, || show::version(order));
        }
    });
    watching.await?;
    told
}

/// Writes an answer for programs or for people.
fn answer_with(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Box<dyn Error>> {
    let text = if json { serde_json::to_string(value)? } else { text() };
    Ok(answer(&(text + "\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: OrderArgs,
    }

    fn parse(words: &[&str]) -> Result<OrderArgs, String> {
        let line = Line::try_parse_from(std::iter::once("order").chain(words.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_may_follow_the_command() {
        let args = parse(&[
            "get",
            "018bcfe5-6800-8001-8000-000000000001",
            "--url",
            "http://x:1",
            "--json",
        ])
        .expect("fine");
        assert_eq!((args.server.url.as_str(), args.server.json), ("http://x:1", true));
        assert!(matches!(args.command, OrderCommand::Get { .. }));
    }

    #[test]
    fn an_id_that_can_be_nobodys_is_explained_before_anything_is_asked() {
        let error = parse(&["cancel", "4711"]).expect_err("no id");
        assert!(error.contains("order id '4711' is not a UUID"), "{error}");
        let error = parse(&["watch", "018bcfe5-6800-4001-8000-000000000001"]).expect_err("another version");
        assert!(error.contains("UUIDs of version 8"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let args = parse(&["get", "018bcfe5-6800-8001-8000-000000000001", "--url", &url]).expect("fine");
        let error = args.run().await.expect_err("nobody listens").to_string();
        assert!(
            error.starts_with(&format!("cannot reach {url}: is `uoop serve` running?")),
            "{error}"
        );
    }
}
