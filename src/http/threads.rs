//! Connections have threads of their own, beside those of the actors, and the kernel shares the processors out between the
//! two. On the same threads a request waits in one queue behind all that a commit has set free, and a refusal takes as long
//! as an order (ADR 0031).

use std::io;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// The threads on which requests are read and answered, as many as there are processors. Dropped, everything on them ends, and
/// so do connections to elsewhere that a request opened for others: to be dropped last.
#[derive(Debug)]
pub struct Threads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system has no more threads, or no more files, to give.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("http").enable_all().build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// The listener as one of these threads: so are the connections that it accepts there.
    pub(super) fn take_over(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let _inside = self.handle.enter();
        TcpListener::from_std(listener.into_std()?)
    }

    pub(super) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(task)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever drops this may be a task itself, and must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
