//! The database's server as a service of `scripts/services`, which may be killed and paused.

use super::super::RunError;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// The service `postgres`.
pub(super) struct Service {
    script: PathBuf,
}

impl Service {
    /// The service of `UOOP_TEST_SERVICES`, if it is what the database of this address is on.
    pub(super) async fn given(database: &str) -> Result<Self, RunError> {
        let impossible = |why: String| RunError::Impossible { fault: "postgres", why };
        let script = std::env::var_os("UOOP_TEST_SERVICES");
        let script = script.ok_or_else(|| impossible("UOOP_TEST_SERVICES is not set".to_owned()))?;
        let service = Self { script: script.into() };
        let status = service.script("status").await?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        let port = said
            .split_once("up on port ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        let port = port.ok_or_else(|| impossible(format!("UOOP_TEST_SERVICES says: {}", said.trim())))?;
        if !database.contains(&format!(":{port}/")) {
            return Err(impossible(format!(
                "the database is not on the one of UOOP_TEST_SERVICES, at port {port}"
            )));
        }
        Ok(service)
    }

    async fn script(&self, verb: &str) -> Result<Output, RunError> {
        let mut command = Command::new(&self.script);
        let command = command.args([verb, "postgres"]).stdin(Stdio::null());
        let name = "script of UOOP_TEST_SERVICES";
        command
            .output()
            .await
            .map_err(|source| RunError::Start { name, source })
    }

    /// `kill`, `up`, `pause` or `resume`.
    pub(super) async fn run(&self, verb: &str) -> Result<(), RunError> {
        let output = self.script(verb).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(RunError::Impossible {
            fault: "postgres",
            why: format!("{verb}: {said}"),
        })
    }
}
