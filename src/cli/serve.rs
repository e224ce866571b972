//! `uoop serve`.

use super::{answer, warn};
use crate::failpoints;
use crate::serve::serve;
use crate::settings::{SettingsArgs, start_log};
use std::error::Error;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Run the platform.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Be a node of a cluster: as `--set cluster.enabled=true`
    #[arg(long)]
    cluster: bool,
}

impl ServeArgs {
    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The configuration is wrong, or the server does not start or cannot go on.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let mut settings = self.settings;
        if self.cluster {
            settings.set.push(("cluster.enabled".to_owned(), "true".to_owned()));
        }
        let loaded = settings.load()?;
        start_log(&loaded.settings.log)?;
        failpoints::watch()?;
        for warning in &loaded.warnings {
            warn(warning);
        }
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(&loaded.settings, shutdown, |address, platform| {
            let recovered = platform.recovery().map_or_else(String::new, |recovery| {
                format!(
                    "{} orders in flight move again after {} ms\n",
                    recovery.orders_live, recovery.elapsed_ms
                )
            });
            let scale = loaded.settings.time.scale;
            let pace = if scale == 1 {
                String::new()
            } else {
                format!("business time runs {scale} times as fast\n")
            };
            // Nobody may be reading standard output; that is no reason not to serve.
            let _ = answer(&format!("{recovered}{pace}listening on http://{address}\n"));
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}
