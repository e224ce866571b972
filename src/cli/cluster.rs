//! `uoop cluster …`: the nodes of a cluster, and how one of them is taken out of service.

use super::{ServerArgs, answer};
use crate::client::{Client, RetryPolicy};
use actors::ClusterStatus;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  uoop cluster status
  uoop cluster status --url http://127.0.0.1:8081 --json | jq '.members[] | {name, shards}'
  uoop cluster drain --url http://127.0.0.1:8082      before its machine is taken away
  uoop cluster rebalance --url http://127.0.0.1:8082  and when it is back

A node that is stopped with SIGTERM drains by itself.

Exit codes: 0 it was done; 1 it was not, and the message says why.";

/// How long a node may take to give everything away.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(1);

/// Show a cluster, or take a node out of service and back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show the nodes, what each owns, and whether they reach each other
    Status,
    /// Give the node's shards to the others; it goes on passing on what it is asked
    Drain,
    /// Let the node have shards again
    Rebalance,
}

impl ClusterArgs {
    /// Carries the command out.
    ///
    /// # Errors
    /// The node cannot be reached, or is not one of a cluster.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let patience = RetryPolicy {
            attempt_timeout: DRAIN_TIMEOUT,
            ..RetryPolicy::INTERACTIVE
        };
        let client = Client::new(&self.server.url, patience)?;
        match self.command {
            ClusterCommand::Status => {}
            ClusterCommand::Drain => client.drain().await?,
            ClusterCommand::Rebalance => client.rebalance().await?,
        }
        let status = client.cluster().await?;
        if self.server.json {
            answer(&format!("{}\n", serde_json::to_string(&status)?))?;
        } else {
            answer(&shown(&status))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn shown(status: &ClusterStatus) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["node", "address", "state", "lease", "shards", "link"]);
    for member in &status.members {
        let link = status.links.iter().find(|link| link.node == member.name);
        let state = match (member.lease_left_ms > 0, member.draining) {
            (false, _) => "silent",
            (true, true) => "draining",
            (true, false) => "serving",
        };
        let link = match link {
            _ if member.name == status.node => "asked".to_owned(),
            Some(link) if link.up => format!("up, {} open", link.outstanding),
            _ => "down".to_owned(),
        };
        table.add_row([
            member.name.clone(),
            member.address.clone(),
            state.to_owned(),
            format!("{} ms", member.lease_left_ms),
            member.shards.to_string(),
            link,
        ]);
    }
    let free = status.shards.iter().filter(|shard| shard.owner.is_empty()).count();
    let free = if free == 0 {
        String::new()
    } else {
        format!("{free} shards are nobody's at this moment\n")
    };
    format!("{table}\n{free}")
}
