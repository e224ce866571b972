//! A node's lifeline: a lock on a connection of its own, which the server gives back when the process dies.
//!
//! It is a *shared* session advisory lock; whoever wants to know whether the node lives tries for the exclusive one. So a
//! node whose connection was lost can hold its lifeline on a new one before the server has noticed the end of the old, and
//! neither an operating system that keeps the old one open nor a server that was started again stands in its way. The
//! lease is renewed on the same connection: one round trip does both, and an answer says that the lock is still held.
//!
//! Session locks do not survive a pooler that gives each transaction another connection (`PgBouncer` in transaction mode):
//! the address must lead to the server itself, or to a pooler in session mode.

use super::errors::Failure;
use crate::record::name_taken;
use domain::ports::StoreError;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::future::Future;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The advisory lock of a node: the 64-bit FNV-1a hash of `uoop node ` and its name, as a signed number. Should two names
/// ever share one, a dead node looks alive until its lease lapses, and nothing else happens.
pub(super) fn lock_key(name: &str) -> i64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    b"uoop node "
        .iter()
        .chain(name.as_bytes())
        .copied()
        .fold(OFFSET, mix)
        .cast_signed()
}

/// The lifeline of the one node whose handle on the store this is, while it is in a cluster.
pub(super) struct Lifeline {
    options: PgConnectOptions,
    limit: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    line: Option<Line>,
    /// The name and address of a join whose answer never came: it may have been made.
    asked: Option<(String, String)>,
}

struct Line {
    name: String,
    connection: PgConnection,
}

impl Lifeline {
    /// None yet; `limit` bounds each call.
    pub(super) fn new(options: PgConnectOptions, limit: Duration) -> Self {
        Self {
            options,
            limit,
            held: Mutex::default(),
        }
    }

    /// Enters a node, its lifeline held before anybody can see it.
    pub(super) async fn join(&self, name: &str, address: &str, lease_ms: u64) -> Result<(), StoreError> {
        let join = async {
            let mut held = self.held.lock().await;
            let mut connection = self.hold(name).await?;
            let asked = Some((name.to_owned(), address.to_owned()));
            let again = held.asked == asked;
            held.asked = asked;
            let enter = "
                INSERT INTO nodes (name, address, lease_until, draining)
                VALUES ($1, $2, now() + $3 * interval '1 millisecond', false)
                ON CONFLICT (name) DO UPDATE SET lease_until = excluded.lease_until
                WHERE $4 AND nodes.address = excluded.address";
            let entered = sqlx::query(enter)
                .bind(name)
                .bind(address)
                .bind(lease(lease_ms))
                .bind(again)
                .execute(&mut connection)
                .await;
            let entered = entered.map_err(|error| Failure::of(error).into_store_error())?;
            held.asked = None;
            if entered.rows_affected() == 0 {
                return Err(name_taken(name));
            }
            let name = name.to_owned();
            held.line = Some(Line { name, connection });
            Ok(())
        };
        self.in_time(join).await
    }

    /// Renews the lease; `false` when the node is not in the cluster any more. A lifeline that was lost is made anew.
    pub(super) async fn renew(&self, name: &str, lease_ms: u64, draining: bool) -> Result<bool, StoreError> {
        let renew = async {
            let mut held = self.held.lock().await;
            if let Some(other) = held.line.as_ref().filter(|line| line.name != name) {
                let problem = format!(
                    "this is the store's handle of the node '{}', not of '{name}'",
                    other.name
                );
                return Err(StoreError::Mismatch(problem));
            }
            // Taken out, so that a call that is given up half-way leaves no connection behind on which an answer is
            // still to come.
            let mut old = held.line.take().map(|line| line.connection);
            loop {
                let is_old = old.is_some();
                let mut connection = match old.take() {
                    Some(connection) => connection,
                    None => self.hold(name).await?,
                };
                let failure = match extend(&mut connection, name, lease_ms, draining).await {
                    Ok(is_member) => {
                        let name = name.to_owned();
                        held.line = is_member.then_some(Line { name, connection });
                        return Ok(is_member);
                    }
                    Err(error) => Failure::of(error),
                };
                match failure {
                    Failure::Lost(problem) if is_old => {
                        tracing::warn!(problem, "the lifeline was lost and is made anew");
                        continue;
                    }
                    // The connection is well, and the lock still held.
                    Failure::Refused(_) => {
                        let name = name.to_owned();
                        held.line = Some(Line { name, connection });
                    }
                    _ => {}
                }
                return Err(failure.into_store_error());
            }
        };
        self.in_time(renew).await
    }

    /// Lets the lifeline go, if it is this node's.
    pub(super) async fn end(&self, name: &str) {
        let mut held = self.held.lock().await;
        held.line.take_if(|line| line.name == name);
    }

    /// A new connection that holds the lock. Waits at most for somebody who tries it at this moment.
    async fn hold(&self, name: &str) -> Result<PgConnection, StoreError> {
        let away = |error: sqlx::Error| StoreError::Unavailable(error.to_string());
        let mut connection = self.options.connect().await.map_err(away)?;
        let lock = sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(lock_key(name));
        lock.execute(&mut connection).await.map_err(away)?;
        Ok(connection)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match timeout(self.limit, work).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
        }
    }
}

async fn extend(connection: &mut PgConnection, name: &str, lease_ms: u64, draining: bool) -> Result<bool, sqlx::Error> {
    let extend = "
        UPDATE nodes SET lease_until = now() + $2 * interval '1 millisecond', draining = $3 WHERE name = $1";
    let query = sqlx::query(extend).bind(name).bind(lease(lease_ms)).bind(draining);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Milliseconds as Postgres multiplies an interval with them.
fn lease(lease_ms: u64) -> f64 {
    u32::try_from(lease_ms).unwrap_or(u32::MAX).into()
}
