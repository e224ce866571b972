//! A service of `scripts/services` that is taken away and comes back.

use crate::rig::{PATIENCE, is_refused};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How a service goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGKILL.
    Kill,
    /// What `pg_ctl -m fast` does: SIGINT. Whatever is under way is rolled back, and connections are closed.
    Fast,
    /// What `pg_ctl -m immediate` does: SIGQUIT. It goes at once, and recovers from its log at the next start.
    Immediate,
}

/// A service that is up.
pub(crate) struct Service {
    name: &'static str,
    script: PathBuf,
    port: u16,
    pid: u32,
}

impl Service {
    /// The service whose address a variable holds, started if need be; `None`, and a word about it, when it is not given or
    /// is not one that we may stop.
    pub(crate) fn given(name: &'static str, variable: &str) -> Option<Self> {
        let (Ok(address), Some(script)) = (std::env::var(variable), std::env::var_os("UOOP_TEST_SERVICES")) else {
            println!("skipped: {variable} and UOOP_TEST_SERVICES are not both set");
            return None;
        };
        let mut service = Self {
            name,
            script: script.into(),
            port: 0,
            pid: 0,
        };
        service.run("up");
        (service.port, service.pid) = service.status().expect("it is up");
        if !address.contains(&format!(":{}", service.port)) {
            println!("skipped: {variable} is {address}, not the one of UOOP_TEST_SERVICES");
            return None;
        }
        Some(service)
    }

    fn script(&self, verb: &str) -> Output {
        let mut command = Command::new(&self.script);
        let command = command.args([verb, self.name]).stdin(Stdio::null());
        command.output().expect("the script of UOOP_TEST_SERVICES runs")
    }

    fn run(&self, verb: &str) {
        let output = self.script(verb);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb} {}: {said}", self.name);
    }

    /// Port and process; `None` when it is not up.
    fn status(&self) -> Option<(u16, u32)> {
        let output = self.script("status");
        let said = String::from_utf8_lossy(&output.stdout);
        let (port, rest) = said.split_once("up on port ")?.1.split_once(' ')?;
        let pid = rest.split_once("(process ")?.1.split_once(')')?.0;
        Some((port.parse().ok()?, pid.parse().ok()?))
    }

    /// Takes it away, and proves that it is (NV-1). It comes back when what is returned does, at the latest.
    pub(crate) async fn stop(&mut self, stop: Stop) -> Away<'_> {
        match stop {
            Stop::Kill => self.run("kill"),
            Stop::Fast => self.signal("INT"),
            Stop::Immediate => self.signal("QUIT"),
        }
        let end = Instant::now() + PATIENCE;
        while self.status().is_some() || !is_refused(self.port).await {
            assert!(Instant::now() < end, "{} does not stop", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        Away { service: self }
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid);
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(sent.success(), "{kill}");
    }
}

/// That a service is away. Dropped, for instance by a test that fails, it brings the service back.
pub(crate) struct Away<'a> {
    service: &'a mut Service,
}

impl Away<'_> {
    /// Brings the service back, at the same address, and proves that it is another process.
    pub(crate) async fn back(self) {
        assert!(
            is_refused(self.service.port).await,
            "{} was away all the time",
            self.service.name
        );
        self.service.run("up");
        let (port, pid) = self.service.status().expect("it is up");
        assert_eq!(port, self.service.port, "the same address");
        assert_ne!(pid, self.service.pid, "another process");
        self.service.pid = pid;
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        // Without effect when it is back already. Nothing can be done where it fails: what needs it next will say so.
        let _ = self.service.script("up");
    }
}
