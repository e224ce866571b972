//! The connections that write.
//!
//! One is taken out of its place for each piece of work and put back only when the server has answered and waits for
//! the next; after anything else (an error of the connection, no answer in time, a cancelled call) it is dropped, which
//! closes the socket. So nobody inherits a connection on which something is still under way.

use super::errors::Failure;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Something to do on a connection of its own.
pub(super) trait Work: Send {
    type Output: Send;

    /// Does it. After an error, nothing may be left open that a roll-back would not end.
    fn run(self, connection: &mut PgConnection) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;
}

pub(super) struct Writers {
    options: PgConnectOptions,
    permits: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
    acquire_timeout: Duration,
    limit: Duration,
}

impl Writers {
    /// So many connections at most, opened when they are needed; `limit` bounds each piece of work.
    pub(super) fn new(options: PgConnectOptions, count: u32, acquire_timeout: Duration, limit: Duration) -> Self {
        let permits = Semaphore::new(usize::try_from(count.max(1)).unwrap_or(1));
        Self {
            options,
            permits,
            idle: Mutex::default(),
            acquire_timeout,
            limit,
        }
    }

    /// Does some work on a connection. A [`Failure`] says whether the server can have begun on it.
    pub(super) async fn run<W: Work>(&self, work: W) -> Result<W::Output, Failure> {
        let Ok(Ok(_permit)) = timeout(self.acquire_timeout, self.permits.acquire()).await else {
            return Err(Failure::NotSent("all connections are busy".into()));
        };
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => match timeout(self.acquire_timeout, self.options.connect()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return Err(Failure::NotSent(error.to_string())),
                Err(_) => return Err(Failure::NotSent("no connection in time".into())),
            },
        };
        match timeout(self.limit, work.run(&mut connection)).await {
            Ok(Ok(value)) => {
                self.idle().push(connection);
                Ok(value)
            }
            Ok(Err(error)) => {
                let failure = Failure::of(error);
                match failure {
                    // The ping also carries out a roll-back that is still to be sent.
                    Failure::Refused(_) if matches!(timeout(self.limit, connection.ping()).await, Ok(Ok(()))) => {
                        self.idle().push(connection);
                    }
                    // What ended this connection has probably ended the idle ones too.
                    _ => self.idle().clear(),
                }
                Err(failure)
            }
            Err(_) => Err(Failure::Lost("no answer in time".into())),
        }
    }

    /// A list of connections is whole at every moment, so a panic elsewhere does not spoil it.
    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
