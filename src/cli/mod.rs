//! The command line.

mod bench;
mod cluster;
mod config;
mod dispatch;
mod migrate;
mod order;
mod plan;
mod replay;
mod serve;
mod webhook;

pub use self::config::ConfigArgs;
pub use bench::BenchArgs;
pub use cluster::ClusterArgs;
pub use dispatch::DispatchArgs;
pub use migrate::MigrateArgs;
pub use order::OrderArgs;
pub use plan::PlanArgs;
pub use replay::ReplayArgs;
pub use serve::ServeArgs;
pub use webhook::WebhookArgs;

use crate::sandbox::SandboxArgs;
use crate::settings::start_log_of_tool;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  uoop                                           serve on 127.0.0.1:8080, data in ./data
  uoop serve --port 9000 --data-dir /var/lib/uoop
  DATABASE_URL=postgres://user:password@host/db uoop serve --profile production
  uoop order submit --help                       place an order
  uoop replay DIR --speed 240                    play a recorded day of orders
  uoop dispatch DIR                              play it through the dispatcher alone, by three policies
  uoop plan DIR DIR                              forecast demand; suggest kitchen capacity and courier shifts
  uoop bench --rate 1000                         put load on a server and measure what it takes
  uoop config print                              what is configured, and where

Exit codes: 0 success; 1 failure; 2 wrong command line or configuration, nothing was begun.";

/// Takes delivery orders through kitchens, payment and couriers, and loses none.
///
/// Without a command, it serves.
#[derive(Debug, Parser)]
#[command(name = "uoop", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the platform (the default)
    Serve(ServeArgs),
    /// Run stand-ins for kitchens, partners and the payment provider, with faults on request
    Sandbox(SandboxArgs),
    /// Play a recorded day of orders over HTTP and sum up how it went
    Replay(ReplayArgs),
    /// Play days of orders through the dispatcher in simulated time
    Dispatch(DispatchArgs),
    /// Forecast days from other days; suggest kitchen capacity and courier shifts
    Plan(PlanArgs),
    /// Put load on a server and measure what it takes
    Bench(BenchArgs),
    /// Submit, show, watch, cancel and list orders
    Order(OrderArgs),
    /// Create, list, show and delete webhook subscriptions; list and replay dead letters
    Webhook(WebhookArgs),
    /// Show the nodes of a cluster, or take one out of service
    Cluster(ClusterArgs),
    /// Bring the store's schema up to date
    Migrate(MigrateArgs),
    /// Check or show the configuration
    Config(ConfigArgs),
}

/// The server that a command talks to, and how it shows the answer.
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// The server; any node of a cluster
    #[arg(
        long,
        global = true,
        env = "UOOP_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// Print JSON as the server sends it, one object a line
    #[arg(long, global = true)]
    json: bool,
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// Why the command could not do what it was asked to; a [`crate::settings::SettingsError`] when the configuration
    /// is wrong.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let command = self.command.unwrap_or(Command::Serve(self.serve));
        match &command {
            // The one starts the log itself, as its configuration says; the other may be asked what is wrong with that.
            Command::Serve(_) | Command::Config(_) => {}
            Command::Sandbox(_) => start_log_of_tool("info")?,
            Command::Replay(_)
            | Command::Dispatch(_)
            | Command::Plan(_)
            | Command::Bench(_)
            | Command::Order(_)
            | Command::Webhook(_)
            | Command::Cluster(_)
            | Command::Migrate(_) => {
                start_log_of_tool("warn")?;
            }
        }
        Ok(match command {
            Command::Serve(args) => args.run().await?,
            Command::Sandbox(args) => {
                crate::sandbox::run(args).await?;
                ExitCode::SUCCESS
            }
            Command::Replay(args) => args.run().await?,
            Command::Dispatch(args) => args.run().await?,
            Command::Plan(args) => args.run().await?,
            Command::Bench(args) => args.run().await?,
            Command::Order(args) => args.run().await?,
            Command::Webhook(args) => args.run().await?,
            Command::Cluster(args) => args.run().await?,
            Command::Migrate(args) => args.run().await?,
            Command::Config(args) => args.run()?,
        })
    }
}

/// Writes an answer to standard output.
pub(crate) fn answer(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Writes a warning to standard error.
pub(crate) fn warn(text: &str) {
    // Nobody may be reading; a warning is no reason to fail.
    let _ = writeln!(io::stderr(), "uoop: warning: {text}");
}

/// An error's text followed by those of its causes, without causes that it repeats itself.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("uoop").chain(words.iter().copied()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        for words in [&[][..], &["--port", "9000", "--data-dir", "x"]] {
            let cli = parse(words).expect("serves");
            assert!(cli.command.is_none(), "{words:?}");
        }
        let named = parse(&["serve", "--port", "9000"]).expect("serves");
        assert!(matches!(named.command, Some(Command::Serve(_))));
    }

    #[test]
    fn flags_before_a_command_are_refused() {
        assert!(parse(&["--port", "9000", "config", "print"]).is_err());
    }

    #[test]
    fn help_shows_examples_and_every_command() {
        let help = Cli::command().render_long_help().to_string();
        for text in [
            "Examples:",
            "serve",
            "sandbox",
            "replay",
            "dispatch",
            "plan",
            "bench",
            "order",
            "webhook",
            "migrate",
            "config",
            "--profile",
            "Exit codes:",
        ] {
            assert!(help.contains(text), "{text}\n{help}");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn causes_follow_once_each() {
        let link = |text, source: Option<Link>| Link {
            text,
            source: source.map(Box::new),
        };
        let error = link(
            "cannot start",
            Some(link("cannot open x: no space", Some(link("no space", None)))),
        );
        assert_eq!(chain(&error), "cannot start: cannot open x: no space");
    }
}
