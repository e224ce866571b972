//! A Redis of our own to test against, which can be killed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How often something that must come is looked for, and the pause between: only bounds how long a failure takes to show.
const LOOKS_MAX: usize = 3_000;
const LOOK: Duration = Duration::from_millis(20);

/// A running Redis on a port of its own. It is killed when this is dropped.
pub(crate) struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts one and waits until it answers. `None`: `UOOP_TEST_REDIS_URL` does not say that there is a Redis to test with.
    pub(crate) async fn start() -> Option<Self> {
        if std::env::var_os("UOOP_TEST_REDIS_URL").is_none() {
            eprintln!("skipped: UOOP_TEST_REDIS_URL is not set");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let redis = Self {
            process: spawn(port),
            port,
        };
        redis.answers().await;
        Some(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ran");
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port);
        self.answers().await;
    }

    async fn answers(&self) {
        self.until("PING", |answer| answer == "+PONG").await;
    }

    /// Asks until the answer is as wanted, and gives it.
    pub(crate) async fn until(&self, command: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            if let Ok(answer) = self.ask(command).await {
                if wanted(&answer) {
                    return answer;
                }
                last = answer;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{command} is never answered as wanted, but {last:?}");
    }

    /// The last line of the answer to a command: the value, for those used here.
    async fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await?;
        connection
            .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        let answer = answer.trim_end().strip_suffix("+OK").unwrap_or(&answer).trim_end();
        Ok(answer.lines().last().unwrap_or_default().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(std::env::temp_dir())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
